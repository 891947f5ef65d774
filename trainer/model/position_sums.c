#include "trainer/model/position_sums.h"

#include <stddef.h>

void lap_position_sums_add(lap_position_sums *total, const lap_position_sums *part) {
  double *t = (double *)total;
  const double *p = (const double *)part;
  for (size_t i = 0; i < sizeof *total / sizeof *t; ++i) t[i] += p[i];
}
