/* placement: how the ranks of a job fold the logical mesh, and what they divide between them
 * (mesh.shard).
 */
#ifndef LAP_TRAINER_STATE_PLACEMENT_H
#define LAP_TRAINER_STATE_PLACEMENT_H

#include "mpi/transport/communicator.h"
#include "mpi/tree/mesh.h"
#include "trainer/config/config.h"

/* Of one rank. */
typedef struct {
  lap_comm *comm; /* NULL: of a plan */
  lap_mesh mesh;
  lap_fold fold;
  lap_sharding sharding;
} lap_placement;

/* Not collective. How the ranks of `comm` fold `mesh`; `model_ranks` is mesh.model_ranks. LAP_USAGE
 * where they cannot, or where a rank would hold more shards than it can. */
lap_code lap_placement_create(const lap_mesh *mesh, int model_ranks, lap_sharding sharding,
                              lap_comm *comm, lap_placement *placement, lap_status *status);
/* The same for rank `rank` of `ranks` that need not run: for `plan`. */
lap_code lap_placement_of_rank(const lap_mesh *mesh, int model_ranks, lap_sharding sharding,
                               int ranks, int rank, lap_placement *placement, lap_status *status);

/* Cyclic lanes with mesh.shard: gradients and full, else block lanes. */
lap_lane_schedule lap_sharding_lane_schedule(lap_sharding sharding);

#endif
