#include "trainer/statistics/contrast.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "trainer/statistics/distributions.h"

static double sum_of(const double *values, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += values[i];
  return sum;
}

void lap_arm_estimates(const lap_sums *sums, double *estimates) {
  const double whole = sum_of(sums->counts, sums->documents);
  assert(sums->arms > 0 && sums->seeds > 0 && whole > 0);
  for (size_t run = 0; run < sums->arms * sums->seeds; ++run)
    estimates[run] = sum_of(sums->sums + run * sums->documents, sums->documents) / whole;
}

/* differences [seeds, documents]: the weighed sum of the arms. */
static void weigh_arms(const lap_sums *sums, const double *weights, double *differences) {
  const size_t cells = sums->seeds * sums->documents;
  for (size_t arm = 0; arm < sums->arms; ++arm)
    for (size_t i = 0; i < cells && weights[arm] != 0; ++i)
      differences[i] += weights[arm] * sums->sums[arm * cells + i];
}

static double variance_of(const double *values, size_t count) {
  const double mean = sum_of(values, count) / (double)count;
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += (values[i] - mean) * (values[i] - mean);
  return squares / (double)(count - 1);
}

/* --- seeds --- */

/* Of the mean over seeds: from the contrast of each seed. */
static void seeds_alone(const double *by_seed, size_t seeds, lap_contrast *c) {
  c->seed_df = (double)seeds - 1;
  c->seed_variance = variance_of(by_seed, seeds) / (double)seeds;
}

/* The mean square of the residuals of a seed x arm table, times the sum of squared weights: the
 * variance of a contrast where all arms vary alike and share what a seed does to all of them. */
static void seeds_pooled(const lap_sums *sums, const double *weights, lap_contrast *c) {
  const size_t arms = sums->arms, seeds = sums->seeds;
  double *table = lap_allocate((int64_t)(arms * seeds), sizeof *table);
  double *of_seed = lap_allocate((int64_t)seeds, sizeof *of_seed);
  lap_arm_estimates(sums, table);
  for (size_t arm = 0; arm < arms; ++arm) {
    const double mean = sum_of(table + arm * seeds, seeds) / (double)seeds;
    for (size_t s = 0; s < seeds; ++s) {
      table[arm * seeds + s] -= mean;
      of_seed[s] += table[arm * seeds + s] / (double)arms;
    }
  }
  double squares = 0, weight = 0;
  for (size_t i = 0; i < arms * seeds; ++i)
    squares += (table[i] - of_seed[i % seeds]) * (table[i] - of_seed[i % seeds]);
  for (size_t arm = 0; arm < arms; ++arm) weight += weights[arm] * weights[arm];
  c->seed_df = (double)((arms - 1) * (seeds - 1));
  c->seed_variance = squares / c->seed_df * weight / (double)seeds;
  free(of_seed);
  free(table);
}

/* --- documents --- */

/* What is left of each document after its share by tokens: `residual` [documents] from the mean
 * over seeds. The leverage of a document, its share of the counts, is put back (HC2): n/(n-1) where
 * all are of one length. */
static void documents_alone(const lap_sums *sums, const double *differences, const double *by_seed,
                            double *residual, lap_contrast *c) {
  const size_t documents = sums->documents, seeds = sums->seeds;
  const double whole = sum_of(sums->counts, documents);
  double seen = 0, both = 0, squares = 0, fourths = 0;
  for (size_t d = 0; d < documents; ++d) {
    const double count = sums->counts[d], left = 1 - count / whole;
    if (left <= 0) continue; /* it is all there is */
    double mean = 0, scatter = 0;
    for (size_t s = 0; s < seeds; ++s) mean += differences[s * documents + d] / (double)seeds;
    residual[d] = mean - c->estimate * count;
    for (size_t s = 0; s < seeds; ++s) {
      const double own = differences[s * documents + d] - by_seed[s] * count - residual[d];
      scatter += own * own;
    }
    seen += residual[d] * residual[d] / left;
    if (seeds > 1) both += scatter / (double)(seeds - 1) / (double)seeds / left;
    squares += count * count;
    fourths += count * count * count * count;
  }
  c->document_variance = seen / (whole * whole);
  c->interaction_variance = both / (whole * whole);
  /* How many documents of one length would say as much (Kish, of squares). */
  const double equal = fourths > 0 ? squares * squares / fourths : 1;
  c->document_df = equal > 2 ? equal - 1 : 1;
}

/* Where counts are small, as of items answered right, seeds may happen to agree to the last item,
 * and V comes out as 0, or as what rounding leaves, though documents do not agree. */
static bool is_nothing(double variance, double document_variance) {
  return variance <= 1e-20 * document_variance;
}

static void combine(lap_contrast *c) {
  double documents = fmax(0, c->document_variance - c->interaction_variance);
  c->variance = c->seed_variance + documents;
  if (is_nothing(c->variance, c->document_variance))
    c->variance += documents = c->document_variance;
  if (!(c->variance > 0)) { /* 0, or NAN */
    c->df = c->satterthwaite_df = isnan(c->variance) ? NAN : c->seed_df;
    return;
  }
  const double a = c->seed_variance / c->variance, b = documents / c->variance;
  c->df = 1 / (a / c->seed_df + b / c->document_df);
  c->satterthwaite_df = 1 / (a * a / c->seed_df + b * b / c->document_df);
}

void lap_contrast_make(const lap_sums *sums, const double *weights, bool pooled,
                       lap_contrast *contrast) {
  const size_t seeds = sums->seeds, documents = sums->documents;
  assert(seeds > 0 && documents > 0);
  double *differences = lap_allocate((int64_t)(seeds * documents), sizeof *differences);
  double *residual = lap_allocate((int64_t)documents, sizeof *residual);
  double *by_seed = lap_allocate((int64_t)seeds, sizeof *by_seed);
  weigh_arms(sums, weights, differences);
  const lap_sums one = {1, seeds, documents, differences, sums->counts};
  lap_arm_estimates(&one, by_seed);
  *contrast = (lap_contrast){
      .estimate = sum_of(by_seed, seeds) / (double)seeds, .seed_variance = NAN, .seed_df = NAN};
  if (seeds > 1 && pooled && sums->arms > 2)
    seeds_pooled(sums, weights, contrast);
  else if (seeds > 1)
    seeds_alone(by_seed, seeds, contrast);
  documents_alone(sums, differences, by_seed, residual, contrast);
  combine(contrast);
  free(by_seed);
  free(residual);
  free(differences);
}

/* --- intervals and p-values --- */

static lap_interval around(double estimate, double variance, double df, double confidence) {
  if (isnan(variance)) return (lap_interval){NAN, NAN};
  const double half = variance > 0 ? lap_student_quantile((1 + confidence) / 2, df) : 0;
  return (lap_interval){estimate - half * sqrt(variance), estimate + half * sqrt(variance)};
}

lap_interval lap_contrast_interval(const lap_contrast *c, double confidence) {
  return around(c->estimate, c->variance, c->df, confidence);
}

lap_interval lap_contrast_seeds_interval(const lap_contrast *c, double confidence) {
  return around(c->estimate, c->seed_variance, c->seed_df, confidence);
}

double lap_contrast_p(const lap_contrast *c, double value) {
  if (isnan(c->variance)) return NAN;
  if (c->variance == 0) return c->estimate == value ? 1 : 0;
  return lap_student_two_sided((c->estimate - value) / sqrt(c->variance), c->df);
}

double lap_contrast_equivalence_p(const lap_contrast *c, double margin) {
  if (isnan(c->variance)) return NAN;
  const double nearest = margin - fabs(c->estimate); /* to the edge that is closer */
  if (c->variance == 0) return nearest > 0 ? 0 : 1;
  return lap_student_cdf(-nearest / sqrt(c->variance), c->df);
}
