/* sum_check: a 64th of the sum of the gradients, added again by another rank (private to mpi/).
 *
 * Of each owner's range of each bucket Philox chooses a window, by (seed, step, bucket, owner): a
 * 64th of its segments, rounded up or down at random so that it is a 64th in the long run, at a
 * random place. It also chooses which rank adds it again. The ranks that send an owner the values
 * of the window send them to its checker too, which adds them in the same tree and compares the
 * hash of its sum with that of the owner's.
 *
 * A rank keeps copies of what it sends to checkers, taken when the bucket is sent to its owners,
 * and sends them when the round is over. An adder that errs once in a step, anywhere, is found
 * after 64 such steps on the average.
 */
#ifndef LAP_MPI_COLLECTIVE_SUM_CHECK_H
#define LAP_MPI_COLLECTIVE_SUM_CHECK_H

#include "core/status.h"
#include "mpi/collective/merge_plan.h"
#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

typedef struct lap_sum_check lap_sum_check;

/* Not collective. For rounds as in `plans`; all that is given outlives the check. There is nothing
 * to check in a group of one rank: NULL. */
lap_sum_check *lap_sum_check_create(const lap_group *group, const lap_partition *partition,
                                    const lap_merge_plans *plans, uint64_t seed);
/* Where nothing is in flight, as it is between calls. */
void lap_sum_check_destroy(lap_sum_check *check);
/* What create allocates on rank `rank` of the group. */
int64_t lap_sum_check_bytes(const lap_partition *partition, const lap_merge_plans *plans, int rank);

/* All below do nothing where `check` is NULL. */

/* Not collective. The windows of a step (from 1), before its first round. */
void lap_sum_check_set_step(lap_sum_check *check, uint64_t step);
/* Collective over the group. Begins a round, and first ends the one before, whose copies travel. */
void lap_sum_check_begin(lap_sum_check *check, const lap_merge_plan *plan);
/* Not collective. Copies this rank's values of the windows of a bucket; `sources` [its values]
 * [buckets] are those of the chunks. Each bucket once a round. */
void lap_sum_check_copy(lap_sum_check *check, int bucket, const float *const *sources);
/* Collective over the group. Ends the last round; compares. `owned`: the sums that this rank owns;
 * the range of bucket b begins at `owned_offset`[b]. */
void lap_sum_check_finish(lap_sum_check *check, const float *owned, const int64_t *owned_offset);

/* Not collective. LAP_OK, or the first difference that this rank has found in the step that has
 * finished, as lap_wrong_arithmetic says it. */
lap_code lap_sum_check_verdict(const lap_sum_check *check, lap_status *status);

#endif
