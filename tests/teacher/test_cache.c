/* cache: what our writer wrote is read back, in any pieces, as the values that training uses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "core/memory.h"
#include "teacher/cache_file.h"
#include "teacher/cache_open.h"
#include "teacher/cache_row.h"
#include "teacher/cache_sandbox.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

/* Not a whole number of documents: the last row is not an EOS, and still does not count. */
enum { ROWS = 990 };

static int make(void **state) {
  static synthetic made;
  synthetic_create(&made, 2, ROWS);
  *state = &made;
  return 0;
}

static int unmake(void **state) {
  synthetic_destroy(*state);
  return 0;
}

static lap_cache *open_cache(const synthetic *made, const char *pattern) {
  lap_cache *cache;
  lap_status status = {0};
  if (lap_cache_open(pattern, &made->tokens, &made->expectation, &cache, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return cache;
}

static void read_rows(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                      const uint8_t *counted, lap_cache_rows *rows) {
  lap_status status = {0};
  if (lap_cache_read(cache, shard, row, count, counted, rows, &status) != LAP_OK)
    fail_msg("%s", status.message);
}

static void assert_near(double a, double b, double tolerance) {
  if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g is not %.9g within %g", a, b, tolerance);
}

/* A log-probability is rounded to multiples of 2^-11: exp of it is off by a share of 2^-12 at most.
 */
static void assert_row(const lap_cache_content *content, uint64_t row, const lap_cache_rows *rows,
                       uint32_t at) {
  for (uint64_t j = 0; j < SYNTHETIC_K; ++j) {
    const double logprob = (double)content->logprob[row * SYNTHETIC_K + j];
    assert_int_equal(rows->ids[at * SYNTHETIC_K + j], content->ids[row * SYNTHETIC_K + j]);
    assert_near((double)rows->probability[at * SYNTHETIC_K + j], exp(logprob),
                exp(logprob) * (0x1p-12 + 1e-6));
  }
  assert_true(rows->tail[at] == content->tail_mass[row]);
  assert_true(rows->next_logprob[at] == content->next_logprob[row]);
  assert_true(rows->entropy[at] == content->entropy[row]);
}

static void assert_empty(const lap_cache_rows *rows, uint32_t at) {
  for (uint32_t j = 0; j < rows->k; ++j) {
    assert_int_equal(rows->ids[at * rows->k + j], -1);
    assert_true(rows->probability[at * rows->k + j] == 0);
  }
  assert_true(rows->tail[at] == 0 && rows->bucket_entropy[at] == 0);
}

static void what_was_written_comes_back(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_rows *rows = lap_cache_rows_create(cache, ROWS);
  assert_true(lap_cache_schema_of(cache)->has_entropy);
  assert_string_equal(lap_cache_schema_of(cache)->teacher, "synthetic");
  for (size_t s = 0; s < 2; ++s) {
    lap_cache_content content;
    synthetic_content(made, s, &content);
    read_rows(cache, s, 0, ROWS, NULL, rows);
    uint32_t counted = 0;
    for (uint32_t i = 0; i < ROWS; ++i) {
      if (lap_row_counts(made->tokens.shard[s], i)) {
        assert_row(&content, i, rows, i);
        ++counted;
      } else {
        assert_empty(rows, i);
      }
    }
    assert_int_equal(counted, ROWS - ROWS / 40 - 1);
    lap_cache_content_destroy(&content);
  }
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

static void pieces_are_the_same_as_the_whole(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_rows *whole = lap_cache_rows_create(cache, ROWS);
  lap_cache_rows *piece = lap_cache_rows_create(cache, 32);
  read_rows(cache, 1, 0, ROWS, NULL, whole);
  for (uint64_t n = 0; n < 100; ++n) {
    const uint64_t row = n * 607 % (ROWS - 32);
    read_rows(cache, 1, row, 32, NULL, piece);
    const size_t slots = 32 * SYNTHETIC_K;
    assert_memory_equal(piece->ids, whole->ids + row * SYNTHETIC_K, slots * 4);
    assert_memory_equal(piece->probability, whole->probability + row * SYNTHETIC_K, slots * 4);
    assert_memory_equal(piece->bucket_entropy, whole->bucket_entropy + row, 32 * 8);
    assert_memory_equal(piece->tail, whole->tail + row, 32 * 4);
  }
  lap_cache_rows_destroy(piece);
  lap_cache_rows_destroy(whole);
  lap_cache_close(cache);
}

static void the_caller_may_say_which_rows_count(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_rows *rows = lap_cache_rows_create(cache, 4);
  const uint8_t counted[4] = {1, 0, 1, 0};
  read_rows(cache, 0, 10, 4, counted, rows);
  assert_true(rows->tail[0] > 0 && rows->tail[2] > 0);
  assert_empty(rows, 1);
  assert_empty(rows, 3);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

static void bucket_entropy_is_that_of_the_stored_row(void **state) {
  const synthetic *made = *state;
  lap_cache *cache = open_cache(made, synthetic_write_all(made));
  lap_cache_rows *rows = lap_cache_rows_create(cache, 32);
  read_rows(cache, 0, 0, 32, NULL, rows);
  for (uint32_t i = 0; i < 32; ++i) {
    long double s = (long double)rows->tail[i], entropy = 0;
    for (uint32_t j = 0; j < SYNTHETIC_K; ++j)
      s += (long double)rows->probability[i * SYNTHETIC_K + j];
    for (uint32_t j = 0; j <= SYNTHETIC_K; ++j) {
      const float mass = j < SYNTHETIC_K ? rows->probability[i * SYNTHETIC_K + j] : rows->tail[i];
      entropy -= (long double)mass / s * logl((long double)mass / s);
    }
    assert_near(rows->bucket_entropy[i], (double)entropy, 2e-7);
  }
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
}

/* Row 10 of shard 0 as the options make it. */
static lap_cache_rows *read_plain(synthetic *made, plain_cache *plain) {
  plain_write(scratch_path(made->directory, "plain.h5"), plain);
  const lap_token_set one = {.shard = made->tokens.shard, .count = 1, .token_count = ROWS};
  lap_cache *cache;
  lap_status status = {0};
  if (lap_cache_open(scratch_path(made->directory, "plain.h5"), &one, &made->expectation, &cache,
                     &status) != LAP_OK)
    fail_msg("%s", status.message);
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  read_rows(cache, 0, 10, 1, NULL, rows);
  lap_cache_close(cache);
  return rows;
}

static void unused_slots_and_a_tail_of_zero_give_no_nan(void **state) {
  plain_cache plain;
  plain_create(*state, 0, &plain);
  for (int j = 0; j < SYNTHETIC_K; ++j) {
    plain.logprob[10 * SYNTHETIC_K + j] = j == 3 ? 0 : -INFINITY;
    if (j != 3) plain.ids[10 * SYNTHETIC_K + j] = j % 2 ? -1 : INT64_MAX; /* any id */
  }
  plain.tail_mass[10] = 0;
  lap_cache_rows *rows = read_plain(*state, &plain);
  for (int j = 0; j < SYNTHETIC_K; ++j) {
    assert_int_equal(rows->ids[j], j == 3 ? plain.ids[10 * SYNTHETIC_K + 3] : -1);
    assert_true(rows->probability[j] == (j == 3 ? 1.0f : 0.0f));
  }
  assert_true(rows->bucket_entropy[0] == 0);
  lap_cache_rows_destroy(rows);
  plain_destroy(&plain);
}

/* All of the mass in the tail: a row that says nothing, but a valid one. */
static void a_row_may_be_all_tail(void **state) {
  plain_cache plain;
  plain_create(*state, 0, &plain);
  for (int j = 0; j < SYNTHETIC_K; ++j) plain.logprob[10 * SYNTHETIC_K + j] = -INFINITY;
  plain.tail_mass[10] = 1;
  lap_cache_rows *rows = read_plain(*state, &plain);
  assert_true(rows->tail[0] == 1 && rows->bucket_entropy[0] == 0);
  lap_cache_rows_destroy(rows);
  plain_destroy(&plain);
}

static void every_number_type_is_read(void **state) {
  const hid_t id_types[] = {H5T_STD_I8LE,  H5T_STD_U8BE,  H5T_STD_I16BE,
                            H5T_STD_U32LE, H5T_STD_I64BE, H5T_STD_U64LE};
  const hid_t half = lap_cache_half_type();
  const hid_t half_big = H5Tcopy(half);
  H5Tset_order(half_big, H5T_ORDER_BE);
  const hid_t float_types[] = {half,           half_big,       H5T_IEEE_F32LE,
                               H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE};
  plain_cache plain;
  plain_create(*state, 0, &plain);
  for (int n = 0; n < 6; ++n) {
    plain.id_type = id_types[n];
    plain.logprob_type = plain.tail_type = float_types[n];
    lap_cache_rows *rows = read_plain(*state, &plain);
    for (int j = 0; j < SYNTHETIC_K; ++j) {
      assert_int_equal(rows->ids[j], plain.ids[10 * SYNTHETIC_K + j]);
      const double p = exp(plain.logprob[10 * SYNTHETIC_K + j]);
      assert_near((double)rows->probability[j], p, n < 2 ? 2e-3 * p : 3e-7 * p);
    }
    assert_near((double)rows->tail[0], 0.1, n < 2 ? 1e-4 : 1e-8);
    lap_cache_rows_destroy(rows);
  }
  H5Tclose(half);
  H5Tclose(half_big);
  plain_destroy(&plain);
}

static void sampled_codecs_know_entropy_only_where_it_is_stored(void **state) {
  plain_cache plain;
  plain_create(*state, 0, &plain);
  plain.codec = "sampled";
  plain.draws = 16;
  plain_scale_to_one(&plain);
  lap_cache_rows *rows = read_plain(*state, &plain);
  assert_true(isnan(rows->bucket_entropy[0]));
  assert_null(rows->entropy);
  lap_cache_rows_destroy(rows);
  plain.entropy = lap_allocate(ROWS, sizeof *plain.entropy);
  for (int i = 0; i < ROWS; ++i) plain.entropy[i] = 1.5;
  rows = read_plain(*state, &plain);
  assert_true(rows->bucket_entropy[0] == 1.5 && rows->entropy[0] == 1.5f);
  lap_cache_rows_destroy(rows);
  plain_destroy(&plain);
}

/* Draws 3, 20 and 100 of each shard; a row of a draw has id 3, 20 or 100 - 1 in its first slot. */
static const char *write_draws(synthetic *made) {
  static const int64_t seeds[] = {20, 3, 100};
  made->schema.codec = LAP_CODEC_SAMPLED;
  made->schema.draws = SYNTHETIC_K;
  for (size_t i = 0; i < 3; ++i)
    for (size_t s = 0; s < made->tokens.count; ++s) {
      lap_cache_content content;
      synthetic_content(made, s, &content);
      lap_cache_content_add_draws(ROWS, &content);
      for (uint64_t row = 0; row < ROWS; ++row) {
        for (uint64_t j = 0; j < SYNTHETIC_K; ++j) {
          content.ids[row * SYNTHETIC_K + j] = (uint32_t)j + 50;
          content.logprob[row * SYNTHETIC_K + j] = logf(1.0F / SYNTHETIC_K);
        }
        content.ids[row * SYNTHETIC_K] = (uint32_t)seeds[i] - 1;
        content.tail_mass[row] = 0;
      }
      char name[64];
      snprintf(name, sizeof name, "draw-%zu-%zu.h5", i, s);
      made->schema.draw_seed = seeds[i];
      const hid_t file = H5Fopen(synthetic_write(made, s, name, &content), H5F_ACC_RDWR, 0);
      if (i == 2) H5Ldelete(file, "entropy", 0); /* what not all have is not read */
      H5Fclose(file);
      lap_cache_content_destroy(&content);
    }
  made->expectation.several_draws = made->expectation.allow_shift = true;
  return scratch_path(made->directory, "draw-*.h5");
}

static void epochs_take_draws_in_turn(void **state) {
  synthetic *made = *state;
  lap_cache *cache = open_cache(made, write_draws(made));
  assert_int_equal(lap_cache_draw_count(cache), 3);
  static const int32_t first_id[] = {2, 19, 99}; /* in the order of their seeds */
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  assert_true(rows->next_logprob && !rows->entropy);
  for (uint64_t epoch = 0; epoch < 7; ++epoch)
    for (size_t s = 0; s < 2; ++s) {
      read_rows(lap_cache_of_epoch(cache, epoch), s, synthetic_row(made, s), 1, NULL, rows);
      assert_int_equal(rows->ids[0], first_id[epoch % 3]);
    }
  lap_cache_rows_destroy(rows);
  char all[LAP_SHA256_HEX], some[LAP_SHA256_HEX];
  lap_status status = {0};
  assert_int_equal(lap_cache_content_sha256(cache, all, &status), LAP_OK);
  lap_cache_close(cache);
  cache = open_cache(made, scratch_path(made->directory, "draw-[12]-*.h5"));
  assert_int_equal(lap_cache_draw_count(cache), 2);
  assert_int_equal(lap_cache_content_sha256(cache, some, &status), LAP_OK);
  assert_string_not_equal(all, some);
  lap_cache_close(cache);
}

static void assert_draws_refused(const synthetic *made, const char *pattern, const char *says) {
  lap_cache *cache;
  lap_status status = {0};
  assert_int_equal(lap_cache_open(pattern, &made->tokens, &made->expectation, &cache, &status),
                   LAP_DATA);
  assert_null(cache);
  if (!strstr(status.message, says)) fail_msg("%s", status.message);
}

static void draws_that_do_not_fit_together_are_refused(void **state) {
  synthetic *made = *state;
  const char *pattern = write_draws(made);
  made->expectation.several_draws = false;
  assert_draws_refused(made, pattern, "are both for the tokens");
  made->expectation.several_draws = true;
  unlink(scratch_path(made->directory, "draw-2-1.h5")); /* of the last draw one shard is missing */
  assert_draws_refused(made, pattern, "is for the tokens");
  plain_cache topk; /* and a cache that is not drawn */
  plain_create(made, 1, &topk);
  plain_write(scratch_path(made->directory, "draw-2-1.h5"), &topk);
  plain_destroy(&topk);
  assert_draws_refused(made, pattern, "are both for the tokens");
}

static void make_dense(const synthetic *made, uint64_t row_count, plain_cache *plain) {
  plain_create(made, 0, plain);
  free(plain->ids);
  free(plain->logprob);
  plain->k = plain->columns = plain->logprob_columns = SYNTHETIC_VOCAB;
  plain->ids = lap_allocate(row_count * SYNTHETIC_VOCAB, sizeof *plain->ids);
  plain->logprob = lap_allocate(row_count * SYNTHETIC_VOCAB, sizeof *plain->logprob);
  for (uint64_t i = 0; i < row_count; ++i) {
    const uint32_t next = made->tokens.shard[0]->tokens[i + 1 < row_count ? i + 1 : i];
    for (uint64_t v = 0; v < SYNTHETIC_VOCAB; ++v) {
      plain->ids[i * SYNTHETIC_VOCAB + v] = (int64_t)v;
      plain->logprob[i * SYNTHETIC_VOCAB + v] = log(v == next ? 0.5 : 0.5 / (SYNTHETIC_VOCAB - 1));
    }
    plain->tail_mass[i] = 0;
  }
}

/* As wide as the vocabulary: dense, no tail; and more rows at once than the reader takes in one go.
 */
static void a_cache_may_be_dense(void **state) {
  (void)state;
  enum { DENSE_ROWS = 6000 };
  synthetic made;
  synthetic_create(&made, 1, DENSE_ROWS);
  plain_cache plain;
  make_dense(&made, DENSE_ROWS, &plain);
  const char *path = scratch_path(made.directory, "dense.h5");
  plain_write(path, &plain);
  lap_cache *cache = open_cache(&made, path);
  lap_cache_rows *rows = lap_cache_rows_create(cache, DENSE_ROWS);
  read_rows(cache, 0, 0, DENSE_ROWS, NULL, rows);
  for (uint32_t i = 0; i < DENSE_ROWS; ++i) {
    if (!lap_row_counts(made.tokens.shard[0], i)) continue;
    const uint32_t next = made.tokens.shard[0]->tokens[i + 1];
    assert_near((double)rows->probability[i * SYNTHETIC_VOCAB + next], 0.5, 1e-6);
    assert_near(rows->bucket_entropy[i], log(2) + 0.5 * log(SYNTHETIC_VOCAB - 1), 1e-6);
  }
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
  plain_destroy(&plain);
  synthetic_destroy(&made);
}

static void the_content_hash_is_of_values_not_of_packing(void **state) {
  const synthetic *made = *state;
  const lap_token_set one = {.shard = made->tokens.shard, .count = 1, .token_count = ROWS};
  plain_cache plain;
  plain_create(made, 0, &plain);
  for (int i = 0; i < ROWS * SYNTHETIC_K; ++i) plain.logprob[i] = (double)(float)plain.logprob[i];
  char hex[3][LAP_SHA256_HEX];
  for (int n = 0; n < 3; ++n) {
    if (n == 1) {
      plain.id_type = H5T_STD_U8LE;
      plain.logprob_type = plain.tail_type = H5T_IEEE_F32LE;
      plain.chunk_rows = 100, plain.chunk_columns = 3;
      plain.teacher = "the same by another name";
    }
    if (n == 2) plain.ids[500 * SYNTHETIC_K] ^= 1;
    plain_write(scratch_path(made->directory, "plain.h5"), &plain);
    lap_cache *cache;
    lap_status status = {0};
    assert_int_equal(
        lap_cache_open(scratch_path(made->directory, "plain.h5"), &one, NULL, &cache, &status),
        LAP_OK);
    assert_int_equal(lap_cache_content_sha256(cache, hex[n], &status), LAP_OK);
    lap_cache_close(cache);
  }
  assert_string_equal(hex[0], hex[1]);
  assert_string_not_equal(hex[0], hex[2]);
  plain_destroy(&plain);
}

static void a_teachers_name_may_have_4_kib(void **state) {
  const synthetic *made = *state;
  const char *path = scratch_path(made->directory, "named.h5");
  const lap_token_set one = {.shard = made->tokens.shard, .count = 1, .token_count = ROWS};
  char name[LAP_TEACHER_NAME + 1];
  memset(name, 'x', sizeof name);
  plain_cache plain;
  plain_create(made, 0, &plain);
  plain.teacher = name;
  for (int length = LAP_TEACHER_NAME; length >= LAP_TEACHER_NAME - 1; --length) {
    name[length] = '\0';
    plain_write(path, &plain);
    lap_cache *cache;
    lap_status status = {0};
    if (length == LAP_TEACHER_NAME) {
      assert_int_equal(lap_cache_open(path, &one, NULL, &cache, &status), LAP_DATA);
      assert_non_null(strstr(status.message, "4096"));
    } else {
      assert_int_equal(lap_cache_open(path, &one, NULL, &cache, &status), LAP_OK);
      assert_string_equal(lap_cache_schema_of(cache)->teacher, name);
      lap_cache_close(cache);
    }
  }
  plain_destroy(&plain);
}

static void the_same_content_is_the_same_bytes_later(void **state) {
  const synthetic *made = *state;
  lap_cache_content content;
  synthetic_content(made, 0, &content);
  size_t count, count_later;
  char *bytes = scratch_read(synthetic_write(made, 0, "now.h5", &content), &count);
  sleep(1); /* HDF5's times are whole seconds */
  char *later = scratch_read(synthetic_write(made, 0, "later.h5", &content), &count_later);
  assert_int_equal(count, count_later);
  assert_memory_equal(bytes, later, count);
  free(bytes);
  free(later);
  lap_cache_content_destroy(&content);
}

static void a_lone_file_says_what_it_is(void **state) {
  const synthetic *made = *state;
  synthetic_write_all(made);
  lap_cache_identity identity;
  lap_status status = {0};
  assert_int_equal(
      lap_cache_file_identity(scratch_path(made->directory, "cache-00001.h5"), &identity, &status),
      LAP_OK);
  assert_int_equal(identity.rows, ROWS);
  assert_int_equal(identity.schema.k, SYNTHETIC_K);
  assert_string_equal(identity.tokens_sha256, made->tokens.shard[1]->tokens_sha256);
}

/* More shards than are kept open; each is opened again when its turn comes. */
static void many_shards_are_read_in_turn(void **state) {
  (void)state;
  enum { SHARDS = 70, SMALL = 50 };
  synthetic made;
  synthetic_create(&made, SHARDS, SMALL);
  lap_cache *cache = open_cache(&made, synthetic_write_all(&made));
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  for (size_t n = 0; n < 3 * SHARDS; ++n) {
    const size_t s = n * 31 % SHARDS;
    read_rows(cache, s, 5, 1, NULL, rows);
    assert_int_equal(rows->ids[0], made.tokens.shard[s]->tokens[6]);
    assert_true(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_FILE) <= 64);
  }
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
  assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
  synthetic_destroy(&made);
}

static void the_writer_refuses_what_the_reader_would(void **state) {
  const synthetic *made = *state;
  lap_cache_content content;
  synthetic_content(made, 0, &content);
  content.logprob[10 * SYNTHETIC_K + 2] = NAN;
  lap_status status = {0};
  const char *path = scratch_path(made->directory, "refused.h5");
  assert_int_equal(lap_cache_write(path, &made->schema, made->tokens.shard[0], &content, &status),
                   LAP_DATA);
  assert_non_null(strstr(status.message, "logprob[10][2]"));
  FILE *file = fopen(path, "rb");
  assert_null(file);
  lap_cache_content_destroy(&content);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_was_written_comes_back, make, unmake),
      cmocka_unit_test_setup_teardown(pieces_are_the_same_as_the_whole, make, unmake),
      cmocka_unit_test_setup_teardown(the_caller_may_say_which_rows_count, make, unmake),
      cmocka_unit_test_setup_teardown(bucket_entropy_is_that_of_the_stored_row, make, unmake),
      cmocka_unit_test_setup_teardown(unused_slots_and_a_tail_of_zero_give_no_nan, make, unmake),
      cmocka_unit_test_setup_teardown(a_row_may_be_all_tail, make, unmake),
      cmocka_unit_test_setup_teardown(every_number_type_is_read, make, unmake),
      cmocka_unit_test_setup_teardown(sampled_codecs_know_entropy_only_where_it_is_stored, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(epochs_take_draws_in_turn, make, unmake),
      cmocka_unit_test_setup_teardown(draws_that_do_not_fit_together_are_refused, make, unmake),
      cmocka_unit_test(a_cache_may_be_dense),
      cmocka_unit_test_setup_teardown(the_content_hash_is_of_values_not_of_packing, make, unmake),
      cmocka_unit_test_setup_teardown(a_teachers_name_may_have_4_kib, make, unmake),
      cmocka_unit_test_setup_teardown(the_same_content_is_the_same_bytes_later, make, unmake),
      cmocka_unit_test_setup_teardown(a_lone_file_says_what_it_is, make, unmake),
      cmocka_unit_test(many_shards_are_read_in_turn),
      cmocka_unit_test_setup_teardown(the_writer_refuses_what_the_reader_would, make, unmake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
