/* gradient_sum: the gradients of all lanes, added in the fixed tree over lanes (mpi/tree/node.h);
 * each owner gets its ranges of the sum (docs/design.md#summation-tree).
 *
 * A step is: begin a round, say of each bucket when the lane's gradient of it is ready, end the
 * round; after the last round, finish. Buckets move while the caller computes: their messages run
 * on the communication thread, the additions in the calls made here.
 *
 * Block and cyclic lanes are summed in two ways, with the same bits; gradient_sum_block.h and
 * gradient_sum_cyclic.h say how, and what memory that takes.
 */
#ifndef LAP_MPI_COLLECTIVE_GRADIENT_SUM_H
#define LAP_MPI_COLLECTIVE_GRADIENT_SUM_H

#include <stdint.h>

#include "mpi/collective/mesh_groups.h"
#include "mpi/tree/partition.h"

typedef struct lap_gradient_sum lap_gradient_sum;

/* Not collective. `replicas` is the group of lap_group_of_replicas; the partition has as many
 * owners and must outlive the sum. `slots` [buckets], with cyclic lanes only: buckets of one slot
 * take turns in its memory (mpi/tree/bucket_slots.h) and must be opened; NULL: each bucket has its
 * own. Allocates all that a step needs. */
lap_gradient_sum *lap_gradient_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                          const lap_fold *fold, const lap_partition *partition,
                                          const int *slots);
void lap_gradient_sum_destroy(lap_gradient_sum *sum);
/* Bytes that create allocates. */
typedef struct {
  int64_t vectors;  /* of partial sums and the current lane */
  int64_t arriving; /* of receive buffers */
  int64_t checking; /* not by create but by check */
} lap_gradient_sum_size;
lap_gradient_sum_size lap_gradient_sum_bytes(const lap_mesh *mesh, const lap_fold *fold,
                                             const lap_partition *partition, const int *slots);

/* Not collective. From the next step on, a 64th of each sum over ranks, chosen by Philox, is added
 * again by another rank (sum_check.h). Each step must be numbered before its round 0, from 1. */
void lap_gradient_sum_check(lap_gradient_sum *sum, uint64_t seed);
void lap_gradient_sum_set_step(lap_gradient_sum *sum, uint64_t step);
/* Not collective; after the finish. LAP_OK, or the difference that this rank has found
 * (LAP_NONFINITE, mpi/transport/wrong.h). */
lap_code lap_gradient_sum_verdict(const lap_gradient_sum *sum, lap_status *status);

/* Collective over the group, as all below. Begins round 0, 1, ... of fold->rounds; also where this
 * rank has no lane in it. Returns where the lane's gradient of each bucket [buckets] is to be
 * accumulated: zeroed memory, valid until the end of the round; NULL where there is no lane. Waits
 * until what was sent in the round before has left that memory. */
float *const *lap_gradient_sum_begin(lap_gradient_sum *sum, int round);
/* Not collective. Opens a bucket that shares its slot, in which no other bucket may be open: its
 * memory is zeroed, and can be accumulated into until the bucket is ready. Waits until what was
 * there has left. Does nothing for other buckets, and where this rank has no lane. */
void lap_gradient_sum_open(lap_gradient_sum *sum, int bucket);
/* The lane's gradient of the bucket is ready and is not touched again. Each bucket at most once a
 * round, in the same order on all ranks and in all rounds of a step. */
void lap_gradient_sum_ready(lap_gradient_sum *sum, int bucket);
/* Ends the round: all other buckets are ready now, in increasing order. A rank without a lane need
 * not say which buckets are ready: it follows the order of the first round. */
void lap_gradient_sum_end(lap_gradient_sum *sum);

/* After the last round: completes the sum over all lanes of the ranges that this rank owns. */
void lap_gradient_sum_finish(lap_gradient_sum *sum);
/* Not collective; between the finish and the next round 0. The sum over this rank's range of the
 * bucket. */
float *lap_gradient_sum_owned(const lap_gradient_sum *sum, int bucket);
/* With block lanes: the bucket around that range, of which only the range is right; room to gather
 * the others into. */
float *lap_gradient_sum_whole(const lap_gradient_sum *sum, int bucket);

#endif
