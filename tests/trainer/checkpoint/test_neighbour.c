/* neighbour: who reads back what a rank has written is on another host for as many ranks as can be,
 * however the ranks lie on the hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mpi/transport/communicator.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/checkpoint/world.h"
#include "trainer/checkpoint/payload.h"

enum { MOST_RANKS = 8 };

/* Bit r: rank r is on the second of two hosts. */
static unsigned second_host;
static int written_by; /* the rank whose file this one was given to read back last */

int __wrap_lap_comm_node(const lap_comm *comm, int rank);
int __wrap_lap_comm_node(const lap_comm *comm, int rank) {
  (void)comm;
  return second_host >> rank & 1;
}

lap_code __real_lap_payload_read_back(const char *path, const lap_parameters *all,
                                      const lap_checkpoint_piece *piece, int count,
                                      lap_status *status);
lap_code __wrap_lap_payload_read_back(const char *path, const lap_parameters *all,
                                      const lap_checkpoint_piece *piece, int count,
                                      lap_status *status);
lap_code __wrap_lap_payload_read_back(const char *path, const lap_parameters *all,
                                      const lap_checkpoint_piece *piece, int count,
                                      lap_status *status) {
  written_by = atoi(strstr(path, "/rank-") + strlen("/rank-"));
  return __real_lap_payload_read_back(path, all, piece, count, status);
}

static int on_other_hosts(int ranks, int shift) {
  int count = 0;
  for (int r = 0; r < ranks; ++r)
    count += (second_host >> r & 1) != (second_host >> (r + shift) % ranks & 1);
  return count;
}

static void as_many_as_can_be_are_read_on_another_host(void **context) {
  world *w = *context;
  const int rank = lap_comm_rank(w->comm), ranks = lap_comm_size(w->comm);
  assert_true(ranks <= MOST_RANKS);
  for (second_host = 0; second_host < 1u << ranks; ++second_host) {
    written_by = -1;
    world_write_step(w, second_host);
    assert_in_range(written_by, 0, ranks - 1);
    const int shift = (written_by - rank + ranks) % ranks;
    assert_true(ranks == 1 || shift > 0);
    int most = 0;
    for (int other = 1; other < ranks; ++other)
      if (on_other_hosts(ranks, other) > most) most = on_other_hosts(ranks, other);
    if (on_other_hosts(ranks, shift) != most)
      fail_msg("hosts %x: %d ranks on, %d are read on another host, not %d", second_host, shift,
               on_other_hosts(ranks, shift), most);
  }
  second_host = 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {IN_DIRECTORY(as_many_as_can_be_are_read_on_another_host)};
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
