/* bucket_gather: what owners hold of a bucket, brought together on every rank of the group, while
 * the caller computes.
 */
#ifndef LAP_MPI_COLLECTIVE_BUCKET_GATHER_H
#define LAP_MPI_COLLECTIVE_BUCKET_GATHER_H

#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

typedef struct lap_bucket_gather lap_bucket_gather;

/* For one bucket at a time: as many of them as buckets are on their way at once. The partition must
 * outlive it. */
lap_bucket_gather *lap_bucket_gather_create(const lap_group *replicas,
                                            const lap_partition *partition);
void lap_bucket_gather_destroy(lap_bucket_gather *gather);

/* Whose chips the gathers from now on are counted for in the `mesh` table (traffic.h): the lanes
 * that use the values, which are all of this rank's (lap_fold_lanes) where a gather serves a whole
 * step, and the lane at hand where it serves that (mesh.shard: full). At first: none. */
void lap_bucket_gather_count(lap_bucket_gather *gather, const lap_mesh *mesh, lap_lanes lanes);

/* Collective over the group; all ranks start the same buckets in the same order. `owned` is this
 * rank's range of the bucket; it may be the place in `values` where it belongs. `values` gets the
 * whole bucket. Both must stay until the wait. */
void lap_bucket_gather_start(lap_bucket_gather *gather, int bucket, const float *owned,
                             float *values, lap_traffic_kind kind);
/* Returns at once where nothing was started since the last wait. */
void lap_bucket_gather_wait(lap_bucket_gather *gather);

#endif
