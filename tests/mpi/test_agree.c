/* agree: an error of one rank is known to all ranks, in the same words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/exchange.h"
#include "world.h"

static void agreement_on_success_is_success(void **state) {
  lap_status status = {.code = LAP_OK};
  assert_int_equal(lap_agree(*state, &status), LAP_OK);
  assert_int_equal(status.code, LAP_OK);
}

static void a_failure_on_any_rank_is_everybodys(void **state) {
  lap_comm *comm = *state;
  for (int failing = 0; failing < lap_comm_size(comm); ++failing) {
    lap_status status = {.code = LAP_OK};
    if (lap_comm_rank(comm) == failing) lap_fail(&status, LAP_DATA, "a.h5: row %d is bad", failing);
    assert_int_equal(lap_agree(comm, &status), LAP_DATA);
    char expected[LAP_MESSAGE_SIZE];
    if (lap_comm_size(comm) > 1)
      snprintf(expected, sizeof expected, "rank %d on %s: a.h5: row %d is bad", failing,
               lap_comm_host(comm, failing), failing);
    else
      snprintf(expected, sizeof expected, "a.h5: row 0 is bad");
    assert_string_equal(status.message, expected);
    assert_int_equal(status.code, LAP_DATA);
  }
}

static void the_lowest_failing_rank_wins(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) < 3) return;
  lap_status status = {.code = LAP_OK};
  if (lap_comm_rank(comm) == 1) lap_fail(&status, LAP_NONFINITE, "the loss is nan");
  if (lap_comm_rank(comm) == 2) lap_fail(&status, LAP_DATA, "disk full");
  assert_int_equal(lap_agree(comm, &status), LAP_NONFINITE);
  assert_non_null(strstr(status.message, "rank 1 on "));
  assert_non_null(strstr(status.message, ": the loss is nan"));
}

static void the_same_words_on_all_ranks_need_no_rank(void **state) {
  lap_status status;
  lap_fail(&status, LAP_USAGE, "config.yaml: model.head_dim is missing");
  assert_int_equal(lap_agree(*state, &status), LAP_USAGE);
  assert_string_equal(status.message, "config.yaml: model.head_dim is missing");
}

static void a_message_of_full_length_is_cut_and_not_overrun(void **state) {
  lap_comm *comm = *state;
  lap_status status = {.code = LAP_OK};
  if (lap_comm_rank(comm) == lap_comm_size(comm) - 1) {
    status.code = LAP_DATA;
    memset(status.message, 'x', sizeof status.message - 1);
    status.message[sizeof status.message - 1] = '\0';
  }
  assert_int_equal(lap_agree(comm, &status), LAP_DATA);
  assert_int_equal(strlen(status.message), LAP_MESSAGE_SIZE - 1);
}

static void equal_texts_agree(void **state) {
  lap_status status;
  assert_int_equal(lap_agree_same(*state, "config", "seed: 1\n", "", &status), LAP_OK);
  assert_int_equal(lap_agree_same(*state, "config", "", "", &status), LAP_OK);
}

static void the_first_line_that_differs_is_shown(void **state) {
  lap_comm *comm = *state;
  const int last = lap_comm_size(comm) - 1;
  if (last == 0) return;
  const char *mine =
      lap_comm_rank(comm) == last ? "seed: 1\nsteps: 20\nx: 2\n" : "seed: 1\nsteps: 30\nx: 1\n";
  lap_status status;
  assert_int_equal(lap_agree_same(comm, "config", mine, "use one file", &status), LAP_USAGE);
  char expected[LAP_MESSAGE_SIZE];
  snprintf(expected, sizeof expected,
           "config: rank 0 on %s has \"steps: 30\", rank %d on %s has \"steps: 20\": use one file",
           lap_comm_host(comm, 0), last, lap_comm_host(comm, last));
  assert_string_equal(status.message, expected);
}

static void a_difference_far_into_a_line_or_at_the_end_is_shown(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) == 1) return;
  char text[5001];
  memset(text, 'a', sizeof text - 1);
  text[5000] = '\0';
  if (lap_comm_rank(comm) > 0) text[4000] = 'b';
  lap_status status;
  assert_int_equal(lap_agree_same(comm, "binary", text, "", &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "\"...aaa"));
  assert_non_null(strstr(status.message, "aab"));
  assert_int_equal(
      lap_agree_same(comm, "binary", lap_comm_rank(comm) > 0 ? "abc" : "ab", "", &status),
      LAP_USAGE);
  assert_non_null(strstr(status.message, "has \"ab\""));
}

/* Up to 60 bytes before a difference are shown whole. */
static void the_begin_of_a_line_is_left_out_only_where_it_is_long(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) == 1) return;
  for (int before = 60; before <= 61; ++before) {
    char text[100], shown[100];
    lap_status status;
    const char of_rank = lap_comm_rank(comm) > 0 ? 'y' : 'x';
    snprintf(text, sizeof text, "one\n%.*d%c", before, 0, of_rank);
    assert_int_equal(lap_agree_same(comm, "text", text, "", &status), LAP_USAGE);
    snprintf(shown, sizeof shown, "has \"%s%.60dx\"", before > 60 ? "..." : "", 0);
    if (!strstr(status.message, shown)) fail_msg("%s is not in %s", shown, status.message);
  }
}

static void a_text_of_rank_0_reaches_everybody(void **state) {
  lap_comm *comm = *state;
  const bool root = lap_comm_rank(comm) == 0;
  char *text = lap_broadcast_text(comm, root ? lap_copy_string("of rank 0") : NULL);
  assert_string_equal(text, "of rank 0");
  free(text);
  text = lap_broadcast_text(comm, root ? lap_copy_string("") : NULL);
  assert_string_equal(text, "");
  free(text);
  assert_null(lap_broadcast_text(comm, NULL));
}

static void ranges_and_broadcasts_reach_everybody(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  int64_t smallest, largest;
  lap_agree_range(comm, -3 + 5 * rank, &smallest, &largest);
  assert_int_equal(smallest, -3);
  assert_int_equal(largest, -3 + 5 * (ranks - 1));
  for (int root = 0; root < ranks; ++root) {
    int value = rank;
    lap_broadcast(comm, &value, sizeof value, root);
    assert_int_equal(value, root);
  }
}

static void texts_of_different_lengths_reach_rank_0_in_rank_order(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  char mine[64];
  memset(mine, 'a' + rank, sizeof mine);
  void *all;
  size_t *counts;
  lap_gather_to_root(comm, mine, 7 * (size_t)rank, &all, &counts);
  if (rank != 0) {
    assert_null(all);
    assert_null(counts);
    return;
  }
  const char *text = all;
  for (int r = 0; r < ranks; ++r) {
    assert_int_equal(counts[r], 7 * r);
    for (size_t i = 0; i < counts[r]; ++i) assert_int_equal(*text++, 'a' + r);
  }
  free(all);
  free(counts);
}

static void texts_go_from_each_rank_to_another(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  char mine[64];
  memset(mine, 'a' + rank, sizeof mine);
  for (int shift = 0; shift < ranks; ++shift) {
    const int to = (rank + shift) % ranks, from = (rank + ranks - shift) % ranks;
    void *theirs;
    size_t count; /* rank 0 sends nothing */
    lap_send_receive(comm, to, mine, 7 * (size_t)rank, from, &theirs, &count);
    assert_int_equal(count, 7 * from);
    for (size_t i = 0; i < count; ++i) assert_int_equal(((char *)theirs)[i], 'a' + from);
    free(theirs);
  }
}

static void nobody_passes_a_barrier_alone(void **state) {
  lap_comm *comm = *state;
  lap_barrier(comm);
  lap_comm_exposed_seconds(comm, true);
  if (lap_comm_rank(comm) == 0) usleep(100 * 1000);
  lap_barrier(comm);
  const double waited = lap_comm_exposed_seconds(comm, true);
  if (lap_comm_rank(comm) != 0) assert_true(waited > 0.05);
  assert_true(lap_comm_exposed_seconds(comm, false) == 0);
}

static void texts_of_different_lengths_reach_everybody_in_order(void **state) {
  lap_comm *comm = *state;
  const lap_group group = lap_group_of_all(comm);
  char mine[64];
  memset(mine, 'a' + group.index, sizeof mine);
  void *all;
  size_t *counts;
  lap_gather_strings(&group, mine, 7 * (size_t)group.index, &all, &counts);
  const char *text = all;
  for (int r = 0; r < group.size; ++r) {
    assert_int_equal(counts[r], 7 * r);
    for (size_t i = 0; i < counts[r]; ++i) assert_int_equal(*text++, 'a' + r);
  }
  free(all);
  free(counts);
}

/* A value to and from every other rank. */
static void list_values(const lap_group *group, const int *mine, int *all, lap_exchange *exchange) {
  for (int step = 1; step < group->size; ++step) {
    const int from = lap_group_from(group, step);
    lap_exchange_send(exchange, lap_group_to(group, step), mine, sizeof *mine);
    lap_exchange_receive(exchange, from, all + from, sizeof *all);
  }
}

/* The first exchange is held up by one rank, which starts the second alone: on all others the
 * second is complete while the first is not. */
static void a_later_exchange_may_be_complete_before_an_earlier_one(void **state) {
  lap_comm *comm = *state;
  const lap_group group = lap_group_of_all(comm);
  if (group.size == 1) return;
  const bool late = group.index == group.size - 1;
  int mine[2] = {10 + group.index, 20 + group.index}, all[2][16];
  lap_exchange exchanges[2] = {{.tag = LAP_TAG_GATHER, .what = "the first"},
                               {.tag = LAP_TAG_SHARDS, .what = "the second"}};
  lap_comm_ticket tickets[2];
  for (int i = 0; i < 2; ++i) list_values(&group, &mine[i], all[i], &exchanges[i]);
  if (!late) tickets[0] = lap_comm_start_exchange(comm, &exchanges[0]);
  tickets[1] = lap_comm_start_exchange(comm, &exchanges[1]);
  lap_comm_wait(comm, tickets[1]);
  const bool early = !late && lap_comm_is_done(comm, tickets[0]);
  lap_barrier(comm); /* no rank's first exchange can be complete before this */
  if (late) tickets[0] = lap_comm_start_exchange(comm, &exchanges[0]);
  lap_comm_wait(comm, tickets[0]);
  int mistakes = early || !lap_comm_is_done(comm, tickets[0]);
  for (int i = 0; i < 2; ++i)
    for (int rank = 0; rank < group.size; ++rank)
      if (rank != group.index) mistakes += all[i][rank] != 10 * (i + 1) + rank;
  assert_everywhere(comm, mistakes);
  for (int i = 0; i < 2; ++i) lap_exchange_release(&exchanges[i]);
}

/* Many exchanges of one tag in flight at once, waited for backwards. */
static void exchanges_of_one_tag_match_in_the_order_of_starting(void **state) {
  enum { EXCHANGES = 500 };
  lap_comm *comm = *state;
  const lap_group group = lap_group_of_all(comm);
  static int mine[EXCHANGES], all[EXCHANGES][16];
  static lap_exchange exchanges[EXCHANGES];
  lap_comm_ticket tickets[EXCHANGES];
  for (int i = 0; i < EXCHANGES; ++i) {
    mine[i] = 1000 * group.index + i;
    exchanges[i] = (lap_exchange){.tag = LAP_TAG_GATHER, .what = "one of many"};
    list_values(&group, &mine[i], all[i], &exchanges[i]);
    tickets[i] = lap_comm_start_exchange(comm, &exchanges[i]);
  }
  int mistakes = 0;
  for (int i = EXCHANGES - 1; i >= 0; --i) {
    lap_comm_wait(comm, tickets[i]);
    for (int rank = 0; rank < group.size; ++rank)
      if (rank != group.index) mistakes += all[i][rank] != 1000 * rank + i;
    lap_exchange_release(&exchanges[i]);
  }
  assert_everywhere(comm, mistakes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agreement_on_success_is_success),
      cmocka_unit_test(a_failure_on_any_rank_is_everybodys),
      cmocka_unit_test(the_lowest_failing_rank_wins),
      cmocka_unit_test(the_same_words_on_all_ranks_need_no_rank),
      cmocka_unit_test(a_message_of_full_length_is_cut_and_not_overrun),
      cmocka_unit_test(equal_texts_agree),
      cmocka_unit_test(the_first_line_that_differs_is_shown),
      cmocka_unit_test(a_difference_far_into_a_line_or_at_the_end_is_shown),
      cmocka_unit_test(the_begin_of_a_line_is_left_out_only_where_it_is_long),
      cmocka_unit_test(ranges_and_broadcasts_reach_everybody),
      cmocka_unit_test(a_text_of_rank_0_reaches_everybody),
      cmocka_unit_test(texts_of_different_lengths_reach_rank_0_in_rank_order),
      cmocka_unit_test(texts_go_from_each_rank_to_another),
      cmocka_unit_test(nobody_passes_a_barrier_alone),
      cmocka_unit_test(texts_of_different_lengths_reach_everybody_in_order),
      cmocka_unit_test(a_later_exchange_may_be_complete_before_an_earlier_one),
      cmocka_unit_test(exchanges_of_one_tag_match_in_the_order_of_starting),
  };
  return cmocka_run_group_tests_name("agree", tests, world_start, world_finish);
}
