/* Every row is a chain of its own (matmul/product.h), so what goes on at once are rows.
 *
 * With AVX-512, sixteen: squares of 16 x 16 weights are transposed in registers, and each of their
 * columns is one fused multiply-add. Elsewhere eight scalar chains, as many as it takes to begin
 * two multiply-adds a cycle; the build keeps the compiler from gathering them into vectors
 * (CMakeLists.txt), which would take longer.
 */
#include "autograd/kernel/gemv.h"

#include "autograd/kernel/gemm.h"

static void by_product(int64_t n, int64_t k, const real *w, const uint16_t *held, const real *x,
                       real *y) {
  lap_gemm(&(lap_gemm_operands){.m = 1,
                                .n = n,
                                .k = k,
                                .a = x,
                                .lda = k,
                                .b = w,
                                .b_bfloat16 = held,
                                .ldb = k,
                                .transpose_b = true,
                                .c = y,
                                .ldc = n});
}

#ifdef LAP_DOUBLE

void lap_gemv(int64_t n, int64_t k, const real *w, const uint16_t *held, const real *x, real *y) {
  by_product(n, k, w, held, x, y);
}

void lap_gemv_here(const lap_gemm_operands *p) { lap_gemm_here(p); }

#else

#include <assert.h>
#include <math.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/matmul/mxcsr.h"
#include "autograd/kernel/wide.h"
#include "core/half.h"

enum {
  ROWS = 8, /* of a strip of scalar chains */
  WORTH_THREADS = 1 << 16,
  RANGE = 64 /* rows that a thread takes at a time */
};

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

/* sum[r] = a chain from 0 over every `step`-th of the terms of row r; rows beyond `rows` repeat the
 * last. */
static inline void chains(const float *w, int64_t ldw, int64_t rows, const float *x, int64_t terms,
                          int64_t step, float sum[ROWS]) {
  const float *row[ROWS];
  for (int r = 0; r < ROWS; ++r) row[r] = w + lesser(r, rows - 1) * ldw;
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
  for (int64_t t = 0; t < terms; t += step) {
    const float v = x[t];
    s0 = fmaf(row[0][t], v, s0), s1 = fmaf(row[1][t], v, s1);
    s2 = fmaf(row[2][t], v, s2), s3 = fmaf(row[3][t], v, s3);
    s4 = fmaf(row[4][t], v, s4), s5 = fmaf(row[5][t], v, s5);
    s6 = fmaf(row[6][t], v, s6), s7 = fmaf(row[7][t], v, s7);
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
  sum[4] = s4, sum[5] = s5, sum[6] = s6, sum[7] = s7;
}

/* From one of their elements on, in the form in which they are held; the other is NULL. */
typedef struct {
  const float *values;
  const uint16_t *bfloat16;
  int64_t ld; /* elements from row to row */
} weights;

static weights from(weights w, int64_t element) {
  return w.values ? (weights){w.values + element, NULL, w.ld}
                  : (weights){NULL, w.bfloat16 + element, w.ld};
}

/* y [rows] of rows that follow each other, at most ROWS or WIDE_ROWS. */
typedef void (*strip_kernel)(weights w, int64_t rows, int64_t k, const float *x, float *y);

enum { BLOCK = LAP_MATMUL_BLOCK };

/* The same terms of each row, to `unpacked` where they are held in bfloat16. Returns where they
 * lie, and how far from row to row. */
static const float *unpack(weights w, int64_t rows, int64_t terms, float unpacked[ROWS][BLOCK],
                           int64_t *ldw) {
  *ldw = w.values ? w.ld : BLOCK;
  for (int64_t r = 0; r < rows && !w.values; ++r)
    lap_bfloat16_unpack(w.bfloat16 + r * w.ld, terms, unpacked[r]);
  return w.values ? w.values : unpacked[0];
}

static void strip_float32(weights w, int64_t rows, int64_t k, const float *x, float *y) {
  float total[ROWS] = {0}, unpacked[ROWS][BLOCK];
  for (int64_t begin = 0; begin < k; begin += BLOCK) {
    const int64_t terms = lesser(BLOCK, k - begin);
    float sum[ROWS];
    int64_t ldw;
    const float *here = unpack(from(w, begin), rows, terms, unpacked, &ldw);
    chains(here, ldw, rows, x + begin, terms, 1, sum);
    for (int r = 0; r < ROWS; ++r) total[r] += sum[r];
  }
  for (int64_t r = 0; r < rows; ++r) y[r] = total[r];
}

/* And zeros up to a whole group. */
LAP_WIDE
static void round_terms(const float *x, int64_t terms, float *rounded) {
  for (int64_t t = 0; t < terms; ++t) rounded[t] = lap_bfloat16_round(x[t]);
  for (int64_t t = terms; t % LAP_MATMUL_GROUP; ++t) rounded[t] = 0;
}

static void strip_bfloat16(weights w, int64_t rows, int64_t k, const float *x, float *y) {
  enum { GROUP = LAP_MATMUL_GROUP };
  float rounded[ROWS][BLOCK], of_x[BLOCK], total[ROWS] = {0};
  for (int64_t begin = 0; begin < k; begin += BLOCK) {
    const int64_t terms = lesser(BLOCK, k - begin);
    int64_t ldw;
    round_terms(x + begin, terms, of_x);
    const float *here = unpack(from(w, begin), rows, terms, rounded, &ldw);
    for (int64_t r = 0; r < rows; ++r) round_terms(here + r * ldw, terms, rounded[r]);
    for (int64_t t = 0; t < terms; t += GROUP) {
      float even[ROWS], odd[ROWS];
      chains(&rounded[0][t], BLOCK, rows, of_x + t, GROUP, 2, even);
      chains(&rounded[0][t + 1], BLOCK, rows, of_x + t + 1, GROUP - 1, 2, odd);
      for (int r = 0; r < ROWS; ++r) total[r] += even[r] + odd[r];
    }
  }
  for (int64_t r = 0; r < rows; ++r) y[r] = total[r];
}

/* --- AVX-512 --- */

typedef struct {
  strip_kernel kernel[LAP_MATMUL_PRECISIONS];
  strip_kernel columns; /* of as many columns at most as COLUMNS */
  int64_t rows;
} strip_kernels;

/* ROWS_AHEAD: rows that are fetched before they are needed, where columns are summed. */
enum { COLUMNS = 64, ROWS_AHEAD = 16 };

/* Columns of w beside each other, each a chain that y holds so far: y += x w, in float32. */
LAP_WIDE
static void strip_columns(weights w, int64_t columns, int64_t k, const float *x, float *y) {
  float chain[COLUMNS];
  for (int64_t i = 0; i < columns; ++i) chain[i] = y[i];
  for (int64_t t = 0; t < k; ++t)
    for (int64_t i = 0; i < columns; ++i) chain[i] = fmaf(w.values[t * w.ld + i], x[t], chain[i]);
  for (int64_t i = 0; i < columns; ++i) y[i] = chain[i];
}

/* The same in bfloat16: y += x w, group by group of terms, of which `lead` come before. */
static inline __attribute__((always_inline)) void columns_of_groups(weights w, int64_t columns,
                                                                    int64_t lead, int64_t k,
                                                                    const float *x, float *y) {
  for (int64_t begin = 0, end; begin < k; begin = end) {
    float even[COLUMNS] = {0}, odd[COLUMNS] = {0};
    end = lesser(begin + LAP_MATMUL_GROUP - (lead + begin) % LAP_MATMUL_GROUP, k);
    for (int64_t t = begin; t < end; ++t) {
      const float *row = w.values + t * w.ld, of_x = lap_bfloat16_round(x[t]);
      float *chain = (lead + t) % 2 ? odd : even;
      __builtin_prefetch(row + ROWS_AHEAD * w.ld);
      for (int64_t i = 0; i < columns; ++i)
        chain[i] = fmaf(lap_bfloat16_round(row[i]), of_x, chain[i]);
    }
    for (int64_t i = 0; i < columns; ++i) y[i] += even[i] + odd[i];
  }
}

LAP_WIDE
static void columns_bfloat16(weights w, int64_t columns, int64_t lead, int64_t k, const float *x,
                             float *y) {
  if (columns == COLUMNS)
    columns_of_groups(w, COLUMNS, lead, k, x, y);
  else
    columns_of_groups(w, columns, lead, k, x, y);
}

static const strip_kernels scalar = {{strip_float32, strip_bfloat16}, strip_columns, ROWS};

#if defined(__x86_64__)

/* AHEAD: terms that are fetched before they are needed, as many bytes in either form. */
enum { WIDE_ROWS = 16, AHEAD = 256, AHEAD_BFLOAT16 = 2 * AHEAD };
#define LAP_AVX512 __attribute__((target("arch=x86-64-v4")))

/* From term t of a row to what is fetched meanwhile: `ahead` terms on, or, where the row ends
 * before that, as far into the row that the next strip has in its place. */
static inline int64_t fetched(int64_t t, int64_t k, int64_t ld, int64_t ahead) {
  return t + ahead < k ? ahead : ahead - k + WIDE_ROWS * ld;
}

/* As lap_bfloat16_round. */
LAP_AVX512
static inline __m512 round_vector(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x), magnitude_bits = _mm512_set1_epi32(0x7fffffff);
  const __m512i magnitude = _mm512_and_si512(bits, magnitude_bits);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000));
  rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  const __mmask16 tiny = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x00800000));
  rounded = _mm512_and_si512(rounded, _mm512_set1_epi32((int)0xffff0000u));
  return _mm512_castsi512_ps(_mm512_mask_andnot_epi32(rounded, tiny, magnitude_bits, bits));
}

/* Columns become rows: four times, vectors i and i + 8 are shuffled into 2 i and 2 i + 1. */
LAP_AVX512
static inline void transpose(__m512 square[WIDE_ROWS]) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
#pragma GCC unroll 4
  for (int round = 0; round < 4; ++round) {
    __m512 shuffled[WIDE_ROWS];
#pragma GCC unroll 8
    for (int64_t i = 0; i < WIDE_ROWS / 2; ++i) {
      shuffled[2 * i] = _mm512_permutex2var_ps(square[i], low, square[i + 8]);
      shuffled[2 * i + 1] = _mm512_permutex2var_ps(square[i], high, square[i + 8]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < WIDE_ROWS; ++i) square[i] = shuffled[i];
  }
}

/* Sixteen terms of each row, transposed, and of x; those beyond `terms` are zero. */
LAP_AVX512
static inline void load(const float *w, int64_t rows, int64_t ld, int64_t ahead, const float *x,
                        int64_t terms, bool bfloat16, __m512 square[WIDE_ROWS],
                        float of_x[WIDE_ROWS]) {
  const __mmask16 there = (__mmask16)(terms < WIDE_ROWS ? (1U << terms) - 1 : 0xffff);
#pragma GCC unroll 16
  for (int r = 0; r < WIDE_ROWS; ++r) {
    const float *row = w + lesser(r, rows - 1) * ld;
    __builtin_prefetch(row + ahead);
    square[r] = _mm512_maskz_loadu_ps(there, row);
    if (bfloat16) square[r] = round_vector(square[r]);
  }
  __m512 vector = _mm512_maskz_loadu_ps(there, x);
  if (bfloat16) vector = round_vector(vector);
  _mm512_storeu_ps(of_x, vector);
  transpose(square);
}

/* 32 terms of each row that is held in bfloat16, pairs transposed, and of x. Nothing of a row is
 * rounded: its subnormals are zero to the processor in bfloat16, as product.h wants it. */
LAP_AVX512
static inline void load_pairs(const uint16_t *w, int64_t rows, int64_t ld, int64_t ahead,
                              const float *x, int64_t terms, bool bfloat16,
                              __m512 square[WIDE_ROWS], float of_x[2 * WIDE_ROWS]) {
  const uint32_t there = terms < 2 * (int64_t)WIDE_ROWS ? (1U << terms) - 1 : 0xffffffffU;
#pragma GCC unroll 16
  for (int r = 0; r < WIDE_ROWS; ++r) {
    const uint16_t *row = w + lesser(r, rows - 1) * ld;
    __builtin_prefetch(row + ahead);
    square[r] = _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(there, row));
  }
#pragma GCC unroll 2
  for (int64_t half = 0; half < 2 * (int64_t)WIDE_ROWS; half += WIDE_ROWS) {
    __m512 vector = _mm512_maskz_loadu_ps((__mmask16)(there >> half), x + half);
    if (bfloat16) vector = round_vector(vector);
    _mm512_storeu_ps(of_x + half, vector);
  }
  transpose(square);
}

LAP_AVX512
static inline __m512 even_of(__m512 pairs) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
}

LAP_AVX512
static inline __m512 odd_of(__m512 pairs) {
  const __m512i upper = _mm512_set1_epi32((int)0xffff0000U);
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), upper));
}

/* What a chain is at the end of the terms [begin, end). */
LAP_AVX512
static inline __m512 chain_of_values(weights w, int64_t rows, int64_t k, const float *x,
                                     int64_t begin, int64_t end) {
  __m512 sum = _mm512_setzero_ps(), square[WIDE_ROWS];
  for (int64_t t = begin; t < end; t += WIDE_ROWS) {
    float of_x[WIDE_ROWS];
    load(w.values + t, rows, w.ld, fetched(t, k, w.ld, AHEAD), x + t, end - t, false, square, of_x);
#pragma GCC unroll 16
    for (int u = 0; u < WIDE_ROWS; ++u)
      sum = _mm512_fmadd_ps(square[u], _mm512_set1_ps(of_x[u]), sum);
  }
  return sum;
}

LAP_AVX512
static inline __m512 chain_of_pairs(weights w, int64_t rows, int64_t k, const float *x,
                                    int64_t begin, int64_t end) {
  __m512 sum = _mm512_setzero_ps(), square[WIDE_ROWS];
  for (int64_t t = begin; t < end; t += 2 * (int64_t)WIDE_ROWS) {
    float of_x[2 * WIDE_ROWS];
    load_pairs(w.bfloat16 + t, rows, w.ld, fetched(t, k, w.ld, AHEAD_BFLOAT16), x + t, end - t,
               false, square, of_x);
#pragma GCC unroll 16
    for (int64_t u = 0; u < WIDE_ROWS; ++u) {
      sum = _mm512_fmadd_ps(even_of(square[u]), _mm512_set1_ps(of_x[2 * u]), sum);
      sum = _mm512_fmadd_ps(odd_of(square[u]), _mm512_set1_ps(of_x[2 * u + 1]), sum);
    }
  }
  return sum;
}

LAP_AVX512
static void wide_float32(weights w, int64_t rows, int64_t k, const float *x, float *y) {
  __m512 total = _mm512_setzero_ps();
  for (int64_t begin = 0; begin < k; begin += LAP_MATMUL_BLOCK) {
    const int64_t end = begin + lesser(LAP_MATMUL_BLOCK, k - begin);
    total = _mm512_add_ps(total, w.values ? chain_of_values(w, rows, k, x, begin, end)
                                          : chain_of_pairs(w, rows, k, x, begin, end));
  }
  _mm512_mask_storeu_ps(y, (__mmask16)((1U << rows) - 1), total);
}

/* Both chains of a group, together. */
LAP_AVX512
static inline __m512 group_of_values(weights w, int64_t rows, int64_t k, const float *x,
                                     int64_t begin, int64_t end) {
  __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps(), square[WIDE_ROWS];
  for (int64_t t = begin; t < end; t += WIDE_ROWS) {
    float of_x[WIDE_ROWS];
    load(w.values + t, rows, w.ld, fetched(t, k, w.ld, AHEAD), x + t, end - t, true, square, of_x);
#pragma GCC unroll 8
    for (int u = 0; u < WIDE_ROWS; u += 2) {
      even = _mm512_fmadd_ps(square[u], _mm512_set1_ps(of_x[u]), even);
      odd = _mm512_fmadd_ps(square[u + 1], _mm512_set1_ps(of_x[u + 1]), odd);
    }
  }
  return _mm512_add_ps(even, odd);
}

LAP_AVX512
static inline __m512 group_of_pairs(weights w, int64_t rows, int64_t k, const float *x,
                                    int64_t begin, int64_t end) {
  __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps(), square[WIDE_ROWS];
  float of_x[2 * WIDE_ROWS];
  load_pairs(w.bfloat16 + begin, rows, w.ld, fetched(begin, k, w.ld, AHEAD_BFLOAT16), x + begin,
             end - begin, true, square, of_x);
#pragma GCC unroll 16
  for (int64_t u = 0; u < WIDE_ROWS; ++u) {
    even = _mm512_fmadd_ps(even_of(square[u]), _mm512_set1_ps(of_x[2 * u]), even);
    odd = _mm512_fmadd_ps(odd_of(square[u]), _mm512_set1_ps(of_x[2 * u + 1]), odd);
  }
  return _mm512_add_ps(even, odd);
}

LAP_AVX512
static void wide_bfloat16(weights w, int64_t rows, int64_t k, const float *x, float *y) {
  __m512 total = _mm512_setzero_ps();
  for (int64_t begin = 0; begin < k; begin += LAP_MATMUL_GROUP) {
    const int64_t end = begin + lesser(LAP_MATMUL_GROUP, k - begin);
    total = _mm512_add_ps(total, w.values ? group_of_values(w, rows, k, x, begin, end)
                                          : group_of_pairs(w, rows, k, x, begin, end));
  }
  _mm512_mask_storeu_ps(y, (__mmask16)((1U << rows) - 1), total);
}

LAP_AVX512
static void wide_columns(weights w, int64_t columns, int64_t k, const float *x, float *y) {
  __m512 chain[COLUMNS / 16];
  __mmask16 there[COLUMNS / 16];
#pragma GCC unroll 4
  for (int64_t i = 0; i < COLUMNS / 16; ++i) {
    const int64_t left = columns - 16 * i;
    there[i] = (__mmask16)(left >= 16 ? 0xffff : left <= 0 ? 0 : (1U << left) - 1);
    chain[i] = _mm512_maskz_loadu_ps(there[i], y + 16 * i);
  }
  for (int64_t t = 0; t < k; ++t) {
    const float *row = w.values + t * w.ld;
    const __m512 of_x = _mm512_set1_ps(x[t]);
#pragma GCC unroll 4
    for (int64_t i = 0; i < COLUMNS / 16; ++i) {
      __builtin_prefetch(row + ROWS_AHEAD * w.ld + 16 * i);
      chain[i] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(there[i], row + 16 * i), of_x, chain[i]);
    }
  }
#pragma GCC unroll 4
  for (int64_t i = 0; i < COLUMNS / 16; ++i) _mm512_mask_storeu_ps(y + 16 * i, there[i], chain[i]);
}

static const strip_kernels wide = {{wide_float32, wide_bfloat16}, wide_columns, WIDE_ROWS};

/* Where the process's products take AVX-512 (LAPIDARY_KERNEL may forbid it). */
static const strip_kernels *fastest(void) {
  const lap_matmul_kernel *kernel = lap_matmul_kernel_here();
  return kernel->unit[LAP_MATMUL_FLOAT32] == &lap_matmul_avx512_float32 ? &wide : &scalar;
}

#else

static const strip_kernels *fastest(void) { return &scalar; }

#endif

/* --- the whole --- */

static void multiply_rows(const strip_kernels *strip, weights w, int64_t n, int64_t k,
                          const float *x, float *y) {
  const lap_matmul_precision precision = lap_gemm_precision_here();
  const bool bfloat16 = precision == LAP_MATMUL_BFLOAT16;
  const unsigned before = bfloat16 ? enter() : 0;
  for (int64_t j = 0; j < n; j += strip->rows)
    strip->kernel[precision](from(w, j * w.ld), lesser(strip->rows, n - j), k, x, y + j);
  if (bfloat16) leave(before);
}

static bool is_ours(void) {
  const bool bfloat16 = lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16;
  return lap_gemm_backend_here() == LAP_GEMM_LAPIDARY && !(bfloat16 && !FLUSHES);
}

void lap_gemv(int64_t n, int64_t k, const real *w, const uint16_t *held, const real *x, real *y) {
  if (!is_ours()) {
    by_product(n, k, w, held, x, y);
    return;
  }
  const strip_kernels *strip = fastest();
#pragma omp parallel for schedule(static) if (n * k >= WORTH_THREADS)
  for (int64_t range = 0; range < n; range += RANGE)
    multiply_rows(strip, from((weights){w, held, k}, range * k), lesser(RANGE, n - range), k, x,
                  y + range);
}

static void multiply_columns(weights w, const lap_gemm_operands *p) {
  const bool bfloat16 = lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16;
  const unsigned before = bfloat16 ? enter() : 0;
  assert(w.values);
  for (int64_t j = 0; j < p->n; j += COLUMNS) {
    const int64_t columns = lesser(COLUMNS, p->n - j);
    if (bfloat16)
      columns_bfloat16(from(w, j), columns, p->first, p->k, p->a, p->c + j);
    else
      fastest()->columns(from(w, j), columns, p->k, p->a, p->c + j);
  }
  if (bfloat16) leave(before);
}

void lap_gemv_here(const lap_gemm_operands *p) {
  const weights w = {p->b, NULL, p->ldb};
  if (is_ours() && p->transpose_b && p->into == LAP_MATMUL_SET)
    multiply_rows(fastest(), w, p->n, p->k, p->a, p->c);
  else if (is_ours() && !p->transpose_b && p->into == LAP_MATMUL_CHAIN)
    multiply_columns(w, p);
  else
    lap_gemm_here(p);
}

#endif
