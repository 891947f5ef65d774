/* bfloat16: a product in bfloat16 as product.h defines it, one element after the other, whatever
 * the modes of the processor: how a float32 becomes an operand, and a tile.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_BFLOAT16_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_BFLOAT16_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "autograd/kernel/matmul/kernel.h"

/* The bits of x rounded to nearest even: the low 16 are 0. Subnormals become zero with their sign
 * before they are rounded; NaN stays NaN. Without a branch: loops become vector code. */
static inline uint32_t lap_bfloat16_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t quiet = bits | 0x400000u;
  const uint32_t rounded = magnitude > 0x7f800000u ? quiet : nearest;
  return magnitude < 0x00800000u ? bits & 0x80000000u : rounded & 0xffff0000u;
}

/* As a float32 again. */
static inline float lap_bfloat16_round(float x) {
  const uint32_t rounded = lap_bfloat16_bits(x);
  memcpy(&x, &rounded, sizeof x);
  return x;
}

static inline uint16_t lap_bfloat16_pack(float x) { return (uint16_t)(lap_bfloat16_bits(x) >> 16); }

/* packed[i] = x[i], rounded so. */
static inline void lap_bfloat16_pack_values(const float *x, int64_t count, uint16_t *packed) {
  for (int64_t i = 0; i < count; ++i) packed[i] = lap_bfloat16_pack(x[i]);
}

static inline float lap_bfloat16_flush(float x) {
  return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/* A result is tiny where, rounded with no bound on its exponent, it lies below 2^-126. The rounding
 * to a subnormal can have made 2^-126 of such a one. In double the sum is exact wherever it is near
 * that: the product has 16 digits, and s 24. */
static inline float lap_bfloat16_fma(float x, float y, float s) {
  const float sum = fmaf(x, y, s);
  const double limit = 0x1p-126 - 0x1p-151; /* from here on it rounds to 2^-126 */
  if (fabsf(sum) == 0x1p-126f && fabs(fma((double)x, (double)y, (double)s)) < limit)
    return copysignf(0, sum);
  return lap_bfloat16_flush(sum);
}

/* As lap_matmul_tile, of strips with these floats from term to term. The processor's modes must be
 * the usual ones: subnormals are computed here, and flushed by hand. */
static inline void lap_bfloat16_tile(int64_t terms, const float *a, int64_t a_stride,
                                     const float *b, int64_t b_stride, float *c, int64_t ldc,
                                     int64_t rows, int64_t columns, lap_matmul_into into) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      float sum = into == LAP_MATMUL_SET ? 0 : lap_bfloat16_flush(c[i * ldc + j]);
      for (int64_t t = 0; t < terms; t += LAP_MATMUL_GROUP) {
        float chain[2] = {0, 0};
        for (int64_t u = t; u < t + LAP_MATMUL_GROUP; ++u)
          chain[u % 2] = lap_bfloat16_fma(a[u * a_stride + i], b[u * b_stride + j], chain[u % 2]);
        sum = lap_bfloat16_flush(sum + lap_bfloat16_flush(chain[0] + chain[1]));
      }
      c[i * ldc + j] = sum;
    }
}

#endif
