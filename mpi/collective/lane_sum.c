#include "mpi/collective/lane_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/exchange.h"
#include "mpi/tree/lane_tree.h"

/* A node of the tree and which row of `rows` is its value. */
typedef struct {
  lap_tree_node node;
  int row;
} node_row;

struct lap_lane_sum {
  lap_comm *comm;
  lap_mesh mesh;
  lap_fold fold;
  int count;
  double *rows;           /* [nodes of all ranks][count], rank by rank */
  int own_row, own_count; /* of this rank's nodes */
  node_row *nodes;        /* [node_count], in leaf order */
  int node_count;
  lap_scalar_counter counter;
  lap_exchange exchange;
};

static int by_leaf(const void *a, const void *b) {
  const lap_tree_node x = ((const node_row *)a)->node, y = ((const node_row *)b)->node;
  const int64_t first = x.index << x.level, second = y.index << y.level;
  return (first > second) - (first < second);
}

/* The nodes of all ranks; `first` [ranks + 1] is where the rows of each begin. */
static void list_nodes(lap_lane_sum *sum, int ranks, int *first) {
  const lap_leaves *leaves = &sum->counter.nodes.leaves;
  lap_tree_node *roots = lap_allocate(leaves->items, sizeof *roots);
  sum->nodes = lap_allocate(leaves->items, sizeof *sum->nodes);
  for (int q = 0; q < ranks; ++q) {
    const lap_lanes lanes = lap_lanes_of_replica(&sum->mesh, sum->fold.schedule, ranks, q);
    const int count = lap_roots_of_lanes(leaves, lanes, roots);
    for (int i = 0; i < count; ++i) sum->nodes[first[q] + i] = (node_row){roots[i], first[q] + i};
    first[q + 1] = first[q] + count;
  }
  free(roots);
  sum->node_count = first[ranks];
  qsort(sum->nodes, (size_t)sum->node_count, sizeof *sum->nodes, by_leaf);
}

/* Each rank sends the rows of its nodes to every other. */
static void list_messages(lap_lane_sum *sum, const lap_group *group, const int *first) {
  const size_t count = (size_t)sum->count, row = count * sizeof *sum->rows;
  sum->exchange = (lap_exchange){
      .tag = LAP_TAG_SCALARS, .kind = LAP_TRAFFIC_SCALARS, .what = "sum scalars of lanes"};
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    lap_exchange_send(&sum->exchange, lap_group_rank(group, to),
                      sum->rows + (size_t)sum->own_row * count, (size_t)sum->own_count * row);
    lap_exchange_receive(&sum->exchange, lap_group_rank(group, from),
                         sum->rows + (size_t)first[from] * count,
                         (size_t)(first[from + 1] - first[from]) * row);
  }
}

lap_lane_sum *lap_lane_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                  const lap_fold *fold, int count) {
  assert(fold->replicas == replicas->size && fold->replica == replicas->index);
  lap_lane_sum *sum = lap_allocate(1, sizeof *sum);
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  sum->comm = replicas->comm;
  sum->mesh = *mesh;
  sum->fold = *fold;
  sum->count = count;
  sum->counter = lap_scalar_counter_create(&leaves, count);
  int *first = lap_allocate(replicas->size + 1, sizeof *first);
  list_nodes(sum, replicas->size, first);
  sum->own_row = first[replicas->index];
  sum->own_count = first[replicas->index + 1] - sum->own_row;
  sum->rows = lap_allocate((int64_t)sum->node_count * count, sizeof *sum->rows);
  list_messages(sum, replicas, first);
  free(first);
  return sum;
}

void lap_lane_sum_destroy(lap_lane_sum *sum) {
  if (!sum) return;
  lap_exchange_release(&sum->exchange);
  lap_scalar_counter_release(&sum->counter);
  free(sum->rows);
  free(sum->nodes);
  free(sum);
}

/* The values of this rank's nodes, from those of its lanes. */
static const double *values_of_nodes(lap_lane_sum *sum, const double *mine) {
  const lap_lanes lanes = sum->fold.lanes;
  if (sum->own_count == lanes.count) return mine; /* each lane is a node */
  sum->counter.nodes.depth = 0;
  for (int i = 0; i < lanes.count; ++i)
    lap_scalar_counter_push(
        &sum->counter, lap_leaf_of_lane(&sum->counter.nodes.leaves, lap_lane_in_round(lanes, i)),
        mine + (size_t)i * (size_t)sum->count);
  assert(sum->counter.nodes.depth == sum->own_count);
  return sum->counter.values;
}

void lap_lane_sum_run(lap_lane_sum *sum, const double *mine, double *sums) {
  const size_t count = (size_t)sum->count, row = count * sizeof *sums;
  lap_mesh_count_lane_sum(lap_comm_mesh_traffic(sum->comm), &sum->mesh,
                          (int64_t)sum->fold.lanes.count * sum->fold.shard_count, sum->count);
  memcpy(sum->rows + (size_t)sum->own_row * count, values_of_nodes(sum, mine),
         (size_t)sum->own_count * row);
  lap_comm_run_exchange(sum->comm, &sum->exchange);
  sum->counter.nodes.depth = 0;
  for (int i = 0; i < sum->node_count; ++i)
    lap_scalar_counter_push(&sum->counter, sum->nodes[i].node,
                            sum->rows + (size_t)sum->nodes[i].row * count);
  assert(sum->counter.nodes.depth == 1);
  memcpy(sums, sum->counter.values, row);
}
