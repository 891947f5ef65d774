/* mesh_groups: the groups of ranks in which a folded mesh communicates (docs/design.md#ranks).
 *
 * Collectives over gradients and weights run in the group of ranks that hold the same model shards
 * of different replicas; sums over model shards run in the group of ranks of one replica.
 */
#ifndef LAP_MPI_COLLECTIVE_MESH_GROUPS_H
#define LAP_MPI_COLLECTIVE_MESH_GROUPS_H

#include "mpi/transport/group.h"
#include "mpi/tree/mesh.h"

/* The ranks that hold the same shards: index is the replica. */
static inline lap_group lap_group_of_replicas(lap_comm *comm, const lap_fold *fold) {
  return (lap_group){comm, fold->model_rank, fold->model_ranks, fold->replicas, fold->replica};
}
/* The ranks of one replica: index is the model rank. */
static inline lap_group lap_group_of_shards(lap_comm *comm, const lap_fold *fold) {
  return (lap_group){comm, fold->replica * fold->model_ranks, 1, fold->model_ranks,
                     fold->model_rank};
}

#endif
