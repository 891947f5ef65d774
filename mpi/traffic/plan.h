/* plan: the bytes of both tables of traffic.h by formula, without communication.
 *
 * Each function adds what one collective sends, `times` over; the caller knows how often a step
 * runs it. `sent` is that of one rank, to be summed over ranks where the job's is wanted; `mesh` is
 * that of the whole job, which no folding changes.
 */
#ifndef LAP_MPI_TRAFFIC_PLAN_H
#define LAP_MPI_TRAFFIC_PLAN_H

#include <stdbool.h>

#include "mpi/traffic/traffic.h"
#include "mpi/tree/partition.h"

/* One rank of a job. Ranks stand on nodes one after another, as mpirun puts them (--map-by slot).
 */
typedef struct {
  lap_mesh mesh;
  lap_fold fold; /* of lap_mesh_fold */
  int ranks_per_node;
} lap_rank_layout;

/* --- sent --- */

/* A bucket's part in one step of gradient_sum; `partition` is that of this rank, as for all below.
 */
void lap_sent_by_gradient_sum(const lap_rank_layout *layout, const lap_partition *partition,
                              int bucket, uint64_t times, lap_traffic *sent);
void lap_sent_by_bucket_gather(const lap_rank_layout *layout, const lap_partition *partition,
                               int bucket, size_t element_size, lap_traffic_kind kind,
                               uint64_t times, lap_traffic *sent);
/* One sum of shard_sum over `elements` of 4 or 8 bytes; the largest over shards; whether any; one
 * collect. */
void lap_sent_by_shard_sum(const lap_rank_layout *layout, int64_t elements, size_t element_size,
                           uint64_t times, lap_traffic *sent);
void lap_sent_by_shard_largest(const lap_rank_layout *layout, int64_t elements, uint64_t times,
                               lap_traffic *sent);
void lap_sent_by_shard_any(const lap_rank_layout *layout, uint64_t times, lap_traffic *sent);
void lap_sent_by_shard_collect(const lap_rank_layout *layout, int64_t elements, uint64_t times,
                               lap_traffic *sent);
/* lap_lane_sum of `count` doubles a lane. */
void lap_sent_by_lane_sum(const lap_rank_layout *layout, int count, uint64_t times,
                          lap_traffic *sent);
/* segment_sum over the canonical vector; `ranges` [count] are this rank's, as for its create. */
void lap_sent_by_segment_sum(const lap_rank_layout *layout, int64_t canonical,
                             const lap_range *ranges, int count, uint64_t times, lap_traffic *sent);
/* lap_gather_all of `bytes` a rank: what agreements are made of. */
void lap_sent_by_gather_all(const lap_rank_layout *layout, size_t bytes, uint64_t times,
                            lap_traffic *sent);

/* --- mesh --- */

/* The gradients of one bucket of one shard, or one gathering of it. */
void lap_mesh_plan_bucket(const lap_mesh *mesh, int64_t elements, size_t element_size,
                          lap_traffic_kind kind, uint64_t times, lap_mesh_traffic *traffic);
/* One sum over shards, or the largest, in every lane; one collect in every lane. */
void lap_mesh_plan_shard_sum(const lap_mesh *mesh, int64_t elements, size_t element_size,
                             uint64_t times, lap_mesh_traffic *traffic);
void lap_mesh_plan_shard_collect(const lap_mesh *mesh, int64_t elements, uint64_t times,
                                 lap_mesh_traffic *traffic);
void lap_mesh_plan_lane_sum(const lap_mesh *mesh, int count, uint64_t times,
                            lap_mesh_traffic *traffic);
/* One segment_sum, the part for one bucket [begin, begin + elements) of the canonical vector. */
void lap_mesh_plan_segment_sum(const lap_mesh *mesh, int64_t canonical, int64_t begin,
                               int64_t elements, uint64_t times, lap_mesh_traffic *traffic);

#endif
