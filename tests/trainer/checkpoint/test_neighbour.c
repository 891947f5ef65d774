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

/* On two hosts the number of ranks that are read on the other host is even for every shift, so a
 * search that leaves out one rank still finds the best; on three hosts it does not. */
enum { HOSTS = 3 };

/* Digit r to the base HOSTS, from the right: the host of rank r. */
static unsigned layout;
static int written_by; /* the rank whose file this one was given to read back last */

int __wrap_lap_comm_node(const lap_comm *comm, int rank);
int __wrap_lap_comm_node(const lap_comm *comm, int rank) {
  (void)comm;
  unsigned digits = layout;
  for (int r = 0; r < rank; ++r) digits /= HOSTS;
  return (int)(digits % HOSTS);
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

static int on_other_hosts(const lap_comm *comm, int shift) {
  const int ranks = lap_comm_size(comm);
  int count = 0;
  for (int r = 0; r < ranks; ++r)
    count += lap_comm_node(comm, r) != lap_comm_node(comm, (r + shift) % ranks);
  return count;
}

/* The host of rank 0 is always the first one. */
static void as_many_as_can_be_are_read_on_another_host(void **context) {
  world *w = *context;
  const int rank = lap_comm_rank(w->comm), ranks = lap_comm_size(w->comm);
  unsigned layouts = HOSTS;
  for (int r = 1; r < ranks; ++r) layouts *= HOSTS;
  for (layout = 0; layout < layouts; layout += HOSTS) {
    written_by = -1;
    world_write_step(w, layout);
    assert_in_range(written_by, 0, ranks - 1);
    const int shift = (written_by - rank + ranks) % ranks;
    assert_true(ranks == 1 || shift > 0);
    int most = 0;
    for (int other = 1; other < ranks; ++other)
      if (on_other_hosts(w->comm, other) > most) most = on_other_hosts(w->comm, other);
    if (on_other_hosts(w->comm, shift) != most)
      fail_msg("hosts %u (base %d): %d ranks on, %d are read on another host, not %d", layout,
               HOSTS, shift, on_other_hosts(w->comm, shift), most);
  }
  layout = 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {IN_DIRECTORY(as_many_as_can_be_are_read_on_another_host)};
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
