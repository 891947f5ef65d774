/* avx512_bf16: bfloat16 by VDPBF16PS, without tile units, at twice the rate of float32. Compiled
 * for x86-64-v4 with AVX512-BF16.
 *
 * VDPBF16PS adds two products to each of 16 sums, one after the other and each rounded: first that
 * of the high terms of a pair, then that of the low ones; subnormals are zero. So it goes two terms
 * along one chain, if the pairs are of terms of one chain: (0, 2), (1, 3), (4, 6), .. A tile of C
 * is 14 x 32, half of the rows at a time: each sum has two chains, 28 vectors. Sums of chains are
 * plain AVX-512, in the mode of mxcsr.h.
 */
#include <cpuid.h>
#include <immintrin.h>

#include "autograd/kernel/matmul/mxcsr.h"

enum { A_HALVES = 1, B_HALVES = 2 };

/* Four terms of a group are two pairs: the even ones, then the odd ones, the first of each high. */
static int64_t high_term(int64_t pair) { return pair / 2 * 4 + pair % 2; }
static int64_t low_term(int64_t pair) { return high_term(pair) + 2; }
static __m512i ordered(__m512i terms) {
  const __m128i four = _mm_setr_epi8(4, 5, 0, 1, 6, 7, 2, 3, 12, 13, 8, 9, 14, 15, 10, 11);
  return _mm512_shuffle_epi8(terms, _mm512_broadcast_i32x4(four));
}

#include "autograd/kernel/matmul/pairs.h"

enum {
  ROWS = 7, /* of a tile, at a time */
  HEIGHT = 2 * ROWS,
  WIDTH = B_HALVES * HALF,
  A_STRIDE = A_HALVES * HALF_STRIDE,
  B_STRIDE = B_HALVES * HALF_STRIDE,
  GROUP_OF_B = GROUP * B_STRIDE,
  BLOCK = 512, /* strips of B of 32 KB */
  SPAN = 1024, /* 512 columns of B at a time, in 1 MB */
};

/* --- tiles --- */

/* As one instruction: compilers copy the sums otherwise, and some of them to memory. */
static inline void add_pair(__m512 *sum, __m512i x, __m512i y) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(y));
}

/* Adds the terms of a group to `rows` rows and `vectors` vectors of sums. A row of A has its 16
 * pairs side by side; of B each pair has 16 columns so. */
static inline __attribute__((always_inline)) void add_group(int rows, int vectors, const float *a,
                                                            const float *b, float (*sum)[WIDTH]) {
  __m512 chain[2][ROWS][B_HALVES];
#pragma GCC unroll 16
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t h = 0; h < vectors; ++h) chain[0][i][h] = chain[1][i][h] = _mm512_setzero_ps();
  for (int64_t pair = 0; pair < HALF; pair += 2) {
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; ++odd) {
      const float *columns = b + (pair + odd) * HALF;
      const __m512i left = _mm512_loadu_si512(columns);
      const __m512i right = vectors > 1 ? _mm512_loadu_si512(columns + HALF_GROUP) : left;
      _mm_prefetch(columns + GROUP_OF_B, _MM_HINT_T0);
      if (vectors > 1) _mm_prefetch(columns + GROUP_OF_B + HALF_GROUP, _MM_HINT_T0);
#pragma GCC unroll 16
      for (int64_t i = 0; i < rows; ++i) {
        const __m512i x = _mm512_castps_si512(_mm512_set1_ps(a[i * HALF + pair + odd]));
        add_pair(&chain[odd][i][0], x, left);
        if (vectors > 1) add_pair(&chain[odd][i][1], x, right);
      }
    }
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t h = 0; h < vectors; ++h) {
      float *to = sum[i] + h * HALF;
      const __m512 both = _mm512_add_ps(chain[0][i][h], chain[1][i][h]);
      _mm512_store_ps(to, _mm512_add_ps(_mm512_load_ps(to), both));
    }
}

/* Rows of C may lie so far apart that they do not stay in a cache together: they are read and
 * written once a block, and its groups are added here. Where one vector has all columns, as of a
 * head of 16 dimensions, the other is left out. */
static inline __attribute__((always_inline)) void half_of(int rows, int vectors, int64_t terms,
                                                          const float *a, const float *b, float *c,
                                                          int64_t ldc, int64_t columns,
                                                          lap_matmul_into into) {
  float sum[ROWS][WIDTH] __attribute__((aligned(64)));
#pragma GCC unroll 16
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t h = 0; h < vectors; ++h) {
      const __mmask16 there = into == LAP_MATMUL_SET ? 0 : first(columns - h * HALF);
      _mm512_store_ps(sum[i] + h * HALF, _mm512_maskz_loadu_ps(there, c + i * ldc + h * HALF));
    }
  for (int64_t t = 0; t < terms; t += GROUP)
    add_group(rows, vectors, a + t * A_STRIDE, b + t * B_STRIDE, sum);
#pragma GCC unroll 16
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t h = 0; h < vectors; ++h)
      _mm512_mask_storeu_ps(c + i * ldc + h * HALF, first(columns - h * HALF),
                            _mm512_load_ps(sum[i] + h * HALF));
}

/* A function for each number of rows, so that the chains of each stay in registers. */
#define TILE(rows)                                          \
  case rows:                                                \
    if (columns <= HALF)                                    \
      half_of(rows, 1, terms, a, b, c, ldc, columns, into); \
    else                                                    \
      half_of(rows, 2, terms, a, b, c, ldc, columns, into); \
    break

static void half_tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                      int64_t rows, int64_t columns, lap_matmul_into into) {
  switch (rows) {
    TILE(1);
    TILE(2);
    TILE(3);
    TILE(4);
    TILE(5);
    TILE(6);
    TILE(7);
  }
}
#undef TILE

static void tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc, int64_t rows,
                 int64_t columns, lap_matmul_into into, const lap_matmul_soon *soon) {
  const int64_t above = (rows + 1) / 2;
  (void)soon;
  half_tile(terms, a, b, c, ldc, above, columns, into);
  half_tile(terms, a + above * HALF, b, c + above * ldc, ldc, rows - above, columns, into);
}

/* --- the kernel --- */

/* The manuals say which product is added first, and that each sum is rounded; here it is seen:
 * -1 + 1 + 2^-30, and 1 + 2^-24 + 2^-24. */
static __attribute__((noinline)) bool adds_high_then_low(void) {
  enum { ONE = 0x3f80, BOTH_ONE = ONE << 16 | ONE };
  const unsigned before = enter();
  const __m512i x = _mm512_set1_epi32(BOTH_ONE);
  __m512 order = _mm512_set1_ps(-1), rounding = _mm512_set1_ps(1);
  add_pair(&order, x, _mm512_set1_epi32(ONE << 16 | 0x3080)); /* 2^-30 */
  add_pair(&rounding, x, _mm512_set1_epi32(0x33803380));      /* 2^-24 */
  leave(before);
  return _mm512_cvtss_f32(order) == 0x1p-30F && _mm512_cvtss_f32(rounding) == 1;
}

/* gcc 12 does not know the name: leaf 7, second part, of cpuid. */
static bool runs_here(void) {
  enum { AVX512_BF16 = 1 << 5 };
  unsigned a = 0, b, c, d;
  return lap_matmul_avx512.runs_here() && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
         (a & AVX512_BF16) && adds_high_then_low();
}

static int64_t multiply_add(int64_t rounds) {
  enum { CHAINS = 2 * ROWS * B_HALVES };
  __m512 sum[CHAINS];
  const __m512i x = _mm512_set1_epi16(0x3580); /* 2^-20 */
#pragma GCC unroll 32
  for (int i = 0; i < CHAINS; ++i) sum[i] = _mm512_setzero_ps();
  for (int64_t r = 0; r < rounds; r += 2) {
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; ++i) add_pair(&sum[i], x, x);
  }
#pragma GCC unroll 32
  for (int i = 1; i < CHAINS; ++i) sum[0] = _mm512_add_ps(sum[0], sum[i]);
  float seen[HALF]; /* so that nothing is left out */
  _mm512_storeu_ps(seen, sum[0]);
  __asm__ volatile("" : : "r"(seen) : "memory");
  return rounds * CHAINS * HALF;
}

static const lap_matmul_unit bfloat16_unit = {.height = HEIGHT,
                                              .width = WIDTH,
                                              .grain = 1,
                                              .a_stride = A_STRIDE,
                                              .b_stride = B_STRIDE,
                                              .block = BLOCK,
                                              .span = SPAN,
                                              .group = GROUP,
                                              .tile = tile,
                                              .a_by_terms = a_by_terms,
                                              .a_by_elements = a_by_elements,
                                              .b_by_terms = b_by_terms,
                                              .b_by_elements = b_by_elements,
                                              .held = &held,
                                              .enter = enter,
                                              .leave = leave,
                                              .multiply_add = multiply_add};

const lap_matmul_kernel lap_matmul_avx512_bf16 = {
    "avx512_bf16", {&lap_matmul_avx512_float32, &bfloat16_unit}, runs_here, "by pairs of terms"};
