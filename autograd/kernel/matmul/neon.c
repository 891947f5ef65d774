/* neon: tiles of 12 x 8 in 24 of the 32 registers. Compiled for AArch64. */
#include <arm_neon.h>

#include "autograd/kernel/matmul/kernel.h"

typedef float32x4_t vector;
enum { LANES = 4 };
#define HEIGHT 12

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

#include "autograd/kernel/matmul/simd.h"

static bool runs_here(void) { return true; }

const lap_matmul_kernel lap_matmul_neon = {"neon", LANES,      HEIGHT,          WIDTH,
                                           tile,   pack_plain, pack_transposed, runs_here};
