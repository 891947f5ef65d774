/* holdout: which documents (or blocks of them) become eval.
 *
 * Every text has a random key, a function of (seed, its content). Texts are taken in the order of
 * their keys until the wanted share of the bytes is held out; one that would go too far is passed
 * over. So the choice depends neither on the order of files nor on their number, and equal texts
 * are always on the same side: train and eval share no text.
 */
#ifndef LAP_DATASET_HOLDOUT_H
#define LAP_DATASET_HOLDOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct {
  uint64_t key, bytes;
} lap_holdout_text;

/* Zero-initialise with the seed. 16 bytes of memory a text. */
typedef struct {
  uint64_t seed;
  lap_holdout_text *texts; /* after choose: those held out, by key */
  size_t count, capacity;
  uint64_t bytes; /* of all texts added */
} lap_holdout;

void lap_holdout_add(lap_holdout *holdout, const char *text, size_t bytes);

/* Ends the adding and holds out texts with about `fraction` (above 0, below 1) of the bytes, at
 * least one and not all. LAP_USAGE where there are not two different texts. */
lap_code lap_holdout_choose(lap_holdout *holdout, double fraction, lap_status *status);

bool lap_holdout_has(const lap_holdout *holdout, const char *text, size_t bytes);

/* Forgets all texts, so that others can be added. */
void lap_holdout_release(lap_holdout *holdout);

#endif
