/* look: however many children read at once, each file is read, and what is found of it stands in
 * its place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "teacher/look.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

enum { FILES = 7, ROWS = 200 };

static int make(void **state) {
  synthetic *made = lap_allocate(1, sizeof *made);
  synthetic_create(made, FILES, ROWS);
  synthetic_write_all(made);
  *state = made;
  return 0;
}

static int unmake(void **state) {
  synthetic_destroy(*state);
  free(*state);
  return 0;
}

static lap_cache *find(const synthetic *made) {
  lap_cache *cache;
  lap_status status = {0};
  const char *pattern = scratch_path(made->directory, "cache-*.h5");
  assert_int_equal(lap_cache_find(pattern, &made->tokens, &made->expectation, &cache, &status),
                   LAP_OK);
  assert_int_equal(lap_cache_file_count(cache), FILES);
  return cache;
}

/* What nobody has filled in stays as it was. */
static void begin(lap_cache_finding findings[FILES]) {
  memset(findings, 0x5A, FILES * sizeof *findings);
}

static void as_many_at_once_as_there_may_be(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = find(made);
  lap_cache_finding expected[FILES], found[FILES];
  lap_status status = {0};
  begin(expected);
  const lap_cache_share one_by_one = {.every = 1, .children = 1};
  assert_int_equal(lap_cache_look(cache, &one_by_one, expected, &status), LAP_OK);
  for (size_t i = 1; i < FILES; ++i)
    assert_memory_not_equal(expected[i].digest, expected[0].digest, LAP_SHA256_SIZE);
  for (int children = 2; children <= FILES + 1; ++children) {
    begin(found);
    const lap_cache_share share = {.every = 1, .children = children};
    assert_int_equal(lap_cache_look(cache, &share, found, &status), LAP_OK);
    assert_memory_equal(found, expected, sizeof found);
  }
  lap_cache_close(cache);
}

static void a_share_is_every_so_many(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = find(made);
  lap_cache_finding expected[FILES], found[FILES], untouched[FILES];
  lap_status status = {0};
  const lap_cache_share all = {.every = 1, .children = 2};
  assert_int_equal(lap_cache_look(cache, &all, expected, &status), LAP_OK);
  begin(untouched);
  for (size_t first = 0; first < 3; ++first) {
    begin(found);
    const lap_cache_share share = {.first = first, .every = 3, .children = 2};
    assert_int_equal(lap_cache_look(cache, &share, found, &status), LAP_OK);
    for (size_t i = 0; i < FILES; ++i)
      assert_memory_equal(&found[i], i % 3 == first ? &expected[i] : &untouched[i],
                          sizeof found[i]);
  }
  lap_cache_close(cache);
}

/* By another program, since ours would not write rows that are above certainty. */
static void write_two_invalid(const synthetic *made) {
  for (size_t s = 0; s < FILES; ++s) {
    plain_cache plain;
    char name[32];
    snprintf(name, sizeof name, "cache-%05zu.h5", s);
    plain_create(made, s, &plain);
    if (s == 2 || s == 5) plain.logprob[synthetic_row(made, s) * SYNTHETIC_K] = 1;
    plain_write(scratch_path(made->directory, name), &plain);
    plain_destroy(&plain);
  }
}

static void the_first_bad_file_is_named(void **state) {
  const synthetic *made = *state;
  write_two_invalid(made);
  for (int children = 1; children <= FILES; ++children) {
    lap_cache *cache = find(made);
    lap_cache_finding found[FILES];
    lap_status status = {0};
    const lap_cache_share share = {.every = 1, .children = children};
    assert_int_equal(lap_cache_look(cache, &share, found, &status), LAP_DATA);
    if (!strstr(status.message, "cache-00002.h5")) fail_msg("%s", status.message);
    lap_cache_close(cache);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(as_many_at_once_as_there_may_be, make, unmake),
      cmocka_unit_test_setup_teardown(a_share_is_every_so_many, make, unmake),
      cmocka_unit_test_setup_teardown(the_first_bad_file_is_named, make, unmake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
