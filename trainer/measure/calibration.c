#include "trainer/measure/calibration.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b) {
  const float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
  return (x > y) - (x < y);
}

/* Of the sorted positions from `begin` on, the end of those that have one probability, and how many
 * of them were right. */
static uint64_t end_of_equal(const float *confidence, uint64_t count, uint64_t begin,
                             uint64_t *right) {
  uint64_t end = begin;
  *right = 0;
  for (; end < count && fabsf(confidence[end]) == fabsf(confidence[begin]); ++end)
    *right += signbit(confidence[end]) ? 0 : 1;
  return end;
}

double lap_calibration_error(float *confidence, uint64_t count, int bins) {
  if (count == 0) return NAN;
  qsort(confidence, count, sizeof *confidence, compare);
  double error = 0, right = 0, claimed = 0; /* the last two of the bin at hand */
  uint64_t bin = 0, bin_end = count / (uint64_t)bins;
  for (uint64_t begin = 0, end, equal_right; begin < count; begin = end) {
    end = end_of_equal(confidence, count, begin, &equal_right);
    for (uint64_t at = begin, to; at < end; at = to) {
      while (at == bin_end) {
        error += fabs(right - claimed);
        right = claimed = 0;
        bin_end = count * (++bin + 1) / (uint64_t)bins;
      }
      to = end < bin_end ? end : bin_end;
      right += (double)equal_right * ((double)(to - at) / (double)(end - begin));
      for (uint64_t i = at; i < to; ++i) claimed += (double)fabsf(confidence[i]);
    }
  }
  return (error + fabs(right - claimed)) / (double)count;
}
