/* gradient_sum: the gradients of all lanes, added in the fixed tree over lanes, each owner getting
 * its ranges of the sum (docs/design.md#summation-tree; mpi/collective/lane_sum.h describes the
 * tree).
 *
 * A step is: begin a lane, tell of each bucket when the lane's gradient of it is whole, end the
 * lane; after the last lane, finish. Buckets travel while the caller computes: their messages run
 * on the communication thread, the additions in the calls made here.
 *
 * Two ways with the same bits:
 * - block lanes (mesh.shard: none, optimizer): this rank has neighbouring lanes, keeps their
 *   partial sums over the whole vector in a binary counter (about 2 log2 of its lanes), and sends
 *   its subtree roots to the owners while the backward pass of its last lane is still going on.
 * - cyclic lanes (gradients, full): in each round the pieces of the lanes' buckets go to their
 *   owners, who push them in lane order into counters of their own ranges only: 1/Q of about
 *   log2(L) vectors, and one for the lane at hand. Where the lane's buckets become whole one after
 *   the other, they may share memory: then that vector is no longer than what is open.
 */
#ifndef LAP_MPI_COLLECTIVE_GRADIENT_SUM_H
#define LAP_MPI_COLLECTIVE_GRADIENT_SUM_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/collective/mesh_groups.h"
#include "mpi/tree/partition.h"

typedef struct lap_gradient_sum lap_gradient_sum;

/* `replicas` is the group of lap_group_of_replicas; the partition has as many owners
 * and must outlive the sum. `places` [buckets], of cyclic lanes: buckets with the same number,
 * below `buckets`, share the memory of the lane at hand, and must be opened; NULL: each has its own.
 * Allocates all that a step needs. */
lap_gradient_sum *lap_gradient_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                          const lap_fold *fold, const lap_partition *partition,
                                          lap_lane_schedule schedule, const int *places);
void lap_gradient_sum_destroy(lap_gradient_sum *sum);
/* Bytes that create allocates. */
typedef struct {
  int64_t vectors;  /* of partial sums and the lane at hand */
  int64_t arriving; /* of receive buffers */
} lap_gradient_sum_size;
lap_gradient_sum_size lap_gradient_sum_bytes(const lap_mesh *mesh, const lap_fold *fold,
                                             const lap_partition *partition,
                                             lap_lane_schedule schedule, const int *places);

/* Rounds of a step, the same on every rank, and the lane of this rank in one of them; -1: none in
 * that round (it must still be begun and ended). Block lanes: rounds are the lanes of the fullest
 * replica, and the lane-less ones come last. */
int lap_gradient_sum_rounds(const lap_gradient_sum *sum);
int lap_gradient_sum_lane(const lap_gradient_sum *sum, int round);

/* Collective over the group, as all below. Begins round 0, 1, ... of a step: zeroed vectors, one
 * for each bucket [buckets], to accumulate the lane's gradient into, valid until the end. NULL
 * where this rank has no lane. Waits for what of the round before still has to leave them. */
float *const *lap_gradient_sum_begin(lap_gradient_sum *sum, int round);
/* Not collective. The vector of a bucket that shares its memory is zeroed, and no other in its
 * place is open: from here until it is told of it can be accumulated into. Waits for what has to
 * leave the place. Does nothing for other buckets, and where this rank has no lane. */
void lap_gradient_sum_open(lap_gradient_sum *sum, int bucket);
/* The lane's gradient of the bucket is whole and is not touched again. Each bucket at most once a
 * round, in the same order on all ranks and in all rounds of a step. */
void lap_gradient_sum_bucket(lap_gradient_sum *sum, int bucket);
/* Ends the round: what was not told of is whole now, in bucket order; where this rank has no lane
 * it follows the order of the first round. */
void lap_gradient_sum_end(lap_gradient_sum *sum);

/* After the last round: the sum over all lanes of what this rank owns is there. */
void lap_gradient_sum_finish(lap_gradient_sum *sum);
/* Not collective; from the finish to the next round 0. Where the sum of this rank's range of the
 * bucket lies. Block lanes: there is room for all of the bucket around it, at `whole`, for who
 * gathers the other ranges. */
float *lap_gradient_sum_owned(const lap_gradient_sum *sum, int bucket);
float *lap_gradient_sum_whole(const lap_gradient_sum *sum, int bucket);

#endif
