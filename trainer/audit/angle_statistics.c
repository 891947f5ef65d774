#include "trainer/audit/angle_statistics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "core/memory.h"

static double degrees(double inner, double square_a, double square_b) {
  const double scale = sqrt(square_a) * sqrt(square_b);
  if (!(scale > 0)) return NAN;
  return acos(fmin(fmax(inner / scale, -1), 1)) * 180 / M_PI;
}

/* The mean of blocks' values and its standard error. */
static lap_estimate mean_of(const double *values, int count) {
  double sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) sum += values[i];
  const double mean = sum / count;
  for (int i = 0; i < count; ++i) squares += (values[i] - mean) * (values[i] - mean);
  return (lap_estimate){mean, count < 3 ? NAN : sqrt(squares / (count - 1) / count)};
}

/* The mean of values [blocks, blocks] off the diagonal, and its jackknife over blocks: each block
 * in turn is left out with all its pairs. */
static lap_estimate mean_of_pairs(const double *values, int blocks) {
  double *without = lap_allocate(blocks, sizeof *without), sum = 0;
  for (int i = 0; i < blocks; ++i)
    for (int j = 0; j < blocks; ++j) {
      if (i == j) continue;
      const double value = values[i * blocks + j];
      sum += value;
      without[i] += value;
      without[j] += value;
    }
  lap_estimate estimate = {sum / ((double)blocks * (blocks - 1)), NAN};
  if (blocks >= 3) {
    for (int i = 0; i < blocks; ++i)
      without[i] = (sum - without[i]) / ((double)(blocks - 1) * (blocks - 2));
    /* Of values that are means of all but one block: B - 1 times further from each other. */
    estimate.error = (blocks - 1) * mean_of(without, blocks).error;
  }
  free(without);
  return estimate;
}

static double root_mean(const double *values, int count, int64_t stride) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += values[i * stride];
  return sqrt(fmax(sum / count, 0));
}

/* Fills angles [B, B] between the target on block i and dense on block j. */
static void fill_angles(const lap_gradient_products *p, double *angles) {
  const int n = p->blocks;
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      angles[i * n + j] = degrees(p->cross[i * n + j], p->target[i * n + i], p->dense[j * n + j]);
}

lap_angles lap_angles_of(const lap_gradient_products *p) {
  const int n = p->blocks;
  double *pairs = lap_allocate((size_t)n * (size_t)n, sizeof *pairs);
  double *same = lap_allocate(n, sizeof *same);
  fill_angles(p, pairs);
  for (int i = 0; i < n; ++i) same[i] = pairs[i * n + i];
  lap_angles angles = {.angle = mean_of(same, n),
                       .cross = mean_of_pairs(pairs, n),
                       .norm = root_mean(p->dense, n, n + 1),
                       .draw_noise = p->apart ? root_mean(p->apart, n, 1) / sqrt(2) : 0};
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j)
      pairs[i * n + j] =
          p->target[i * n + j] - p->cross[i * n + j] - p->cross[j * n + i] + p->dense[i * n + j];
  angles.bias_squared = mean_of_pairs(pairs, n);
  angles.bias = sqrt(fmax(angles.bias_squared.value, 0));
  angles.error = root_mean(pairs, n, n + 1);
  free(pairs);
  free(same);
  return angles;
}

lap_estimate lap_angle_control(const double *dense, int blocks) {
  const lap_gradient_products itself = {blocks, dense, dense, dense, NULL};
  return lap_angles_of(&itself).cross;
}
