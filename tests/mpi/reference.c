#include "reference.h"

#include <math.h>
#include <stdbool.h>

float reference_value(int64_t item, int64_t element) {
  uint64_t bits = (uint64_t)item * UINT64_C(0x9E3779B97F4A7C15) + (uint64_t)element + 1;
  bits = (bits ^ bits >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  bits = (bits ^ bits >> 27) * UINT64_C(0x94D049BB133111EB);
  bits ^= bits >> 31;
  const float mantissa = (float)(int32_t)(bits >> 32) / 2147483648.0f;
  return ldexpf(mantissa, (int)(bits % 20));
}

static int64_t padded(int64_t group) {
  int64_t stride = 1;
  while (stride < group) stride += stride;
  return stride;
}

/* The sum over leaves [begin, begin + width); false where all of them are empty. */
static bool sum_node(int64_t items, int64_t group, const double *doubles, const float *floats,
                     int64_t begin, int64_t width, double *sum) {
  if (width == 1) {
    const int64_t stride = padded(group), item = begin / stride * group + begin % stride;
    if (begin % stride >= group || item >= items) return false;
    *sum = doubles ? doubles[item] : (double)floats[item];
    return true;
  }
  double left, right;
  const bool has_left = sum_node(items, group, doubles, floats, begin, width / 2, &left);
  const bool has_right =
      sum_node(items, group, doubles, floats, begin + width / 2, width / 2, &right);
  if (has_left && has_right)
    *sum = doubles ? left + right : (double)((float)left + (float)right);
  else if (has_left)
    *sum = left;
  else if (has_right)
    *sum = right;
  return has_left || has_right;
}

static double sum_root(int64_t items, int64_t group, const double *doubles, const float *floats) {
  double sum = 0;
  sum_node(items, group, doubles, floats, 0, padded(items / group * padded(group)), &sum);
  return sum;
}

float reference_sum_float(int64_t items, int64_t group, const float *values) {
  return (float)sum_root(items, group, 0, values);
}

double reference_sum_double(int64_t items, int64_t group, const double *values) {
  return sum_root(items, group, values, 0);
}
