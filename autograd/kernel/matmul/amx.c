/* amx: bfloat16 by tile units. Compiled for x86-64-v4 with AMX-BF16 and AVX512-BF16.
 *
 * TDPBF16PS adds to 16 x 16 sums the 32 terms of a group as matmul.h defines it, even and odd ones
 * apart, subnormals zero: one instruction is the definition of 256 elements. A tile of C is 32 x
 * 32, in four tile registers; two hold a group of A (16 rows of 32 terms each), two a group of B
 * (16 pairs of terms of 16 columns each).
 */
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "autograd/kernel/matmul/kernel.h"

enum {
  HALF = 16, /* rows, or columns, of a tile register */
  SIDE = 2 * HALF,
  GROUP = LAP_MATMUL_GROUP,
  STRIDE = SIDE / 2, /* floats that a term of 32 rows takes: 2 bytes each */
  BLOCK = 512,       /* strips of 32 KB: one of B stays in a cache of level 1 while A's pass by */
  SPAN = 1024,       /* at least 512 columns of B at a time, in 1 MB */
  ROW_BYTES = 64,
  HALF_GROUP = HALF * HALF, /* what a tile register holds, in floats */
};

/* --- tiles --- */

/* Registers by name; not an enum, as gcc's intrinsics paste their text. */
#define C00 0
#define C01 1
#define C10 2
#define C11 3
#define A0 4
#define A1 5
#define B0 6
#define B1 7

typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} configuration;

static unsigned enter(void) {
  static const configuration whole = {
      1,
      0,
      {0},
      {ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES},
      {HALF, HALF, HALF, HALF, HALF, HALF, HALF, HALF}};
  _tile_loadconfig(&whole);
  return 0;
}

static void leave(unsigned before) {
  (void)before;
  _tile_release();
}

/* In each group a few lines of what comes next: of a strip of B, and of a tile of C. Without them
 * the first tile of a strip waits for a farther cache. */
static inline __attribute__((always_inline)) void prefetch(int64_t group, int64_t ldc,
                                                           const lap_matmul_soon *soon) {
  enum { LINE = ROW_BYTES / sizeof(float), LINES = 4, ROWS = 2 };
  for (int64_t i = group * LINES; i < (group + 1) * LINES && i * LINE < soon->b_floats; ++i)
    _mm_prefetch(soon->b + i * LINE, _MM_HINT_T0);
  for (int64_t i = group * ROWS; i < (group + 1) * ROWS && i < SIDE; ++i) {
    _mm_prefetch(soon->c + i * ldc, _MM_HINT_T0);
    _mm_prefetch(soon->c + i * ldc + LINE, _MM_HINT_T0);
  }
}

static void multiply_four(int64_t terms, const float *a, const float *b, int64_t ldc,
                          const lap_matmul_soon *soon) {
  for (int64_t t = 0; t < terms; t += GROUP) {
    const float *ag = a + t * STRIDE, *bg = b + t * STRIDE;
    prefetch(t / GROUP, ldc, soon);
    _tile_loadd(B0, bg, ROW_BYTES);
    _tile_loadd(A0, ag, ROW_BYTES);
    _tile_dpbf16ps(C00, A0, B0);
    _tile_loadd(B1, bg + HALF_GROUP, ROW_BYTES);
    _tile_dpbf16ps(C01, A0, B1);
    _tile_loadd(A1, ag + HALF_GROUP, ROW_BYTES);
    _tile_dpbf16ps(C10, A1, B0);
    _tile_dpbf16ps(C11, A1, B1);
  }
}

/* At most 16 rows: half of the registers. */
static void multiply_upper_two(int64_t terms, const float *a, const float *b) {
  for (int64_t t = 0; t < terms; t += GROUP) {
    const float *ag = a + t * STRIDE, *bg = b + t * STRIDE;
    _tile_loadd(A0, ag, ROW_BYTES);
    _tile_loadd(B0, bg, ROW_BYTES);
    _tile_dpbf16ps(C00, A0, B0);
    _tile_loadd(B1, bg + HALF_GROUP, ROW_BYTES);
    _tile_dpbf16ps(C01, A0, B1);
  }
}

static void multiply_whole(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                           bool lower, lap_matmul_into into, const lap_matmul_soon *soon,
                           int64_t soon_ldc) {
  const int64_t row = ldc * (int64_t)sizeof(float);
  float *below = c + HALF * ldc;
  if (into == LAP_MATMUL_SET) {
    _tile_zero(C00);
    _tile_zero(C01);
    if (lower) {
      _tile_zero(C10);
      _tile_zero(C11);
    }
  } else {
    _tile_loadd(C00, c, row);
    _tile_loadd(C01, c + HALF, row);
    if (lower) {
      _tile_loadd(C10, below, row);
      _tile_loadd(C11, below + HALF, row);
    }
  }
  if (lower)
    multiply_four(terms, a, b, soon_ldc, soon);
  else
    multiply_upper_two(terms, a, b);
  _tile_stored(C00, c, row);
  _tile_stored(C01, c + HALF, row);
  if (lower) {
    _tile_stored(C10, below, row);
    _tile_stored(C11, below + HALF, row);
  }
}

static void tile(int64_t terms, const float *a, const float *b, float *c, int64_t ldc, int64_t rows,
                 int64_t columns, lap_matmul_into into, const lap_matmul_soon *soon) {
  const bool lower = rows > HALF;
  if (columns == SIDE && rows % HALF == 0) {
    multiply_whole(terms, a, b, c, ldc, lower, into, soon, ldc);
    return;
  }
  float edge[SIDE * SIDE] __attribute__((aligned(64)));
  for (int64_t i = 0; i < rows && into != LAP_MATMUL_SET; ++i)
    memcpy(edge + i * SIDE, c + i * ldc, (size_t)columns * sizeof *c);
  multiply_whole(terms, a, b, edge, SIDE, lower, into, soon, ldc);
  for (int64_t i = 0; i < rows; ++i)
    memcpy(c + i * ldc, edge + i * SIDE, (size_t)columns * sizeof *c);
}

/* --- strips ---
 *
 * A vector holds 32 bfloat16: of one row or column the 32 terms of a group, or of 16 columns the
 * two terms of a pair. The first is how A is stored, the second how B is; transposing 16 x 16 pairs
 * makes one of the other.
 */

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

/* 16 even and 16 odd terms of as many columns, pair by pair. */
static pairs side_by_side(pairs even_then_odd) {
  static const uint16_t order[GROUP]
      __attribute__((aligned(64))) = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), even_then_odd);
}

/* A pair of terms of 16 columns: even and odd are rows of memory, or NULL for terms of zero. */
static pairs pair_of(const float *even, const float *odd, __mmask16 columns) {
  const __m512 zero = _mm512_setzero_ps();
  return side_by_side(rounded(even ? _mm512_maskz_loadu_ps(columns, even) : zero,
                              odd ? _mm512_maskz_loadu_ps(columns, odd) : zero));
}

static pairs held_pair_of(const uint16_t *even, const uint16_t *odd, __mmask16 columns) {
  const __m256i zero = _mm256_setzero_si256();
  return side_by_side(_mm512_inserti64x4(
      _mm512_castsi256_si512(even ? _mm256_maskz_loadu_epi16(columns, even) : zero),
      odd ? _mm256_maskz_loadu_epi16(columns, odd) : zero, 1));
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
    r[i] = i < count ? terms_of((const float *)x + i * ldx, begin, end) : _mm512_setzero_si512();
}

static void load_held_elements(const void *x, int64_t ldx, int64_t count, int64_t begin,
                               int64_t end, pairs r[HALF]) {
  for (int64_t i = 0; i < HALF; ++i)
    r[i] = i < count ? held_terms_of((const uint16_t *)x + i * ldx, begin, end)
                     : _mm512_setzero_si512();
}

/* 16 pairs of a group whose terms [begin, end) are rows of memory; x is where term 0 would be. */
static void load_terms(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                       pairs r[HALF]) {
  const float *rows = x;
  for (int64_t i = 0; i < HALF; ++i) {
    const int64_t even = 2 * i, odd = 2 * i + 1;
    r[i] = pair_of(even >= begin && even < end ? rows + even * ldx : NULL,
                   odd >= begin && odd < end ? rows + odd * ldx : NULL, first(count));
  }
}

static void load_held_terms(const void *x, int64_t ldx, int64_t count, int64_t begin, int64_t end,
                            pairs r[HALF]) {
  const uint16_t *rows = x;
  for (int64_t i = 0; i < HALF; ++i) {
    const int64_t even = 2 * i, odd = 2 * i + 1;
    r[i] = held_pair_of(even >= begin && even < end ? rows + even * ldx : NULL,
                        odd >= begin && odd < end ? rows + odd * ldx : NULL, first(count));
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

/* Both halves of all groups. */
static inline __attribute__((always_inline)) void pack(loader load, bool transposed, source from,
                                                       int64_t count, int64_t lead, int64_t terms,
                                                       float *packed) {
  for (int64_t t = 0; t < lead + terms; t += GROUP) {
    const int64_t begin = t < lead ? lead - t : 0;
    const int64_t left = lead + terms - t, end = left < GROUP ? left : GROUP;
    for (int64_t half = 0; half < 2; ++half) {
      pairs r[HALF];
      load(element(&from, (t - lead) * from.next_term + half * from.next_half), from.ldx,
           count - half * HALF, begin, end, r);
      if (transposed) transpose(r);
      store(r, packed + t * STRIDE + half * HALF_GROUP);
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
  pack(load_terms, true, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void a_by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                          float *packed) {
  pack(load_elements, false, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void b_by_terms(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                       float *packed) {
  pack(load_terms, false, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void b_by_elements(const float *x, int64_t ldx, int64_t count, int64_t lead, int64_t terms,
                          float *packed) {
  pack(load_elements, true, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}

static void held_a_by_terms(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                            int64_t terms, float *packed) {
  pack(load_held_terms, true, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void held_a_by_elements(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                               int64_t terms, float *packed) {
  pack(load_held_elements, false, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void held_b_by_terms(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                            int64_t terms, float *packed) {
  pack(load_held_terms, false, by_terms(x, ldx, sizeof *x), count, lead, terms, packed);
}
static void held_b_by_elements(const uint16_t *x, int64_t ldx, int64_t count, int64_t lead,
                               int64_t terms, float *packed) {
  pack(load_held_elements, true, by_elements(x, ldx, sizeof *x), count, lead, terms, packed);
}

/* --- the kernel --- */

/* Whether the system lets this process use tile registers; it must be asked once. */
static bool permitted(void) {
  enum { REQUEST = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

/* gcc 12 does not know these names: leaf 7 of cpuid, edx. */
static bool has_tiles(void) {
  enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AVX512_BF16 = 1 << 5 };
  unsigned a, b, c, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) || !(d & AMX_TILE)) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX512_BF16) != 0;
}

static bool runs_here(void) { return lap_matmul_avx512.runs_here() && has_tiles() && permitted(); }

static int64_t multiply_add(int64_t rounds) {
  static const float zeros[HALF_GROUP];
  _tile_loadd(A0, zeros, ROW_BYTES);
  _tile_loadd(A1, zeros, ROW_BYTES);
  _tile_loadd(B0, zeros, ROW_BYTES);
  _tile_loadd(B1, zeros, ROW_BYTES);
  for (int64_t r = 0; r < rounds; r += GROUP) {
    _tile_dpbf16ps(C00, A0, B0);
    _tile_dpbf16ps(C01, A0, B1);
    _tile_dpbf16ps(C10, A1, B0);
    _tile_dpbf16ps(C11, A1, B1);
  }
  return rounds * SIDE * SIDE;
}

static const lap_matmul_held_packs held = {held_a_by_terms, held_a_by_elements, held_b_by_terms,
                                           held_b_by_elements};

static const lap_matmul_unit bfloat16_unit = {.height = SIDE,
                                              .width = SIDE,
                                              .grain = HALF,
                                              .a_stride = STRIDE,
                                              .b_stride = STRIDE,
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

const lap_matmul_kernel lap_matmul_amx = {
    "amx", {&lap_matmul_avx512_float32, &bfloat16_unit}, runs_here, true};
