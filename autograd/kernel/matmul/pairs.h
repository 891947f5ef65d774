/* pairs: strips of bfloat16 for kernels whose instructions add two terms at a time, for them to
 * include (amx.c, avx512_bf16.c). Compiled for x86-64-v4 with AVX512-BF16.
 *
 * A vector holds 32 bfloat16: of one row or column the 32 terms of a group, or of 16 columns the
 * two terms of a pair. The first is how A is stored, the second how B is; transposing 16 x 16 pairs
 * makes one of the other.
 *
 * Before including it, a kernel defines A_HALVES and B_HALVES (16 rows or columns each, of a
 * strip), which terms of a group a pair has (`low_term` and `high_term`, of pair 0 to 15), and
 * `ordered`, which brings the terms of a row from their own order into that of the pairs.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_PAIRS_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_PAIRS_H

#include <immintrin.h>

#include "autograd/kernel/matmul/kernel.h"

enum {
  HALF = 16, /* rows, or columns */
  GROUP = LAP_MATMUL_GROUP,
  HALF_STRIDE = HALF / 2, /* floats that a term of them takes: 2 bytes each */
  HALF_GROUP = GROUP * HALF_STRIDE,
};

typedef __m512i pairs;

static __mmask16 first(int64_t count) {
  return count >= HALF ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

static pairs rounded(__m512 low, __m512 high) { return (pairs)_mm512_cvtne2ps_pbh(high, low); }

/* The terms [begin, end) of a group, from x[begin], as the group's 32. */
static pairs terms_of(const float *x, int64_t begin, int64_t end) {
  if (begin == 0 && end == GROUP) return rounded(_mm512_loadu_ps(x), _mm512_loadu_ps(x + HALF));
  const uint32_t there = (uint32_t)(((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << begin) - 1));
  return rounded(_mm512_maskz_loadu_ps((__mmask16)there, x),
                 _mm512_maskz_loadu_ps((__mmask16)(there >> HALF), x + HALF));
}

static pairs held_terms_of(const uint16_t *x, int64_t begin, int64_t end) {
  if (begin == 0 && end == GROUP) return _mm512_loadu_si512(x);
  const uint64_t there = ((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << begin) - 1);
  return _mm512_maskz_loadu_epi16((__mmask32)there, x);
}

/* 16 low and 16 high terms of as many columns, pair by pair. */
static pairs side_by_side(pairs low_then_high) {
  static const uint16_t order[GROUP]
      __attribute__((aligned(64))) = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), low_then_high);
}

/* A pair of terms of 16 columns: low and high are rows of memory, or NULL for terms of zero. */
static pairs pair_of(const float *low, const float *high, __mmask16 columns) {
  const __m512 zero = _mm512_setzero_ps();
  return side_by_side(rounded(low ? _mm512_maskz_loadu_ps(columns, low) : zero,
                              high ? _mm512_maskz_loadu_ps(columns, high) : zero));
}

static pairs held_pair_of(const uint16_t *low, const uint16_t *high, __mmask16 columns) {
  const __m256i zero = _mm256_setzero_si256();
  return side_by_side(_mm512_inserti64x4(
      _mm512_castsi256_si512(low ? _mm256_maskz_loadu_epi16(columns, low) : zero),
      high ? _mm256_maskz_loadu_epi16(columns, high) : zero, 1));
}

/* 16 x 16 pairs: blocks of 1, 2, 4, 8 change places. */
static void transpose(pairs r[HALF]) {
  pairs t[HALF];
#pragma GCC unroll 8
  for (int i = 0; i < HALF; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < HALF; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

static void store(const pairs r[HALF], float *to) {
#pragma GCC unroll 16
  for (int64_t i = 0; i < HALF; ++i) _mm512_store_si512(to + i * HALF, r[i]);
}

/* How 16 elements of a group become 16 vectors; x as stored, floats or bfloat16. */
typedef void (*loader)(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                       pairs r[HALF]);

/* 16 rows of memory that hold a group's terms [begin, end). Those beyond `count` are zero. */
static void load_elements(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                          pairs r[HALF]) {
  for (int64_t i = 0; i < HALF; ++i)
    r[i] = i < count ? ordered(terms_of((const float *)x + i * ldx, begin, end))
                     : _mm512_setzero_si512();
}

static void load_held_elements(const void *x, int64_t ldx, int64_t count, int64_t begin,
                               int64_t end, pairs r[HALF]) {
  for (int64_t i = 0; i < HALF; ++i)
    r[i] = i < count ? ordered(held_terms_of((const uint16_t *)x + i * ldx, begin, end))
                     : _mm512_setzero_si512();
}

/* 16 pairs of a group whose terms [begin, end) are rows of memory; x is where term 0 would be. */
static void load_terms(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                       pairs r[HALF]) {
  const float *rows = x;
  for (int64_t i = 0; i < HALF; ++i) {
    const int64_t low = low_term(i), high = high_term(i);
    r[i] = pair_of(low >= begin && low < end ? rows + low * ldx : NULL,
                   high >= begin && high < end ? rows + high * ldx : NULL, first(count));
  }
}

static void load_held_terms(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                            pairs r[HALF]) {
  const uint16_t *rows = x;
  for (int64_t i = 0; i < HALF; ++i) {
    const int64_t low = low_term(i), high = high_term(i);
    r[i] = held_pair_of(low >= begin && low < end ? rows + low * ldx : NULL,
                        high >= begin && high < end ? rows + high * ldx : NULL, first(count));
  }
}

/* An operand as stored. Elements from a half of a strip, or from a term, to the next. */
typedef struct {
  const void *x;
  int64_t ldx, size, next_half, next_term; /* `size`: bytes of an element */
} source;

static const void *element(const source *from, int64_t index) {
  return (const char *)from->x + index * from->size;
}

/* All halves of all groups. */
static inline __attribute__((always_inline)) void pack(loader load, bool transposed, int64_t halves,
                                                       source from, int64_t count, int64_t lead,
                                                       int64_t terms, float *packed) {
  for (int64_t t = 0; t < lead + terms; t += GROUP) {
    const int64_t begin = t < lead ? lead - t : 0;
    const int64_t left = lead + terms - t, end = left < GROUP ? left : GROUP;
    for (int64_t half = 0; half < halves; ++half) {
      pairs r[HALF];
      load(element(&from, (t - lead) * from.next_term + half * from.next_half), from.ldx,
           count - half * HALF, begin, end, r);
      if (transposed) transpose(r);
      store(r, packed + t * halves * HALF_STRIDE + half * HALF_GROUP);
    }
  }
}

static inline source by_terms(const void *x, int64_t ldx, int64_t size) {
  return (source){x, ldx, size, HALF, ldx};
}
static inline source by_elements(const void *x, int64_t ldx, int64_t size) {
  return (source){x, ldx, size, HALF * ldx, 1};
}

static void a_by_terms(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                       float *packed) {
  pack(load_terms, true, A_HALVES, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void a_by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                          float *packed) {
  pack(load_elements, false, A_HALVES, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void b_by_terms(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                       float *packed) {
  pack(load_terms, false, B_HALVES, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void b_by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                          float *packed) {
  pack(load_elements, true, B_HALVES, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}

static void held_a_by_terms(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                            int64_t terms, float *packed) {
  pack(load_held_terms, true, A_HALVES, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void held_a_by_elements(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                               int64_t terms, float *packed) {
  pack(load_held_elements, false, A_HALVES, by_elements(x, ldx, sizeof *x), count, lead, terms,
       packed);
}
static void held_b_by_terms(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                            int64_t terms, float *packed) {
  pack(load_held_terms, false, B_HALVES, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void held_b_by_elements(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                               int64_t terms, float *packed) {
  pack(load_held_elements, true, B_HALVES, by_elements(x, ldx, sizeof *x), count, lead, terms,
       packed);
}

static const lap_matmul_held_packs held = {held_a_by_terms, held_a_by_elements, held_b_by_terms,
                                           held_b_by_elements};

#endif
