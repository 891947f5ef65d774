/* state_hash: state_sha256, one number for the whole state of a run, whatever the ranks (DESIGN 2).
 *
 * SHA-256 over this text and these bytes, in this order:
 *   "lapidary-state 1\n"
 *   "step S\n" "applied_updates U\n"                       decimal
 *   for each tensor in byte order of names, for each model shard m:
 *     "NAME shard M float32 ROWSxCOLUMNS\n"                norms: "COLUMNS"
 *     for kind in weight, exp_avg, exp_avg_sq:
 *       for each chunk of 16384 elements (the last one shorter): its SHA-256, 32 bytes, over the
 *       elements as little-endian float32
 * The padding of the canonical vector is not part of it.
 */
#ifndef LAP_TRAINER_STATE_HASH_H
#define LAP_TRAINER_STATE_HASH_H

#include "autograd/core/hash.h"
#include "trainer/state.h"

enum { LAP_STATE_CHUNK = 16384 };

/* Collective. The same text on every rank. Needs the moments. */
void lap_state_sha256(const lap_state *state, lap_comm *comm, char hex[LAP_SHA256_HEX]);

#endif
