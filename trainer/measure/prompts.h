/* prompts: the places of a text at which a model is asked to go on.
 *
 * A stretch is that many tokens of one document that follow each other, without BOS and EOS.
 * Stretches are taken at equal distances over all places of the shards where one begins, so that
 * the same shards give the same ones.
 */
#ifndef LAP_TRAINER_MEASURE_PROMPTS_H
#define LAP_TRAINER_MEASURE_PROMPTS_H

#include "dataset/token_shard.h"

typedef struct {
  const uint32_t *tokens; /* [stretch] */
  size_t shard;           /* of the set */
  uint64_t row;           /* of the stream, of the first token */
  uint64_t index;         /* from 0 */
} lap_prompt;

typedef lap_code (*lap_prompt_visitor)(void *context, const lap_prompt *prompt, lap_status *status);

/* Calls `visit` for at most `count` stretches, in their order; a failure of it ends the visit. Not
 * collective. LAP_DATA where no document is so long. */
lap_code lap_prompts_visit(const lap_token_set *set, uint64_t stretch, uint64_t count,
                           lap_prompt_visitor visit, void *context, lap_status *status);

#endif
