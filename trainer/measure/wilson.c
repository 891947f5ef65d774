#include "trainer/measure/wilson.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

static void find_interval(uint64_t correct, uint64_t count, double *low, double *high) {
  const double z = 1.959963984540054, n = (double)count, p = (double)correct / n;
  const double centre = p + z * z / (2 * n);
  const double half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  *low = fmax(0, (centre - half) / (1 + z * z / n));
  *high = fmin(1, (centre + half) / (1 + z * z / n));
}

void lap_wilson_json(json_t *object, const char *name, uint64_t correct, uint64_t count,
                     bool known) {
  double low, high;
  find_interval(correct, count, &low, &high);
  const double share[] = {(double)correct / (double)count, low, high};
  const char *const end[] = {"", "_low", "_high"};
  for (int i = 0; i < 3; ++i) {
    char *key = lap_format("%s%s", name, end[i]);
    json_object_set_new(object, key, known ? json_real(share[i]) : json_null());
    free(key);
  }
}

void lap_wilson_print(const char *name, uint64_t correct, uint64_t count) {
  double low, high;
  find_interval(correct, count, &low, &high);
  printf("%-22s %6.2f %%   (95 %%: %.2f to %.2f)\n", name, 100 * (double)correct / (double)count,
         100 * low, 100 * high);
}
