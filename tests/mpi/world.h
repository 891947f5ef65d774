/* world: what the tests that run under mpirun share. */
#ifndef LAP_TESTS_MPI_WORLD_H
#define LAP_TESTS_MPI_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "mpi/transport/group.h"
#include "mpi/tree/partition.h"

/* Group fixtures; *state becomes the lap_comm. */
int world_start(void **state);
int world_finish(void **state);

/* Collective. Fails on all ranks where it fails on one, so that no rank is left waiting in the next
 * collective. */
void assert_everywhere(lap_comm *comm, int64_t mistakes);

/* False where this job's ranks cannot fold this mesh. */
bool world_fold(lap_comm *comm, const lap_mesh *mesh, int model_ranks, lap_lane_schedule schedule,
                lap_fold *fold);

/* A vector of buckets of so many segments each. */
lap_partition *world_partition(const int *segments, int buckets, int owners);

#endif
