/* batches: what a micro-batch holds of token shards and of a teacher's cache, position by position
 * by the words of dataset/windows.h; made-up batches; and a cache row that is damaged. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "tests/teacher/synthetic.h"
#include "trainer/step/batches.h"

enum { T = SYNTHETIC_LENGTH, K = SYNTHETIC_K, ROWS = T - 1, SHARDS = 2, TOKENS = 150 };
enum { WINDOWS = 5 }; /* of a shard: ceil(150 / 32), the last with 22 rows */

static void must(lap_code code, const lap_status *status) {
  if (code != LAP_OK) fail_msg("%s", status->message);
}

static void fill(lap_micro_batch *micro, const lap_data *data, const uint64_t *windows) {
  lap_status status = {0};
  must(lap_micro_batch_fill(micro, data, windows, &status), &status);
}

/* --- tokens --- */

/* Sequence s of the batch is window `window` of all: row r of its shard at position 1 + r mod
 * (T - 1). Returns how many positions count. */
static uint32_t check_tokens(const lap_micro_batch *micro, int64_t s, const lap_token_shard *shard,
                             uint64_t window, bool document_mask) {
  const int32_t *tokens = micro->batch.tokens + s * T, *targets = micro->batch.targets + s * T;
  const int32_t *start = micro->batch.document_start + s * T;
  uint32_t counted = 0;
  assert_int_equal(tokens[0], LAP_BOS);
  assert_int_equal(targets[0], -1);
  assert_int_equal(start[0], 0);
  for (int32_t position = 1; position < T; ++position) {
    const uint64_t row = window * ROWS + (uint64_t)position - 1;
    if (row >= TOKENS) {
      assert_int_equal(tokens[position], LAP_PAD);
      assert_int_equal(targets[position], -1);
      assert_int_equal(start[position], document_mask ? position : 0);
      continue;
    }
    const bool counts = row + 1 < TOKENS && shard->tokens[row] != LAP_EOS;
    assert_int_equal(tokens[position], shard->tokens[row]);
    assert_int_equal(targets[position], counts ? (int32_t)shard->tokens[row + 1] : -1);
    counted += counts;
    /* Documents are 40 tokens long; the prefix belongs to the first unless that begins here. */
    const int64_t begin = (int64_t)(row / 40 * 40) - (int64_t)(window * ROWS) + 1;
    assert_int_equal(start[position], document_mask && begin > 0 ? begin : 0);
  }
  return counted;
}

static void sequences_are_the_windows_that_were_asked_for(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, SHARDS, TOKENS);
  for (int mask = 0; mask < 2; ++mask) {
    const lap_data data = {.tokens = &made.tokens, .sequence_length = T, .document_mask = mask};
    assert_int_equal(lap_data_window_count(&data), SHARDS * WINDOWS);
    assert_int_equal(lap_data_teacher_k(&data), 0);
    lap_micro_batch *micro = lap_micro_batch_create(&data, 3);
    assert_int_equal(micro->batch.sequences, 3);
    assert_int_equal(micro->batch.length, T);
    assert_int_equal(micro->batch.k, 0);
    assert_null(micro->batch.teacher_ids);
    for (uint64_t first = 0; first < SHARDS * WINDOWS; ++first) {
      uint64_t windows[3];
      uint32_t counted = 0;
      for (uint64_t s = 0; s < 3; ++s) windows[s] = (first + 3 * s) % (SHARDS * WINDOWS);
      fill(micro, &data, windows);
      for (int64_t s = 0; s < 3; ++s)
        counted += check_tokens(micro, s, made.tokens.shard[windows[s] / WINDOWS],
                                windows[s] % WINDOWS, mask);
      assert_int_equal(micro->counted, counted);
    }
    lap_micro_batch_destroy(micro);
  }
  synthetic_destroy(&made);
}

/* --- the teacher --- */

/* Position 1 + r mod (T - 1) has what the cache says of row r, where the row counts: then the
 * 16-bit log-probabilities of our caches are all that may differ. */
static void check_teacher(const lap_micro_batch *micro, int64_t s, const lap_cache_content *content,
                          uint64_t window) {
  for (int64_t position = 1; position < T; ++position) {
    const int64_t at = s * T + position;
    const uint64_t row = window * ROWS + (uint64_t)position - 1;
    if (row >= TOKENS) break; /* padding has no row */
    if (micro->batch.targets[at] < 0) {
      assert_true(micro->batch.teacher_tail[at] == 0);
      for (int j = 0; j < K; ++j) assert_true(micro->batch.teacher_probability[at * K + j] == 0);
      continue;
    }
    double entropy = -(double)content->tail_mass[row] * log((double)content->tail_mass[row]);
    for (int j = 0; j < K; ++j) {
      const double probability = exp((double)content->logprob[row * K + (uint64_t)j]);
      assert_int_equal(micro->batch.teacher_ids[at * K + j], content->ids[row * K + (uint64_t)j]);
      assert_true(fabs((double)micro->batch.teacher_probability[at * K + j] - probability) <
                  2e-3 * probability);
      entropy -= probability * log(probability);
    }
    assert_int_equal(micro->batch.teacher_ids[at * K], micro->batch.targets[at]);
    assert_true(fabsf(micro->batch.teacher_tail[at] - content->tail_mass[row]) < 1e-3F);
    assert_true(fabs(micro->batch.teacher_entropy[at] - entropy) < 2e-3);
  }
}

static void the_teacher_stands_where_its_rows_do(void **state) {
  (void)state;
  synthetic made;
  lap_cache *cache;
  lap_status status = {0};
  lap_cache_content content[SHARDS];
  synthetic_create(&made, SHARDS, TOKENS);
  for (size_t s = 0; s < SHARDS; ++s) synthetic_content(&made, s, &content[s]);
  must(lap_cache_open(synthetic_write_all(&made), &made.tokens, &made.expectation, &cache, &status),
       &status);
  const lap_data data = {
      .tokens = &made.tokens, .cache = cache, .sequence_length = T, .document_mask = true};
  assert_int_equal(lap_data_teacher_k(&data), K);
  lap_micro_batch *micro = lap_micro_batch_create(&data, 2);
  assert_int_equal(micro->batch.k, K);
  /* A short window first, and then a long one in its place; and the other way round. */
  for (uint64_t first = 0; first < SHARDS * WINDOWS; ++first) {
    const uint64_t windows[2] = {first, (first + WINDOWS - 1) % (SHARDS * WINDOWS)};
    fill(micro, &data, windows);
    uint32_t counted = 0;
    for (int64_t s = 0; s < 2; ++s) {
      const size_t shard = windows[s] / WINDOWS;
      counted += check_tokens(micro, s, made.tokens.shard[shard], windows[s] % WINDOWS, true);
      check_teacher(micro, s, &content[shard], windows[s] % WINDOWS);
    }
    assert_int_equal(micro->counted, counted);
  }
  lap_micro_batch_destroy(micro);
  lap_cache_close(cache);
  for (size_t s = 0; s < SHARDS; ++s) lap_cache_content_destroy(&content[s]);
  synthetic_destroy(&made);
}

/* Opened without an expectation, rows are checked when they are read. */
static void a_damaged_row_fails_the_batch_that_reads_it(void **state) {
  (void)state;
  synthetic made;
  lap_cache *cache;
  lap_status status = {0};
  plain_cache plain;
  synthetic_create(&made, 1, TOKENS);
  plain_create(&made, 0, &plain);
  const uint64_t row = synthetic_row(&made, 0);
  plain.ids[row * K] = SYNTHETIC_VOCAB;
  char *path = lap_format("%s/cache-00000.h5", made.directory);
  plain_write(path, &plain);
  must(lap_cache_open(path, &made.tokens, NULL, &cache, &status), &status);
  const lap_data data = {
      .tokens = &made.tokens, .cache = cache, .sequence_length = T, .document_mask = true};
  lap_micro_batch *micro = lap_micro_batch_create(&data, 2);
  const uint64_t windows[2] = {0, row / ROWS};
  assert_int_equal(lap_micro_batch_fill(micro, &data, windows, &status), LAP_DATA);
  assert_non_null(strstr(status.message, path));
  char *what = lap_format("ids[%d][0] is %d", (int)row, SYNTHETIC_VOCAB);
  if (!strstr(status.message, what)) fail_msg("%s", status.message);
  free(what);
  lap_micro_batch_destroy(micro);
  lap_cache_close(cache);
  free(path);
  plain_destroy(&plain);
  synthetic_destroy(&made);
}

/* --- made-up batches --- */

static void check_synthetic(const lap_micro_batch *micro, int64_t at, int64_t vocab, int64_t k) {
  const bool last = at % T == T - 1;
  assert_in_range(micro->batch.tokens[at], 0, vocab - 1);
  assert_int_equal(micro->batch.document_start[at], 0);
  if (last)
    assert_int_equal(micro->batch.targets[at], -1);
  else
    assert_in_range(micro->batch.targets[at], 0, vocab - 1);
  if (!k) return;
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int32_t id = micro->batch.teacher_ids[at * k + i];
    const double probability = (double)micro->batch.teacher_probability[at * k + i];
    assert_in_range(id, 0, vocab - 1);
    for (int64_t j = 0; j < i; ++j) assert_int_not_equal(micro->batch.teacher_ids[at * k + j], id);
    if (i > 0) assert_true(probability < (double)micro->batch.teacher_probability[at * k + i - 1]);
    sum += probability;
  }
  assert_true(fabs(sum - 0.9) < 1e-6);
  assert_true(micro->batch.teacher_tail[at] == 0.1F);
}

static void made_up_batches_are_functions_of_the_window(void **state) {
  (void)state;
  enum { VOCAB = 48 };
  for (int64_t k = 0; k <= 8; k += 8) {
    const lap_synthetic made_up = {.vocab_size = VOCAB, .k = k, .windows = 1000};
    const lap_data data = {.sequence_length = T, .synthetic = &made_up};
    assert_int_equal(lap_data_window_count(&data), 1000);
    assert_int_equal(lap_data_teacher_k(&data), k);
    lap_micro_batch *one = lap_micro_batch_create(&data, 3);
    lap_micro_batch *other = lap_micro_batch_create(&data, 2);
    fill(one, &data, (const uint64_t[]){4, 7, 900});
    fill(other, &data, (const uint64_t[]){7, 4});
    assert_int_equal(one->counted, 3 * (T - 1));
    assert_int_equal(other->counted, 2 * (T - 1));
    for (int64_t at = 0; at < 3 * T; ++at) check_synthetic(one, at, VOCAB, k);
    const size_t row = T * sizeof(int32_t);
    assert_memory_equal(one->tokens, other->tokens + T, row);
    assert_memory_equal(one->targets + T, other->targets, row);
    assert_memory_not_equal(one->tokens, one->tokens + T, row);
    assert_memory_not_equal(one->tokens, one->targets, row - sizeof(int32_t));
    if (k) assert_memory_equal(one->teacher_ids, other->teacher_ids + T * k, row * (size_t)k);
    lap_micro_batch_destroy(one);
    lap_micro_batch_destroy(other);
  }
}

/* --- smoothing --- */

static void smoothing_is_one_row_over_all_ids(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, SHARDS, TOKENS);
  enum { VOCAB = SYNTHETIC_VOCAB + 7 }; /* the student may have more ids */
  assert_null(lap_smoothing_create(LAP_SMOOTHING_NONE, &made.tokens, VOCAB, false));
  uint64_t counts[VOCAB] = {0}, all = 0;
  for (size_t s = 0; s < SHARDS; ++s)
    for (uint64_t i = 0; i < TOKENS; ++i) {
      const uint32_t token = made.tokens.shard[s]->tokens[i];
      if (token != LAP_BOS) ++counts[token], ++all;
    }
  for (int kind = LAP_SMOOTHING_UNIFORM; kind <= LAP_SMOOTHING_UNIGRAM; ++kind) {
    lap_smoothing *smoothing =
        lap_smoothing_create((lap_smoothing_kind)kind, &made.tokens, VOCAB, false);
    const lap_data data = {.tokens = &made.tokens, .sequence_length = T, .smoothing = smoothing};
    assert_int_equal(lap_data_teacher_k(&data), VOCAB);
    lap_micro_batch *micro = lap_micro_batch_create(&data, 2);
    fill(micro, &data, (const uint64_t[]){4, 7});
    assert_true(micro->batch.one_row);
    assert_int_equal(micro->batch.k, VOCAB);
    double entropy = 0;
    for (int i = 0; i < VOCAB; ++i) {
      const double share =
          kind == LAP_SMOOTHING_UNIFORM ? 1.0 / VOCAB : (double)counts[i] / (double)all;
      assert_int_equal(micro->batch.teacher_ids[i], i);
      assert_true(micro->batch.teacher_probability[i] == (float)share);
      if (share > 0) entropy -= share * log(share);
    }
    for (int64_t at = 0; at < 2 * T; ++at) {
      assert_true(micro->batch.teacher_tail[at] == 0);
      assert_true(fabs(micro->batch.teacher_entropy[at] - entropy) < 1e-12);
    }
    lap_micro_batch_destroy(micro);
    lap_smoothing_destroy(smoothing);
  }
  synthetic_destroy(&made);
}

/* The same row with its most probable ids in front, of equals the smaller id. */
static void smoothing_comes_with_its_head_in_front(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, SHARDS, TOKENS);
  enum { VOCAB = SYNTHETIC_VOCAB + 7 };
  for (int kind = LAP_SMOOTHING_UNIFORM; kind <= LAP_SMOOTHING_UNIGRAM; ++kind) {
    lap_smoothing *plain =
        lap_smoothing_create((lap_smoothing_kind)kind, &made.tokens, VOCAB, false);
    lap_smoothing *sorted =
        lap_smoothing_create((lap_smoothing_kind)kind, &made.tokens, VOCAB, true);
    assert_true(sorted->entropy == plain->entropy);
    bool seen[VOCAB] = {false};
    for (int i = 0; i < VOCAB; ++i) {
      const int32_t id = sorted->ids[i];
      assert_false(seen[id]);
      seen[id] = true;
      assert_true(sorted->probability[i] == plain->probability[id]);
      if (i == 0) continue;
      const float before = sorted->probability[i - 1], now = sorted->probability[i];
      assert_true(before > now || (before == now && sorted->ids[i - 1] < id));
    }
    assert_true(kind == LAP_SMOOTHING_UNIFORM || sorted->ids[0] != 0);
    lap_smoothing_destroy(plain);
    lap_smoothing_destroy(sorted);
  }
  synthetic_destroy(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sequences_are_the_windows_that_were_asked_for),
      cmocka_unit_test(the_teacher_stands_where_its_rows_do),
      cmocka_unit_test(a_damaged_row_fails_the_batch_that_reads_it),
      cmocka_unit_test(made_up_batches_are_functions_of_the_window),
      cmocka_unit_test(smoothing_is_one_row_over_all_ids),
      cmocka_unit_test(smoothing_comes_with_its_head_in_front),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
