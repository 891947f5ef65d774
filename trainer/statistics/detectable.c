#include "trainer/statistics/detectable.h"

#include <assert.h>
#include <math.h>

#include "trainer/statistics/distributions.h"

enum { SLICES = 400, HALVINGS = 60 };

double lap_deviation_upper(double deviation, double df, double confidence) {
  return deviation * sqrt(df / lap_chi_squared_quantile(1 - confidence, df));
}

/* What the variance over seeds may be estimated as, in slices of equal probability, each at its
 * middle: how many true standard errors the estimate must then lie from 0. The variance over
 * documents has many degrees of freedom and is taken as it is. */
static double fill_slices(const lap_design *design, double needed[SLICES]) {
  assert(design->seeds > 1);
  const double seed_df = (double)design->seeds - 1;
  const double seeds = design->seed_deviation * design->seed_deviation / (double)design->seeds;
  const double documents = design->document_deviation * design->document_deviation;
  const double error = sqrt(seeds + documents);
  for (int i = 0; i < SLICES && error > 0; ++i) {
    const double estimated =
        seeds * lap_chi_squared_quantile((i + 0.5) / SLICES, seed_df) / seed_df;
    const double variance = estimated + documents, share = estimated / variance;
    const double rest = documents > 0 ? (1 - share) / design->document_df : 0;
    const double t =
        lap_student_quantile((1 + design->confidence) / 2, 1 / (share / seed_df + rest));
    needed[i] = t * sqrt(variance) / error;
  }
  return error;
}

static double power_of(const double needed[SLICES], double shift) {
  double power = 0;
  for (int i = 0; i < SLICES; ++i)
    power += (lap_normal_cdf(shift - needed[i]) + lap_normal_cdf(-shift - needed[i])) / SLICES;
  return power;
}

double lap_power(const lap_design *design, double effect) {
  double needed[SLICES] = {0};
  const double error = fill_slices(design, needed);
  return error > 0 ? power_of(needed, effect / error) : effect != 0;
}

double lap_detectable_effect(const lap_design *design, double power) {
  assert(power > 1 - design->confidence && power < 1);
  double needed[SLICES] = {0}, low = 0, high = 1;
  const double error = fill_slices(design, needed);
  if (!(error > 0)) return 0;
  while (power_of(needed, high) < power) high *= 2;
  for (int i = 0; i < HALVINGS; ++i) {
    const double middle = (low + high) / 2;
    if (power_of(needed, middle) < power)
      low = middle;
    else
      high = middle;
  }
  return high * error;
}
