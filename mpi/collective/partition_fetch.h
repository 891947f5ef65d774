/* partition_fetch: any ranges of a vector, from the ranks that own them; to hash, save and load
 * tensors that cross the boundaries of what ranks own.
 */
#ifndef LAP_MPI_COLLECTIVE_PARTITION_FETCH_H
#define LAP_MPI_COLLECTIVE_PARTITION_FETCH_H

#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

/* What this rank wants: ranges of the vector in increasing order that do not overlap; any may be
 * empty. Those of different ranks may overlap. */
typedef struct {
  const lap_range *ranges;
  int count;
  float *values; /* gets them, one after another */
} lap_fetch;

/* Collective over the group, whose ranks own the vector as the partition says; `owned` is this
 * rank's own array. Each rank knows only what it wants itself: that is exchanged first. */
void lap_partition_fetch(const lap_group *group, const lap_partition *partition, const float *owned,
                         lap_fetch wanted, lap_traffic_kind kind);

#endif
