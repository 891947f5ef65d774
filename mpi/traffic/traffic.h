/* traffic: bytes by kind, in the two tables of docs/design.md#traffic. Each rank counts its own.
 *
 * `sent` is what this rank has sent to others, within its node and between nodes.
 *
 * `mesh` is what the logical mesh sends, one chip for each lane x shard, whoever holds them: bytes
 * over edges inside a pod (ICI) and between pods (DCN). It is counted as the logical edge executes,
 * by the rank that holds the sending chip, so that the sum over all ranks is the same however the
 * mesh is folded. With P pods of D lanes and M shards, the chips do this:
 * - gradients of a bucket (B segments of LAP_SEGMENT elements of one shard): reduce-scatter by
 *   pairwise exchange inside the pod, after which chip d owns segments
 *   [floor(d B/D), floor((d+1) B/D)), then of those between the chips d of the P pods: pod p owns
 *   the p-th part of them. The owner updates.
 * - gathering a bucket: the same way back, between pods first.
 * - sums over shards of n elements: reduce-scatter and gather among the M chips of a lane.
 * - sums over lanes: every chip sends its values to the other chips of its shard in its pod, then
 *   the pod's sum to the same chip of the other pods.
 * - sums over segments: every chip sends the subtree roots of the segments it owns to every other
 *   chip.
 * What ranks tell each other as processes (agree.h, checkpoints) is in `sent` only.
 */
#ifndef LAP_MPI_TRAFFIC_TRAFFIC_H
#define LAP_MPI_TRAFFIC_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "mpi/tree/mesh.h"

typedef enum {
  LAP_TRAFFIC_GRADIENTS,
  LAP_TRAFFIC_WEIGHTS,
  LAP_TRAFFIC_ACTIVATIONS,
  LAP_TRAFFIC_SCALARS,
  LAP_TRAFFIC_KINDS,
  LAP_TRAFFIC_CHECKS = LAP_TRAFFIC_KINDS /* of other messages and of sums: in neither table, but
                                            lap_comm_check_bytes (transport/communicator.h) */
} lap_traffic_kind;

typedef struct {
  uint64_t within_node[LAP_TRAFFIC_KINDS];
  uint64_t between_nodes[LAP_TRAFFIC_KINDS];
} lap_traffic;

typedef struct {
  uint64_t ici[LAP_TRAFFIC_KINDS];
  uint64_t dcn[LAP_TRAFFIC_KINDS];
} lap_mesh_traffic;

const char *lap_traffic_kind_name(lap_traffic_kind kind);
uint64_t lap_traffic_total(const lap_traffic *traffic);
uint64_t lap_mesh_traffic_total(const lap_mesh_traffic *traffic);

/* --- for the modules of mpi/: add what chips send --- */

/* Of a bucket of `elements`, the chips of these lanes and the bucket's shard. */
void lap_mesh_count_scatter(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                            int64_t elements, lap_traffic_kind kind);
void lap_mesh_count_gather(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                           int64_t elements, size_t element_size, lap_traffic_kind kind);
/* The chips [first_shard, first_shard + shards) of one lane; kind: activations. */
void lap_mesh_count_shard_sum(lap_mesh_traffic *traffic, const lap_mesh *mesh, int first_shard,
                              int shards, int64_t elements, size_t element_size);
/* The same chips send `elements` each to the chip of shard 0. */
void lap_mesh_count_collect(lap_mesh_traffic *traffic, int first_shard, int shards,
                            int64_t elements);
/* `count` doubles of each of `chips` chips; kind: scalars. */
void lap_mesh_count_lane_sum(lap_mesh_traffic *traffic, const lap_mesh *mesh, int64_t chips,
                             int count);
/* Subtree roots of what the chips of these lanes and of one shard own of one of its buckets, which
 * is [begin, begin + elements) of the canonical vector of `canonical` elements; kind: scalars. */
void lap_mesh_count_roots(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                          int64_t canonical, int64_t begin, int64_t elements);

#endif
