#include "trainer/measure/calibration.h"

#include <math.h>
#include <stdlib.h>

/* Among equal ones those that were right come first: which bin they fall into must not depend on
 * how qsort moves them. */
static int compare(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  const float p = fabsf(x), q = fabsf(y);
  if (p != q) return p < q ? -1 : 1;
  return (signbit(x) != 0) - (signbit(y) != 0);
}

double lap_calibration_error(float *confidence, uint64_t count, int bins) {
  if (count == 0) return NAN;
  qsort(confidence, count, sizeof *confidence, compare);
  double error = 0;
  for (int bin = 0; bin < bins; ++bin) {
    const uint64_t begin = count * (uint64_t)bin / (uint64_t)bins;
    const uint64_t end = count * (uint64_t)(bin + 1) / (uint64_t)bins;
    double right = 0, claimed = 0;
    for (uint64_t i = begin; i < end; ++i) {
      right += signbit(confidence[i]) ? 0 : 1;
      claimed += (double)fabsf(confidence[i]);
    }
    error += fabs(right - claimed);
  }
  return error / (double)count;
}
