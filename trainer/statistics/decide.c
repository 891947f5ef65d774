#include "trainer/statistics/decide.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static int order_of_values(const void *a, const void *b) {
  const double *const *x = a, *const *y = b;
  if (**x != **y) return **x < **y ? -1 : 1;
  return *x < *y ? -1 : *x > *y;
}

void lap_holm(const double *p, size_t count, double *adjusted) {
  const double **sorted = lap_allocate((int64_t)count, sizeof *sorted);
  size_t tests = 0;
  for (size_t i = 0; i < count; ++i) {
    adjusted[i] = p[i];
    if (!isnan(p[i])) sorted[tests++] = &p[i];
  }
  qsort(sorted, tests, sizeof *sorted, order_of_values);
  double largest = 0;
  for (size_t i = 0; i < tests; ++i) {
    largest = fmax(largest, fmin(1, (double)(count - i) * *sorted[i]));
    adjusted[sorted[i] - p] = largest;
  }
  free(sorted);
}

double lap_simultaneous_confidence(double confidence, size_t count) {
  return count > 1 ? 1 - (1 - confidence) / (double)count : confidence;
}

const char *lap_verdict_name(lap_verdict verdict) {
  static const char *const names[] = {"none",       "better",    "worse",
                                      "equivalent", "undecided", "same bits"};
  assert((size_t)verdict < sizeof names / sizeof *names);
  return names[verdict];
}

bool lap_same_sums(const lap_sums *sums, size_t arm, size_t baseline) {
  const size_t cells = sums->seeds * sums->documents;
  return memcmp(sums->sums + arm * cells, sums->sums + baseline * cells,
                cells * sizeof *sums->sums) == 0;
}

static lap_verdict verdict_of(const lap_comparison *c, double level) {
  if (!c->complete) return LAP_VERDICT_NONE;
  if (c->same_bits) return LAP_SAME_BITS;
  if (c->adjusted_p <= level) return c->contrast.estimate < 0 ? LAP_BETTER : LAP_WORSE;
  if (c->adjusted_equivalence_p <= level) return LAP_EQUIVALENT;
  return LAP_UNDECIDED; /* also where one seed says nothing: both p-values are NAN */
}

void lap_decide(lap_comparison *comparisons, size_t count, double confidence, double margin) {
  double *p = lap_allocate((int64_t)count * 4, sizeof *p);
  double *equal = p + count, *adjusted = equal + count, *adjusted_equal = adjusted + count;
  for (size_t i = 0; i < count; ++i) {
    const lap_comparison *c = &comparisons[i];
    const bool tested = c->complete && !c->same_bits;
    p[i] = tested ? lap_contrast_p(&c->contrast, 0) : NAN;
    /* Arms that get all items right alike leave nothing to judge a difference by. */
    const bool varies = c->contrast.variance > 0;
    equal[i] =
        tested && varies && margin > 0 ? lap_contrast_equivalence_p(&c->contrast, margin) : NAN;
  }
  lap_holm(p, count, adjusted);
  lap_holm(equal, count, adjusted_equal);
  for (size_t i = 0; i < count; ++i) {
    lap_comparison *c = &comparisons[i];
    c->p = p[i];
    c->adjusted_p = adjusted[i];
    c->equivalence_p = equal[i];
    c->adjusted_equivalence_p = adjusted_equal[i];
    c->verdict = verdict_of(c, 1 - confidence);
  }
  free(p);
}
