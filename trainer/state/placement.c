#include "trainer/state/placement.h"

#include "autograd/op/shard_range.h"

lap_lane_schedule lap_sharding_lane_schedule(lap_sharding sharding) {
  const bool cyclic = sharding == LAP_SHARDING_GRADIENTS || sharding == LAP_SHARDING_FULL;
  return cyclic ? LAP_LANES_CYCLIC : LAP_LANES_BLOCK;
}

lap_code lap_placement_of_rank(const lap_mesh *mesh, int model_ranks, lap_sharding sharding,
                               int ranks, int rank, lap_placement *placement, lap_status *status) {
  *placement = (lap_placement){.mesh = *mesh, .sharding = sharding};
  LAP_TRY(lap_mesh_fold(mesh, model_ranks, lap_sharding_lane_schedule(sharding), ranks, rank,
                        &placement->fold, status));
  if (placement->fold.shard_count <= LAP_MAX_SHARDS) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "mesh: %d ranks a replica would hold %d of the %d model shards each, but a rank "
                  "holds at most %d: start more ranks, or raise mesh.model_ranks",
                  placement->fold.model_ranks, placement->fold.shard_count, mesh->model,
                  LAP_MAX_SHARDS);
}

lap_code lap_placement_create(const lap_mesh *mesh, int model_ranks, lap_sharding sharding,
                              lap_comm *comm, lap_placement *placement, lap_status *status) {
  LAP_TRY(lap_placement_of_rank(mesh, model_ranks, sharding, lap_comm_size(comm),
                                lap_comm_rank(comm), placement, status));
  placement->comm = comm;
  return LAP_OK;
}
