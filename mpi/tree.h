/* tree: sums in one fixed binary tree over logical coordinates, whatever the ranks (DESIGN 2).
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
 */
#ifndef LAP_MPI_TREE_H
#define LAP_MPI_TREE_H

#include <stdint.h>

#include "mpi/communicator.h"
#include "mpi/mesh.h"
#include "mpi/partition.h"

/* The binary counter over vectors of `elements` floats: one per rank, for gradients. */
typedef struct lap_lane_sum lap_lane_sum;

/* For this rank's lanes; allocates all that a step will need, also for lap_tree_reduce_scatter. */
lap_lane_sum *lap_lane_sum_create(const lap_mesh *mesh, const lap_fold *fold, int64_t elements);
void lap_lane_sum_destroy(lap_lane_sum *sum);
/* Starts a step: nothing held. */
void lap_lane_sum_reset(lap_lane_sum *sum);
/* A zeroed vector [elements] to accumulate the lane's gradient into, valid until the matching end.
 * Every lane of the fold comes once a step, in increasing order. */
float *lap_lane_sum_begin(lap_lane_sum *sum, int lane);
/* Merges the lane into the counter (OpenMP over fixed chunks). */
void lap_lane_sum_end(lap_lane_sum *sum);
/* Bytes of all its vectors and receive buffers, for `plan`. */
int64_t lap_lane_sum_bytes(const lap_mesh *mesh, const lap_fold *fold, int64_t elements);

/* Collective; all lanes of the fold have ended. Sum over all lanes of this rank's piece
 * [lap_owned_begin, lap_owned_end) of the vector, into `piece`. Pairwise exchange in chunks, so
 * that memory is bounded, while the caller's OpenMP threads add the chunk before; n (P-1)/P
 * elements sent by each rank where every rank holds one whole subtree. `sum` keeps its values. */
void lap_tree_reduce_scatter(lap_comm *comm, const lap_lane_sum *sum, float *piece);

/* Collective. Sum over all lanes of the whole vector, on every rank: reduce-scatter, then gather.
 */
void lap_tree_reduce(lap_comm *comm, const lap_lane_sum *sum, float *vector);

/* Collective. `elements` is a multiple of 1024. Every rank has its owned piece in place inside
 * `vector`; afterwards all have all of it. */
void lap_tree_gather(lap_comm *comm, float *vector, int64_t elements, lap_traffic_kind kind);

/* Collective. `fold` is that of lap_mesh_fold for this rank. `mine` is [lanes held here][count]
 * doubles; `sums` [count] gets the tree sum over all lanes, the same bits on every rank. */
void lap_tree_sum_lanes(lap_comm *comm, const lap_mesh *mesh, const lap_fold *fold,
                        const double *mine, int count, double *sums);

/* Collective. `partials` has one double for each block of 1024 elements this rank owns; returns the
 * tree sum over block index, the same bits on every rank. Leaves are all blocks of the vector. */
double lap_tree_sum_blocks(lap_comm *comm, int64_t elements, const double *partials);

#endif
