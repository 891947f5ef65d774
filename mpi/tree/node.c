#include "mpi/tree/node.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

lap_leaves lap_leaves_create(int64_t groups, int64_t group) {
  lap_leaves leaves = {.items = groups * group, .group = group, .stride = 1, .levels = 0};
  while (leaves.stride < group) leaves.stride *= 2;
  while (INT64_C(1) << leaves.levels < groups * leaves.stride) ++leaves.levels;
  return leaves;
}

int64_t lap_leaf_position(const lap_leaves *leaves, int64_t item) {
  return item / leaves->group * leaves->stride + item % leaves->group;
}

/* Items at leaves below `position`. */
static int64_t items_before(const lap_leaves *leaves, int64_t position) {
  const int64_t within = position % leaves->stride;
  const int64_t items =
      position / leaves->stride * leaves->group + (within < leaves->group ? within : leaves->group);
  return items < leaves->items ? items : leaves->items;
}

static int64_t node_begin(const lap_leaves *leaves, lap_tree_node node) {
  return items_before(leaves, node.index << node.level);
}

static int64_t node_end(const lap_leaves *leaves, lap_tree_node node) {
  return items_before(leaves, (node.index + 1) << node.level);
}

static void collect_roots(const lap_leaves *leaves, int64_t begin, int64_t end, lap_tree_node node,
                          lap_tree_node *roots, int *count) {
  const int64_t first = node_begin(leaves, node), last = node_end(leaves, node);
  if (first == last || last <= begin || first >= end) return;
  if (begin <= first && last <= end) {
    assert(*count < LAP_TREE_DEPTH);
    roots[(*count)++] = node;
    return;
  }
  const lap_tree_node left = {node.level - 1, 2 * node.index};
  const lap_tree_node right = {node.level - 1, 2 * node.index + 1};
  collect_roots(leaves, begin, end, left, roots, count);
  collect_roots(leaves, begin, end, right, roots, count);
}

int lap_tree_roots(const lap_leaves *leaves, int64_t begin, int64_t end,
                   lap_tree_node roots[LAP_TREE_DEPTH]) {
  int count = 0;
  if (begin < end)
    collect_roots(leaves, begin, end, (lap_tree_node){leaves->levels, 0}, roots, &count);
  return count;
}

static bool same_node(lap_tree_node a, lap_tree_node b) {
  return a.level == b.level && a.index == b.index;
}

int lap_tree_push(lap_tree_counter *counter, lap_tree_node node) {
  assert(counter->depth < LAP_TREE_DEPTH);
  int merges = 0;
  while (node.level < counter->leaves.levels) {
    const lap_tree_node sibling = {node.level, node.index ^ 1};
    const bool alone = node_begin(&counter->leaves, sibling) == node_end(&counter->leaves, sibling);
    if (!alone) {
      /* Only a right child finds its sibling below it; a left child waits for what comes. */
      if (counter->depth == 0 || !same_node(counter->nodes[counter->depth - 1], sibling)) break;
      assert(node.index & 1);
      --counter->depth;
      ++merges;
    }
    node = (lap_tree_node){node.level + 1, node.index / 2};
  }
  counter->nodes[counter->depth++] = node;
  return merges;
}

lap_scalar_counter lap_scalar_counter_create(const lap_leaves *leaves, int width) {
  return (lap_scalar_counter){
      .nodes = {.leaves = *leaves},
      .width = width,
      .values = lap_allocate((int64_t)LAP_TREE_DEPTH * width, sizeof(double))};
}

void lap_scalar_counter_release(lap_scalar_counter *counter) { free(counter->values); }

void lap_scalar_counter_push(lap_scalar_counter *counter, lap_tree_node node,
                             const double *values) {
  const int width = counter->width;
  double *top = counter->values + (size_t)counter->nodes.depth * (size_t)width;
  memcpy(top, values, (size_t)width * sizeof *values);
  const int merges = lap_tree_push(&counter->nodes, node);
  for (int merge = 0; merge < merges; ++merge, top -= width)
    for (int i = 0; i < width; ++i) top[i - width] = top[i - width] + top[i];
}
