/* elementary: exp and tanh of a real, written so that a loop over them becomes vector code.
 *
 * In float they are our own: the same operations, so the same bits, for every compiler and
 * every width of vector; at most 2 ulp from the true value (tests/autograd/test_kernel.c).
 * In double, which never reaches a run's state, they are libm's, so that tests differentiate
 * an independent implementation.
 */
#ifndef LAP_AUTOGRAD_KERNEL_ELEMENTARY_H
#define LAP_AUTOGRAD_KERNEL_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "autograd/kernel/real.h"

#ifdef LAP_DOUBLE

static inline double lap_magnitude(double x) { return __builtin_fabs(x); }

static inline double lap_exp(double x) { return exp(x); }
static inline double lap_tanh(double x) { return tanh(x); }
static inline double lap_square_root(double x) { return sqrt(x); }
static inline double lap_fma(double a, double b, double c) { return fma(a, b, c); }

#else

static inline float lap_magnitude(float x) { return __builtin_fabsf(x); }
static inline float lap_square_root(float x) { return __builtin_sqrtf(x); }
static inline float lap_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/* x = n ln 2 + r, |r| <= ln(2)/2; e^r by a polynomial; 2^n by its bits. 0 below -87.3 (no
 * subnormals), at most e^88.3; NaN stays NaN. */
static inline float lap_exp(float x) {
  const float bounded = x > 88.3f ? 88.3f : x;
  /* Adding 1.5 * 2^23 leaves n in the low bits of `shifted`. */
  const float shifted = lap_fma(bounded, 0x1.715476p0f, 0x1.8p23f);
  const float n = shifted - 0x1.8p23f;
  float r = lap_fma(n, -0x1.62e430p-1f, bounded);
  r = lap_fma(n, 0x1.05c610p-29f, r);
  float p = 0x1.9fca80p-13f;
  p = lap_fma(p, r, 0x1.6d96ecp-10f);
  p = lap_fma(p, r, 0x1.1111e2p-7f);
  p = lap_fma(p, r, 0x1.555480p-5f);
  p = lap_fma(p, r, 0x1.555554p-3f);
  p = lap_fma(p, r, 0.5f);
  p = lap_fma(p, r * r, r) + 1.0f;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  const float result = p * scale;
  return x < -87.3f ? 0.0f : result;
}

/* Odd polynomial near 0, where 1 - 2/(e^2x + 1) would cancel. */
static inline float lap_tanh(float x) {
  const float a = x < 0 ? -x : x;
  const float z = x * x;
  float p = 0x1.1d0460p-9f;
  p = lap_fma(p, z, -0x1.0d1202p-7f);
  p = lap_fma(p, z, 0x1.63c3f2p-6f);
  p = lap_fma(p, z, -0x1.b9f39ap-5f);
  p = lap_fma(p, z, 0x1.11107ep-3f);
  p = lap_fma(p, z, -0x1.555554p-2f);
  const float near = lap_fma(x * z, p, x);
  const float far = 1.0f - 2.0f / (lap_exp(a + a) + 1.0f);
  const float signed_far = x < 0 ? -far : far;
  return a < 0.625f ? near : signed_far;
}

#endif

/* 0 where x is subnormal as a float: operations on such numbers take a hundred times as long. */
static inline real lap_without_subnormal(real x) {
  return lap_magnitude(x) < (real)0x1p-126F ? 0 : x;
}

#endif
