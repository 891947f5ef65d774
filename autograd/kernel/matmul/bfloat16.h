/* bfloat16: how a float32 becomes an operand of a product in bfloat16.
 */
#ifndef LAP_AUTOGRAD_KERNEL_MATMUL_BFLOAT16_H
#define LAP_AUTOGRAD_KERNEL_MATMUL_BFLOAT16_H

#include <stdint.h>
#include <string.h>

/* x rounded to nearest even, as a float32 again: its low 16 bits are 0. Subnormals become zero with
 * their sign before they are rounded; NaN stays NaN. Without a branch: loops become vector code. */
static inline float lap_bfloat16_round(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t nearest = bits + 0x7fffu + ((bits >> 16) & 1u);
  const uint32_t quiet = bits | 0x400000u;
  uint32_t rounded = magnitude > 0x7f800000u ? quiet : nearest;
  rounded = magnitude < 0x00800000u ? bits & 0x80000000u : rounded & 0xffff0000u;
  memcpy(&x, &rounded, sizeof x);
  return x;
}

#endif
