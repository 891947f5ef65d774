/* partition_fetch: ranges of a vector from their owners, wherever they are; to hash, save and load
 * tensors whose chunks cross ownership boundaries.
 */
#ifndef LAP_MPI_COLLECTIVE_PARTITION_FETCH_H
#define LAP_MPI_COLLECTIVE_PARTITION_FETCH_H

#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

/* Collective over the group, whose ranks own the vector as the partition says. `owned` is this
 * rank's own array; `wanted` [count] are ranges of the vector in increasing order that do not
 * overlap, known to this rank only (they are exchanged first); those of different ranks may
 * overlap, and any may be empty. `values` gets them one behind another. */
void lap_partition_fetch(const lap_group *group, const lap_partition *partition, const float *owned,
                         const lap_range *wanted, int count, float *values, lap_traffic_kind kind);

#endif
