/* describe: the numbers and examples that inspect prints, and the check of every row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "teacher/cache_open.h"
#include "teacher/cache_row.h"
#include "teacher/describe.h"
#include "teacher/describe_file.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

/* The second fifth begins with an EOS, which is not shown as an example. */
enum { ROWS = 4999 };

static int make(void **state) {
  static synthetic made;
  synthetic_create(&made, 1, ROWS);
  *state = &made;
  return 0;
}

static int unmake(void **state) {
  synthetic_destroy(*state);
  return 0;
}

static lap_cache *open_cache(const synthetic *made, const char *path) {
  lap_cache *cache;
  lap_status status = {0};
  if (lap_cache_open(path, &made->tokens, NULL, &cache, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return cache;
}

static void alignment_and_coverage_are_those_of_the_teacher(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  assert_int_equal(d.rows, ROWS);
  assert_true(d.compared > 3500 && d.compared <= 4096);
  assert_true(fabs(d.mean_next - 0.5) < 1e-3 && d.mean_same < 0.05 && d.mean_after < 0.05);
  assert_false(d.shifted);
  assert_true(fabs(d.mean_kept - 0.9) < 1e-3 && fabs(d.least_kept - 0.9) < 1e-3);
  assert_true(d.file_bytes > 1 && d.file_bytes < 100);
  lap_cache_close(cache);
}

static void the_row_with_the_least_coverage_is_found(void **state) {
  const synthetic *made = *state;
  plain_cache plain;
  plain_create(made, 0, &plain);
  plain.logprob[10 * SYNTHETIC_K + 7] = -INFINITY; /* 0.4 / 28 */
  const char *path = scratch_path(made->directory, "plain.h5");
  plain_write(path, &plain);
  lap_cache *cache = open_cache(made, path);
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  assert_int_equal(d.least_kept_row, 10);
  assert_true(fabs(d.least_kept - (0.9 - 0.4 / 28)) < 1e-6);
  lap_cache_close(cache);
  plain_destroy(&plain);
}

static void examples_are_counted_rows_with_their_top_in_order(void **state) {
  const synthetic *made = *state;
  const uint32_t *tokens = made->tokens.shard[0]->tokens;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  assert_int_equal(d.example_count, LAP_EXAMPLE_ROWS);
  for (uint32_t n = 0; n < d.example_count; ++n) {
    const lap_cache_example *e = &d.example[n];
    assert_int_equal(e->token, tokens[e->row]);
    assert_int_equal(e->next, tokens[e->row + 1]);
    assert_int_equal(e->top_count, LAP_EXAMPLE_TOP);
    assert_int_equal(e->top_id[0], e->next);
    for (uint32_t i = 1; i < e->top_count; ++i)
      assert_true(e->top_probability[i] < e->top_probability[i - 1]);
    assert_true(fabs((double)e->tail - 0.1) < 1e-6);
    if (n > 0) assert_true(e->row > d.example[n - 1].row);
  }
  lap_cache_close(cache);
}

/* Ids in the file in any order; equal ones by id. */
static void the_top_is_sorted_whatever_the_order_in_the_file(void **state) {
  const synthetic *made = *state;
  plain_cache plain;
  plain_create(made, 0, &plain);
  for (int j = 0; j < SYNTHETIC_K; ++j) {
    plain.ids[j] = (j * 5 + 3) % 8; /* 3 0 5 2 7 4 1 6 */
    plain.logprob[j] = log(plain.ids[j] == 7 ? 0.3 : 0.1);
  }
  plain.tail_mass[0] = 0;
  const char *path = scratch_path(made->directory, "plain.h5");
  plain_write(path, &plain);
  lap_cache *cache = open_cache(made, path);
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  const uint32_t expected[LAP_EXAMPLE_TOP] = {7, 0, 1, 2, 3};
  assert_memory_equal(d.example[0].top_id, expected, sizeof expected);
  lap_cache_close(cache);
  plain_destroy(&plain);
}

typedef struct {
  uint64_t calls, last;
} progress;

static void note(void *context, const lap_progress_state *state) {
  progress *p = context;
  assert_true(p->calls == 0 ? state->done == 0 : state->done > p->last);
  assert_true(state->done <= state->total && state->total == ROWS);
  p->last = state->done;
  ++p->calls;
}

/* Of its fifths the first has no row, and the last one only the last row of the file, which does
 * not count. */
static void a_file_of_four_rows_has_three_examples(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, 1, 4);
  lap_cache *cache = open_cache(&made, synthetic_write_all(&made));
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  assert_int_equal(d.example_count, 3);
  for (uint32_t n = 0; n < 3; ++n) assert_int_equal(d.example[n].row, n);
  lap_cache_close(cache);
  synthetic_destroy(&made);
}

static void checking_all_reads_every_row(void **state) {
  const synthetic *made = *state;
  plain_cache plain;
  plain_create(made, 0, &plain);
  const char *path = scratch_path(made->directory, "plain.h5");
  plain_write(path, &plain);
  lap_cache *cache = open_cache(made, path);
  lap_status status = {0};
  progress p = {0};
  const lap_progress_hook hook = {note, &p};
  assert_int_equal(lap_cache_check_all(cache, 0, &hook, &status), LAP_OK);
  assert_true(p.last == ROWS && p.calls > 2);
  assert_int_equal(lap_cache_check_all(cache, 0, NULL, &status), LAP_OK);
  lap_cache_close(cache);
  plain.tail_mass[4997] = 0.5;
  plain_write(path, &plain);
  cache = open_cache(made, path);
  assert_int_equal(lap_cache_check_all(cache, 0, NULL, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "row 4997"));
  lap_cache_close(cache);
  plain_destroy(&plain);
}

/* All are distributions, and still not what was written. */
static void rows_that_are_not_those_that_were_written_are_found(void **state) {
  const synthetic *made = *state;
  plain_cache plain;
  plain_create(made, 0, &plain);
  plain.rows_sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
  const char *path = scratch_path(made->directory, "plain.h5");
  plain_write(path, &plain);
  plain_destroy(&plain);
  lap_status status = {0};
  lap_cache *cache = open_cache(made, path);
  assert_int_equal(lap_cache_check_all(cache, 0, NULL, &status), LAP_OK);
  assert_int_equal(lap_cache_confirm_rows(cache, 0, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "plain.h5: its rows_sha256 is 00112233"));
  lap_cache_close(cache);
}

/* Its rows say more of token i than of token i+1, which a writer that vouches for them may mean. */
static void rows_that_are_vouched_for_are_not_called_shifted(void **state) {
  const synthetic *made = *state;
  const uint32_t *tokens = made->tokens.shard[0]->tokens;
  lap_cache_content content;
  synthetic_content(made, 0, &content);
  for (uint64_t i = 0; i < ROWS; ++i) {
    uint32_t *ids = content.ids + i * SYNTHETIC_K;
    for (int j = 1; j < SYNTHETIC_K; ++j)
      if (ids[j] == tokens[i]) ids[j] = ids[0];
    ids[0] = tokens[i];
  }
  lap_cache *cache = open_cache(made, synthetic_write(made, 0, "own.h5", &content));
  lap_cache_content_destroy(&content);
  lap_cache_description d;
  lap_status status = {0};
  assert_int_equal(lap_cache_describe(cache, 0, &d, &status), LAP_OK);
  assert_true(d.mean_same > 0.4 && d.mean_next < 0.1);
  assert_false(d.shifted);
  lap_cache_close(cache);
}

static void a_file_is_described_without_its_tokens(void **state) {
  const synthetic *made = *state;
  synthetic_write_all(made);
  const char *path = scratch_path(made->directory, "cache-00000.h5");
  lap_cache_description d;
  lap_status status = {0};
  uint64_t sampled, empty;
  assert_int_equal(lap_cache_file_describe(path, &d, &sampled, &status), LAP_OK);
  assert_int_equal(d.rows, ROWS);
  assert_int_equal(d.compared, 0);
  assert_true(sampled > 3500 && sampled <= 4096);
  assert_true(fabs(d.mean_kept - 0.9) < 1e-3 && fabs(d.least_kept - 0.9) < 1e-3);
  assert_int_equal(d.example_count, LAP_EXAMPLE_ROWS);
  for (uint32_t n = 1; n < d.example_count; ++n)
    assert_true(d.example[n].row > d.example[n - 1].row);
  progress p = {0};
  const lap_progress_hook hook = {note, &p};
  bool bad_row;
  assert_int_equal(lap_cache_file_check(path, &empty, &bad_row, &hook, &status), LAP_OK);
  assert_false(bad_row);
  assert_int_equal(empty, ROWS / 40 + 1); /* the ends of documents, and the last */
  assert_int_equal(p.last, ROWS);
}

/* Rows that do not count say nothing, as writers leave them. */
static void empty_what_does_not_count(const lap_token_shard *tokens, plain_cache *plain) {
  for (uint64_t i = 0; i < plain->rows; ++i) {
    if (lap_row_counts(tokens, i)) continue;
    for (uint64_t j = 0; j < plain->columns; ++j)
      plain->logprob[i * plain->columns + j] = -INFINITY;
    plain->tail_mass[i] = 0;
  }
}

/* 64 rows and one: the last run of rows that is looked at has one row. */
static void a_small_file_is_described_to_its_last_row(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, 1, 65);
  plain_cache plain;
  plain_create(&made, 0, &plain);
  for (uint64_t j = 0; j < plain.columns; ++j) {
    plain.ids[64 * plain.columns + j] = plain.ids[63 * plain.columns + j];
    plain.logprob[64 * plain.columns + j] = plain.logprob[63 * plain.columns + j];
  }
  plain.tail_mass[64] = plain.tail_mass[63];
  if (plain.entropy) plain.entropy[64] = plain.entropy[63];
  const char *path = scratch_path(made.directory, "plain.h5");
  plain_write(path, &plain);
  plain_destroy(&plain);
  lap_cache_description d;
  lap_status status = {0};
  uint64_t sampled;
  assert_int_equal(lap_cache_file_describe(path, &d, &sampled, &status), LAP_OK);
  assert_int_equal(sampled, 64); /* row 39 is an EOS */
  synthetic_destroy(&made);
}

/* The last row has no next token, so it may hold anything; the one before it may not. */
static void a_file_is_checked_up_to_its_last_row(void **state) {
  const synthetic *made = *state;
  const char *path = scratch_path(made->directory, "plain.h5");
  for (uint64_t row = ROWS - 2; row < ROWS; ++row) {
    plain_cache plain;
    plain_create(made, 0, &plain);
    empty_what_does_not_count(made->tokens.shard[0], &plain);
    plain.tail_mass[row] = 2;
    plain_write(path, &plain);
    plain_destroy(&plain);
    uint64_t empty;
    bool bad_row;
    lap_status status = {0};
    const lap_code found = lap_cache_file_check(path, &empty, &bad_row, NULL, &status);
    assert_int_equal(bad_row, row < ROWS - 1);
    if (row == ROWS - 1 ? found != LAP_OK : found != LAP_DATA || !strstr(status.message, "[4997]"))
      fail_msg("row %d: code %d: %s", (int)row, found, status.message);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(alignment_and_coverage_are_those_of_the_teacher, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(the_row_with_the_least_coverage_is_found, make, unmake),
      cmocka_unit_test_setup_teardown(examples_are_counted_rows_with_their_top_in_order, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(the_top_is_sorted_whatever_the_order_in_the_file, make,
                                      unmake),
      cmocka_unit_test(a_file_of_four_rows_has_three_examples),
      cmocka_unit_test_setup_teardown(checking_all_reads_every_row, make, unmake),
      cmocka_unit_test_setup_teardown(rows_that_are_not_those_that_were_written_are_found, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(rows_that_are_vouched_for_are_not_called_shifted, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(a_file_is_described_without_its_tokens, make, unmake),
      cmocka_unit_test(a_small_file_is_described_to_its_last_row),
      cmocka_unit_test_setup_teardown(a_file_is_checked_up_to_its_last_row, make, unmake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
