/* amendment: what one plan has that another has not.
 */
#ifndef LAP_TRAINER_ABLATE_AMENDMENT_H
#define LAP_TRAINER_ABLATE_AMENDMENT_H

#include <jansson.h>

/* What a plan changes of an older one, in words, and as lists: {"change", "arms", "seeds",
 * "compare"}; NULL where it promises the same. A new reference. */
json_t *lap_amendment_between(const json_t *older, const json_t *newer);

/* Marks as exploratory in `plan` what `first` does not have: arms, runs of other seeds,
 * comparisons. All comparisons are where a rule (endpoint, margin, confidence, sets, tune, teacher)
 * or the seeds are others, and where a comparison or an arm of `first` is gone, or the arm is
 * another one. */
void lap_amendment_mark(const json_t *first, json_t *plan);

#endif
