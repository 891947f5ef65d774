#include "mpi/traffic/traffic.h"

#include <assert.h>

#include "mpi/tree/node.h"
#include "mpi/tree/partition.h"

const char *lap_traffic_kind_name(lap_traffic_kind kind) {
  static const char *const names[LAP_TRAFFIC_KINDS] = {"gradients", "weights", "activations",
                                                       "scalars"};
  assert(kind >= 0 && kind < LAP_TRAFFIC_KINDS);
  return names[kind];
}

uint64_t lap_traffic_total(const lap_traffic *traffic) {
  uint64_t total = 0;
  for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind)
    total += traffic->within_node[kind] + traffic->between_nodes[kind];
  return total;
}

uint64_t lap_mesh_traffic_total(const lap_mesh_traffic *traffic) {
  uint64_t total = 0;
  for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind)
    total += traffic->ici[kind] + traffic->dcn[kind];
  return total;
}

/* Part `index` of `parts` of a range, in whole segments. */
static lap_range part_of(lap_range segments, int index, int parts) {
  const int64_t count = lap_range_count(segments);
  return (lap_range){segments.begin + index * count / parts,
                     segments.begin + (index + INT64_C(1)) * count / parts};
}

/* What a lane's chip owns of a bucket of B segments: in its pod after the pod's reduce-scatter, and
 * in the end. */
typedef struct {
  lap_range in_pod, in_all;
} chip_segments;

static chip_segments segments_of_chip(const lap_mesh *mesh, int lane, int64_t segments) {
  chip_segments chip;
  chip.in_pod = part_of((lap_range){0, segments}, lane % mesh->data, mesh->data);
  chip.in_all = part_of(chip.in_pod, lane / mesh->data, mesh->pods);
  return chip;
}

void lap_mesh_count_scatter(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                            int64_t elements, lap_traffic_kind kind) {
  const int64_t segments = elements / LAP_SEGMENT;
  for (int i = 0; i < lanes.count; ++i) {
    const chip_segments chip = segments_of_chip(mesh, lanes.first + i * lanes.stride, segments);
    const int64_t in_pod = lap_range_count(chip.in_pod), in_all = lap_range_count(chip.in_all);
    traffic->ici[kind] += (uint64_t)(segments - in_pod) * LAP_SEGMENT * sizeof(float);
    traffic->dcn[kind] += (uint64_t)(in_pod - in_all) * LAP_SEGMENT * sizeof(float);
  }
}

void lap_mesh_count_gather(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                           int64_t elements, size_t element_size, lap_traffic_kind kind) {
  const int64_t segments = elements / LAP_SEGMENT;
  for (int i = 0; i < lanes.count; ++i) {
    const chip_segments chip = segments_of_chip(mesh, lanes.first + i * lanes.stride, segments);
    const int64_t in_pod = lap_range_count(chip.in_pod), in_all = lap_range_count(chip.in_all);
    traffic->dcn[kind] += (uint64_t)(in_all * (mesh->pods - 1)) * LAP_SEGMENT * element_size;
    traffic->ici[kind] += (uint64_t)(in_pod * (mesh->data - 1)) * LAP_SEGMENT * element_size;
  }
}

void lap_mesh_count_shard_sum(lap_mesh_traffic *traffic, const lap_mesh *mesh, int first_shard,
                              int shards, int64_t elements, size_t element_size) {
  const int of = mesh->model;
  for (int shard = first_shard; shard < first_shard + shards; ++shard) {
    const int64_t own = lap_range_count(part_of((lap_range){0, elements}, shard, of));
    traffic->ici[LAP_TRAFFIC_ACTIVATIONS] +=
        (uint64_t)(elements - own + own * (of - 1)) * element_size;
  }
}

void lap_mesh_count_collect(lap_mesh_traffic *traffic, int first_shard, int shards,
                            int64_t elements) {
  const int senders = first_shard == 0 ? shards - 1 : shards;
  traffic->ici[LAP_TRAFFIC_ACTIVATIONS] += (uint64_t)(senders * elements) * sizeof(float);
}

void lap_mesh_count_lane_sum(lap_mesh_traffic *traffic, const lap_mesh *mesh, int64_t chips,
                             int count) {
  const uint64_t bytes = (uint64_t)chips * (uint64_t)count * sizeof(double);
  traffic->ici[LAP_TRAFFIC_SCALARS] += bytes * (uint64_t)(mesh->data - 1);
  traffic->dcn[LAP_TRAFFIC_SCALARS] += bytes * (uint64_t)(mesh->pods - 1);
}

void lap_mesh_count_roots(lap_mesh_traffic *traffic, const lap_mesh *mesh, lap_lanes lanes,
                          int64_t canonical, int64_t begin, int64_t elements) {
  const lap_leaves leaves = lap_leaves_of_items(canonical / LAP_SEGMENT);
  const uint64_t chips_of_pod = (uint64_t)mesh->data * (uint64_t)mesh->model;
  for (int i = 0; i < lanes.count; ++i) {
    const int lane = lanes.first + i * lanes.stride;
    const lap_range own = segments_of_chip(mesh, lane, elements / LAP_SEGMENT).in_all;
    lap_tree_node roots[LAP_TREE_DEPTH];
    const uint64_t bytes =
        sizeof(double) * (uint64_t)lap_tree_roots(&leaves, begin / LAP_SEGMENT + own.begin,
                                                  begin / LAP_SEGMENT + own.end, roots);
    traffic->ici[LAP_TRAFFIC_SCALARS] += bytes * (chips_of_pod - 1);
    traffic->dcn[LAP_TRAFFIC_SCALARS] += bytes * chips_of_pod * (uint64_t)(mesh->pods - 1);
  }
}
