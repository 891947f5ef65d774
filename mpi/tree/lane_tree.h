/* lane_tree: the tree over the lanes of a mesh (private to mpi/): lanes within a pod first, then
 * pods.
 */
#ifndef LAP_MPI_TREE_LANE_TREE_H
#define LAP_MPI_TREE_LANE_TREE_H

#include "mpi/tree/mesh.h"
#include "mpi/tree/node.h"

static inline lap_leaves lap_leaves_of_mesh(const lap_mesh *mesh) {
  return lap_leaves_create(mesh->pods, mesh->data);
}

static inline lap_tree_node lap_leaf_of_lane(const lap_leaves *leaves, int lane) {
  return (lap_tree_node){0, lap_leaf_position(leaves, lane)};
}

/* The nodes whose values a replica sends for its lanes: the subtree roots of neighbouring lanes, or
 * else each lane (no two of them make a node). `roots` [lanes.count], in leaf order, or NULL.
 * Returns how many. */
int lap_roots_of_lanes(const lap_leaves *leaves, lap_lanes lanes, lap_tree_node *roots);

#endif
