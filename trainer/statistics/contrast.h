/* contrast: what arms differ by on new seeds and new documents, with its error.
 *
 * Every arm is trained with every seed and scored on every document: seeds and documents are
 * crossed. An arm's estimate is the sum of a quantity (nats) over the sum of its counts (tokens),
 * averaged over seeds; a contrast weighs the arms: 1 and -1 for the difference of two, a line's
 * weights for a break-even. Its variance is
 *
 *   V = V_seeds + max(0, V_documents - V_both)
 *
 * V_seeds and V_documents are those of the mean over seeds, and over documents in ratio form. Each
 * of them has the whole interaction of seeds and documents in it: V_both, which is taken out once.
 * Where that leaves nothing of V though documents differ, V is V_documents.
 * docs/statistics.md has the formulas, why they are these, and what they cover in simulation.
 *
 * Pure functions: no files, no globals. Nothing here fails; bad shapes assert.
 */
#ifndef LAP_TRAINER_STATISTICS_CONTRAST_H
#define LAP_TRAINER_STATISTICS_CONTRAST_H

#include <stdbool.h>
#include <stddef.h>

/* Sums by document, of one set of documents. */
typedef struct {
  size_t arms, seeds, documents; /* each at least 1; a document may be a cluster of them */
  const double *sums;            /* [arms, seeds, documents], e.g. nats */
  const double *counts;          /* [documents] >= 0, not all 0: e.g. tokens */
} lap_sums;

/* estimates [arms, seeds]: sum of sums over sum of counts. */
void lap_arm_estimates(const lap_sums *sums, double *estimates);

typedef struct {
  double estimate;
  double seed_variance;        /* V_seeds: the variance over seeds, divided by their number */
  double document_variance;    /* V_documents, as estimated */
  double interaction_variance; /* V_both */
  double variance;             /* V */
  double seed_df, document_df; /* degrees of freedom of V_seeds and V_documents */
  double df;                   /* of V: 1 / sum of share / df, with shares of V */
  double satterthwaite_df;     /* 1 / sum of share^2 / df, which is too many at three seeds */
} lap_contrast;

/* `weights` [arms]. `pooled`: V_seeds from the seed x arm residuals of all arms, with
 * (arms - 1)(seeds - 1) degrees of freedom, which takes arms to vary alike; the weights must then
 * add up to 0, and there must be 3 arms or more to gain by it. With one seed seed_variance,
 * variance and df are NAN; with one document document_variance is 0. */
void lap_contrast_make(const lap_sums *sums, const double *weights, bool pooled,
                       lap_contrast *contrast);

typedef struct {
  double low, high;
} lap_interval;

/* estimate -+ t sqrt(V); NAN where there is no variance. `confidence` in (0, 1). */
lap_interval lap_contrast_interval(const lap_contrast *contrast, double confidence);
/* The same from seed_variance and seed_df alone: for the documents at hand, not for new ones. */
lap_interval lap_contrast_seeds_interval(const lap_contrast *contrast, double confidence);

/* The two-sided p-value of `value`: 1 where V is 0 and the estimate is the value, 0 where V is 0
 * and it is not; NAN where there is no variance. */
double lap_contrast_p(const lap_contrast *contrast, double value);
/* The p-value of two one-sided tests: that the difference is `margin` > 0 or more in size. Small
 * where the arms are equivalent. */
double lap_contrast_equivalence_p(const lap_contrast *contrast, double margin);

#endif
