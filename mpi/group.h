/* group: some of the ranks, in a fixed order: first, first + stride, ... (DESIGN 2).
 *
 * Collectives over gradients and weights run in the group of ranks that hold the same model shards
 * of different replicas; sums over model shards run in the group of ranks of one replica.
 */
#ifndef LAP_MPI_GROUP_H
#define LAP_MPI_GROUP_H

#include "mpi/communicator.h"
#include "mpi/mesh.h"

typedef struct {
  lap_comm *comm;
  int first, stride, size;
  int index; /* of this rank in the group */
} lap_group;

static inline lap_group lap_group_of_all(lap_comm *comm) {
  return (lap_group){comm, 0, 1, lap_comm_size(comm), lap_comm_rank(comm)};
}
/* The ranks that hold the same shards: index is the replica. */
static inline lap_group lap_group_of_replicas(lap_comm *comm, const lap_fold *fold) {
  return (lap_group){comm, fold->model_rank, fold->model_ranks, fold->replicas, fold->replica};
}
/* The ranks of one replica: index is the model rank. */
static inline lap_group lap_group_of_shards(lap_comm *comm, const lap_fold *fold) {
  return (lap_group){comm, fold->replica * fold->model_ranks, 1, fold->model_ranks,
                     fold->model_rank};
}

static inline int lap_group_rank(const lap_group *group, int index) {
  return group->first + index * group->stride;
}
/* Partners of step s = 1 .. size - 1 of a pairwise exchange, as indices: in each step everybody
 * sends to one and receives from one, and nobody is everybody's target at once. */
static inline int lap_group_to(const lap_group *group, int step) {
  return (group->index + step) % group->size;
}
static inline int lap_group_from(const lap_group *group, int step) {
  return (group->index + group->size - step) % group->size;
}

#endif
