#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"

int world_start(void **state) {
  lap_comm *comm;
  lap_status status;
  if (lap_comm_start(&comm, LAP_WATCHDOG_SECONDS, &status) != LAP_OK) return -1;
  lap_comm_set_watchdog(comm, 60);
  *state = comm;
  return 0;
}

int world_finish(void **state) {
  lap_comm_finish(*state);
  return 0;
}

void assert_everywhere(lap_comm *comm, int64_t mistakes) {
  int64_t fewest, most;
  lap_agree_range(comm, mistakes, &fewest, &most);
  assert_int_equal(most, 0);
}

bool world_fold(lap_comm *comm, const lap_mesh *mesh, int model_ranks, lap_lane_schedule schedule,
                lap_fold *fold) {
  lap_status status;
  return lap_mesh_fold(mesh, model_ranks, schedule, lap_comm_size(comm), lap_comm_rank(comm), fold,
                       &status) == LAP_OK;
}

lap_partition *world_partition(const int *segments, int buckets, int owners) {
  int64_t *begin = lap_allocate(buckets + 1, sizeof *begin);
  for (int b = 0; b < buckets; ++b) begin[b + 1] = begin[b] + segments[b] * LAP_SEGMENT;
  lap_partition *partition = lap_partition_create(begin, buckets, begin[buckets], owners);
  free(begin);
  return partition;
}
