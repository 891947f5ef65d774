/* group: some of the ranks, in a fixed order: first, first + stride, ...
 *
 * Every collective runs in a group; mpi/collective/mesh_groups.h has those of the mesh.
 */
#ifndef LAP_MPI_TRANSPORT_GROUP_H
#define LAP_MPI_TRANSPORT_GROUP_H

#include "mpi/transport/communicator.h"

typedef struct {
  lap_comm *comm;
  int first, stride, size;
  int index; /* of this rank in the group */
} lap_group;

static inline lap_group lap_group_of_all(lap_comm *comm) {
  return (lap_group){comm, 0, 1, lap_comm_size(comm), lap_comm_rank(comm)};
}
static inline int lap_group_rank(const lap_group *group, int index) {
  return group->first + index * group->stride;
}
/* Partners of step s = 1 .. size - 1 of a pairwise exchange, as indices: in each step every rank
 * sends to one other and receives from one other, so that no rank is the target of all at once. */
static inline int lap_group_to(const lap_group *group, int step) {
  return (group->index + step) % group->size;
}
static inline int lap_group_from(const lap_group *group, int step) {
  return (group->index + group->size - step) % group->size;
}

#endif
