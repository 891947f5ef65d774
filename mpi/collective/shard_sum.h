/* shard_sum: partial results of model shards, added in the fixed tree over shards
 * (docs/design.md#summation-tree); what stands behind autograd/op/shard_group.h.
 *
 * Shards of one rank are merged where they are; the roots of what ranks hold go to the owner of
 * each stretch of the vector, who adds them and sends the sum to all: 2 n (R-1)/R elements a rank,
 * where R ranks share the shards evenly and each holds one whole subtree.
 */
#ifndef LAP_MPI_COLLECTIVE_SHARD_SUM_H
#define LAP_MPI_COLLECTIVE_SHARD_SUM_H

#include <stdint.h>

#include "autograd/op/shard_group.h"
#include "mpi/collective/mesh_groups.h"

typedef struct lap_shard_sum lap_shard_sum;

/* `shards` is the group of lap_group_of_shards. */
lap_shard_sum *lap_shard_sum_create(const lap_group *shards, const lap_mesh *mesh,
                                    const lap_fold *fold);
void lap_shard_sum_destroy(lap_shard_sum *sum);
/* Bytes that its receive buffer grows to with sums of at most `elements` floats. */
int64_t lap_shard_sum_bytes(const lap_mesh *mesh, const lap_fold *fold, int64_t elements);

/* The functions that the float autograd calls; `context` is the sum. */
lap_shard_group lap_shard_sum_group(lap_shard_sum *sum);

/* Collective over the group. Which flags, one a bit, are set on any of its ranks: what processes
 * tell each other, not chips; a byte of scalars that are sent, and not in the `mesh` table. */
uint8_t lap_shard_sum_any(lap_shard_sum *sum, uint8_t flags);

/* Collective over the group: rows of parts, brought together on its first rank (`all` [M][elements]
 * there, in shard order; elsewhere not looked at); for logits of teach and eval. `parts` [S]
 * [elements]. */
void lap_shard_sum_collect(lap_shard_sum *sum, const float *parts, int64_t elements, float *all);

#endif
