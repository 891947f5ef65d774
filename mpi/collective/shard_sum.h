/* shard_sum: partial results of model shards, added in the fixed tree over shards
 * (mpi/tree/node.h); implements autograd/op/shard_group.h for shards on several ranks.
 *
 * A rank first adds the shards that it holds. Each rank owns a range of the vector: it receives the
 * values of the other ranks' subtree roots for that range, adds them and sends the sum to all. That
 * is 2 n (R-1)/R elements a rank for n elements if R ranks each hold one whole subtree.
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

/* Collective over the group. The flags, one a bit, that are set on any of its ranks. Ranks tell
 * each other this, not chips: it is a byte of scalars in the `sent` table, and not in the `mesh`
 * table. */
uint8_t lap_shard_sum_any(lap_shard_sum *sum, uint8_t flags);

/* Collective over the group. The parts of all shards on its first rank, for logits of teach and
 * eval: `parts` [shards held here][elements]; `all` [model shards][elements] in shard order, not
 * looked at on other ranks. */
void lap_shard_sum_collect(lap_shard_sum *sum, const float *parts, int64_t elements, float *all);

#endif
