/* Sums of a few doubles over lanes or blocks: every rank sends the values of its subtree roots to
 * every other, and all put them together alike. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "mpi/exchange.h"
#include "mpi/tree.h"
#include "mpi/tree_node.h"

/* A counter with values: [depth][width]. */
typedef struct {
  lap_tree_counter nodes;
  int width;
  double *values; /* [LAP_TREE_DEPTH][width] */
} scalar_counter;

static scalar_counter make_counter(const lap_leaves *leaves, int width) {
  return (scalar_counter){
      .nodes = {.leaves = *leaves},
      .width = width,
      .values = lap_allocate((size_t)LAP_TREE_DEPTH * (size_t)width, sizeof(double))};
}

static void push(scalar_counter *counter, lap_tree_node node, const double *values) {
  const int width = counter->width;
  double *top = counter->values + (size_t)counter->nodes.depth * (size_t)width;
  memcpy(top, values, (size_t)width * sizeof *values);
  const int merges = lap_tree_push(&counter->nodes, node);
  for (int merge = 0; merge < merges; ++merge, top -= width)
    for (int i = 0; i < width; ++i) top[i - width] = top[i - width] + top[i];
}

/* `mine` [items of this rank][width]; item ranges of the ranks are [floor(q N/P), floor((q+1)
 * N/P)). */
static void sum_items(lap_comm *comm, const lap_leaves *leaves, const double *mine, int width,
                      double *sums) {
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  const int64_t items = leaves->items;
  const size_t row = (size_t)width * sizeof(double);
  scalar_counter here = make_counter(leaves, width);
  const int64_t first = rank * items / ranks, end = (rank + 1) * items / ranks;
  for (int64_t item = first; item < end; ++item)
    push(&here, (lap_tree_node){0, lap_leaf_position(leaves, item)}, mine + (item - first) * width);

  lap_tree_node roots[LAP_TREE_DEPTH];
  int *first_root = lap_allocate((size_t)ranks + 1, sizeof *first_root);
  for (int q = 0; q < ranks; ++q)
    first_root[q + 1] =
        first_root[q] + lap_tree_roots(leaves, q * items / ranks, (q + 1) * items / ranks, roots);
  double *all = lap_allocate((size_t)first_root[ranks] * (size_t)width, sizeof *all);
  assert(here.nodes.depth == first_root[rank + 1] - first_root[rank]);
  memcpy(all + (size_t)first_root[rank] * (size_t)width, here.values,
         (size_t)here.nodes.depth * row);

  lap_exchange exchange = {
      .round = LAP_ROUND_SCALARS, .kind = LAP_TRAFFIC_SCALARS, .what = "sum scalars"};
  for (int step = 1; step < ranks; ++step) {
    const int from = lap_exchange_from(comm, step);
    lap_exchange_send(&exchange, lap_exchange_to(comm, step), here.values,
                      (size_t)here.nodes.depth * row);
    lap_exchange_receive(&exchange, from, all + (size_t)first_root[from] * (size_t)width,
                         (size_t)(first_root[from + 1] - first_root[from]) * row);
  }
  lap_exchange_finish(comm, &exchange);

  scalar_counter whole = make_counter(leaves, width);
  for (int q = 0; q < ranks; ++q) {
    const int count = lap_tree_roots(leaves, q * items / ranks, (q + 1) * items / ranks, roots);
    for (int i = 0; i < count; ++i)
      push(&whole, roots[i], all + (size_t)(first_root[q] + i) * (size_t)width);
  }
  assert(whole.nodes.depth == 1);
  memcpy(sums, whole.values, row);
  free(whole.values);
  free(here.values);
  free(all);
  free(first_root);
}

void lap_tree_sum_lanes(lap_comm *comm, const lap_mesh *mesh, const lap_fold *fold,
                        const double *mine, int count, double *sums) {
  assert(fold->replicas == lap_comm_size(comm) && fold->replica == lap_comm_rank(comm));
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  sum_items(comm, &leaves, mine, count, sums);
}

double lap_tree_sum_blocks(lap_comm *comm, int64_t elements, const double *partials) {
  assert(elements >= 0 && elements % LAP_BLOCK == 0);
  if (elements == 0) return 0;
  const lap_leaves leaves = lap_leaves_of_blocks(elements / LAP_BLOCK);
  double sum;
  sum_items(comm, &leaves, partials, 1, &sum);
  return sum;
}
