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

typedef struct {
  uint64_t begin, end; /* of the sorted positions */
  double right, claimed, variance;
} bin_sums;

/* How much of the positions [begin, end) is in the bin: 0 to 1. */
static double share_of(const bin_sums *bin, uint64_t begin, uint64_t end) {
  const uint64_t from = begin > bin->begin ? begin : bin->begin;
  const uint64_t to = end < bin->end ? end : bin->end;
  return to > from ? (double)(to - from) / (double)(end - begin) : 0;
}

static uint64_t end_of_equal(const lap_claim *positions, uint64_t count, uint64_t begin) {
  uint64_t end = begin + 1;
  while (end < count && positions[end].probability == positions[begin].probability) ++end;
  return end;
}

/* Positions [begin, end), of one probability, into the bins that they are in. Where that are
 * several, each has the right ones in proportion, which vary less than its own would. */
static void add_equal(const lap_claim *positions, uint64_t begin, uint64_t end, bin_sums *bins) {
  uint64_t right = 0;
  for (uint64_t i = begin; i < end; ++i) right += positions[i].right;
  const double p = (double)positions[begin].probability;
  for (int b = 0; b < BINS; ++b) {
    const double share = share_of(&bins[b], begin, end);
    if (share == 0) continue;
    const uint64_t from = begin > bins[b].begin ? begin : bins[b].begin;
    const uint64_t to = end < bins[b].end ? end : bins[b].end;
    bins[b].right += (double)right * share;
    for (uint64_t i = from; i < to; ++i) {
      bins[b].claimed += p;
      bins[b].variance += p * (1 - p) * share;
    }
  }
}

/* The same positions to their documents: what each adds to the error, and one position. */
static void add_to_documents(const lap_claim *positions, uint64_t begin, uint64_t end,
                             const bin_sums *bins, double *x, double *n) {
  double sign = 0;
  for (int b = 0; b < BINS; ++b)
    sign += (bins[b].right >= bins[b].claimed ? 1 : -1) * share_of(&bins[b], begin, end);
  for (uint64_t i = begin; i < end; ++i) {
    x[positions[i].document] += sign * (positions[i].right - (double)positions[i].probability);
    n[positions[i].document] += 1;
  }
}

/* Sums of all sorted positions; x and n [documents] are of the documents. */
static void add_positions(const lap_claim *positions, lap_reliability *r, double *x, double *n) {
  const uint64_t count = r->count;
  bin_sums bins[BINS] = {{0}};
  for (uint64_t b = 0; b < BINS; ++b)
    bins[b].begin = count * b / BINS, bins[b].end = count * (b + 1) / BINS;
  for (uint64_t begin = 0, end; begin < count; begin = end)
    add_equal(positions, begin, end = end_of_equal(positions, count, begin), bins);
  for (uint64_t begin = 0, end; begin < count; begin = end)
    add_to_documents(positions, begin, end = end_of_equal(positions, count, begin), bins, x, n);
  for (int b = 0; b < BINS; ++b) {
    r->error += fabs(bins[b].right - bins[b].claimed);
    r->floor += sqrt(2 / M_PI * bins[b].variance);
    r->claimed += bins[b].claimed;
  }
  for (uint64_t i = 0; i < count; ++i) r->right += positions[i].right;
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
  add_positions(positions, &r, x, n);
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
