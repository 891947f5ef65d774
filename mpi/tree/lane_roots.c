#include "mpi/tree/lane_roots.h"

int lap_roots_of_replica(const lap_leaves *leaves, int replicas, int replica,
                         lap_lane_schedule schedule, lap_tree_node *roots) {
  if (schedule == LAP_LANES_CYCLIC)
    return (int)((leaves->items - replica + replicas - 1) / replicas);
  lap_tree_node unused[LAP_TREE_DEPTH];
  return lap_tree_roots(leaves, replica * leaves->items / replicas,
                        (replica + INT64_C(1)) * leaves->items / replicas, roots ? roots : unused);
}
