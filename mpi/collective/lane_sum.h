/* lane_sum: a few float64 values of each lane (losses, counts), added in the fixed tree over lanes
 * (mpi/tree/node.h).
 *
 * Every rank sends the values of its subtree roots to every other rank of the group, and all add
 * them alike.
 */
#ifndef LAP_MPI_COLLECTIVE_LANE_SUM_H
#define LAP_MPI_COLLECTIVE_LANE_SUM_H

#include "mpi/collective/mesh_groups.h"

typedef struct lap_lane_sum lap_lane_sum;

/* Not collective. For `count` values a lane; `replicas` is the group of lap_group_of_replicas.
 * Allocates all that a sum needs. */
lap_lane_sum *lap_lane_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                  const lap_fold *fold, int count);
void lap_lane_sum_destroy(lap_lane_sum *sum);

/* Collective over the group. `mine` [fold->lanes.count][count] are the values of the lanes of this
 * rank, in order; `sums` [count] gets the sum over all lanes, the same bits on every rank of the
 * group: and on every rank of the job if the ranks of a replica pass the same values. */
void lap_lane_sum_run(lap_lane_sum *sum, const double *mine, double *sums);

#endif
