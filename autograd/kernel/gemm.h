/* gemm: matrix products of reals: of floats by our own kernels or by OpenBLAS (gemm_backend.h); of
 * doubles by OpenBLAS, an independent judge of the float kernels.
 *
 * With our own kernels the bits follow product.h's definitions, whatever the shape of a call. With
 * OpenBLAS they change with the shape, so large products are cut into tiles of constant size and
 * threads take whole tiles: any number of threads gives the same bits (changing the size bumps
 * LAP_NUMERICS_VERSION). `segment` and `first` then mean nothing.
 *
 * Only our own kernels take operands that are held in bfloat16.
 * A chain (LAP_MATMUL_CHAIN) is of float32 by our own kernels; elsewhere it is an addition to C.
 * The precision is the process's (gemm_backend.h), whatever `precision` says here.
 */
#ifndef LAP_AUTOGRAD_KERNEL_GEMM_H
#define LAP_AUTOGRAD_KERNEL_GEMM_H

#include <stdint.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/matmul/matmul.h"
#include "autograd/kernel/real.h"

#define lap_gemm LAP_PRECISION(lap_gemm)
#define lap_gemm_here LAP_PRECISION(lap_gemm_here)
#define lap_gemm_chain_block LAP_PRECISION(lap_gemm_chain_block)
#define lap_gemm_round LAP_PRECISION(lap_gemm_round)
#define lap_gemm_holds LAP_PRECISION(lap_gemm_holds)
#define lap_gemm_hold LAP_PRECISION(lap_gemm_hold)
#define lap_gemm_pack_b LAP_PRECISION(lap_gemm_pack_b)
#define lap_gemm_packs_halves LAP_PRECISION(lap_gemm_packs_halves)
#define lap_gemm_largest LAP_PRECISION(lap_gemm_largest)
#define lap_gemm_packed_width LAP_PRECISION(lap_gemm_packed_width)

/* With OpenBLAS, the tiles of C. */
enum { LAP_GEMM_TILE_ROWS = 256, LAP_GEMM_TILE_COLUMNS = 256 };

#ifdef LAP_DOUBLE
/* As lap_matmul, of doubles. */
typedef struct {
  int64_t m, n, k;
  const real *a, *b;
  const uint16_t *a_bfloat16, *b_bfloat16; /* always NULL */
  const real *b_packed;
  int64_t packed_terms, packed_columns, packed_column;
  real *c;
  int64_t lda, ldb, ldc;
  bool transpose_a, transpose_b;
  lap_matmul_into into;
  int64_t segment, first;
} lap_gemm_operands;
#else
typedef lap_matmul lap_gemm_operands;
#endif

static inline lap_matmul_into lap_gemm_into(bool accumulate) {
  return accumulate ? LAP_MATMUL_ADD : LAP_MATMUL_SET;
}

/* C [m, n] (+)= op(A) [m, k] op(B) [k, n], see matmul.h. OpenMP-parallel. */
void lap_gemm(const lap_gemm_operands *operands);
/* The same on the calling thread, with OpenBLAS as one call: for kernels that make their own tiles.
 */
void lap_gemm_here(const lap_gemm_operands *operands);

/* Positions after which a chain over positions ends and is added: LAP_MATMUL_BLOCK; with OpenBLAS
 * and in bfloat16 never (INT64_MAX). */
int64_t lap_gemm_chain_block(void);

/* The largest magnitude that is finite as an operand: larger ones become infinity in bfloat16. */
real lap_gemm_largest(void);

/* Rounds values to bfloat16 as products in bfloat16 round their operands. */
void lap_gemm_round(real *values, int64_t count);

/* Whether a matrix that only products read may be held in bfloat16 without changing a bit: they
 * round their operands, and take them so. It moves half as much memory. */
bool lap_gemm_holds(void);
/* Rounds `count` values, and leaves them as bfloat16 in the first bytes of the same memory. */
void lap_gemm_hold(real *values, int64_t count);

/* A B that many products share, laid out once (matmul.h). Products then have `b` as well as
 * `b_packed`: only our own kernels lay anything out, the others read b. `packed`:
 * aligned to 64 bytes, of lap_gemm_packed_size reals. */
void lap_gemm_pack_b(const lap_gemm_operands *operands, real *packed);
/* What packed_column is a multiple of. */
int64_t lap_gemm_packed_width(void);
/* Whether what is laid out takes two bytes an element, half of lap_gemm_packed_size: in bfloat16
 * by kernels that multiply pairs, which gain by it where rows are few. */
bool lap_gemm_packs_halves(void);
/* Room for every kernel's layout, so that memory does not depend on the processor. */
static inline int64_t lap_gemm_packed_size(int64_t n, int64_t k) {
  enum { WIDEST = 32, GROUP = LAP_MATMUL_GROUP };
  return (n + WIDEST - 1) / WIDEST * WIDEST * ((k + GROUP - 1) / GROUP * GROUP);
}

#endif
