/* fixture: small models and states of which every element is known, for the tests of
 * hashes and checkpoints.
 */
#ifndef LAP_TESTS_TRAINER_CHECKPOINT_FIXTURE_H
#define LAP_TESTS_TRAINER_CHECKPOINT_FIXTURE_H

#include "trainer/checkpoint/checkpoint.h"

/* "tiny": 13 blocks of 1024 elements, so that 16 ranks do not all own one. "small": an embedding of
 * two chunks, which pieces of several ranks cross. "wide": the embedding does not fit one piece.
 * "cut": four key-value heads, so that 2 and 4 shards can share it. */
lap_gemma2_config fixture_model(const char *name);
/* A config with the model "tiny", and a core of BLAS that no machine has. */
static const char fixture_config[] =
    "model: {vocab_size: 40, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 1,\n"
    "  num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, sliding_window: 8,\n"
    "  query_pre_attn_scalar: 8}\nblas_core: PRESCOTT\ntokenizer: tokenizer.model\n";

/* The value of an element of a tensor at a step, however the tensor is cut; never 0. */
float fixture_value(lap_state_kind kind, const char *name, int64_t element, uint64_t step);

/* How a state lies on the ranks; as many lanes as ranks. */
typedef struct {
  lap_sharding sharding;
  int model, model_ranks; /* 0: one shard; the fewest ranks */
  bool bfloat16;          /* of a run in bfloat16 */
} fixture_layout;
static const fixture_layout fixture_replicated = {LAP_SHARDING_NONE, 1, 0, false};
static const fixture_layout fixture_sharded = {LAP_SHARDING_OPTIMIZER, 1, 0, false};
static const fixture_layout fixture_full = {LAP_SHARDING_FULL, 1, 0, false};

/* Zeroed, and with everything held as fixture_value says, padding 0. */
lap_state *fixture_place(const char *model, lap_comm *comm, fixture_layout layout,
                         bool with_moments);
lap_state *fixture_state(const char *model, lap_comm *comm, fixture_layout layout, uint64_t step);
/* Makes everything held as it is at `step`. */
void fixture_fill(lap_state *state, uint64_t step);
/* Elements held, padding included, that are not as they should be at `step`. */
int64_t fixture_differences(const lap_state *state, uint64_t step);

/* state_sha256 by the letter of state/hash.h, in one process, from fixture_value. */
void fixture_sha256(const char *model, int shards, uint64_t step, char hex[LAP_SHA256_HEX]);

lap_numbers *fixture_numbers(void);

#endif
