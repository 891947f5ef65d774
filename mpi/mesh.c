#include "mpi/mesh.h"

#include <assert.h>

#include "mpi/tree_node.h"

int64_t lap_mesh_leaf(const lap_mesh *mesh, int lane) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  return lap_leaf_position(&leaves, lane);
}

/* The largest divisor of `lanes` that is at most `ranks`: the nearest count with even lanes. */
static int nearest_even_count(int lanes, int ranks) {
  int count = ranks < lanes ? ranks : lanes;
  while (lanes % count != 0) --count;
  return count;
}

lap_code lap_mesh_fold(const lap_mesh *mesh, int ranks, int rank, lap_fold *fold,
                       lap_status *status) {
  assert(mesh->pods >= 1 && mesh->data >= 1 && mesh->model >= 1);
  assert(ranks >= 1 && rank >= 0 && rank < ranks);
  const int lanes = lap_mesh_lanes(mesh);
  if (ranks > lanes)
    return lap_fail(
        status, LAP_USAGE,
        "mesh: %d ranks were started, but mesh.pods %d x mesh.data %d is %d lane%s and a "
        "lane is never split: start %d rank%s or fewer, or make the mesh larger (which "
        "makes it another run)",
        ranks, mesh->pods, mesh->data, lanes, lanes == 1 ? "" : "s",
        nearest_even_count(lanes, ranks), lanes == 1 ? "" : "s");
  *fold = (lap_fold){
      .replicas = ranks,
      .replica = rank,
      .first_lane = (int)((int64_t)rank * lanes / ranks),
      .end_lane = (int)(((int64_t)rank + 1) * lanes / ranks),
  };
  return LAP_OK;
}

double lap_mesh_efficiency(const lap_mesh *mesh, int ranks) {
  const int lanes = lap_mesh_lanes(mesh);
  const int fullest = (lanes + ranks - 1) / ranks;
  return (double)lanes / ((double)ranks * fullest);
}

int64_t lap_owned_begin(int64_t elements, int ranks, int rank) {
  assert(elements >= 0 && elements % LAP_BLOCK == 0);
  const int64_t blocks = elements / LAP_BLOCK;
  return rank * blocks / ranks * LAP_BLOCK;
}
