/* checkpoint_fixture: small models and states of which every element is known, for the tests of
 * hashes and checkpoints.
 */
#ifndef LAP_TESTS_TRAINER_CHECKPOINT_FIXTURE_H
#define LAP_TESTS_TRAINER_CHECKPOINT_FIXTURE_H

#include "trainer/checkpoint.h"

/* "tiny": 13 blocks of 1024 elements, so that 16 ranks do not all own one. "small": an embedding of
 * two chunks, which pieces of several ranks cross. "wide": the embedding does not fit one piece. */
lap_gemma2_config fixture_model(const char *name);

/* What an element is at a step; never 0. */
float fixture_value(lap_state_kind kind, int64_t index, uint64_t step);

/* A state in which everything held is as fixture_value says, padding 0. */
lap_state *fixture_state(const char *model, lap_comm *comm, bool replicated, uint64_t step);
/* Makes everything held as it is at `step`. */
void fixture_fill(lap_state *state, uint64_t step);
/* Elements held, padding included, that are not as they should be at `step`. */
int64_t fixture_differences(const lap_state *state, uint64_t step);

/* state_sha256 by the letter of state_hash.h, in one process, from fixture_value. */
void fixture_sha256(const char *model, uint64_t step, char hex[LAP_SHA256_HEX]);

lap_numbers *fixture_numbers(void);

#endif
