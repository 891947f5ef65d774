/* block_sum: a float64 for each block of 1024 elements of the canonical vector, added in the fixed
 * tree over block indices, whoever owns which block (docs/design.md#summation-tree): norms.
 */
#ifndef LAP_MPI_COLLECTIVE_BLOCK_SUM_H
#define LAP_MPI_COLLECTIVE_BLOCK_SUM_H

#include "mpi/transport/communicator.h"
#include "mpi/tree/partition.h"

typedef struct lap_block_sum lap_block_sum;

/* Collective over all ranks. `ranges` [count] are the elements of the canonical vector [elements]
 * whose blocks this rank has, in increasing order and not overlapping; all ranks together have each
 * block once. Allocates all that a sum needs. */
lap_block_sum *lap_block_sum_create(lap_comm *comm, int64_t elements, const lap_range *ranges,
                                    int count);
void lap_block_sum_destroy(lap_block_sum *sum);

/* Not collective. Counts sums from now on in the `mesh` table (traffic.h): for the chips of these
 * lanes and of the shards whose vector `partition` cuts, which begins at `canonical_begin` in the
 * canonical vector. At first nothing is counted. */
void lap_block_sum_count(lap_block_sum *sum, const lap_mesh *mesh, lap_lanes lanes,
                         const lap_partition *partition, int64_t canonical_begin);

/* Collective over all ranks. `partials` has one value for each block of the ranges, in order; the
 * result has the same bits on every rank. */
double lap_block_sum_run(lap_block_sum *sum, const double *partials);

#endif
