/* block_weights: the weights that a pass over the model reads, block by block.
 *
 * Where every rank holds its shards' weights whole, a block's weights are where the state has them;
 * after an update the owners' ranges are gathered while the next pass computes, and entering a
 * block waits for its own only. With mesh.shard: full a rank holds what it owns; the embedding, the
 * final norm and copies of norms are gathered once after an update and stay; a layer is gathered
 * just in time, the next one while this one computes, into one of two slots.
 *
 * Where a state for training reads weights in bfloat16, gathers move these: an owner rounds its
 * range into its place among what passes read, and sends it from there. With mesh.shard: none every
 * rank rounds all, and nothing is gathered.
 *
 * The gathers are collective over the ranks that hold the same shards (state->group): all of them
 * go through the same blocks in the same order. A rank that has no lane or window in a round goes
 * through them without computing (lap_block_weights_join_pass).
 */
#ifndef LAP_TRAINER_STATE_BLOCK_WEIGHTS_H
#define LAP_TRAINER_STATE_BLOCK_WEIGHTS_H

#include <stdbool.h>

#include "trainer/state/state.h"

typedef struct lap_block_weights lap_block_weights;

/* Not collective. `state` outlives it. */
lap_block_weights *lap_block_weights_create(lap_state *state);
/* Waits for gathers that have begun, which all ranks have: NULL is fine. */
void lap_block_weights_destroy(lap_block_weights *weights);
/* What create allocates for gathered weights. */
void lap_block_weights_bytes(const lap_state *state, lap_memory_table *memory);

/* One pointer for each bucket of state->parameters; a bucket may be read from entering its block to
 * leaving it (the embedding's also in the last block). The first is NULL where passes read weights
 * in bfloat16, the second elsewhere. */
const float *const *lap_block_weights_buckets(const lap_block_weights *weights);
const uint16_t *const *lap_block_weights_bfloat16(const lap_block_weights *weights);

/* Collective. The state's weights have changed (an update, a load): what was gathered is no longer
 * valid, and new gathers start. `current` says that all float32 weights that are held here are
 * right already, and not just those that are owned (after a load, or where every rank makes all
 * updates). Not for weights alone in bfloat16. */
void lap_block_weights_changed(lap_block_weights *weights, bool current);

/* Not collective; between passes. The lanes that layers are gathered for from now on, for the
 * `mesh` table of mpi/traffic/traffic.h; at first none. Layers are gathered again, so that a lane's
 * gathers do not depend on the lane that ran before it. */
void lap_block_weights_set_lanes(lap_block_weights *weights, lap_lanes lanes);

/* Collective. Before the first and after the last step of a block in a pass: forward through blocks
 * 0 .. layers + 1, then backward. */
void lap_block_weights_enter(lap_block_weights *weights, int block, bool backward);

/* How often mesh.shard: full gathers each layer in one lane of `micro_batches`, forward and
 * backward together: times[1 .. layers]. */
void lap_block_weights_gatherings(int layers, int64_t micro_batches, uint64_t *times);

/* Whether ranks without work must take part in the passes of the others. */
bool lap_block_weights_need_everyone(const lap_block_weights *weights);
/* Collective. Goes through one forward pass of the others. */
void lap_block_weights_join_pass(lap_block_weights *weights);

/* Collective. Waits for all gathers: before anything else reads the state's weights. */
void lap_block_weights_wait_all(lap_block_weights *weights);

#endif
