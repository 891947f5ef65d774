#include "mpi/tree/lane_tree.h"

#include <string.h>

int lap_roots_of_lanes(const lap_leaves *leaves, lap_lanes lanes, lap_tree_node *roots) {
  if (lanes.stride > 1) {
    for (int i = 0; i < lanes.count && roots; ++i)
      roots[i] = lap_leaf_of_lane(leaves, lap_lane_in_round(lanes, i));
    return lanes.count;
  }
  lap_tree_node found[LAP_TREE_DEPTH];
  const int count = lap_tree_roots(leaves, lanes.first, lanes.first + lanes.count, found);
  if (roots) memcpy(roots, found, (size_t)count * sizeof *roots);
  return count;
}
