/* smoothing: a distribution over all ids that stands in the place of a teacher, the same at every
 * position (docs/design.md#objective): uniform is label smoothing, unigram smooths towards the
 * frequencies of the training tokens.
 */
#ifndef LAP_TRAINER_STEP_SMOOTHING_H
#define LAP_TRAINER_STEP_SMOOTHING_H

#include "dataset/token_shard.h"
#include "trainer/config/config.h"

typedef struct {
  int64_t vocab;
  int32_t *ids;       /* [vocab]: 0, 1, ..., or the most probable first */
  float *probability; /* [vocab]; of unigram 0 for ids that are never the next token */
  double entropy;     /* nats */
} lap_smoothing;

/* Of `vocab` ids; unigram counts what may come next in `tokens`: every token but BOS. NULL for
 * LAP_SMOOTHING_NONE. `most_probable_first`: by falling probability, equals by id, as a rule needs
 * whose head is the first slots; else in the order of ids. */
lap_smoothing *lap_smoothing_create(lap_smoothing_kind kind, const lap_token_set *tokens,
                                    int64_t vocab, bool most_probable_first);
/* What create would allocate and keep. */
int64_t lap_smoothing_bytes(lap_smoothing_kind kind, int64_t vocab);
void lap_smoothing_destroy(lap_smoothing *smoothing);

#endif
