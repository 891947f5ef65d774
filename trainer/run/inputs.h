/* inputs: all that a training run reads, opened, checked and bound together
 * (docs/design.md#identity). */
#ifndef LAP_TRAINER_RUN_INPUTS_H
#define LAP_TRAINER_RUN_INPUTS_H

#include "trainer/cli/session.h"
#include "trainer/config/config.h"
#include "trainer/config/numbers.h"
#include "trainer/step/batches.h"

typedef struct {
  lap_token_set train_tokens, eval_tokens; /* eval_tokens.count 0: none */
  lap_cache *train_cache, *eval_cache;     /* NULL: none */
  lap_smoothing *smoothing;                /* in the place of train_cache; NULL: none */
  lap_data train, eval;
  lap_order_source *sources; /* [config->data.train_count] of train */
  char tokenizer_sha256[LAP_SHA256_HEX];
  uint16_t *piece_bytes; /* [model.vocab_size] */
  uint64_t window_count, total_steps;
  lap_numbers *numbers; /* what decides the numbers, content hashes included */
} lap_inputs;

/* Collective; what computes products must be open (lap_session_open_gemm). Opens tokenizer, shards
 * and caches on every rank, settles the config's open ends (tail, warm-up, blas_core, which
 * checkpoint of a run directory init is) and makes the list of numbers; agrees on the outcome and
 * on the list's hash. */
lap_code lap_inputs_open(lap_config *config, const lap_session *session, lap_inputs *inputs,
                         lap_status *status);
void lap_inputs_close(lap_inputs *inputs);

/* Whether training has a teacher, or smoothing in its place. */
bool lap_inputs_taught(const lap_inputs *inputs);

#endif
