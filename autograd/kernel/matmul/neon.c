/* neon: tiles of 12 x 8 in 24 of the 32 registers, of bfloat16 6 x 8. Compiled for AArch64. */
#include <arm_neon.h>

#include "autograd/kernel/matmul/kernel.h"

typedef float32x4_t vector;
enum { LANES = 4 };
#define HEIGHT 12
#define FLOAT32_UNIT lap_matmul_neon_float32

static inline vector vector_load(const float *x) { return vld1q_f32(x); }
static inline void vector_store(float *x, vector v) { vst1q_f32(x, v); }
static inline vector vector_broadcast(const float *x) { return vdupq_n_f32(*x); }
static inline vector vector_zero(void) { return vdupq_n_f32(0); }
static inline vector vector_load_first(const float *x, int64_t count) {
  float some[LANES] = {0};
  for (int64_t i = 0; i < count; ++i) some[i] = x[i];
  return vld1q_f32(some);
}
static inline void vector_accumulate(vector *sum, vector x, vector y) {
  *sum = vfmaq_f32(*sum, x, y);
}
static inline vector vector_add(vector a, vector b) { return vaddq_f32(a, b); }
static inline vector vector_quads(const float *const *row, int64_t t) {
  return vld1q_f32(row[0] + t);
}
static inline void transpose_quads(vector v[4]) {
  const float32x4x2_t ab = vtrnq_f32(v[0], v[1]), cd = vtrnq_f32(v[2], v[3]);
  v[0] = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  v[1] = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  v[2] = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  v[3] = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}

/* Subnormals are zero, as operands and as results. Here a result is tiny before it is rounded, so
 * one that would round to 2^-126 becomes zero as well. Operands and results of all arithmetic are
 * in memory, so "memory" keeps it on its side of a change of the mode. */
enum { FLUSH_TO_ZERO = 1 << 24 }; /* of FPCR */

static uint64_t control(void) {
  uint64_t bits;
  __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
  return bits;
}
static void set_control(uint64_t bits) {
  __asm__ volatile("msr fpcr, %0" : : "r"(bits) : "memory");
}

static unsigned enter(void) {
  const uint64_t before = control();
  set_control(before | FLUSH_TO_ZERO);
  return (unsigned)before;
}
static void leave(unsigned before) { set_control(before); }

static void exact_where_tiny(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                             int64_t rows, int64_t columns, lap_matmul_into into,
                             const lap_matmul_soon *soon);
#define BFLOAT16_TILE exact_where_tiny
#include "autograd/kernel/matmul/simd.h"

/* The status register says whether a result was flushed; then the tile is computed again. */
enum { UNDERFLOW = 1 << 3 }; /* of FPSR */

static uint64_t status(void) {
  uint64_t bits;
  __asm__ volatile("mrs %0, fpsr" : "=r"(bits) : : "memory");
  return bits;
}
static void set_status(uint64_t bits) { __asm__ volatile("msr fpsr, %0" : : "r"(bits) : "memory"); }

static void exact_where_tiny(int64_t terms, const float *a, const float *b, float *c, int64_t ldc,
                             int64_t rows, int64_t columns, lap_matmul_into into,
                             const lap_matmul_soon *soon) {
  float before[HEIGHT * WIDTH] = {0};
  for (int64_t i = 0; i < rows && into != LAP_MATMUL_SET; ++i)
    for (int64_t j = 0; j < columns; ++j) before[i * WIDTH + j] = c[i * ldc + j];
  set_status(status() & ~(uint64_t)UNDERFLOW);
  bfloat16_tile(terms, a, b, c, ldc, rows, columns, into, soon);
  if (!(status() & UNDERFLOW)) return;
  for (int64_t i = 0; i < rows && into != LAP_MATMUL_SET; ++i)
    for (int64_t j = 0; j < columns; ++j) c[i * ldc + j] = before[i * WIDTH + j];
  const uint64_t flushing = control();
  set_control(flushing & ~(uint64_t)FLUSH_TO_ZERO);
  lap_bfloat16_tile(terms, a, A_STRIDE, b, WIDTH, c, ldc, rows, columns, into);
  set_control(flushing);
}

static bool runs_here(void) { return true; }

const lap_matmul_kernel lap_matmul_neon = {
    "neon", {&FLOAT32_UNIT, &bfloat16_unit}, runs_here, "emulated in float32"};
