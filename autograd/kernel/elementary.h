/* elementary: exp and tanh of a real, written so that a loop over them becomes vector code.
 *
 * In float they are our own: the same operations, so the same bits, for every compiler and
 * every width of vector; exp is at most 2 ulp from the true value, tanh 3
 * (tests/autograd/test_elementary.c).
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
  const float bounded = 88.3f < x ? 88.3f : x;
  /* Adding 1.5 * 2^23 + 127 leaves n + 127, the exponent of 2^n, in the low bits of `shifted`. */
  const float shifted = lap_fma(bounded, 0x1.715476p0f, 0x1.8p23f + 127.0f);
  const float n = shifted - (0x1.8p23f + 127.0f);
  float r = lap_fma(n, -0x1.62e430p-1f, bounded);
  r = lap_fma(n, 0x1.05c610p-29f, r);
  float p = 0x1.6d9938p-10f;
  p = lap_fma(p, r, 0x1.12283ap-7f);
  p = lap_fma(p, r, 0x1.555486p-5f);
  p = lap_fma(p, r, 0x1.5554b0p-3f);
  p = lap_fma(p, r, 0.5f);
  p = lap_fma(p, r * r, r) + 1.0f;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  const float result = p * scale;
  return x < -87.3f ? 0.0f : result;
}

/* (e^2a - 1) / (e^2a + 1), a = |x|, by the same steps: 2 a = n ln 2 + 2 r, and e^2a - 1 =
 * 2^n (e^2r - 1) + (2^n - 1) cancels nowhere. What it lacks where n is large does not matter: it
 * is above and below the line. 1 from 9.02 on. */
static inline float lap_tanh(float x) {
  const float a = lap_magnitude(x), bounded = 9.02f < a ? 9.02f : a;
  const float shifted = lap_fma(bounded, 0x1.715476p1f, 0x1.8p23f + 127.0f);
  const float n = shifted - (0x1.8p23f + 127.0f);
  const float r = lap_fma(n, -0x1.62e430p-2f, bounded);
  float p = 0x1.6d9938p-4f;
  p = lap_fma(p, r, 0x1.12283ap-2f);
  p = lap_fma(p, r, 0x1.555486p-1f);
  p = lap_fma(p, r, 0x1.5554b0p0f);
  p = lap_fma(p, r, 2.0f);
  p = lap_fma(p, r * r, r + r);
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;
  float scale;
  memcpy(&scale, &bits, sizeof scale);
  const float grown = lap_fma(p, scale, scale - 1.0f);
  return __builtin_copysignf(grown / (grown + 2.0f), x);
}

#endif

/* 0 where x is subnormal as a float: operations on such numbers take a hundred times as long. */
static inline real lap_without_subnormal(real x) {
  return lap_magnitude(x) < (real)0x1p-126F ? 0 : x;
}

#endif
