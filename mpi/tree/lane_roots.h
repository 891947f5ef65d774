/* lane_roots: which nodes of the tree over lanes each replica has the values of (private to mpi/).
 */
#ifndef LAP_MPI_TREE_LANE_ROOTS_H
#define LAP_MPI_TREE_LANE_ROOTS_H

#include <stdbool.h>

#include "mpi/tree/node.h"

static inline lap_tree_node lap_leaf_of_lane(const lap_leaves *leaves, int lane) {
  return (lap_tree_node){0, lap_leaf_position(leaves, lane)};
}

/* How many replica `replica` of `replicas` has: of block lanes its subtree roots, which go to
 * `roots` in leaf order (or NULL); of cyclic lanes each lane, `roots` not being used. */
int lap_roots_of_replica(const lap_leaves *leaves, int replicas, int replica,
                         lap_lane_schedule schedule, lap_tree_node *roots);

#endif
