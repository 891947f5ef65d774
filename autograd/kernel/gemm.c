#include "autograd/kernel/gemm.h"

#include <assert.h>
#include <float.h>
#include <stddef.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/bfloat16.h"
#include "autograd/kernel/wide.h"

static void blas(const lap_gemm_operands *p) {
  assert(!p->a_bfloat16 && !p->b_bfloat16);
  const lap_transpose ta = p->transpose_a ? LAP_TRANSPOSED : LAP_PLAIN;
  const lap_transpose tb = p->transpose_b ? LAP_TRANSPOSED : LAP_PLAIN;
  const real beta = p->into == LAP_MATMUL_SET ? 0 : 1;
#ifdef LAP_DOUBLE
  lap_blas_dgemm(ta, tb, (int)p->m, (int)p->n, (int)p->k, 1, p->a, (int)p->lda, p->b, (int)p->ldb,
                 beta, p->c, (int)p->ldc);
#else
  lap_blas_sgemm(ta, tb, (int)p->m, (int)p->n, (int)p->k, 1, p->a, (int)p->lda, p->b, (int)p->ldb,
                 beta, p->c, (int)p->ldc);
#endif
}

static void blas_in_tiles(const lap_gemm_operands *p) {
  const int64_t down = (p->m + LAP_GEMM_TILE_ROWS - 1) / LAP_GEMM_TILE_ROWS;
  const int64_t across = (p->n + LAP_GEMM_TILE_COLUMNS - 1) / LAP_GEMM_TILE_COLUMNS;
#pragma omp parallel for schedule(static) if (down * across > 1)
  for (int64_t tile = 0; tile < down * across; ++tile) {
    const int64_t i = tile % down * LAP_GEMM_TILE_ROWS, j = tile / down * LAP_GEMM_TILE_COLUMNS;
    lap_gemm_operands part = *p;
    part.m = p->m - i < LAP_GEMM_TILE_ROWS ? p->m - i : LAP_GEMM_TILE_ROWS;
    part.n = p->n - j < LAP_GEMM_TILE_COLUMNS ? p->n - j : LAP_GEMM_TILE_COLUMNS;
    part.a += p->transpose_a ? i : i * p->lda;
    part.b += p->transpose_b ? j * p->ldb : j;
    part.c += i * p->ldc + j;
    blas(&part);
  }
}

#ifdef LAP_DOUBLE

void lap_gemm(const lap_gemm_operands *operands) { blas_in_tiles(operands); }
void lap_gemm_here(const lap_gemm_operands *operands) { blas(operands); }
int64_t lap_gemm_chain_block(void) { return INT64_MAX; }
int64_t lap_gemm_packed_width(void) { return 1; }
bool lap_gemm_packs_halves(void) { return false; }
bool lap_gemm_holds(void) { return false; }
real lap_gemm_largest(void) { return DBL_MAX; }
void lap_gemm_pack_b(const lap_gemm_operands *operands, real *packed) {
  (void)operands, (void)packed;
}

#else

static bool is_ours(void) { return lap_gemm_backend_here() == LAP_GEMM_LAPIDARY; }
static bool has_chains(void) {
  return is_ours() && lap_gemm_precision_here() == LAP_MATMUL_FLOAT32;
}

static lap_matmul product_of(const lap_gemm_operands *operands) {
  lap_matmul product = *operands;
  product.precision = lap_gemm_precision_here();
  if (product.into == LAP_MATMUL_CHAIN && !has_chains()) product.into = LAP_MATMUL_ADD;
  if (product.b_packed) product.b = NULL;
  return product;
}

void lap_gemm(const lap_gemm_operands *operands) {
  const lap_matmul product = product_of(operands);
  if (is_ours())
    lap_matmul_run(&product);
  else
    blas_in_tiles(operands);
}

void lap_gemm_here(const lap_gemm_operands *operands) {
  const lap_matmul product = product_of(operands);
  if (is_ours())
    lap_matmul_run_here(&product);
  else
    blas(operands);
}

int64_t lap_gemm_packed_width(void) {
  return is_ours() ? lap_matmul_packed_width(lap_gemm_precision_here()) : 1;
}

bool lap_gemm_packs_halves(void) {
  enum { SIDE = 64 };
  return is_ours() && 2 * lap_matmul_packed_floats(lap_gemm_precision_here(), SIDE, SIDE) <=
                          lap_gemm_packed_size(SIDE, SIDE);
}

void lap_gemm_pack_b(const lap_gemm_operands *operands, real *packed) {
  const lap_matmul product = product_of(operands);
  if (!is_ours()) return;
  assert(lap_matmul_packed_floats(product.precision, product.n, product.k) <=
         lap_gemm_packed_size(product.n, product.k));
  lap_matmul_pack_b(&product, packed);
}

int64_t lap_gemm_chain_block(void) { return has_chains() ? LAP_MATMUL_BLOCK : INT64_MAX; }

bool lap_gemm_holds(void) { return is_ours() && lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16; }

/* From halfway between the largest of bfloat16 and the next power of two on, it is infinity. */
real lap_gemm_largest(void) { return lap_gemm_holds() ? 0x1.fefffep127F : FLT_MAX; }

#endif

void lap_gemm_round(real *values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = (real)lap_bfloat16_round((float)values[i]);
}

LAP_WIDE
static void pack(const real *values, int64_t count, uint16_t *packed) {
  for (int64_t i = 0; i < count; ++i) packed[i] = lap_bfloat16_pack((float)values[i]);
}

/* By way of a part elsewhere: what is written lies before what is still to be read. */
void lap_gemm_hold(real *values, int64_t count) {
  enum { PART = 512 };
  uint16_t part[PART];
  char *to = (char *)values;
  for (int64_t i = 0; i < count; i += PART) {
    const int64_t here = count - i < PART ? count - i : PART;
    pack(values + i, here, part);
    memcpy(to + i * (int64_t)sizeof *part, part, (size_t)here * sizeof *part);
  }
}
