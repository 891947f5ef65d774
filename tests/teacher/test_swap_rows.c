/* swap_rows: so many rows change places, whole, and none else; next_logprob stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "teacher/swap_rows.h"

enum { ROWS = 90, K = 3 };

/* Every number of row r says r. */
static void fill(lap_cache_content *content) {
  lap_cache_content_create(ROWS, K, content);
  lap_cache_content_add_draws(ROWS, content);
  for (uint32_t r = 0; r < ROWS; ++r) {
    for (uint32_t i = 0; i < K; ++i) {
      content->ids[r * K + i] = r * K + i;
      content->logprob[r * K + i] = -(float)(r * K + i);
    }
    content->tail_mass[r] = content->next_logprob[r] = content->entropy[r] = (float)r;
    content->threshold[r] = (float)r;
    content->top_id[r] = r;
  }
}

/* The row that is now at r, whose parts are all of one. */
static uint32_t row_at(const lap_cache_content *content, uint32_t r) {
  const uint32_t row = content->ids[r * K] / K;
  for (uint32_t i = 0; i < K; ++i) {
    assert_int_equal(content->ids[r * K + i], row * K + i);
    assert_true(content->logprob[r * K + i] == -(float)(row * K + i));
  }
  assert_true(content->tail_mass[r] == (float)row && content->entropy[r] == (float)row &&
              content->threshold[r] == (float)row);
  assert_int_equal(content->top_id[r], row);
  assert_true(content->next_logprob[r] == (float)r);
  return row;
}

/* Swaps among every third row; how many of them are elsewhere. */
static size_t swapped(lap_cache_content *content, uint32_t percent, uint64_t index) {
  uint64_t rows[ROWS / 3];
  for (uint32_t i = 0; i < ROWS / 3; ++i) rows[i] = 3 * i;
  fill(content);
  lap_swap_rows(content, K, rows, ROWS / 3, percent, 7, index);
  size_t count = 0;
  bool seen[ROWS] = {false};
  for (uint32_t r = 0; r < ROWS; ++r) {
    const uint32_t row = row_at(content, r);
    assert_false(seen[row]);
    seen[row] = true;
    assert_true(row == r || (r % 3 == 0 && row % 3 == 0));
    count += row != r;
  }
  return count;
}

static void a_share_of_the_rows_changes_places(void **state) {
  (void)state;
  static const size_t expected[][2] = {{0, 0}, {1, 0}, {5, 2}, {10, 3}, {30, 9}, {100, 30}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i) {
    lap_cache_content content;
    assert_int_equal(swapped(&content, (uint32_t)expected[i][0], 1), expected[i][1]);
    lap_cache_content_destroy(&content);
  }
}

static void windows_differ_and_each_is_the_same_again(void **state) {
  (void)state;
  lap_cache_content first, again, other;
  swapped(&first, 50, 1);
  swapped(&again, 50, 1);
  swapped(&other, 50, 2);
  const size_t bytes = ROWS * K * sizeof *first.ids;
  assert_memory_equal(first.ids, again.ids, bytes);
  assert_memory_not_equal(first.ids, other.ids, bytes);
  lap_cache_content_destroy(&first);
  lap_cache_content_destroy(&again);
  lap_cache_content_destroy(&other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_share_of_the_rows_changes_places),
      cmocka_unit_test(windows_differ_and_each_is_the_same_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
