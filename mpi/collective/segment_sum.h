/* segment_sum: one float64 value of each segment of the canonical vector, added in the fixed tree
 * over segments (mpi/tree/node.h), whichever rank owns which segment: norms.
 */
#ifndef LAP_MPI_COLLECTIVE_SEGMENT_SUM_H
#define LAP_MPI_COLLECTIVE_SEGMENT_SUM_H

#include "mpi/transport/communicator.h"
#include "mpi/tree/partition.h"

typedef struct lap_segment_sum lap_segment_sum;

/* Collective over all ranks. `ranges` [count], of elements of the canonical vector [elements], are
 * those whose segments this rank has, in increasing order and not overlapping; all ranks together
 * have each segment once. Allocates all that a sum needs. */
lap_segment_sum *lap_segment_sum_create(lap_comm *comm, int64_t elements, const lap_range *ranges,
                                        int count);
void lap_segment_sum_destroy(lap_segment_sum *sum);

/* Not collective. From now on counts sums in the `mesh` table (traffic.h) for the chips of these
 * lanes and of the shards that this rank holds: `partition` divides their vector, which begins at
 * `canonical_begin` in the canonical vector. At first nothing is counted. */
void lap_segment_sum_count(lap_segment_sum *sum, const lap_mesh *mesh, lap_lanes lanes,
                           const lap_partition *partition, int64_t canonical_begin);

/* Collective over all ranks. `partials` has one value for each segment of the ranges, in order; the
 * result has the same bits on every rank. */
double lap_segment_sum_run(lap_segment_sum *sum, const double *partials);

#endif
