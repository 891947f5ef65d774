#include "core/half.h"

#include <string.h>

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

enum { FLOAT_INFINITY = 0x7f800000, HALF_INFINITY = 0x7c00 };

void lap_float16_unpack(const uint16_t *packed, int64_t count, float *x) {
  for (int64_t i = 0; i < count; ++i) {
    /* The fields moved to where a float has them, the exponent then corrected by 2^(127 - 15):
     * exact for normal and subnormal halves. */
    const uint32_t magnitude = packed[i] & 0x7fffu;
    const uint32_t finite = bits_of(float_of(magnitude << 13) * 0x1p112f);
    const uint32_t special = FLOAT_INFINITY | magnitude << 13;
    const uint32_t sign = (uint32_t)(packed[i] & 0x8000u) << 16;
    x[i] = float_of((magnitude >= HALF_INFINITY ? special : finite) | sign);
  }
}

void lap_bfloat16_unpack(const uint16_t *packed, int64_t count, float *x) {
  for (int64_t i = 0; i < count; ++i) x[i] = float_of((uint32_t)packed[i] << 16);
}
