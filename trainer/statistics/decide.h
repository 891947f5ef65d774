/* decide: from p-values to verdicts, for all comparisons of a plan together.
 */
#ifndef LAP_TRAINER_STATISTICS_DECIDE_H
#define LAP_TRAINER_STATISTICS_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/statistics/contrast.h"

/* adjusted [count]: Holm's p-values, which are significant at a level where Holm's procedure
 * rejects at it. A NAN is not a test: it stays NAN, and counts among the `count` all the same,
 * since it was planned. */
void lap_holm(const double *p, size_t count, double *adjusted);

/* The confidence of each of `count` intervals that hold together with `confidence` (Bonferroni). */
double lap_simultaneous_confidence(double confidence, size_t count);

typedef enum {
  LAP_VERDICT_NONE, /* runs are missing, or have diverged */
  LAP_BETTER,       /* the arm's loss is lower than its baseline's */
  LAP_WORSE,
  LAP_EQUIVALENT, /* within the margin, by two one-sided tests */
  LAP_UNDECIDED,
  LAP_SAME_BITS, /* every seed ends in the same state, or scores every document alike */
} lap_verdict;

/* "none", "better", "worse", "equivalent", "undecided", "same bits". */
const char *lap_verdict_name(lap_verdict verdict);

/* Whether two arms of `sums` score every document alike with every seed, bit by bit. */
bool lap_same_sums(const lap_sums *sums, size_t arm, size_t baseline);

typedef struct {
  lap_contrast contrast; /* arm minus baseline */
  bool complete;         /* every planned run is there and finite */
  bool same_bits;
  double p, adjusted_p;                         /* of no difference; Holm's */
  double equivalence_p, adjusted_equivalence_p; /* of a difference beyond the margin */
  lap_verdict verdict;
} lap_comparison;

/* Fills what follows `same_bits` of each comparison. `margin` <= 0: there is none, and nothing is
 * called equivalent; nor is it where there is no variance. Where a difference is certain and within
 * the margin, its direction is the verdict. */
void lap_decide(lap_comparison *comparisons, size_t count, double confidence, double margin);

#endif
