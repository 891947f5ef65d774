#include "mpi/tree/mesh.h"

#include <assert.h>
#include <stdio.h>

#include "mpi/tree/node.h"

int64_t lap_mesh_leaf(const lap_mesh *mesh, int lane) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  return lap_leaf_position(&leaves, lane);
}

/* The fewest ranks a replica can be spread over (or `asked`, where that is not 0); 0: none. */
static int model_ranks_of(const lap_mesh *mesh, int asked, int ranks) {
  for (int spread = asked ? asked : 1; spread <= mesh->model; ++spread) {
    if (mesh->model % spread == 0 && ranks % spread == 0 && ranks / spread <= lap_mesh_lanes(mesh))
      return spread;
    if (asked) break;
  }
  return 0;
}

/* The nearest counts of ranks that have a layout; 0: none there. */
static lap_code refuse(const lap_mesh *mesh, int asked, int ranks, lap_status *status) {
  const int most = lap_mesh_lanes(mesh) * mesh->model;
  int below = ranks < most ? ranks : most, above = ranks;
  while (below > 0 && !model_ranks_of(mesh, asked, below)) --below;
  while (above <= most && !model_ranks_of(mesh, asked, above)) ++above;
  char spread[64] = "", nearest[64] = "none";
  if (asked) snprintf(spread, sizeof spread, " and mesh.model_ranks is %d", asked);
  if (below && above <= most)
    snprintf(nearest, sizeof nearest, "%d and %d", below, above);
  else if (below || above <= most)
    snprintf(nearest, sizeof nearest, "%d", below ? below : above);
  return lap_fail(status, LAP_USAGE,
                  "mesh: %d rank%s started, but the mesh is %d pod%s x %d lane%s x %d model "
                  "shard%s%s; the ranks of a replica divide the model shards and all ranks, and "
                  "there are no more replicas than lanes: the nearest counts that work are %s",
                  ranks, ranks == 1 ? " was" : "s were", mesh->pods, mesh->pods == 1 ? "" : "s",
                  mesh->data, mesh->data == 1 ? "" : "s", mesh->model, mesh->model == 1 ? "" : "s",
                  spread, nearest);
}

lap_code lap_mesh_fold(const lap_mesh *mesh, int model_ranks, int ranks, int rank, lap_fold *fold,
                       lap_status *status) {
  assert(mesh->pods >= 1 && mesh->data >= 1 && mesh->model >= 1);
  assert(ranks >= 1 && rank >= 0 && rank < ranks);
  const int spread = model_ranks_of(mesh, model_ranks, ranks);
  if (!spread) return refuse(mesh, model_ranks, ranks, status);
  const int replicas = ranks / spread, replica = rank / spread;
  const int64_t lanes = lap_mesh_lanes(mesh);
  *fold = (lap_fold){
      .replicas = replicas,
      .replica = replica,
      .model_ranks = spread,
      .model_rank = rank % spread,
      .first_shard = rank % spread * (mesh->model / spread),
      .shard_count = mesh->model / spread,
      .first_lane = (int)(replica * lanes / replicas),
      .end_lane = (int)((replica + INT64_C(1)) * lanes / replicas),
  };
  return LAP_OK;
}

int lap_fold_cyclic_lane(const lap_fold *fold, const lap_mesh *mesh, int round) {
  const int lane = round * fold->replicas + fold->replica;
  return lane < lap_mesh_lanes(mesh) ? lane : -1;
}

int lap_fold_rounds(const lap_fold *fold, const lap_mesh *mesh) {
  return (lap_mesh_lanes(mesh) + fold->replicas - 1) / fold->replicas;
}

lap_lanes lap_fold_lanes(const lap_fold *fold, const lap_mesh *mesh, lap_lane_schedule schedule) {
  if (schedule == LAP_LANES_BLOCK)
    return (lap_lanes){fold->first_lane, 1, fold->end_lane - fold->first_lane};
  const int later = lap_mesh_lanes(mesh) - fold->replica;
  return (lap_lanes){fold->replica, fold->replicas, (later + fold->replicas - 1) / fold->replicas};
}

double lap_mesh_efficiency(const lap_mesh *mesh, int replicas) {
  const int lanes = lap_mesh_lanes(mesh);
  const int fullest = (lanes + replicas - 1) / replicas;
  return (double)lanes / ((double)replicas * fullest);
}
