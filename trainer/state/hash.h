/* hash: state_sha256, one number for the whole state of a run, whatever the ranks
 * (docs/design.md#state-hash).
 *
 * SHA-256 over this text and these bytes, in this order:
 *   "lapidary-state 1\n"
 *   "step S\n" "applied_updates U\n"                       decimal
 *   for each tensor in byte order of names, for each model shard m (norms: shard 0 alone):
 *     "NAME shard M float32 ROWSxCOLUMNS\n"                of the shard's part; norms: "COLUMNS"
 *     for kind in weight, exp_avg, exp_avg_sq:
 *       for each chunk of 16384 elements (the last one shorter): its SHA-256, 32 bytes, over the
 *       elements as little-endian float32
 * The padding of the canonical vector is not part of it.
 */
#ifndef LAP_TRAINER_STATE_HASH_H
#define LAP_TRAINER_STATE_HASH_H

#include "core/hash.h"
#include "trainer/state/state.h"

enum { LAP_STATE_CHUNK = 16384 };

/* Collective. The same text on every rank. Needs the moments. */
void lap_state_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]);

/* The same in three parts, for a copy of a state that is hashed while steps go on: only the first
 * and the last are collective. `state` must stay as it is until compute has returned. */
typedef struct lap_state_digests lap_state_digests;
/* Collective. */
lap_state_digests *lap_state_digests_begin(const lap_state *state);
/* Not collective, from any thread; `parallel`: by all OpenMP threads. */
void lap_state_digests_compute(lap_state_digests *digests, bool parallel);
/* Collective by `comm`, which may be that of another thread (lap_comm_beside). Destroys. */
void lap_state_digests_finish(lap_state_digests *digests, lap_comm *comm, char hex[LAP_SHA256_HEX]);
/* Not collective. Without the result; NULL is fine. */
void lap_state_digests_destroy(lap_state_digests *digests);

/* Collective. The same over weights alone, with "lapidary-weights 1\n" for the first three lines:
 * which teacher wrote a cache, which weights a run began with. */
void lap_weights_sha256(const lap_state *state, char hex[LAP_SHA256_HEX]);

#endif
