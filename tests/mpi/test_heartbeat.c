/* heartbeat: who listens to whom, and when silence or standstill means an end; without messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mpi/transport/heartbeat.h"

static int peer_of(const lap_heartbeat *heartbeat, int rank) {
  for (int i = 0; i < heartbeat->count; ++i)
    if (heartbeat->peer[i].rank == rank) return i;
  return -1;
}

static void everybody_listens_to_three_at_most_who_listen_to_it(void **state) {
  (void)state;
  for (int size = 1; size <= 1000; size = size * 3 / 2 + 1) {
    int lines = 0;
    for (int rank = 0; rank < size; ++rank) {
      const lap_heartbeat h = lap_heartbeat_begin(rank, size);
      assert_true(h.count <= LAP_HEARTBEAT_PEERS && (h.count > 0 || size == 1));
      lines += h.count;
      for (int i = 0; i < h.count; ++i) {
        assert_in_range(h.peer[i].rank, 0, size - 1);
        const lap_heartbeat other = lap_heartbeat_begin(h.peer[i].rank, size);
        assert_true(peer_of(&other, rank) >= 0);
      }
    }
    assert_int_equal(lines, 2 * (size - 1)); /* a tree */
  }
}

static void a_parent_comes_before_a_child(void **state) {
  (void)state;
  lap_heartbeat h = lap_heartbeat_begin(1, 5);
  const int parent = peer_of(&h, 0), child = peer_of(&h, 4);
  const lap_beat beat = {.interval = 0.5};
  for (int i = 0; i < h.count; ++i) lap_heartbeat_hear(&h, i, &beat);
  lap_heartbeat_pass(&h, 6);
  assert_int_equal(lap_heartbeat_silent(&h, 8), -1);
  lap_heartbeat_pass(&h, 0.5);
  lap_heartbeat_hear(&h, peer_of(&h, 3), &beat);
  assert_int_equal(lap_heartbeat_silent(&h, 8), child);
  lap_heartbeat_hear(&h, child, &beat);
  assert_int_equal(lap_heartbeat_silent(&h, 8), -1);
  lap_heartbeat_pass(&h, 1.6);
  assert_int_equal(lap_heartbeat_silent(&h, 8), parent);
  h = lap_heartbeat_begin(2, 5); /* of the same parent, the second child */
  lap_heartbeat_pass(&h, 9);
  assert_int_equal(lap_heartbeat_silent(&h, 8), -1);
  lap_heartbeat_pass(&h, 1.5);
  assert_int_equal(lap_heartbeat_silent(&h, 8), peer_of(&h, 0));
}

static void who_has_said_its_last_may_be_silent(void **state) {
  (void)state;
  lap_heartbeat h = lap_heartbeat_begin(0, 2);
  assert_false(lap_heartbeat_all_left(&h));
  lap_heartbeat_hear(&h, 0, &(lap_beat){.last = true});
  lap_heartbeat_pass(&h, 1000);
  assert_int_equal(lap_heartbeat_silent(&h, 1), -1);
  assert_true(lap_heartbeat_all_left(&h));
}

/* While ranks change their watchdog one by one. */
static void who_beats_slowly_is_waited_for(void **state) {
  (void)state;
  lap_heartbeat h = lap_heartbeat_begin(0, 2);
  lap_heartbeat_hear(&h, 0, &(lap_beat){.interval = lap_heartbeat_interval(300)});
  lap_heartbeat_pass(&h, 10);
  assert_int_equal(lap_heartbeat_silent(&h, 2), -1);
  lap_heartbeat_pass(&h, 5);
  assert_int_equal(lap_heartbeat_silent(&h, 2), 0);
}

/* A beat from every rank to its parent, those furthest from rank 0 first or last. */
static void beat_upwards(lap_heartbeat *h, int size, bool deepest_first) {
  for (int i = 1; i < size; ++i) {
    const int rank = deepest_first ? size - i : i;
    const lap_beat beat = {.standstill = lap_heartbeat_standstill(&h[rank])};
    lap_heartbeat *parent = &h[(rank - 1) / 2];
    lap_heartbeat_hear(parent, peer_of(parent, rank), &beat);
  }
}

static void rank_0_knows_when_any_rank_has_moved(void **state) {
  (void)state;
  enum { SIZE = 11 };
  for (int mover = 0; mover < SIZE; ++mover)
    for (int deepest_first = 0; deepest_first < 2; ++deepest_first) {
      lap_heartbeat h[SIZE];
      for (int rank = 0; rank < SIZE; ++rank) h[rank] = lap_heartbeat_begin(rank, SIZE);
      for (int second = 0; second < 20; ++second) {
        for (int rank = 0; rank < SIZE; ++rank) lap_heartbeat_pass(&h[rank], 1);
        if (second < 12) h[mover].standstill = 0;
        beat_upwards(h, SIZE, deepest_first);
      }
      assert_true(lap_heartbeat_standstill(&h[0]) == 8);
      /* Who is elsewhere in the tree does not know it. */
      if (mover == 3) assert_true(lap_heartbeat_standstill(&h[2]) == 20);
    }
}

/* How long a rank seems to have stood still whose threads use `seconds` of processor time every
 * `period` seconds. */
static double seems_to_stand_still(double seconds, double period, double passed) {
  double standstill = 0, used = 0;
  for (double time = period; time <= passed; time += period) {
    standstill += period;
    used += seconds;
    if (used < lap_heartbeat_least_movement(standstill)) continue;
    standstill = used = 0;
  }
  return standstill;
}

/* As the lock of a directory does every five seconds on rank 0, which may be stuck all the same. */
static void a_helper_that_wakes_up_is_no_movement(void **state) {
  (void)state;
  for (double seconds = 300; seconds < 1e5; seconds *= 3)
    assert_true(seems_to_stand_still(100e-6, 5, seconds) > lap_heartbeat_first_limit(seconds));
}

static void little_work_is_a_movement(void **state) {
  (void)state;
  assert_true(seems_to_stand_still(1e-3, 1, 300) < 5);
  assert_true(seems_to_stand_still(50e-3, 60, 300) < 61);
}

static void the_traffic_is_small(void **state) {
  (void)state;
  assert_true(LAP_BEAT_BYTES <= 128);
  assert_true(lap_heartbeat_interval(300) > 4 && lap_heartbeat_interval(1e9) == 5);
  assert_true(lap_heartbeat_interval(1) == 0.05);
  /* News of 1000 ranks reach rank 0 in a fraction of the watchdog's time. */
  for (double seconds = 4; seconds < 1000; seconds *= 2)
    assert_true(10 * lap_heartbeat_interval(seconds) < seconds / 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everybody_listens_to_three_at_most_who_listen_to_it),
      cmocka_unit_test(a_parent_comes_before_a_child),
      cmocka_unit_test(who_has_said_its_last_may_be_silent),
      cmocka_unit_test(who_beats_slowly_is_waited_for),
      cmocka_unit_test(rank_0_knows_when_any_rank_has_moved),
      cmocka_unit_test(a_helper_that_wakes_up_is_no_movement),
      cmocka_unit_test(little_work_is_a_movement),
      cmocka_unit_test(the_traffic_is_small),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
