#include "autograd/kernel/matmul/matmul.h"

#include <omp.h>

#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/multiply.h"

/* Below these, waking threads takes longer. */
enum {
  WORTH_THREADS = 1 << 19, /* multiplications */
  WORTH_PACKING = 1 << 16, /* elements */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static const lap_matmul_unit *unit_of(const lap_matmul *p) {
  return lap_matmul_kernel_here()->unit[p->precision];
}

void lap_matmul_run_here(const lap_matmul *p) { lap_matmul_multiply(p, unit_of(p)); }

int64_t lap_matmul_packed_floats(lap_matmul_precision precision, int64_t n, int64_t k) {
  return lap_matmul_packed_floats_of(lap_matmul_kernel_here()->unit[precision], n, k);
}

int64_t lap_matmul_packed_width(lap_matmul_precision precision) {
  return lap_matmul_kernel_here()->unit[precision]->width;
}

/* Each thread a range of columns. */
void lap_matmul_pack_b(const lap_matmul *p, float *packed) {
  const lap_matmul_unit *unit = unit_of(p);
  const int64_t strips = (p->n + unit->width - 1) / unit->width;
  const int64_t threads =
      p->n * p->k < WORTH_PACKING || omp_in_parallel() ? 1 : omp_get_max_threads();
#pragma omp parallel for schedule(static) if (threads > 1)
  for (int64_t i = 0; i < threads; ++i) {
    const int64_t begin = least(strips * i / threads * unit->width, p->n);
    const int64_t end = least(strips * (i + 1) / threads * unit->width, p->n);
    if (begin < end) lap_matmul_pack_b_for(p, unit, begin, end, packed);
  }
}

/* Threads take rectangles of C. Each packs what it needs of both operands: B again for every range
 * of rows, A for every range of columns. Returns into how many ranges the rows are cut. */
static int64_t row_ranges(const lap_matmul *p, int64_t threads) {
  int64_t best = 1;
  for (int64_t ranges = 2; ranges <= threads; ++ranges)
    if (threads % ranges == 0 &&
        p->m * (threads / ranges) + p->n * ranges < p->m * (threads / best) + p->n * best)
      best = ranges;
  return best;
}

static lap_matmul rectangle(const lap_matmul *p, int64_t i0, int64_t rows, int64_t j0,
                            int64_t columns) {
  lap_matmul part = *p;
  part.m = rows;
  part.n = columns;
  const int64_t a0 = p->transpose_a ? i0 : i0 * p->lda;
  if (p->a_bfloat16)
    part.a_bfloat16 += a0;
  else
    part.a += a0;
  const int64_t b0 = p->transpose_b ? j0 * p->ldb : j0;
  if (p->b_packed)
    part.packed_column += j0;
  else if (p->b_bfloat16)
    part.b_bfloat16 += b0;
  else
    part.b += b0;
  part.c += i0 * p->ldc + j0;
  return part;
}

void lap_matmul_run(const lap_matmul *p) {
  const int64_t threads = p->m * p->n * p->k < WORTH_THREADS ? 1 : omp_get_max_threads();
  if (threads == 1) {
    lap_matmul_run_here(p);
    return;
  }
  const lap_matmul_unit *unit = unit_of(p);
  const int64_t down = row_ranges(p, threads), across = threads / down;
  const int64_t strips_down = (p->m + unit->height - 1) / unit->height;
  const int64_t strips_across = (p->n + unit->width - 1) / unit->width;
#pragma omp parallel for schedule(static)
  for (int64_t part = 0; part < threads; ++part) {
    const int64_t i = part / across, j = part % across;
    const int64_t i0 = least(strips_down * i / down * unit->height, p->m);
    const int64_t i1 = least(strips_down * (i + 1) / down * unit->height, p->m);
    const int64_t j0 = least(strips_across * j / across * unit->width, p->n);
    const int64_t j1 = least(strips_across * (j + 1) / across * unit->width, p->n);
    const lap_matmul mine = rectangle(p, i0, i1 - i0, j0, j1 - j0);
    if (mine.m > 0 && mine.n > 0) lap_matmul_run_here(&mine);
  }
}
