#include "mpi/collective/segment_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/exchange.h"
#include "mpi/tree/node.h"

/* A range of segments of one rank, and where the values of its subtree roots begin. */
typedef struct {
  int64_t begin, end;
  int first_value;
} segment_range;

struct lap_segment_sum {
  lap_comm *comm;
  lap_leaves leaves;
  segment_range *range; /* [ranges] of all ranks, in increasing order */
  int ranges;
  segment_range *mine; /* [mine_count], in increasing order */
  int mine_count;
  double *values; /* of the roots of all ranks, rank by rank */
  lap_scalar_counter counter;
  lap_exchange exchange;
  lap_mesh_traffic mesh; /* of one sum */
};

/* Ranges in segments, neighbours joined. Returns how many. */
static int join_ranges(const lap_range *ranges, int count, lap_range *joined) {
  int found = 0;
  for (int i = 0; i < count; ++i) {
    assert(ranges[i].begin % LAP_SEGMENT == 0 && ranges[i].end % LAP_SEGMENT == 0);
    const lap_range segments = {ranges[i].begin / LAP_SEGMENT, ranges[i].end / LAP_SEGMENT};
    if (segments.begin == segments.end) continue;
    if (found > 0 && joined[found - 1].end == segments.begin)
      joined[found - 1].end = segments.end;
    else
      joined[found++] = segments;
  }
  return found;
}

static int by_begin(const void *a, const void *b) {
  const int64_t x = ((const segment_range *)a)->begin, y = ((const segment_range *)b)->begin;
  return (x > y) - (x < y);
}

/* The ranges of all ranks; `first` [ranks + 1] is where the values of each rank begin. */
static void gather_ranges(lap_segment_sum *sum, const lap_group *all, const lap_range *ranges,
                          int count, int *first) {
  lap_range *mine = lap_allocate(count, sizeof *mine);
  sum->mine_count = join_ranges(ranges, count, mine);
  void *gathered;
  size_t *bytes;
  lap_gather_strings(all, mine, (size_t)sum->mine_count * sizeof *mine, &gathered, &bytes);
  const lap_range *range = gathered;
  for (int rank = 0; rank < all->size; ++rank) sum->ranges += (int)(bytes[rank] / sizeof *range);
  sum->range = lap_allocate(sum->ranges, sizeof *sum->range);
  sum->mine = lap_allocate(sum->mine_count, sizeof *sum->mine);
  for (int rank = 0, next = 0; rank < all->size; ++rank) {
    first[rank + 1] = first[rank];
    for (size_t i = 0; i < bytes[rank] / sizeof *range; ++i, ++next, ++range) {
      lap_tree_node roots[LAP_TREE_DEPTH];
      sum->range[next] = (segment_range){range->begin, range->end, first[rank + 1]};
      if (rank == all->index) sum->mine[i] = sum->range[next];
      first[rank + 1] += lap_tree_roots(&sum->leaves, range->begin, range->end, roots);
    }
  }
  qsort(sum->range, (size_t)sum->ranges, sizeof *sum->range, by_begin);
  free(gathered);
  free(bytes);
  free(mine);
}

/* Each rank sends the values of its roots to every other. */
static void list_messages(lap_segment_sum *sum, const lap_group *all, const int *first) {
  sum->exchange = (lap_exchange){
      .tag = LAP_TAG_SCALARS, .kind = LAP_TRAFFIC_SCALARS, .what = "sum scalars of segments"};
  const int rank = all->index;
  for (int step = 1; step < all->size; ++step) {
    const int from = lap_group_from(all, step);
    lap_exchange_send(&sum->exchange, lap_group_to(all, step), sum->values + first[rank],
                      (size_t)(first[rank + 1] - first[rank]) * sizeof *sum->values);
    lap_exchange_receive(&sum->exchange, from, sum->values + first[from],
                         (size_t)(first[from + 1] - first[from]) * sizeof *sum->values);
  }
}

lap_segment_sum *lap_segment_sum_create(lap_comm *comm, int64_t elements, const lap_range *ranges,
                                        int count) {
  assert(elements >= 0 && elements % LAP_SEGMENT == 0);
  lap_segment_sum *sum = lap_allocate(1, sizeof *sum);
  sum->comm = comm;
  sum->leaves = lap_leaves_of_items(elements / LAP_SEGMENT);
  sum->counter = lap_scalar_counter_create(&sum->leaves, 1);
  const lap_group all = lap_group_of_all(comm);
  int *first = lap_allocate(all.size + 1, sizeof *first);
  gather_ranges(sum, &all, ranges, count, first);
  int64_t next = 0;
  for (int i = 0; i < sum->ranges; next = sum->range[i++].end) assert(sum->range[i].begin == next);
  assert(next == elements / LAP_SEGMENT);
  sum->values = lap_allocate(first[all.size], sizeof *sum->values);
  list_messages(sum, &all, first);
  free(first);
  return sum;
}

void lap_segment_sum_destroy(lap_segment_sum *sum) {
  if (!sum) return;
  lap_exchange_release(&sum->exchange);
  lap_scalar_counter_release(&sum->counter);
  free(sum->range);
  free(sum->mine);
  free(sum->values);
  free(sum);
}

void lap_segment_sum_count(lap_segment_sum *sum, const lap_mesh *mesh, lap_lanes lanes,
                           const lap_partition *partition, int64_t canonical_begin) {
  sum->mesh = (lap_mesh_traffic){0};
  for (int b = 0; b < partition->counted_buckets; ++b)
    lap_mesh_count_roots(&sum->mesh, mesh, lanes, sum->leaves.items * LAP_SEGMENT,
                         canonical_begin + partition->bucket_begin[b],
                         lap_partition_elements(partition, b));
}

static void sum_mine(lap_segment_sum *sum, const double *partials) {
  for (int i = 0; i < sum->mine_count; ++i) {
    sum->counter.nodes.depth = 0;
    for (int64_t segment = sum->mine[i].begin; segment < sum->mine[i].end; ++segment, ++partials)
      lap_scalar_counter_push(
          &sum->counter, (lap_tree_node){0, lap_leaf_position(&sum->leaves, segment)}, partials);
    memcpy(sum->values + sum->mine[i].first_value, sum->counter.values,
           (size_t)sum->counter.nodes.depth * sizeof *sum->values);
  }
}

double lap_segment_sum_run(lap_segment_sum *sum, const double *partials) {
  lap_mesh_traffic *counted = lap_comm_mesh_traffic(sum->comm);
  counted->ici[LAP_TRAFFIC_SCALARS] += sum->mesh.ici[LAP_TRAFFIC_SCALARS];
  counted->dcn[LAP_TRAFFIC_SCALARS] += sum->mesh.dcn[LAP_TRAFFIC_SCALARS];
  if (sum->leaves.items == 0) return 0;
  sum_mine(sum, partials);
  lap_comm_run_exchange(sum->comm, &sum->exchange);
  sum->counter.nodes.depth = 0;
  for (int i = 0; i < sum->ranges; ++i) {
    lap_tree_node roots[LAP_TREE_DEPTH];
    const int count = lap_tree_roots(&sum->leaves, sum->range[i].begin, sum->range[i].end, roots);
    for (int root = 0; root < count; ++root)
      lap_scalar_counter_push(&sum->counter, roots[root],
                              sum->values + sum->range[i].first_value + root);
  }
  assert(sum->counter.nodes.depth == 1);
  return sum->counter.values[0];
}
