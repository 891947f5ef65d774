/* memorise: how much of a text a model can say by heart.
 *
 * A prompt is BOS and 50 tokens from within a document; the model continues it greedily by 50
 * tokens, and these are held against those that follow in the document (trainer/measure/prompts.h
 * says which). Text that the model has not seen says what is no memory: phrases that anybody would
 * continue so.
 */
#ifndef LAP_TRAINER_MEASURE_MEMORISE_H
#define LAP_TRAINER_MEASURE_MEMORISE_H

#include "autograd/gemma2/config.h"
#include "dataset/token_shard.h"

enum {
  LAP_MEMORISE_PROMPT = 50,
  LAP_MEMORISE_CONTINUATION = 50,
  LAP_MEMORISE_NEAR = 5, /* edits, a tenth: tokens inserted, left out or replaced */
};

typedef struct {
  uint64_t prompts;
  uint64_t exact; /* all tokens of the continuation */
  uint64_t near;  /* at most LAP_MEMORISE_NEAR edits; exact ones too */
} lap_memorised;

/* At most `prompts` of them. Not collective. LAP_DATA where the shards have no document of 100
 * tokens, LAP_NONFINITE where a logit is, LAP_STOPPED by core/stop.h. `weights` is the canonical
 * vector of gemma2/parameters.h. */
lap_code lap_memorise(const lap_gemma2_config *config, const float *weights,
                      const lap_token_set *set, uint64_t prompts, int64_t threads,
                      lap_memorised *memorised, lap_status *status);

/* Levenshtein's distance between two sequences of tokens. */
int64_t lap_edit_distance(const int32_t *a, int64_t a_count, const int32_t *b, int64_t b_count);

#endif
