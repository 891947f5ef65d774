#include "core/median.h"

#include <assert.h>
#include <stdlib.h>

static int ascending(const void *left, const void *right) {
  const double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

double lap_median(double *values, size_t count) {
  assert(count > 0);
  qsort(values, count, sizeof *values, ascending);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}
