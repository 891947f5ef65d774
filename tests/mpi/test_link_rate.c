/* link_rate: every pair of ranks on a node is a link, no link is between nodes where there is one
 * node, and the rates are of an order that memory can reach. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mpi/transport/agree.h"
#include "mpi/transport/link_rate.h"
#include "world.h"

static void neighbours_on_the_node_are_measured(void **state) {
  lap_comm *comm = *state;
  enum { MOST_NEIGHBOURS = 4 };
  const int others = lap_comm_size(comm) - 1;
  lap_link_rate rate;
  lap_measure_link(comm, false, 0.1, &rate);
  assert_int_equal(rate.peers, others < MOST_NEIGHBOURS ? others : MOST_NEIGHBOURS);
  if (!others) return;
  assert_true(rate.latency_seconds > 1e-8 && rate.latency_seconds < 10);
  assert_true(rate.bytes_per_second > 1e5 && rate.bytes_per_second < 1e12);
}

static void one_node_has_no_links_between_nodes(void **state) {
  lap_link_rate rate;
  lap_measure_link(*state, true, 0.1, &rate);
  assert_int_equal(rate.peers, 0);
  assert_true(rate.latency_seconds == 0 && rate.bytes_per_second == 0);
}

/* Ranks leave the measurement together: the next round of all is not one of its own. */
static void ranks_go_on_together(void **state) {
  int64_t smallest, largest;
  lap_agree_range(*state, lap_comm_rank(*state), &smallest, &largest);
  assert_int_equal(smallest, 0);
  assert_int_equal(largest, lap_comm_size(*state) - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(neighbours_on_the_node_are_measured),
      cmocka_unit_test(one_node_has_no_links_between_nodes),
      cmocka_unit_test(ranks_go_on_together),
  };
  return cmocka_run_group_tests_name("link_rate", tests, world_start, world_finish);
}
