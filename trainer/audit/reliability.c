#include "trainer/audit/reliability.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "trainer/statistics/distributions.h"

enum { BINS = 15 };

static int compare(const void *left, const void *right) {
  const lap_claim *a = left, *b = right;
  if (a->probability != b->probability) return a->probability < b->probability ? -1 : 1;
  if (a->right != b->right) return a->right ? -1 : 1;
  return a->document < b->document ? -1 : a->document > b->document;
}

/* Adds the bin's sums, and to each document the positions that it has in the bin. */
static void add_bin(const lap_claim *positions, uint64_t count, lap_reliability *r, double *x,
                    double *n) {
  double right = 0, claimed = 0, variance = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const double p = (double)positions[i].probability;
    right += positions[i].right;
    claimed += p;
    variance += p * (1 - p);
  }
  const double sign = right >= claimed ? 1 : -1;
  r->error += fabs(right - claimed);
  r->floor += sqrt(2 / M_PI * variance);
  r->right += right;
  r->claimed += claimed;
  for (uint64_t i = 0; i < count; ++i) {
    x[positions[i].document] += sign * (positions[i].right - (double)positions[i].probability);
    n[positions[i].document] += 1;
  }
}

/* Half of the interval. */
static double width_of(const lap_reliability *r, const double *x, const double *n,
                       uint32_t documents) {
  double squares = 0;
  if (r->documents < 2) return NAN;
  for (uint32_t d = 0; d < documents; ++d) {
    const double residual = x[d] - r->error * n[d];
    squares += residual * residual;
  }
  const double df = (double)r->documents - 1;
  return lap_student_quantile(0.975, df) * sqrt(squares * (df + 1) / df) / (double)r->count;
}

lap_reliability lap_reliability_of(lap_claim *positions, uint64_t count, uint32_t documents) {
  lap_reliability r = {.count = count};
  if (count == 0) {
    r.error = r.floor = r.low = r.high = r.right = r.claimed = NAN;
    return r;
  }
  double *x = lap_allocate(documents, sizeof *x), *n = lap_allocate(documents, sizeof *n);
  qsort(positions, count, sizeof *positions, compare);
  for (uint64_t bin = 0; bin < BINS; ++bin) {
    const uint64_t begin = count * bin / BINS, end = count * (bin + 1) / BINS;
    add_bin(positions + begin, end - begin, &r, x, n);
  }
  const double all = (double)count;
  r.error /= all, r.floor /= all, r.right /= all, r.claimed /= all;
  for (uint32_t d = 0; d < documents; ++d) r.documents += n[d] > 0;
  const double width = width_of(&r, x, n, documents);
  r.low = r.error > width ? r.error - width : 0;
  r.high = r.error + width;
  if (isnan(width)) r.low = r.high = NAN;
  free(x);
  free(n);
  return r;
}

/* --- the whole distribution --- */

void lap_full_calibration_add(lap_full_calibration *full, const float *probability,
                              const int32_t *ids, uint32_t k, int32_t token) {
  double mass[LAP_FULL_BINS] = {0};
  for (uint32_t i = 0; i < k; ++i) {
    if (ids[i] < 0) continue;
    const int bin = (int)(probability[i] * (float)LAP_FULL_BINS);
    const int b = bin < LAP_FULL_BINS ? bin : LAP_FULL_BINS - 1;
    mass[b] += (double)probability[i];
    full->right[b] += ids[i] == token;
  }
  for (int b = 0; b < LAP_FULL_BINS; ++b) {
    full->claimed[b] += mass[b];
    full->variance[b] += fmax(mass[b] * (1 - mass[b]), 0);
  }
  full->count += 1;
}

double lap_full_calibration_error(const lap_full_calibration *full) {
  double sum = 0;
  for (int b = 0; b < LAP_FULL_BINS; ++b) sum += fabs(full->right[b] - full->claimed[b]);
  return full->count ? sum / (double)full->count : NAN;
}

double lap_full_calibration_floor(const lap_full_calibration *full) {
  double sum = 0;
  for (int b = 0; b < LAP_FULL_BINS; ++b) sum += sqrt(2 / M_PI * full->variance[b]);
  return full->count ? sum / (double)full->count : NAN;
}
