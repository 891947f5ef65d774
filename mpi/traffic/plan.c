#include "mpi/traffic/plan.h"

#include "mpi/tree/lane_tree.h"
#include "mpi/tree/shard_roots.h"

/* --- the ranks on this rank's node --- */

/* Members [begin, end) of the group that are on the node of this rank: of replicas (members are
 * model_ranks apart), or of the ranks of one replica. */
static lap_range members_on_node(const lap_rank_layout *layout, int first, int stride, int size) {
  const int rank = layout->fold.replica * layout->fold.model_ranks + layout->fold.model_rank;
  const int64_t begin = (int64_t)(rank / layout->ranks_per_node) * layout->ranks_per_node;
  const int64_t end = begin + layout->ranks_per_node;
  const lap_range on_node = {begin > first ? (begin - first + stride - 1) / stride : 0,
                             end > first ? (end - first + stride - 1) / stride : 0};
  return lap_range_overlap(on_node, (lap_range){0, size});
}

static lap_range replicas_on_node(const lap_rank_layout *layout) {
  return members_on_node(layout, layout->fold.model_rank, layout->fold.model_ranks,
                         layout->fold.replicas);
}

static lap_range model_ranks_on_node(const lap_rank_layout *layout) {
  return members_on_node(layout, layout->fold.replica * layout->fold.model_ranks, 1,
                         layout->fold.model_ranks);
}

/* The same bytes to every other of `size` members. */
static void send_to_each(lap_range on_node, int size, uint64_t bytes, lap_traffic_kind kind,
                         lap_traffic *sent) {
  const uint64_t near = (uint64_t)lap_range_count(on_node) - 1;
  sent->within_node[kind] += near * bytes;
  sent->between_nodes[kind] += ((uint64_t)size - 1 - near) * bytes;
}

/* --- sent --- */

void lap_sent_by_gradient_sum(const lap_rank_layout *layout, const lap_partition *partition,
                              int bucket, uint64_t times, lap_traffic *sent) {
  const lap_leaves leaves = lap_leaves_of_mesh(&layout->mesh);
  const int index = layout->fold.replica;
  /* Cyclic lanes are sent one by one; of block lanes the roots of the range are. */
  const uint64_t values = (uint64_t)lap_roots_of_lanes(&leaves, layout->fold.lanes, NULL);
  const uint64_t bytes = times * values * sizeof(float); /* for each element */
  const lap_range on_node = replicas_on_node(layout);
  /* Ranges of neighbours touch. */
  const int64_t own = lap_range_count(lap_partition_range(partition, bucket, index));
  const int64_t near = lap_partition_range(partition, bucket, (int)on_node.end - 1).end -
                       lap_partition_range(partition, bucket, (int)on_node.begin).begin - own;
  const int64_t others =
      partition->bucket_begin[bucket + 1] - partition->bucket_begin[bucket] - own;
  sent->within_node[LAP_TRAFFIC_GRADIENTS] += bytes * (uint64_t)near;
  sent->between_nodes[LAP_TRAFFIC_GRADIENTS] += bytes * (uint64_t)(others - near);
}

void lap_sent_by_bucket_gather(const lap_rank_layout *layout, const lap_partition *partition,
                               int bucket, size_t element_size, lap_traffic_kind kind,
                               uint64_t times, lap_traffic *sent) {
  const int64_t own = lap_range_count(lap_partition_range(partition, bucket, layout->fold.replica));
  send_to_each(replicas_on_node(layout), layout->fold.replicas,
               times * (uint64_t)own * element_size, kind, sent);
}

/* Each range of `values` vectors goes to the rank that adds it, and the sum comes back. */
static void send_ranges(const lap_rank_layout *layout, int64_t elements, uint64_t values,
                        uint64_t element_bytes, lap_traffic *sent) {
  const int ranks = layout->fold.model_ranks, index = layout->fold.model_rank;
  const lap_range on_node = model_ranks_on_node(layout);
  for (int rank = 0; rank < ranks; ++rank) {
    if (rank == index) continue;
    const bool near = rank >= on_node.begin && rank < on_node.end;
    uint64_t *table = near ? sent->within_node : sent->between_nodes;
    table[LAP_TRAFFIC_ACTIVATIONS] +=
        values * (uint64_t)lap_range_count(lap_shard_sum_range(elements, ranks, rank)) *
        element_bytes;
  }
  if (elements <= LAP_SHARD_SUM_DIRECT) return;
  const int64_t own = lap_range_count(lap_shard_sum_range(elements, ranks, index));
  send_to_each(on_node, ranks, (uint64_t)own * element_bytes, LAP_TRAFFIC_ACTIVATIONS, sent);
}

void lap_sent_by_shard_sum(const lap_rank_layout *layout, int64_t elements, size_t element_size,
                           uint64_t times, lap_traffic *sent) {
  const lap_leaves leaves = lap_leaves_of_items(layout->mesh.model);
  lap_tree_node roots[LAP_TREE_DEPTH];
  const uint64_t values = (uint64_t)lap_roots_of_model_rank(&leaves, layout->fold.model_ranks,
                                                            layout->fold.model_rank, roots);
  send_ranges(layout, elements, values, times * element_size, sent);
}

void lap_sent_by_shard_largest(const lap_rank_layout *layout, int64_t elements, uint64_t times,
                               lap_traffic *sent) {
  send_ranges(layout, elements, 1, times * sizeof(float), sent);
}

void lap_sent_by_shard_any(const lap_rank_layout *layout, uint64_t times, lap_traffic *sent) {
  send_to_each(model_ranks_on_node(layout), layout->fold.model_ranks, times, LAP_TRAFFIC_SCALARS,
               sent);
}

void lap_sent_by_shard_collect(const lap_rank_layout *layout, int64_t elements, uint64_t times,
                               lap_traffic *sent) {
  if (layout->fold.model_rank == 0) return;
  const bool near = model_ranks_on_node(layout).begin == 0;
  uint64_t *table = near ? sent->within_node : sent->between_nodes;
  table[LAP_TRAFFIC_ACTIVATIONS] +=
      times * (uint64_t)(layout->fold.shard_count * elements) * sizeof(float);
}

void lap_sent_by_lane_sum(const lap_rank_layout *layout, int count, uint64_t times,
                          lap_traffic *sent) {
  const lap_leaves leaves = lap_leaves_of_mesh(&layout->mesh);
  const uint64_t values = (uint64_t)lap_roots_of_lanes(&leaves, layout->fold.lanes, NULL);
  send_to_each(replicas_on_node(layout), layout->fold.replicas,
               times * values * (uint64_t)count * sizeof(double), LAP_TRAFFIC_SCALARS, sent);
}

/* To all ranks of the job. */
static void send_to_all(const lap_rank_layout *layout, uint64_t bytes, lap_traffic *sent) {
  const int ranks = layout->fold.replicas * layout->fold.model_ranks;
  send_to_each(members_on_node(layout, 0, 1, ranks), ranks, bytes, LAP_TRAFFIC_SCALARS, sent);
}

void lap_sent_by_segment_sum(const lap_rank_layout *layout, int64_t canonical,
                             const lap_range *ranges, int count, uint64_t times,
                             lap_traffic *sent) {
  const lap_leaves leaves = lap_leaves_of_items(canonical / LAP_SEGMENT);
  uint64_t values = 0;
  for (int i = 0, next; i < count; i = next) {
    /* Neighbours are one range. */
    for (next = i + 1; next < count && ranges[next].begin == ranges[next - 1].end;) ++next;
    lap_tree_node roots[LAP_TREE_DEPTH];
    values += (uint64_t)lap_tree_roots(&leaves, ranges[i].begin / LAP_SEGMENT,
                                       ranges[next - 1].end / LAP_SEGMENT, roots);
  }
  send_to_all(layout, times * values * sizeof(double), sent);
}

void lap_sent_by_gather_all(const lap_rank_layout *layout, size_t bytes, uint64_t times,
                            lap_traffic *sent) {
  send_to_all(layout, times * bytes, sent);
}

/* --- mesh: the sums over chips of traffic.h --- */

void lap_mesh_plan_bucket(const lap_mesh *mesh, int64_t elements, size_t element_size,
                          lap_traffic_kind kind, uint64_t times, lap_mesh_traffic *traffic) {
  const uint64_t bytes = times * (uint64_t)elements * element_size;
  traffic->ici[kind] += bytes * (uint64_t)mesh->pods * (uint64_t)(mesh->data - 1);
  traffic->dcn[kind] += bytes * (uint64_t)(mesh->pods - 1);
}

void lap_mesh_plan_shard_sum(const lap_mesh *mesh, int64_t elements, size_t element_size,
                             uint64_t times, lap_mesh_traffic *traffic) {
  const uint64_t lanes = (uint64_t)lap_mesh_lanes(mesh);
  traffic->ici[LAP_TRAFFIC_ACTIVATIONS] +=
      times * lanes * 2 * (uint64_t)(mesh->model - 1) * (uint64_t)elements * element_size;
}

void lap_mesh_plan_shard_collect(const lap_mesh *mesh, int64_t elements, uint64_t times,
                                 lap_mesh_traffic *traffic) {
  const uint64_t lanes = (uint64_t)lap_mesh_lanes(mesh);
  traffic->ici[LAP_TRAFFIC_ACTIVATIONS] +=
      times * lanes * (uint64_t)(mesh->model - 1) * (uint64_t)elements * sizeof(float);
}

void lap_mesh_plan_lane_sum(const lap_mesh *mesh, int count, uint64_t times,
                            lap_mesh_traffic *traffic) {
  const uint64_t chips = (uint64_t)lap_mesh_lanes(mesh) * (uint64_t)mesh->model;
  const uint64_t bytes = times * chips * (uint64_t)count * sizeof(double);
  traffic->ici[LAP_TRAFFIC_SCALARS] += bytes * (uint64_t)(mesh->data - 1);
  traffic->dcn[LAP_TRAFFIC_SCALARS] += bytes * (uint64_t)(mesh->pods - 1);
}

void lap_mesh_plan_segment_sum(const lap_mesh *mesh, int64_t canonical, int64_t begin,
                               int64_t elements, uint64_t times, lap_mesh_traffic *traffic) {
  lap_mesh_traffic once = {0};
  lap_mesh_count_roots(&once, mesh, (lap_lanes){0, 1, lap_mesh_lanes(mesh)}, canonical, begin,
                       elements);
  traffic->ici[LAP_TRAFFIC_SCALARS] += times * once.ici[LAP_TRAFFIC_SCALARS];
  traffic->dcn[LAP_TRAFFIC_SCALARS] += times * once.dcn[LAP_TRAFFIC_SCALARS];
}
