#include "trainer/statistics/break_even.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

enum { STEPS = 64, HALVINGS = 50 };

/* The mean of the logarithms of multiples[1..], and their sum of squares about it. */
static double center_of(const double *multiples, size_t arms, double *squares) {
  double mean = 0;
  for (size_t a = 1; a < arms; ++a) mean += log(multiples[a]) / (double)(arms - 1);
  *squares = 0;
  for (size_t a = 1; a < arms; ++a) {
    const double x = log(multiples[a]) - mean;
    *squares += x * x;
  }
  return mean;
}

void lap_break_even_weights(const double *multiples, size_t arms, double multiple,
                            double *weights) {
  double squares;
  const double mean = center_of(multiples, arms, &squares);
  assert(arms > 2 && squares > 0);
  weights[0] = 1;
  for (size_t a = 1; a < arms; ++a)
    weights[a] =
        -(1 / (double)(arms - 1) + (log(multiple) - mean) * (log(multiples[a]) - mean) / squares);
}

typedef struct {
  const lap_sums *sums;
  const double *multiples;
  bool pooled;
  double confidence;
  double *weights; /* [arms] */
} search;

/* -1: arm 0 is below the line with confidence; 1: above; 0: the interval covers 0. */
static int side_at(const search *s, double x) {
  lap_contrast contrast;
  lap_break_even_weights(s->multiples, s->sums->arms, exp(x), s->weights);
  lap_contrast_make(s->sums, s->weights, s->pooled, &contrast);
  const lap_interval interval = lap_contrast_interval(&contrast, s->confidence);
  return interval.high < 0 ? -1 : interval.low > 0 ? 1 : 0;
}

/* Where between x (covered) and y (not) the cover ends. */
static double edge_between(const search *s, double x, double y) {
  for (int i = 0; i < HALVINGS; ++i) {
    const double middle = (x + y) / 2;
    if (side_at(s, middle) == 0)
      x = middle;
    else
      y = middle;
  }
  return x;
}

/* Steps over the range, and looks where the line meets arm 0, for the first and last covered point;
 * then halves the way to their neighbours. */
static void find_interval(const search *s, lap_break_even *result) {
  const double low = log(result->smallest), high = log(result->largest);
  const double step = (high - low) / STEPS, root = log(result->multiple);
  double first = INFINITY, last = -INFINITY;
  if (root >= low && root <= high) first = last = root; /* its difference is 0 */
  for (int i = 0; i <= STEPS; ++i) {
    const double x = low + i * step;
    if ((x >= first && x <= last) || side_at(s, x) != 0) continue;
    first = fmin(first, x);
    last = fmax(last, x);
  }
  if (first > last) { /* none in the range: which way it lies is the sign */
    result->below = side_at(s, low) > 0;
    result->above = side_at(s, high) < 0;
    return;
  }
  result->below = side_at(s, low) == 0;
  result->above = side_at(s, high) == 0;
  result->low = result->below ? result->smallest : exp(edge_between(s, first, first - step));
  result->high = result->above ? result->largest : exp(edge_between(s, last, last + step));
}

/* The line through the means of the arms, and where it meets arm 0. */
static void fit_line(const lap_sums *sums, const double *multiples, lap_break_even *result) {
  double *table = lap_allocate((int64_t)(sums->arms * sums->seeds), sizeof *table), squares;
  lap_arm_estimates(sums, table);
  const double mean = center_of(multiples, sums->arms, &squares);
  const size_t points = sums->arms - 1;
  double *of_arm = lap_allocate((int64_t)sums->arms, sizeof *of_arm);
  for (size_t i = 0; i < sums->arms * sums->seeds; ++i)
    of_arm[i / sums->seeds] += table[i] / (double)sums->seeds;
  double level = 0, slope = 0, misfit = 0;
  for (size_t a = 1; a <= points; ++a) level += of_arm[a] / (double)points;
  for (size_t a = 1; a <= points; ++a) slope += (log(multiples[a]) - mean) * of_arm[a] / squares;
  for (size_t a = 1; a <= points; ++a) {
    const double off = of_arm[a] - level - slope * (log(multiples[a]) - mean);
    misfit += off * off / (double)points;
  }
  result->slope = slope;
  result->intercept = level - slope * mean;
  result->lack_of_fit = sqrt(misfit);
  if (slope < 0) result->multiple = exp((of_arm[0] - result->intercept) / slope);
  free(of_arm);
  free(table);
}

void lap_break_even_make(const lap_sums *sums, const double *multiples, bool pooled,
                         double confidence, lap_break_even *result) {
  assert(sums->arms > 2 && sums->seeds > 1);
  *result = (lap_break_even){
      .multiple = NAN, .low = NAN, .high = NAN, .smallest = multiples[1], .largest = multiples[1]};
  for (size_t a = 1; a < sums->arms; ++a) {
    result->smallest = fmin(result->smallest, multiples[a]);
    result->largest = fmax(result->largest, multiples[a]);
  }
  fit_line(sums, multiples, result);
  search s = {sums, multiples, pooled, confidence, NULL};
  s.weights = lap_allocate((int64_t)sums->arms, sizeof *s.weights);
  find_interval(&s, result);
  free(s.weights);
}
