/* keep: a job goes on with its first ranks; the others wait for its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/clock.h"
#include "mpi/transport/agree.h"
#include "world.h"

/* Half of the ranks, rounded up. */
static int half_of(const lap_comm *comm) { return (lap_comm_size(comm) + 1) / 2; }

static void the_first_ranks_go_on_without_the_others(void **state) {
  lap_comm *comm = *state;
  const int kept = half_of(comm), rank = lap_comm_rank(comm);
  lap_comm_set_watchdog(comm, 4);
  if (!lap_comm_keep(comm, kept)) {
    assert_true(rank >= kept);
    return; /* to the end of the job, which it waits for */
  }
  assert_true(rank < kept);
  assert_int_equal(lap_comm_size(comm), kept);
  assert_in_range(lap_comm_ranks_on_node(comm), 1, kept);
  const lap_group group = lap_group_of_all(comm);
  assert_int_equal(group.size, kept);
  int64_t all[16] = {0}, mine = 100 + rank, smallest, largest;
  lap_gather_all(comm, &mine, sizeof mine, all);
  for (int r = 0; r < kept; ++r) assert_int_equal(all[r], 100 + r);
  assert_int_equal(all[kept], 0);
  /* The others wait for longer than the watchdog would, if all stood still. */
  for (const double end = lap_clock_seconds() + 5; lap_clock_seconds() < end;) continue;
  lap_agree_range(comm, rank, &smallest, &largest);
  assert_int_equal(smallest, 0);
  assert_int_equal(largest, kept - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_ranks_go_on_without_the_others)};
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
