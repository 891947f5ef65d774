#include "autograd/kernel/matmul/matmul.h"

#include <assert.h>
#include <omp.h>
#include <string.h>

#include "autograd/kernel/matmul/kernels.h"

enum {
  BLOCK = LAP_MATMUL_BLOCK,
  PANEL = 512,             /* columns of B packed at a time: 512 KB, half of a small L2 */
  TERMS_AT_ONCE = 16,      /* packed of all strips, where terms are rows */
  STRIPS = 8,              /* of rows of A packed at a time */
  TALLEST = 16,            /* height of the tallest kernel, in whole vectors */
  WORTH_THREADS = 1 << 19, /* multiplications below which waking threads takes longer */
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- packing --- */

/* --- one block of terms --- */

/* Rows are cut into strips of nearly equal height: 64 = 13 + 13 + 13 + 13 + 12, not 4 x 14 + 8. */
typedef struct {
  int64_t count, height, larger; /* the first `larger` strips have one row more */
  int64_t end;
} strips;

static strips cut(int64_t rows, int64_t most) {
  const int64_t count = (rows + most - 1) / most;
  return (strips){count, rows / count, rows % count, rows};
}

static int64_t strip_begin(const strips *s, int64_t index) {
  return least(index * s->height + least(index, s->larger), s->end);
}

/* Packs strips of an operand. One stored term after the other, where terms are its rows: reading
 * one strip after the other would jump from row to row for a few elements each. */
static void pack_strips(const lap_matmul_kernel *kernel, bool terms_are_rows, const float *x,
                        int64_t ldx, int64_t terms, const strips *s, float *packed,
                        int64_t stride) {
  const int64_t most = terms_are_rows ? TERMS_AT_ONCE : terms;
  for (int64_t t = 0; t < terms; t += most)
    for (int64_t i = 0; i < s->count; ++i) {
      const int64_t begin = strip_begin(s, i), count = strip_begin(s, i + 1) - begin;
      float *to = packed + (i * terms + t) * stride;
      if (terms_are_rows)
        kernel->pack_plain(x + t * ldx + begin, ldx, count, least(most, terms - t), to, stride);
      else
        kernel->pack_transposed(x + begin * ldx, ldx, count, terms, to, stride);
    }
}

static void multiply_chunk(const lap_matmul *p, const lap_matmul_kernel *kernel, int64_t k0,
                           int64_t terms, int64_t i0, int64_t rows, int64_t j0, int64_t columns,
                           const float *packed_b, lap_matmul_into into) {
  float packed_a[STRIPS * TALLEST * BLOCK] __attribute__((aligned(64)));
  const strips s = cut(rows, kernel->height);
  const int64_t stride = (kernel->height + kernel->lanes - 1) / kernel->lanes * kernel->lanes;
  pack_strips(kernel, p->transpose_a, p->a + (p->transpose_a ? k0 * p->lda + i0 : i0 * p->lda + k0),
              p->lda, terms, &s, packed_a, stride);
  for (int64_t j = 0; j < columns; j += kernel->width) {
    const int64_t width = least(kernel->width, columns - j);
    for (int64_t i = 0; i < s.count; ++i) {
      const int64_t begin = strip_begin(&s, i), height = strip_begin(&s, i + 1) - begin;
      kernel->tile(terms, packed_a + i * stride * terms, stride, packed_b + j * terms,
                   p->c + (i0 + begin) * p->ldc + j0 + j, p->ldc, height, width, into);
    }
  }
}

static void multiply_panel(const lap_matmul *p, const lap_matmul_kernel *kernel, int64_t k0,
                           int64_t terms, int64_t j0, int64_t columns, lap_matmul_into into) {
  float packed_b[PANEL * BLOCK] __attribute__((aligned(64)));
  const strips s = {(columns + kernel->width - 1) / kernel->width, kernel->width, 0, columns};
  pack_strips(kernel, !p->transpose_b,
              p->b + (p->transpose_b ? j0 * p->ldb + k0 : k0 * p->ldb + j0), p->ldb, terms, &s,
              packed_b, kernel->width);
  const int64_t chunk = STRIPS * kernel->height;
  for (int64_t i = 0; i < p->m; i += chunk)
    multiply_chunk(p, kernel, k0, terms, i, least(chunk, p->m - i), j0, columns, packed_b, into);
}

/* --- the whole product --- */

static void clear(const lap_matmul *p) {
  for (int64_t i = 0; i < p->m; ++i) memset(p->c + i * p->ldc, 0, (size_t)p->n * sizeof *p->c);
}

/* From the k-th term to the end of its block, of its segment, or of all. */
static int64_t terms_from(const lap_matmul *p, int64_t k) {
  const int64_t index = p->first + k, in_segment = p->segment ? index % p->segment : index;
  int64_t terms = least(BLOCK - in_segment % BLOCK, p->k - k);
  if (p->segment) terms = least(terms, p->segment - in_segment);
  return terms;
}

void lap_matmul_run_here(const lap_matmul *p) {
  const lap_matmul_kernel *kernel = lap_matmul_kernel_here();
  if (p->k == 0 && p->into == LAP_MATMUL_SET) clear(p);
  assert(p->into != LAP_MATMUL_CHAIN || terms_from(p, 0) == p->k);
  for (int64_t j = 0; j < p->n; j += PANEL)
    for (int64_t k = 0; k < p->k;) {
      const int64_t terms = terms_from(p, k);
      const lap_matmul_into into = k > 0 ? LAP_MATMUL_ADD : p->into;
      multiply_panel(p, kernel, k, terms, j, least(PANEL, p->n - j), into);
      k += terms;
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
  part.a += p->transpose_a ? i0 : i0 * p->lda;
  part.b += p->transpose_b ? j0 * p->ldb : j0;
  part.c += i0 * p->ldc + j0;
  return part;
}

void lap_matmul_run(const lap_matmul *p) {
  const int64_t threads = p->m * p->n * p->k < WORTH_THREADS ? 1 : omp_get_max_threads();
  if (threads == 1) {
    lap_matmul_run_here(p);
    return;
  }
  const lap_matmul_kernel *kernel = lap_matmul_kernel_here();
  const int64_t down = row_ranges(p, threads), across = threads / down;
  const int64_t strips_down = (p->m + kernel->height - 1) / kernel->height;
  const int64_t strips_across = (p->n + kernel->width - 1) / kernel->width;
#pragma omp parallel for schedule(static)
  for (int64_t part = 0; part < threads; ++part) {
    const int64_t i = part / across, j = part % across;
    const int64_t i0 = least(strips_down * i / down * kernel->height, p->m);
    const int64_t i1 = least(strips_down * (i + 1) / down * kernel->height, p->m);
    const int64_t j0 = least(strips_across * j / across * kernel->width, p->n);
    const int64_t j1 = least(strips_across * (j + 1) / across * kernel->width, p->n);
    const lap_matmul mine = rectangle(p, i0, i1 - i0, j0, j1 - j0);
    if (mine.m > 0 && mine.n > 0) lap_matmul_run_here(&mine);
  }
}
