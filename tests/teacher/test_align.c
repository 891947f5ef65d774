/* align: weak teachers are taken, shifted rows are not, and a writer's own word settles it; where
 * the limits lie; rows without a tail.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/philox.h"
#include "teacher/align.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

enum { ROWS = 6000 };

typedef struct {
  synthetic made;
  plain_cache plain;
  char path[4096];
} fixture;

static fixture world;

static int make(void **state) {
  synthetic_create(&world.made, 1, ROWS);
  plain_create(&world.made, 0, &world.plain);
  strcpy(world.path, scratch_path(world.made.directory, "plain.h5"));
  *state = &world;
  return 0;
}

static int unmake(void **state) {
  (void)state;
  plain_destroy(&world.plain);
  synthetic_destroy(&world.made);
  return 0;
}

/* Row i gives `mass` to token i + about, 0.3 in all to other ids, a function of `key`, and the rest
 * to the tail. */
static void set_row(plain_cache *plain, uint64_t row, uint32_t token, double mass, uint64_t key) {
  const lap_random random = lap_philox(9, LAP_PURPOSE_BENCH, key, 0);
  int64_t *ids = plain->ids + row * SYNTHETIC_K;
  double *logprob = plain->logprob + row * SYNTHETIC_K;
  const uint32_t step = 1 + random.word[1] % 11;
  ids[0] = token;
  logprob[0] = log(mass);
  for (uint32_t j = 1, id = random.word[0] % SYNTHETIC_VOCAB; j < SYNTHETIC_K; ++j) {
    id = (id + step) % SYNTHETIC_VOCAB;
    if (id == token) id = (id + step) % SYNTHETIC_VOCAB;
    ids[j] = id;
    logprob[j] = log(0.3 / (SYNTHETIC_K - 1));
  }
  plain->tail_mass[row] = 1 - 0.3 - mass;
}

/* What the rows are about, and what they depend on, as offsets from i. */
static void set_rows(fixture *f, int about, int depends, double mass) {
  const uint32_t *tokens = f->made.tokens.shard[0]->tokens;
  for (int64_t i = 1; i + 2 < ROWS; ++i)
    set_row(&f->plain, (uint64_t)i, tokens[i + about], mass, tokens[i + depends]);
}

static lap_code open_cache(const fixture *f, const char *path, lap_cache **cache,
                           lap_status *status) {
  *status = (lap_status){0};
  return lap_cache_open(path, &f->made.tokens, &f->made.expectation, cache, status);
}

static void assert_taken(const fixture *f, const char *path, bool weak) {
  lap_status status;
  lap_cache *cache;
  if (open_cache(f, path, &cache, &status) != LAP_OK) fail_msg("%s", status.message);
  const char *notice = lap_cache_notice(cache);
  if (weak != (notice && strstr(notice, "no better than the frequencies")))
    fail_msg("notice: %s", notice ? notice : "none");
  lap_cache_close(cache);
}

static void assert_plain_taken(const fixture *f, bool weak) {
  plain_write(f->path, &f->plain);
  assert_taken(f, f->path, weak);
}

static void assert_plain_refused(const fixture *f) {
  plain_write(f->path, &f->plain);
  lap_status status;
  lap_cache *cache;
  assert_int_equal(open_cache(f, f->path, &cache, &status), LAP_DATA);
  if (!strstr(status.message, "rows look shifted by one")) fail_msg("%s", status.message);
}

static void a_teacher_that_knows_little_is_taken(void **state) {
  fixture *f = *state;
  const double masses[] = {0.02, 0.04, 0.1}; /* a token's frequency is some 0.01 */
  for (int n = 0; n < 3; ++n) {
    set_rows(f, 1, 0, masses[n]);
    assert_plain_taken(f, false);
  }
}

static void a_teacher_that_repeats_its_input_is_taken_with_a_warning(void **state) {
  fixture *f = *state;
  const double masses[] = {0.015, 0.03, 0.05};
  for (int n = 0; n < 3; ++n) {
    set_rows(f, 0, 0, masses[n]);
    assert_plain_taken(f, true);
  }
}

static void a_teacher_that_knows_nothing_is_taken_with_a_warning(void **state) {
  fixture *f = *state;
  const uint32_t *tokens = f->made.tokens.shard[0]->tokens;
  for (uint64_t i = 1; i + 2 < ROWS; ++i) {
    const lap_random random = lap_philox(3, LAP_PURPOSE_BENCH, i, 1);
    set_row(&f->plain, i, random.word[0] % SYNTHETIC_VOCAB, 0.02, tokens[i]);
  }
  assert_plain_taken(f, true);
}

/* Weak as well as strong, about token i (they cannot know it: they depend on i-1) and about i+2. */
static void shifted_rows_are_refused_however_little_they_say(void **state) {
  fixture *f = *state;
  const double masses[] = {0.02, 0.05, 0.5};
  for (int n = 0; n < 3; ++n) {
    set_rows(f, 0, -1, masses[n]);
    assert_plain_refused(f);
    set_rows(f, 2, 1, masses[n]);
    assert_plain_refused(f);
  }
}

static void rows_that_insist_on_their_input_are_refused(void **state) {
  fixture *f = *state;
  set_rows(f, 0, 0, 0.5);
  assert_plain_refused(f);
}

/* Rows about token i, by our own writer. */
static const char *write_own(const fixture *f) {
  const lap_token_shard *tokens = f->made.tokens.shard[0];
  lap_cache_content content;
  synthetic_content(&f->made, 0, &content);
  for (uint64_t i = 0; i < ROWS; ++i) {
    uint32_t *ids = content.ids + i * SYNTHETIC_K;
    for (int j = 1; j < SYNTHETIC_K; ++j)
      if (ids[j] == tokens->tokens[i]) ids[j] = ids[0];
    ids[0] = tokens->tokens[i];
  }
  const char *path = synthetic_write(&f->made, 0, "own.h5", &content);
  lap_cache_content_destroy(&content);
  return path;
}

static void set_attribute(const char *path, const char *name, const char *value) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(H5Adelete(file, name) >= 0);
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
  H5Tset_size(type, strlen(value));
  const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Awrite(attribute, type, value) >= 0);
  H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  H5Fclose(file);
}

/* The same rows are taken for shifted where no writer vouches for them, or where it vouches for
 * other rows. */
static void a_writer_that_vouches_for_its_rows_is_believed(void **state) {
  fixture *f = *state;
  const char *path = write_own(f);
  assert_taken(f, path, true);
  set_attribute(path, "rows_sha256",
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  lap_status status;
  lap_cache *cache;
  assert_int_equal(open_cache(f, path, &cache, &status), LAP_DATA);
  if (!strstr(status.message, "rows look shifted by one")) fail_msg("%s", status.message);
}

/* Not refused: they may have been mended. */
static void rows_that_are_not_those_that_were_written_are_taken_with_a_warning(void **state) {
  const fixture *f = *state;
  lap_cache_content content;
  synthetic_content(&f->made, 0, &content);
  const char *path = synthetic_write(&f->made, 0, "own.h5", &content);
  lap_cache_content_destroy(&content);
  lap_status status;
  lap_cache *cache;
  assert_int_equal(open_cache(f, path, &cache, &status), LAP_OK);
  assert_null(lap_cache_notice(cache));
  lap_cache_close(cache);
  set_attribute(path, "rows_sha256",
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
  assert_int_equal(open_cache(f, path, &cache, &status), LAP_OK);
  assert_non_null(strstr(lap_cache_notice(cache), "own.h5: its rows_sha256 is 00112233"));
  lap_cache_close(cache);
}

/* --- where the limits lie --- */

/* `rows` values whose mean is `mean`; the variance of that mean is `variance`. */
static lap_row_sum sum_of(uint64_t rows, double mean, double variance) {
  const double n = (double)rows;
  return (lap_row_sum){n * mean, n * mean * mean + variance * n * (n - 1)};
}

static void rows_are_shifted_by_more_than_four_standard_errors(void **state) {
  (void)state;
  enum { ROWS_SCORED = 17 }; /* so that nothing is rounded */
  const double just = 1.0 / 16, less = just - 1e-9;
  lap_alignment a = {.scored = ROWS_SCORED};
  a.after_over = sum_of(ROWS_SCORED, 1, just);
  assert_false(lap_alignment_is_shifted(&a));
  a.after_over = sum_of(ROWS_SCORED, 1, less);
  assert_true(lap_alignment_is_shifted(&a));
  a.after_over.sum = -a.after_over.sum;
  assert_false(lap_alignment_is_shifted(&a));
  a.same_over = sum_of(ROWS_SCORED, 1, just);
  assert_false(lap_alignment_is_shifted(&a));
  a.same_over = sum_of(ROWS_SCORED, 1, less);
  assert_true(lap_alignment_is_shifted(&a));
  a.score = sum_of(ROWS_SCORED, 1, just);
  assert_true(lap_alignment_is_weak(&a));
  a.score = sum_of(ROWS_SCORED, 1, less);
  assert_false(lap_alignment_is_weak(&a));
}

static void fewer_than_eight_rows_say_nothing(void **state) {
  (void)state;
  for (uint64_t rows = 7; rows <= 8; ++rows) {
    lap_alignment a = {.scored = rows, .after_over = sum_of(rows, 1, 0)};
    assert_int_equal(lap_alignment_is_shifted(&a), rows == 8);
    assert_int_equal(lap_alignment_is_weak(&a), rows == 8); /* it scores nothing */
  }
}

/* Token i scores best, so rows are shifted unless they repeat their input. */
static void what_repeats_its_input_has_limits_too(void **state) {
  (void)state;
  const lap_alignment repeats = {.scored = 100,
                                 .same_over = sum_of(100, 2, 0),
                                 .input_pairs = 33,
                                 .before_pairs = 33,
                                 .input_alike = sum_of(33, 3, 1 - 1e-9)};
  assert_false(lap_alignment_is_shifted(&repeats));
  lap_alignment a = repeats;
  a.input_alike = sum_of(33, 3, 1); /* just three standard errors */
  assert_true(lap_alignment_is_shifted(&a));
  a = repeats;
  a.input_alike = sum_of(33, 3, 0.5);
  a.before_alike = sum_of(33, 0, 0.5);
  assert_true(lap_alignment_is_shifted(&a));
  a = repeats;
  a.score.sum = 1e-6; /* token i scores more than 2 */
  assert_true(lap_alignment_is_shifted(&a));
  a = repeats;
  a.input_alike.sum = -a.input_alike.sum;
  assert_true(lap_alignment_is_shifted(&a));
  for (uint64_t pairs = 31; pairs <= 32; ++pairs) {
    a = repeats;
    a.input_pairs = pairs;
    a.input_alike = sum_of(pairs, 3, 0.5);
    assert_int_equal(lap_alignment_is_shifted(&a), pairs < 32);
    a = repeats;
    a.before_pairs = pairs;
    assert_int_equal(lap_alignment_is_shifted(&a), pairs < 32);
  }
}

/* --- tails --- */

static void assert_lacks_tail(const fixture *f, bool expected) {
  plain_write(f->path, &f->plain);
  lap_status status;
  lap_cache *cache;
  if (open_cache(f, f->path, &cache, &status) != LAP_OK) fail_msg("%s", status.message);
  const bool lacks = lap_cache_lacks_tail(cache);
  lap_cache_close(cache);
  assert_int_equal(lacks, expected);
}

static void only_rows_that_were_all_scaled_to_one_lack_their_tail(void **state) {
  fixture *f = *state;
  const uint64_t row = synthetic_row(&f->made, 0) % 64; /* among those that are looked at */
  assert_lacks_tail(f, false);
  plain_scale_to_one(&f->plain);
  assert_lacks_tail(f, true);
  f->plain.tail_mass[row] = (double)1e-6f; /* what float32 may leave */
  assert_lacks_tail(f, true);
  f->plain.tail_mass[row] = (double)nextafterf(1e-6f, 1);
  assert_lacks_tail(f, false);
}

/* Rows that keep `kept` ids of the vocabulary in as many slots as it has ids, and no tail. */
static void set_wide_rows(fixture *f, uint32_t kept) {
  const uint32_t *tokens = f->made.tokens.shard[0]->tokens;
  plain_cache *plain = &f->plain;
  free(plain->ids);
  free(plain->logprob);
  plain->ids = lap_allocate((int64_t)ROWS * SYNTHETIC_VOCAB, sizeof *plain->ids);
  plain->logprob = lap_allocate((int64_t)ROWS * SYNTHETIC_VOCAB, sizeof *plain->logprob);
  plain->k = SYNTHETIC_VOCAB;
  plain->columns = plain->logprob_columns = SYNTHETIC_VOCAB;
  for (uint64_t i = 0; i < ROWS; ++i) {
    const uint32_t next = i + 1 < ROWS ? tokens[i + 1] : 0;
    plain->tail_mass[i] = 0;
    for (uint32_t j = 0; j < SYNTHETIC_VOCAB; ++j) {
      const uint64_t slot = i * SYNTHETIC_VOCAB + j;
      plain->ids[slot] = (next + j) % SYNTHETIC_VOCAB;
      plain->logprob[slot] = j >= kept ? -INFINITY : log(j == 0 ? 0.5 : 0.5 / (kept - 1));
    }
  }
}

static void rows_that_keep_every_id_have_no_tail_to_lack(void **state) {
  fixture *f = *state;
  set_wide_rows(f, SYNTHETIC_VOCAB);
  assert_lacks_tail(f, false);
  set_wide_rows(f, SYNTHETIC_VOCAB - 1);
  assert_lacks_tail(f, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_teacher_that_knows_little_is_taken, make, unmake),
      cmocka_unit_test_setup_teardown(a_teacher_that_repeats_its_input_is_taken_with_a_warning,
                                      make, unmake),
      cmocka_unit_test_setup_teardown(a_teacher_that_knows_nothing_is_taken_with_a_warning, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(shifted_rows_are_refused_however_little_they_say, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(rows_that_insist_on_their_input_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(a_writer_that_vouches_for_its_rows_is_believed, make, unmake),
      cmocka_unit_test_setup_teardown(
          rows_that_are_not_those_that_were_written_are_taken_with_a_warning, make, unmake),
      cmocka_unit_test(rows_are_shifted_by_more_than_four_standard_errors),
      cmocka_unit_test(fewer_than_eight_rows_say_nothing),
      cmocka_unit_test(what_repeats_its_input_has_limits_too),
      cmocka_unit_test_setup_teardown(only_rows_that_were_all_scaled_to_one_lack_their_tail, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(rows_that_keep_every_id_have_no_tail_to_lack, make, unmake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
