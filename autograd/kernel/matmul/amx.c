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

enum { A_HALVES = 2, B_HALVES = 2 };

/* Terms keep their order: a pair has an even one and the odd one behind it. */
static int64_t low_term(int64_t pair) { return 2 * pair; }
static int64_t high_term(int64_t pair) { return 2 * pair + 1; }
static __m512i ordered(__m512i terms) { return terms; }

#include "autograd/kernel/matmul/pairs.h"

/* A tile register holds HALF rows of A, or columns of B, with the terms of a group. */
enum {
  SIDE = 2 * HALF,
  STRIDE = 2 * HALF_STRIDE,
  BLOCK = 512, /* strips of 32 KB: one of B stays in a cache of level 1 while A's pass by */
  SPAN = 1024, /* at least 512 columns of B at a time, in 1 MB */
  ROW_BYTES = 64,
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
    "amx", {&lap_matmul_avx512_float32, &bfloat16_unit}, runs_here, "by tile units"};
