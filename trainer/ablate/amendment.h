/* amendment: what one plan has that another has not.
 */
#ifndef LAP_TRAINER_ABLATE_AMENDMENT_H
#define LAP_TRAINER_ABLATE_AMENDMENT_H

#include <jansson.h>

/* What a plan changes of an older one, in words, and as lists: {"change", "arms", "seeds",
 * "compare"}; NULL where it promises the same. A new reference. */
json_t *lap_amendment_between(const json_t *older, const json_t *newer);

/* Marks in `plan` what `first` does not have as exploratory. */
void lap_amendment_mark(const json_t *first, json_t *plan);

#endif
