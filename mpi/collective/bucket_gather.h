/* bucket_gather: all ranges of a bucket, from their owners to every rank of the group, while the
 * caller computes.
 */
#ifndef LAP_MPI_COLLECTIVE_BUCKET_GATHER_H
#define LAP_MPI_COLLECTIVE_BUCKET_GATHER_H

#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

typedef struct lap_bucket_gather lap_bucket_gather;

/* Not collective. A gather moves one bucket at a time; buckets that are in flight together need a
 * gather each. `element_size`: bytes of an element, the same on all ranks. The partition must
 * outlive it. */
lap_bucket_gather *lap_bucket_gather_create(const lap_group *replicas,
                                            const lap_partition *partition, size_t element_size);
void lap_bucket_gather_destroy(lap_bucket_gather *gather);

/* Not collective. From now on counts gathers in the `mesh` table (traffic.h) for the chips of these
 * lanes, which use the values: all lanes of this rank if a gather serves a whole step, the lane at
 * hand if it serves only that (mesh.shard: full). At first nothing is counted. */
void lap_bucket_gather_count(lap_bucket_gather *gather, const lap_mesh *mesh, lap_lanes lanes);

/* Collective over the group; all ranks start the same buckets in the same order. `owned` is this
 * rank's range of the bucket, and may lie in `values` where it belongs. `values` gets the whole
 * bucket. Both must stay as they are until the wait. */
void lap_bucket_gather_start(lap_bucket_gather *gather, int bucket, const void *owned, void *values,
                             lap_traffic_kind kind);
/* Returns at once where nothing was started since the last wait. */
void lap_bucket_gather_wait(lap_bucket_gather *gather);

#endif
