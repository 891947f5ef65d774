/* refusals: every way a cache can be the wrong one or hold wrong values has its own message, with
 * both values or with file, dataset and row.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/philox.h"
#include "teacher/cache_open.h"
#include "teacher/cache_row.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

enum { ROWS = 2000 };

typedef struct {
  synthetic made;
  plain_cache plain;
  char path[1024]; /* of the plain cache */
} fixture;

static int make(void **state) {
  static fixture f;
  synthetic_create(&f.made, 1, ROWS);
  plain_create(&f.made, 0, &f.plain);
  strcpy(f.path, scratch_path(f.made.directory, "plain.h5"));
  *state = &f;
  return 0;
}

static int unmake(void **state) {
  fixture *f = *state;
  plain_destroy(&f->plain);
  synthetic_destroy(&f->made);
  return 0;
}

static lap_code open_pattern(const fixture *f, const char *pattern, lap_status *status) {
  lap_cache *cache;
  *status = (lap_status){0};
  const lap_code code =
      lap_cache_open(pattern, &f->made.tokens, &f->made.expectation, &cache, status);
  if (code != LAP_OK) assert_null(cache);
  lap_cache_close(cache);
  assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
  return code;
}

static void assert_says(const lap_status *status, const char *path, const char *says) {
  if (!strstr(status->message, path) || !strstr(status->message, says))
    fail_msg("\"%s\" does not say \"%s\"", status->message, says);
}

static void assert_pattern_refused(const fixture *f, const char *pattern, const char *says) {
  lap_status status;
  assert_int_equal(open_pattern(f, pattern, &status), LAP_DATA);
  assert_says(&status, f->made.directory, says);
}

static void assert_refused(const fixture *f, const char *says) {
  plain_write(f->path, &f->plain);
  lap_status status;
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, says);
}

static void assert_accepted(const fixture *f) {
  plain_write(f->path, &f->plain);
  lap_status status;
  if (open_pattern(f, f->path, &status) != LAP_OK) fail_msg("%s", status.message);
}

/* --- what a file says of itself --- */

static void attributes_are_needed(void **state) {
  fixture *f = *state;
  assert_accepted(f);
  const char *names[] = {"format",
                         "format_version",
                         "codec",
                         "vocab_size",
                         "k",
                         "sequence_length",
                         "document_mask",
                         "tokens_sha256",
                         "tokenizer_sha256",
                         "teacher",
                         "ids",
                         "logprob",
                         "tail_mass"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    f->plain.without = names[i];
    char *says = lap_format("%s is missing", names[i]);
    assert_refused(f, says);
    free(says);
  }
}

static void other_formats_are_refused(void **state) {
  fixture *f = *state;
  f->plain.format = "lapidary-tokens";
  assert_refused(f, "expected \"lapidary-teacher\", found \"lapidary-tokens\"");
  f->plain.format = "lapidary-teacher";
  f->plain.format_version = 2;
  assert_refused(f, "found 2");
}

static void codecs_are_known_and_sampled_ones_have_draws(void **state) {
  fixture *f = *state;
  f->plain.codec = "top-p";
  assert_refused(f, "found \"top-p\"");
  f->plain.codec = "stratified";
  assert_refused(f, "draws is missing");
  f->plain.draws = 4;
  assert_refused(f, "tail_mass[");
  plain_scale_to_one(&f->plain);
  assert_accepted(f);
  for (uint32_t slot = 0; slot < f->plain.columns; ++slot) f->plain.logprob[slot] += 0.006;
  assert_refused(f, "expected 1 within 0.005");
}

static void numbers_are_bounded(void **state) {
  fixture *f = *state;
  const struct {
    int64_t *value;
    int64_t bad;
    const char *says;
  } cases[] = {
      {&f->plain.vocab_size, 0, "vocab_size"},
      {&f->plain.vocab_size, INT64_C(1) << 40, "vocab_size"},
      {&f->plain.k, 0, "k: expected 1 to 100"},
      {&f->plain.k, 101, "k: expected 1 to 100"},
      {&f->plain.k, INT64_MIN, "k: expected 1 to 100"},
      {&f->plain.sequence_length, 1, "sequence_length"},
      {&f->plain.sequence_length, INT64_C(1) << 32, "sequence_length"},
      {&f->plain.document_mask, 2, "document_mask"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const int64_t good = *cases[i].value;
    *cases[i].value = cases[i].bad;
    assert_refused(f, cases[i].says);
    *cases[i].value = good;
  }
  assert_accepted(f);
}

static void dims_must_agree(void **state) {
  fixture *f = *state;
  f->plain.k = 7;
  assert_refused(f, "ids: expected 7 columns (the attribute k), found 8");
  f->plain.k = 8;
  f->plain.logprob_columns = 4;
  assert_refused(f, "logprob: expected 8 columns");
  f->plain.logprob_columns = 8;
  f->plain.rows = ROWS - 1;
  assert_refused(f, "one row for each token");
  f->plain.rows = 1;
  assert_refused(f, "2000, found 1");
}

static void types_must_be_numbers_of_the_right_kind(void **state) {
  fixture *f = *state;
  f->plain.id_type = H5T_IEEE_F32LE;
  assert_refused(f, "ids: expected a plain integer type");
  f->plain.id_type = H5T_STD_I32LE;
  f->plain.logprob_type = H5T_STD_I32LE;
  assert_refused(f, "logprob: expected a plain float type");
  f->plain.logprob_type = H5T_IEEE_F32LE;
  f->plain.tail_type = H5T_STD_I32LE;
  assert_refused(f, "tail_mass: expected a plain float type");
}

/* Replaces a dataset of the plain file by what `add` puts there. */
static hid_t reopen_without(const fixture *f, const char *name) {
  plain_write(f->path, &f->plain);
  const hid_t file = H5Fopen(f->path, H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(H5Lmove(file, name, file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  return file;
}

static void links_are_refused(void **state) {
  const fixture *f = *state;
  lap_status status;
  hid_t file = reopen_without(f, "logprob");
  assert_true(H5Lcreate_soft("/elsewhere", file, "logprob", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  H5Fclose(file);
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "link");
  file = reopen_without(f, "ids");
  assert_true(H5Lcreate_external("/etc/passwd", "/x", file, "ids", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  H5Fclose(file);
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "link");
}

static void variable_length_datasets_are_refused(void **state) {
  const fixture *f = *state;
  lap_status status;
  const hid_t file = reopen_without(f, "ids");
  const hsize_t dims[2] = {ROWS, SYNTHETIC_K};
  const hid_t type = H5Tvlen_create(H5T_STD_I64LE), space = H5Screate_simple(2, dims, NULL);
  H5Dclose(H5Dcreate2(file, "ids", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Sclose(space);
  H5Tclose(type);
  H5Fclose(file);
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "ids: expected a plain integer type");
}

static void a_group_is_not_a_dataset_and_optional_datasets_are_checked_too(void **state) {
  const fixture *f = *state;
  lap_status status;
  const hid_t file = reopen_without(f, "tail_mass");
  H5Gclose(H5Gcreate2(file, "tail_mass", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Fclose(file);
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "tail_mass");
  plain_write(f->path, &f->plain);
  const hid_t again = H5Fopen(f->path, H5F_ACC_RDWR, H5P_DEFAULT);
  H5Lcreate_soft("/tail_mass", again, "entropy", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(again);
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "entropy");
}

/* --- what the tokens and the run expect --- */

static const char OTHER[] = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

static void another_tokenizer_is_refused(void **state) {
  fixture *f = *state;
  f->plain.tokenizer_sha256 = OTHER;
  assert_refused(f, OTHER);
  assert_refused(f, f->made.tokens.shard[0]->tokenizer_sha256);
}

static void a_cache_of_other_tokens_is_refused_for_these(void **state) {
  fixture *f = *state;
  f->plain.tokens_sha256 = OTHER;
  assert_refused(f, OTHER);
  assert_refused(f, f->made.tokens.shard[0]->tokens_sha256);
  /* Beside the right one it is ignored. */
  f->plain.tokens_sha256 = f->made.tokens.shard[0]->tokens_sha256;
  plain_write(scratch_path(f->made.directory, "plain-2.h5"), &f->plain);
  lap_status status;
  assert_int_equal(open_pattern(f, scratch_path(f->made.directory, "plain*.h5"), &status), LAP_OK);
}

static void two_files_for_one_shard_are_refused(void **state) {
  const fixture *f = *state;
  plain_write(f->path, &f->plain);
  plain_write(scratch_path(f->made.directory, "plain-2.h5"), &f->plain);
  assert_pattern_refused(f, scratch_path(f->made.directory, "plain*.h5"),
                         "are both for the tokens");
}

static void a_missing_cache_is_named(void **state) {
  const fixture *f = *state;
  assert_pattern_refused(f, scratch_path(f->made.directory, "none*.h5"), "matches no file");
  const char text[] = "not HDF5";
  scratch_write(f->made.directory, "text.h5", text, sizeof text);
  assert_pattern_refused(f, scratch_path(f->made.directory, "text.h5"), "not a whole HDF5 file");
}

static void a_larger_vocabulary_is_refused_and_a_smaller_one_is_fine(void **state) {
  fixture *f = *state;
  f->made.expectation.vocab_size = SYNTHETIC_VOCAB - 1;
  assert_refused(f, "has 100, the student only 99");
  f->made.expectation.vocab_size = SYNTHETIC_VOCAB + 50;
  assert_accepted(f);
}

static void another_context_is_refused_unless_allowed(void **state) {
  fixture *f = *state;
  f->plain.sequence_length = 512;
  assert_refused(f, "has 512, the run has 33");
  assert_refused(f, "teacher.allow_context_mismatch");
  f->plain.sequence_length = 33;
  f->plain.document_mask = 0;
  assert_refused(f, "has false, the run has true");
  assert_refused(f, "teacher.allow_context_mismatch");
  f->plain.sequence_length = 512;
  f->made.expectation.allow_context_mismatch = true;
  assert_accepted(f);
}

static void files_of_one_cache_agree(void **state) {
  (void)state;
  fixture f;
  synthetic_create(&f.made, 2, ROWS);
  const char *pattern = scratch_path(f.made.directory, "both-*.h5");
  plain_create(&f.made, 0, &f.plain);
  plain_write(scratch_path(f.made.directory, "both-0.h5"), &f.plain);
  plain_destroy(&f.plain);
  assert_pattern_refused(&f, pattern, "no file of");
  plain_create(&f.made, 1, &f.plain);
  const char *second = scratch_path(f.made.directory, "both-1.h5");
  f.plain.teacher = "yet another program";
  plain_write(second, &f.plain);
  assert_pattern_refused(&f, pattern, "teacher is \"yet another program\"");
  f.plain.teacher = "another program";
  f.plain.teacher_sha256 = OTHER;
  plain_write(second, &f.plain);
  assert_pattern_refused(&f, pattern, "teacher_sha256 is");
  f.plain.teacher_sha256 = NULL;
  f.plain.k = f.plain.columns = f.plain.logprob_columns = SYNTHETIC_K / 2;
  plain_write(second, &f.plain);
  assert_pattern_refused(&f, pattern, "k is 4, but");
  plain_destroy(&f.plain);
  synthetic_destroy(&f.made);
}

/* --- values --- */

/* Damages one slot of one counted row that the shift check looks at or not; reading it says so. */
static void assert_row_refused(fixture *f, const char *says) {
  const uint64_t row = synthetic_row(&f->made, 0);
  plain_write(f->path, &f->plain);
  lap_cache *cache;
  lap_status status = {0};
  assert_int_equal(lap_cache_open(f->path, &f->made.tokens, NULL, &cache, &status), LAP_OK);
  lap_cache_rows *rows = lap_cache_rows_create(cache, 8);
  assert_int_equal(lap_cache_read(cache, 0, row - 3, 8, NULL, rows, &status), LAP_DATA);
  assert_says(&status, f->path, says);
  char *number = lap_format("%" PRIu64, row);
  assert_says(&status, f->path, number);
  free(number);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

static void log_probabilities_are_at_most_zero(void **state) {
  fixture *f = *state;
  double *slot = f->plain.logprob + synthetic_row(&f->made, 0) * SYNTHETIC_K + 2;
  const double good = *slot;
  *slot = NAN;
  assert_row_refused(f, "[2] is nan");
  *slot = INFINITY;
  assert_row_refused(f, "[2] is inf");
  *slot = 0.00101;
  assert_row_refused(f, "[2] is 0.00101");
  *slot = 1e300; /* beyond float */
  assert_row_refused(f, "[2] is inf");
  *slot = good;
  assert_accepted(f);
}

static void ids_are_in_the_vocabulary_and_different(void **state) {
  fixture *f = *state;
  int64_t *slot = f->plain.ids + synthetic_row(&f->made, 0) * SYNTHETIC_K + 2;
  const int64_t bad[] = {-1, SYNTHETIC_VOCAB, INT64_C(1) << 32, INT64_MIN, INT64_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    *slot = bad[i];
    char *says = lap_format("[2] is %" PRId64, bad[i]);
    assert_row_refused(f, says);
    free(says);
  }
  *slot = slot[-2];
  assert_row_refused(f, "twice (again in slot 2)");
}

/* As unsigned 64 bit: HDF5 clips it to the largest int64, which is still outside. */
static void unsigned_ids_beyond_int64_are_outside_too(void **state) {
  fixture *f = *state;
  f->plain.id_type = H5T_STD_U64LE;
  plain_write(f->path, &f->plain);
  const hid_t file = H5Fopen(f->path, H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t ids = H5Dopen2(file, "ids", H5P_DEFAULT);
  uint64_t *all = lap_allocate(ROWS * SYNTHETIC_K, sizeof *all);
  H5Dread(ids, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, all);
  all[synthetic_row(&f->made, 0) * SYNTHETIC_K] = UINT64_MAX;
  H5Dwrite(ids, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, all);
  free(all);
  H5Dclose(ids);
  H5Fclose(file);
  lap_status status;
  assert_int_equal(open_pattern(f, f->path, &status), LAP_DATA);
  assert_says(&status, f->path, "ids[");
}

static void masses_sum_to_one(void **state) {
  fixture *f = *state;
  double *tail = f->plain.tail_mass + synthetic_row(&f->made, 0);
  const double bad[] = {NAN, -1e-4, 1.001, INFINITY};
  for (int i = 0; i < 4; ++i) {
    *tail = bad[i];
    assert_row_refused(f, "tail_mass[");
  }
  *tail = 0.1 + 0.0199;
  assert_accepted(f);
  *tail = 0.1 - 0.0199;
  assert_accepted(f);
  *tail = 0.1 + 0.0201;
  assert_row_refused(f, "sum to 1.0201");
  *tail = 0.1 - 0.0201;
  assert_row_refused(f, "sum to 0.9799");
}

static void base_two_logarithms_are_found_out(void **state) {
  fixture *f = *state;
  for (int i = 0; i < ROWS * SYNTHETIC_K; ++i) f->plain.logprob[i] /= log(2);
  assert_refused(f, "natural logarithms");
}

static void optional_values_are_checked(void **state) {
  fixture *f = *state;
  const uint64_t row = synthetic_row(&f->made, 0);
  f->plain.next_logprob = lap_allocate(ROWS, sizeof *f->plain.next_logprob);
  f->plain.entropy = lap_allocate(ROWS, sizeof *f->plain.entropy);
  assert_accepted(f);
  f->plain.next_logprob[row] = NAN;
  assert_row_refused(f, "next_logprob[");
  f->plain.next_logprob[row] = -INFINITY;
  f->plain.entropy[row] = -1;
  assert_row_refused(f, "entropy[");
  f->plain.entropy[row] = NAN;
  assert_row_refused(f, "entropy[");
}

/* Rows of EOS tokens hold NaN in every one of these files, which is allowed; this reads one of
 * them. */
static void rows_that_do_not_count_are_not_looked_at(void **state) {
  fixture *f = *state;
  plain_write(f->path, &f->plain);
  lap_cache *cache;
  lap_status status = {0};
  assert_int_equal(lap_cache_open(f->path, &f->made.tokens, NULL, &cache, &status), LAP_OK);
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  const uint8_t counted = 1;
  assert_int_equal(lap_cache_read(cache, 0, 39, 1, NULL, rows, &status), LAP_OK);
  assert_int_equal(rows->ids[0], -1);
  assert_int_equal(lap_cache_read(cache, 0, 39, 1, &counted, rows, &status), LAP_DATA);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

/* --- shifted by one --- */

/* From `first` on, row i takes what belongs to row i + by; rows that have nothing to take are their
 * own. */
static void shift(const synthetic *made, plain_cache *plain, int64_t first, int by) {
  plain_cache right;
  plain_create(made, 0, &right);
  for (int64_t i = first; i < (int64_t)plain->rows; ++i) {
    int64_t from = i + by;
    if (from < 0 || from >= (int64_t)plain->rows ||
        !lap_row_counts(made->tokens.shard[0], (uint64_t)from))
      from = i;
    memcpy(plain->ids + i * SYNTHETIC_K, right.ids + from * SYNTHETIC_K, SYNTHETIC_K * 8);
    memcpy(plain->logprob + i * SYNTHETIC_K, right.logprob + from * SYNTHETIC_K, SYNTHETIC_K * 8);
    plain->tail_mass[i] = right.tail_mass[from];
  }
  plain_destroy(&right);
}

static void shifted_rows_are_refused_unless_allowed(void **state) {
  fixture *f = *state;
  for (int by = -1; by <= 1; by += 2) {
    f->made.expectation.allow_shift = false;
    shift(&f->made, &f->plain, 0, by);
    assert_refused(f, "rows look shifted by one");
    assert_refused(f, "teacher.allow_shift");
    f->made.expectation.allow_shift = true;
    assert_accepted(f);
  }
}

static void a_large_cache_is_sampled_and_a_small_one_refused_where_it_is_clear(void **state) {
  (void)state;
  const uint64_t sizes[] = {20, 100, 500, 20000};
  for (int n = 0; n < 4; ++n) {
    fixture f;
    synthetic_create(&f.made, 1, sizes[n]);
    plain_create(&f.made, 0, &f.plain);
    strcpy(f.path, scratch_path(f.made.directory, "plain.h5"));
    assert_accepted(&f);
    shift(&f.made, &f.plain, 0, -1);
    assert_refused(&f, "rows look shifted by one");
    plain_destroy(&f.plain);
    synthetic_destroy(&f.made);
  }
}

/* Joined from two halves, the longer one wrong: the rows that are looked at lie all over the file.
 */
static void a_shift_that_begins_later_is_found_too(void **state) {
  (void)state;
  fixture f;
  synthetic_create(&f.made, 1, 20000);
  plain_create(&f.made, 0, &f.plain);
  strcpy(f.path, scratch_path(f.made.directory, "plain.h5"));
  shift(&f.made, &f.plain, 6000, -1);
  assert_refused(&f, "rows look shifted by one");
  plain_destroy(&f.plain);
  synthetic_destroy(&f.made);
}

/* A teacher that knows nothing: none of its small shards may be refused, however its random rows
 * fall. */
static void a_small_shard_of_a_weak_teacher_is_not_refused_at_random(void **state) {
  (void)state;
  int refused = 0;
  for (int n = 0; n < 60; ++n) {
    fixture f;
    synthetic_create(&f.made, 1, 100 + (uint64_t)n);
    plain_create(&f.made, 0, &f.plain);
    strcpy(f.path, scratch_path(f.made.directory, "plain.h5"));
    for (uint64_t i = 0; i < f.plain.rows; ++i) {
      const lap_random random = lap_philox(5, LAP_PURPOSE_BENCH, (uint64_t)n, i);
      for (uint32_t j = 0; j < SYNTHETIC_K; ++j)
        f.plain.ids[i * SYNTHETIC_K + j] = (random.word[0] % 100 + j) % SYNTHETIC_VOCAB;
    }
    plain_write(f.path, &f.plain);
    lap_status status;
    refused += open_pattern(&f, f.path, &status) != LAP_OK;
    plain_destroy(&f.plain);
    synthetic_destroy(&f.made);
  }
  assert_int_equal(refused, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(attributes_are_needed, make, unmake),
      cmocka_unit_test_setup_teardown(other_formats_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(codecs_are_known_and_sampled_ones_have_draws, make, unmake),
      cmocka_unit_test_setup_teardown(numbers_are_bounded, make, unmake),
      cmocka_unit_test_setup_teardown(dims_must_agree, make, unmake),
      cmocka_unit_test_setup_teardown(types_must_be_numbers_of_the_right_kind, make, unmake),
      cmocka_unit_test_setup_teardown(links_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(variable_length_datasets_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(
          a_group_is_not_a_dataset_and_optional_datasets_are_checked_too, make, unmake),
      cmocka_unit_test_setup_teardown(another_tokenizer_is_refused, make, unmake),
      cmocka_unit_test_setup_teardown(a_cache_of_other_tokens_is_refused_for_these, make, unmake),
      cmocka_unit_test_setup_teardown(two_files_for_one_shard_are_refused, make, unmake),
      cmocka_unit_test_setup_teardown(a_missing_cache_is_named, make, unmake),
      cmocka_unit_test_setup_teardown(a_larger_vocabulary_is_refused_and_a_smaller_one_is_fine,
                                      make, unmake),
      cmocka_unit_test_setup_teardown(another_context_is_refused_unless_allowed, make, unmake),
      cmocka_unit_test(files_of_one_cache_agree),
      cmocka_unit_test_setup_teardown(log_probabilities_are_at_most_zero, make, unmake),
      cmocka_unit_test_setup_teardown(ids_are_in_the_vocabulary_and_different, make, unmake),
      cmocka_unit_test_setup_teardown(unsigned_ids_beyond_int64_are_outside_too, make, unmake),
      cmocka_unit_test_setup_teardown(masses_sum_to_one, make, unmake),
      cmocka_unit_test_setup_teardown(base_two_logarithms_are_found_out, make, unmake),
      cmocka_unit_test_setup_teardown(optional_values_are_checked, make, unmake),
      cmocka_unit_test_setup_teardown(rows_that_do_not_count_are_not_looked_at, make, unmake),
      cmocka_unit_test_setup_teardown(shifted_rows_are_refused_unless_allowed, make, unmake),
      cmocka_unit_test(a_large_cache_is_sampled_and_a_small_one_refused_where_it_is_clear),
      cmocka_unit_test(a_shift_that_begins_later_is_found_too),
      cmocka_unit_test(a_small_shard_of_a_weak_teacher_is_not_refused_at_random),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
