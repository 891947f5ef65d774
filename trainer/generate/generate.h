/* generate: continuing a text, token by token, by chance or greedily.
 *
 * The draw of a token is a function of (seed, sample, position) through Philox: the same seed gives
 * the same text on the same machine, and sample 3 does not depend on how long sample 2 became.
 */
#ifndef LAP_TRAINER_GENERATE_GENERATE_H
#define LAP_TRAINER_GENERATE_GENERATE_H

#include <stdint.h>

#include "autograd/gemma2/decode.h"
#include "core/status.h"

/* How a token is chosen among its logits: temperature first, then top_k, then top_p of what is
 * left. */
typedef struct {
  double temperature; /* > 0: logits are divided by it; 0: the likeliest token, whatever the rest
                         says */
  int64_t top_k;      /* only the k likeliest; 0: all */
  double top_p; /* only the fewest likeliest that together have this share, at least one; 1: all */
  uint64_t seed;
} lap_sampling;

typedef struct lap_sampler lap_sampler;
/* A sampler among ids [0, vocab_size); it owns the memory for one choice at a time. */
lap_sampler *lap_sampler_create(const lap_sampling *sampling, int64_t vocab_size);
void lap_sampler_destroy(lap_sampler *sampler);

/* Chooses *token from `logits` [vocab_size] for `position` of sequence `sample`. Of equal logits
 * the smaller id is the likelier. LAP_NONFINITE where a logit is NaN or infinite. */
lap_code lap_sampler_choose(lap_sampler *sampler, const float *logits, uint64_t sample,
                            uint64_t position, int32_t *token, lap_status *status);

typedef enum {
  LAP_FINISH_EOS, /* or with another id that ends a text */
  LAP_FINISH_MAX_TOKENS,
  LAP_FINISH_MAX_POSITIONS, /* the decoder has no room for another token */
} lap_finish;
/* "eos", "max_tokens", "max_position_embeddings" */
const char *lap_finish_name(lap_finish finish);

typedef struct {
  int32_t *tokens; /* [count], without what ended it; owned by the caller, who frees it */
  int64_t count;
  lap_finish finish;
  double prefill_seconds; /* of the prompt */
  int64_t decode_steps;   /* tokens that were fed back, and what they took, choosing included */
  double decode_seconds;
} lap_generation;

/* Called for each token as it is chosen; a failure ends the generation with it. */
typedef lap_code (*lap_token_callback)(void *context, int32_t token, lap_status *status);

typedef struct {
  const int32_t *prompt; /* [prompt_count], at least one */
  int64_t prompt_count, max_tokens;
  uint64_t sample;
  const int32_t *ends; /* [end_count]: ids that end the text as EOS does */
  int64_t end_count;
  lap_token_callback callback; /* NULL: none */
  void *context;               /* of the callback */
} lap_generate_request;

/* Forgets what the decoder has seen, reads the prompt and generates up to max_tokens tokens or what
 * ends the text.
 * The decoder has room for the prompt; the last token needs none. On failure *generation holds the
 * tokens that came before it, to be freed all the same. */
lap_code lap_generate(lap_decoder *decoder, lap_sampler *sampler,
                      const lap_generate_request *request, lap_generation *generation,
                      lap_status *status);

#endif
