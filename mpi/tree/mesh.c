#include "mpi/tree/mesh.h"

#include <assert.h>
#include <stdio.h>

lap_lanes lap_lanes_of_replica(const lap_mesh *mesh, lap_lane_schedule schedule, int replicas,
                               int replica) {
  const int64_t lanes = lap_mesh_lanes(mesh);
  if (schedule == LAP_LANES_CYCLIC)
    return (lap_lanes){replica, replicas, (int)((lanes - replica + replicas - 1) / replicas)};
  const int64_t first = replica * lanes / replicas;
  const int64_t end = (replica + INT64_C(1)) * lanes / replicas;
  return (lap_lanes){(int)first, 1, (int)(end - first)};
}

int lap_mesh_rounds(const lap_mesh *mesh, int replicas) {
  return (lap_mesh_lanes(mesh) + replicas - 1) / replicas;
}

/* The fewest ranks that can share a replica (or `asked`, where that is not 0); 0: none can. */
static int model_ranks_of(const lap_mesh *mesh, int asked, int ranks) {
  for (int sharing = asked ? asked : 1; sharing <= mesh->model; ++sharing) {
    if (mesh->model % sharing == 0 && ranks % sharing == 0 &&
        ranks / sharing <= lap_mesh_lanes(mesh))
      return sharing;
    if (asked) break;
  }
  return 0;
}

int lap_mesh_usable_ranks(const lap_mesh *mesh, int model_ranks, int ranks) {
  const int most = lap_mesh_lanes(mesh) * mesh->model;
  int usable = ranks < most ? ranks : most;
  while (usable > 0 && !model_ranks_of(mesh, model_ranks, usable)) --usable;
  return usable;
}

/* Names the nearest counts of ranks that can fold the mesh. */
static lap_code refuse(const lap_mesh *mesh, int asked, int ranks, lap_status *status) {
  const int most = lap_mesh_lanes(mesh) * mesh->model;
  const int below = lap_mesh_usable_ranks(mesh, asked, ranks);
  int above = ranks;
  while (above <= most && !model_ranks_of(mesh, asked, above)) ++above;
  char given[64] = "", nearest[64] = "none";
  if (asked) snprintf(given, sizeof given, " and mesh.model_ranks is %d", asked);
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
                  given, nearest);
}

lap_code lap_mesh_fold(const lap_mesh *mesh, int model_ranks, lap_lane_schedule schedule, int ranks,
                       int rank, lap_fold *fold, lap_status *status) {
  assert(mesh->pods >= 1 && mesh->data >= 1 && mesh->model >= 1);
  assert(ranks >= 1 && rank >= 0 && rank < ranks);
  const int sharing = model_ranks_of(mesh, model_ranks, ranks);
  if (!sharing) return refuse(mesh, model_ranks, ranks, status);
  const int replicas = ranks / sharing, replica = rank / sharing;
  *fold = (lap_fold){
      .replicas = replicas,
      .replica = replica,
      .model_ranks = sharing,
      .model_rank = rank % sharing,
      .first_shard = rank % sharing * (mesh->model / sharing),
      .shard_count = mesh->model / sharing,
      .schedule = schedule,
      .lanes = lap_lanes_of_replica(mesh, schedule, replicas, replica),
      .rounds = lap_mesh_rounds(mesh, replicas),
  };
  return LAP_OK;
}

double lap_mesh_efficiency(const lap_mesh *mesh, int replicas) {
  return (double)lap_mesh_lanes(mesh) / ((double)replicas * lap_mesh_rounds(mesh, replicas));
}
