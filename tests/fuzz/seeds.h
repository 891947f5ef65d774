/* seeds: the tokens that the seeds of teacher caches are for, and with which the harness opens
 * them.
 */
#ifndef LAP_TESTS_FUZZ_SEEDS_H
#define LAP_TESTS_FUZZ_SEEDS_H

#include "dataset/token_shard.h"

enum { SEED_TOKENS = 24, SEED_VOCABULARY = 40, SEED_K = 4, SEED_LENGTH = 9 };

/* Two documents; not to be closed, it lives as long as the process. */
lap_token_shard *seed_shard(void);

#endif
