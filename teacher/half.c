#include "teacher/half.h"

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

enum { FLOAT_INFINITY = 0x7f800000, HALF_INFINITY = 0x7c00, HALF_NAN = 0x7e00 };

/* |x| as half. The sum with a power of two whose last bit is worth the half's last bit rounds as
 * IEEE addition does, and leaves the half's mantissa in the low bits of the sum. */
static uint16_t pack_magnitude(uint32_t bits) {
  if (bits > FLOAT_INFINITY) return HALF_NAN;
  const float x = float_of(bits);
  if (x >= 65520.0f) return HALF_INFINITY;
  if (x < 0x1p-14f) return (uint16_t)(bits_of(x + 0.5f) - bits_of(0.5f));
  /* Normal: drop 13 bits, adding just under half of the last one that stays, and that bit itself
   * for the tie; a carry runs into the exponent, as it should. */
  const uint32_t rounded = bits + 0xfff + (bits >> 13 & 1);
  return (uint16_t)((rounded >> 13) - ((127 - 15) << 10));
}

void lap_half_pack(const float *x, size_t count, uint16_t *half) {
  for (size_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(x[i]);
    half[i] = (uint16_t)((bits >> 16 & 0x8000) | pack_magnitude(bits & 0x7fffffff));
  }
}

void lap_half_unpack(const uint16_t *half, size_t count, float *x) {
  for (size_t i = 0; i < count; ++i) {
    /* The fields moved to a float's places, the exponent then corrected by 2^(127 - 15): exact for
     * normal and subnormal halves. */
    const uint32_t magnitude = half[i] & 0x7fffu;
    const uint32_t finite = bits_of(float_of(magnitude << 13) * 0x1p112f);
    const uint32_t special = FLOAT_INFINITY | magnitude << 13;
    const uint32_t sign = (uint32_t)(half[i] & 0x8000u) << 16;
    x[i] = float_of((magnitude >= HALF_INFINITY ? special : finite) | sign);
  }
}
