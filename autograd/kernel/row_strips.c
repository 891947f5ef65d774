#include "autograd/kernel/row_strips.h"

#include <assert.h>

#ifdef LAP_DOUBLE

bool lap_row_strips_usable(bool held) {
  (void)held;
  return false;
}

void lap_row_strips_make(const lap_row_strips *w) {
  (void)w;
  assert(!"usable in double");
}

void lap_row_strips_multiply(const lap_row_strips *w, int64_t m, const real *x, real *y) {
  (void)w, (void)m, (void)x, (void)y;
  assert(!"usable in double");
}

void lap_row_strips_read(const lap_row_strips *w, int64_t row, int64_t count, real *values,
                         uint16_t *bfloat16) {
  (void)w, (void)row, (void)count, (void)values, (void)bfloat16;
  assert(!"usable in double");
}

void lap_row_strips_by_terms(const lap_row_strips *w, int64_t row, int64_t count, int64_t first,
                             int64_t terms, real *values, uint16_t *bfloat16) {
  (void)w, (void)row, (void)count, (void)first, (void)terms, (void)values, (void)bfloat16;
  assert(!"usable in double");
}

#else

#include <math.h>
#include <string.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/gemv.h"
#include "autograd/kernel/matmul/mxcsr.h"
#include "autograd/kernel/wide.h"
#include "core/memory.h"

enum {
  ROWS = LAP_STRIP_ROWS,
  BLOCK = LAP_MATMUL_BLOCK,
  GROUP = LAP_MATMUL_GROUP,
  AT_ONCE = 3,  /* rows of x whose sums registers hold */
  PART = 512,   /* terms that many rows of x meet at a time, in a cache; a multiple of BLOCK */
  RANGE = 2,    /* strips that a thread takes at a time */
  AHEAD = 1024, /* words that are fetched before they are needed */
  LINE = 16,    /* words */
  WORTH_THREADS = 1 << 16
};

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

bool lap_row_strips_usable(bool held) {
  if (lap_gemm_backend_here() != LAP_GEMM_LAPIDARY) return false;
  return lap_gemm_precision_here() == LAP_MATMUL_FLOAT32 || (held && FLUSHES);
}

/* Rows that are laid out. */
static int64_t laid_out(const lap_row_strips *w) {
  return w->bfloat16 && w->k % 2 ? 0 : w->n / ROWS * ROWS;
}

/* --- the layout --- */

/* A word is a float, or a pair of terms in bfloat16. */
static int64_t words_of_row(const lap_row_strips *w) { return w->values ? w->k : w->k / 2; }

/* Of floats too; halves may begin anywhere. */
typedef uint32_t __attribute__((may_alias, aligned(2))) word;

static word *strip_of(const lap_row_strips *w, int64_t row) {
  return (w->values ? (word *)w->values : (word *)w->bfloat16) + row * words_of_row(w);
}

enum { TILE = 16 }; /* words of each row that are moved at a time: a line */

void lap_row_strips_make(const lap_row_strips *w) {
  const int64_t words = words_of_row(w), rows = laid_out(w);
#pragma omp parallel
  {
    word *copy = lap_allocate_aligned(ROWS * words, sizeof *copy);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; row += ROWS) {
      word *strip = strip_of(w, row);
      memcpy(copy, strip, (size_t)(ROWS * words) * sizeof *copy);
      for (int64_t begin = 0; begin < words; begin += TILE)
        for (int64_t r = 0; r < ROWS; ++r)
          for (int64_t t = begin; t < lesser(begin + TILE, words); ++t)
            strip[t * ROWS + r] = copy[r * words + t];
    }
    lap_release_aligned(copy);
  }
}

/* Rows [first, first + count) of one strip. */
static void read_from_strip(const word *strip, int64_t words, int64_t first, int64_t count,
                            word *out) {
  for (int64_t begin = 0; begin < words; begin += TILE)
    for (int64_t r = 0; r < count; ++r)
      for (int64_t t = begin; t < lesser(begin + TILE, words); ++t)
        out[r * words + t] = strip[t * ROWS + first + r];
}

void lap_row_strips_read(const lap_row_strips *w, int64_t row, int64_t count, real *values,
                         uint16_t *bfloat16) {
  const int64_t words = words_of_row(w), end = row + count, moved = lesser(end, laid_out(w));
  for (int64_t strip = row / ROWS * ROWS; strip < moved; strip += ROWS) {
    const int64_t first = strip < row ? row : strip, last = lesser(strip + ROWS, moved);
    word *out = (values ? (word *)values : (word *)bfloat16) + (first - row) * words;
    read_from_strip(strip_of(w, strip), words, first - strip, last - first, out);
  }
  const int64_t rest = row > moved ? row : moved, elements = (end - rest) * w->k;
  if (rest >= end) return;
  if (values)
    memcpy(values + (rest - row) * w->k, w->values + rest * w->k,
           (size_t)elements * sizeof *values);
  else
    memcpy(bfloat16 + (rest - row) * w->k, w->bfloat16 + rest * w->k,
           (size_t)elements * sizeof *bfloat16);
}

/* Terms [begin, end) of the rows of a strip, each term on its own. */
LAP_WIDE
static void terms_of_pairs(const word *strip, int64_t begin, int64_t end, int64_t ld,
                           uint16_t *out) {
  for (int64_t t = begin; t < end; t += 2)
    for (int64_t r = 0; r < ROWS; ++r) {
      const uint32_t pair = strip[t / 2 * ROWS + r];
      out[t * ld + r] = (uint16_t)pair;
      out[(t + 1) * ld + r] = (uint16_t)(pair >> 16);
    }
}

void lap_row_strips_by_terms(const lap_row_strips *w, int64_t row, int64_t count, int64_t first,
                             int64_t terms, real *values, uint16_t *bfloat16) {
  enum { AT_A_TIME = 128 }; /* an even number */
  assert(values || bfloat16);
  const int64_t moved = lesser(count, laid_out(w) - row);
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < terms; begin += AT_A_TIME) {
    const int64_t end = lesser(begin + AT_A_TIME, terms);
    for (int64_t r = 0; r < moved; r += ROWS) {
      const word *strip = strip_of(w, row + r) + first * words_of_row(w) / w->k * ROWS;
      for (int64_t t = begin; t < end && values; ++t)
        memcpy(values + t * count + r, strip + t * ROWS, ROWS * sizeof *values);
      if (bfloat16) terms_of_pairs(strip, begin, end, count, bfloat16 + r);
    }
    for (int64_t r = moved > 0 ? moved : 0; r < count; ++r)
      for (int64_t t = begin; t < end; ++t) {
        const int64_t element = (row + r) * w->k + first + t;
        if (values)
          values[t * count + r] = w->values[element];
        else
          bfloat16[t * count + r] = w->bfloat16[element];
      }
  }
}

/* --- products of a strip: y [m][ROWS] += x [m][k] of the strip, with m up to AT_ONCE --- */

typedef struct {
  const word *words;
  int64_t terms;
  const float *x;
  int64_t ldx;
  float *y;
  int64_t ldy;
} strip_product;

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline float even_of(uint32_t pair) { return float_of(pair << 16); }
static inline float odd_of(uint32_t pair) { return float_of(pair & 0xffff0000U); }

static inline void fetch(const word *words) {
  for (int64_t i = 0; i < ROWS; i += LINE) __builtin_prefetch(words + AHEAD + i);
}

/* Blocks of terms, each one chain. `m` is a constant wherever this is compiled. */
static inline __attribute__((always_inline)) void float32_of(int m, bool pairs,
                                                             const strip_product *p) {
  const int64_t step = pairs ? 2 : 1;
  for (int64_t begin = 0; begin < p->terms; begin += BLOCK) {
    const int64_t end = lesser(begin + BLOCK, p->terms);
    float sum[AT_ONCE][ROWS] = {0};
    for (int64_t t = begin; t < end; t += step) {
      const word *words = p->words + t / step * ROWS;
      fetch(words);
      for (int a = 0; a < m; ++a) {
        const float *x = p->x + a * p->ldx + t;
        for (int r = 0; r < ROWS; ++r)
          sum[a][r] = fmaf(pairs ? even_of(words[r]) : float_of(words[r]), x[0], sum[a][r]);
        for (int r = 0; r < ROWS && pairs; ++r) sum[a][r] = fmaf(odd_of(words[r]), x[1], sum[a][r]);
      }
    }
    for (int a = 0; a < m; ++a)
      for (int r = 0; r < ROWS; ++r) p->y[a * p->ldy + r] += sum[a][r];
  }
}

/* Groups of terms, each two chains. */
static inline __attribute__((always_inline)) void bfloat16_of(int m, const strip_product *p) {
  for (int64_t begin = 0; begin < p->terms; begin += GROUP) {
    const int64_t end = lesser(begin + GROUP, p->terms);
    float even[AT_ONCE][ROWS] = {0}, odd[AT_ONCE][ROWS] = {0};
    for (int64_t t = begin; t < end; t += 2) {
      const word *words = p->words + t / 2 * ROWS;
      fetch(words);
      for (int a = 0; a < m; ++a) {
        const float *x = p->x + a * p->ldx + t;
        for (int r = 0; r < ROWS; ++r) even[a][r] = fmaf(even_of(words[r]), x[0], even[a][r]);
        for (int r = 0; r < ROWS; ++r) odd[a][r] = fmaf(odd_of(words[r]), x[1], odd[a][r]);
      }
    }
    for (int a = 0; a < m; ++a)
      for (int r = 0; r < ROWS; ++r) p->y[a * p->ldy + r] += even[a][r] + odd[a][r];
  }
}

/* One row of x, or AT_ONCE. */
typedef void strip_kernel(const strip_product *p);

LAP_WIDE
static void one_of_floats(const strip_product *p) { float32_of(1, false, p); }
LAP_WIDE
static void several_of_floats(const strip_product *p) { float32_of(AT_ONCE, false, p); }
LAP_WIDE
static void one_of_pairs(const strip_product *p) { float32_of(1, true, p); }
LAP_WIDE
static void several_of_pairs(const strip_product *p) { float32_of(AT_ONCE, true, p); }
LAP_WIDE
static void one_in_bfloat16(const strip_product *p) { bfloat16_of(1, p); }
LAP_WIDE
static void several_in_bfloat16(const strip_product *p) { bfloat16_of(AT_ONCE, p); }

typedef struct {
  strip_kernel *one, *several;
} strip_kernels;

static strip_kernels kernels_for(const lap_row_strips *w) {
  if (w->values) return (strip_kernels){one_of_floats, several_of_floats};
  if (lap_gemm_precision_here() == LAP_MATMUL_FLOAT32)
    return (strip_kernels){one_of_pairs, several_of_pairs};
  return (strip_kernels){one_in_bfloat16, several_in_bfloat16};
}

/* --- the whole --- */

/* Rows [begin, end) of w, whole strips. */
static void multiply_strips(const lap_row_strips *w, strip_kernel *kernel, int64_t begin,
                            int64_t end, int64_t first_term, strip_product p) {
  const int64_t skipped = first_term * words_of_row(w) / w->k * ROWS;
  float *y = p.y;
  for (int64_t row = begin; row < end; row += ROWS) {
    p.words = strip_of(w, row) + skipped;
    p.y = y + row;
    kernel(&p);
  }
}

static void multiply_range(const lap_row_strips *w, int64_t begin, int64_t end, int64_t m,
                           const float *x, float *y) {
  const bool flushes = lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16;
  const strip_kernels kernels = kernels_for(w);
  const int64_t part = m > AT_ONCE ? PART : w->k;
  const unsigned before = flushes ? enter() : 0;
  for (int64_t a = 0; a < m; ++a)
    memset(y + a * w->n + begin, 0, (size_t)(end - begin) * sizeof *y);
  for (int64_t first = 0; first < w->k; first += part)
    for (int64_t a = 0, count; a < m; a += count) {
      count = m - a < AT_ONCE ? 1 : AT_ONCE;
      const strip_product p = {.terms = lesser(part, w->k - first),
                               .x = x + a * w->k + first,
                               .ldx = w->k,
                               .y = y + a * w->n,
                               .ldy = w->n};
      multiply_strips(w, count == 1 ? kernels.one : kernels.several, begin, end, first, p);
    }
  if (flushes) leave(before);
}

void lap_row_strips_multiply(const lap_row_strips *w, int64_t m, const float *x, float *y) {
  enum { ROWS_OF_RANGE = RANGE * ROWS };
  const int64_t rows = laid_out(w);
#pragma omp parallel for schedule(static) if (m * w->n * w->k >= WORTH_THREADS)
  for (int64_t row = 0; row < rows; row += ROWS_OF_RANGE)
    multiply_range(w, row, lesser(row + ROWS_OF_RANGE, rows), m, x, y);
  for (int64_t a = 0; a < m && rows < w->n; ++a)
    lap_gemv(w->n - rows, w->k, w->values ? w->values + rows * w->k : NULL,
             w->bfloat16 ? w->bfloat16 + rows * w->k : NULL, x + a * w->k, y + a * w->n + rows);
}

#endif
