/* lane_sum: sums in one fixed binary tree over logical coordinates, whatever the ranks
 * (docs/design.md#summation-tree).
 *
 * A node covers an aligned block [i 2^j, (i+1) 2^j) of leaves; its value is left + right, or left
 * alone where right is empty, or right alone where left is empty. The order of additions is
 * therefore a property of the leaves, never of who holds them:
 *
 *       lanes 0..4           0 1   2 3   4           ((0+1) + (2+3)) + 4
 *                             +     +    |
 *                             \--+--/    |
 *                                 \--+---/
 *
 * A rank merges what it holds with a binary counter (at most log2 of the lanes partial buffers),
 * and so does the owner of a piece with the subtree roots it receives: a left-to-right fold is
 * wrong for uneven ranges. MPI's own reductions change bits with rank count and message size and
 * are never used for floats.
 *
 * All sums of mpi/ are this tree: gradients over lanes (gradient_sum.h), norms over blocks
 * (block_sum.h), activations over model shards (shard_sum.h), and here a few doubles over lanes.
 */
#ifndef LAP_MPI_COLLECTIVE_LANE_SUM_H
#define LAP_MPI_COLLECTIVE_LANE_SUM_H

#include <stdbool.h>

#include "mpi/collective/mesh_groups.h"

/* Collective over `replicas` (lap_group_of_replicas). `mine` is [lanes held here][count] doubles,
 * in increasing order of lanes, as lap_fold_lanes has them; `sums`
 * [count] gets the tree sum over all lanes, the same bits on every rank of the group: and on every
 * rank of the job where ranks that hold other shards of a lane give the same values. */
void lap_lane_sum(const lap_group *replicas, const lap_mesh *mesh, const lap_fold *fold,
                  lap_lane_schedule schedule, const double *mine, int count, double *sums);

#endif
