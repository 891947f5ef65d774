/* windows: the worked example of the header, and a slow reference on random streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/special_ids.h"
#include "dataset/windows.h"

enum { NONE = LAP_UNCOUNTED, LONGEST = 64 };

typedef struct {
  int32_t inputs[LONGEST], targets[LONGEST], first[LONGEST];
  uint32_t counted;
} window;

static window fill(const lap_token_shard *shard, uint64_t index, uint32_t length, bool mask) {
  window filled;
  memset(&filled, 0x55, sizeof filled);
  filled.counted =
      lap_window_fill(shard, index, length, mask, filled.inputs, filled.targets, filled.first);
  return filled;
}

static void the_worked_example_holds(void **state) {
  (void)state;
  enum { IN = 10, THE, BE, AND, GOD };
  uint32_t tokens[] = {LAP_BOS, IN, THE, BE, LAP_EOS, LAP_BOS, AND, GOD, LAP_EOS};
  uint64_t documents[] = {0, 5, 9};
  const lap_token_shard shard = {.token_count = 9,
                                 .document_count = 2,
                                 .vocab_size = 20,
                                 .tokens = tokens,
                                 .documents = documents};
  const int32_t inputs[3][5] = {{LAP_BOS, LAP_BOS, IN, THE, BE},
                                {LAP_BOS, LAP_EOS, LAP_BOS, AND, GOD},
                                {LAP_BOS, LAP_EOS, LAP_PAD, LAP_PAD, LAP_PAD}};
  const int32_t targets[3][5] = {{NONE, IN, THE, BE, LAP_EOS},
                                 {NONE, NONE, AND, GOD, LAP_EOS},
                                 {NONE, NONE, NONE, NONE, NONE}};
  const int32_t first[3][5] = {{0, 1, 1, 1, 1}, {0, 0, 2, 2, 2}, {0, 0, 2, 3, 4}};
  const uint32_t counted[3] = {4, 3, 0}, rows[3] = {4, 4, 1};
  assert_int_equal(lap_window_count(9, 5), 3);
  for (uint64_t w = 0; w < 3; ++w) {
    const window filled = fill(&shard, w, 5, true);
    assert_memory_equal(filled.inputs, inputs[w], sizeof inputs[w]);
    assert_memory_equal(filled.targets, targets[w], sizeof targets[w]);
    assert_memory_equal(filled.first, first[w], sizeof first[w]);
    assert_int_equal(filled.counted, counted[w]);
    uint64_t row;
    assert_int_equal(lap_window_rows(&shard, w, 5, &row), rows[w]);
    assert_int_equal(row, 4 * w);
  }
}

static void without_the_mask_all_sees_all(void **state) {
  (void)state;
  uint32_t tokens[] = {LAP_BOS, 5, LAP_EOS, LAP_BOS, 6, LAP_EOS};
  uint64_t documents[] = {0, 3, 6};
  const lap_token_shard shard = {.token_count = 6,
                                 .document_count = 2,
                                 .vocab_size = 20,
                                 .tokens = tokens,
                                 .documents = documents};
  const window masked = fill(&shard, 0, 9, true), open = fill(&shard, 0, 9, false);
  for (int i = 0; i < 9; ++i) assert_int_equal(open.first[i], 0);
  assert_memory_equal(masked.inputs, open.inputs, 9 * sizeof(int32_t));
  assert_memory_equal(masked.targets, open.targets, 9 * sizeof(int32_t));
}

/* Straight from docs/design.md#windows, one row of the stream at a time. */
static void check_reference(const lap_token_shard *shard, uint32_t length) {
  const uint64_t rows = length - 1, count = shard->token_count;
  const uint64_t windows = (count + rows - 1) / rows;
  assert_int_equal(lap_window_count(count, length), windows);
  for (uint64_t w = 0; w < windows; ++w) {
    const window got = fill(shard, w, length, true);
    uint32_t counted = 0;
    assert_int_equal(got.inputs[0], LAP_BOS);
    assert_int_equal(got.targets[0], NONE);
    assert_int_equal(got.first[0], 0);
    for (uint32_t p = 1; p < length; ++p) {
      const uint64_t row = w * rows + p - 1;
      if (row >= count) {
        assert_int_equal(got.inputs[p], LAP_PAD);
        assert_int_equal(got.targets[p], NONE);
        assert_int_equal(got.first[p], p);
        continue;
      }
      uint64_t start = 0;
      for (uint64_t d = 0; d < shard->document_count; ++d)
        if (shard->documents[d] <= row) start = shard->documents[d];
      const int32_t prefix_apart = shard->tokens[w * rows] == LAP_BOS;
      const int32_t first = start > w * rows ? (int32_t)(start - w * rows) + 1 : prefix_apart;
      const bool counts = shard->tokens[row] != LAP_EOS && row + 1 != count;
      assert_int_equal(got.inputs[p], shard->tokens[row]);
      assert_int_equal(got.targets[p], counts ? (int32_t)shard->tokens[row + 1] : NONE);
      assert_int_equal(got.first[p], first);
      counted += counts;
    }
    assert_int_equal(got.counted, counted);
  }
}

/* Documents of random length, some without BOS (the rest of a cut one), some empty, some never
 * ended. */
static lap_token_shard random_stream(uint64_t count, uint32_t *tokens, uint64_t *documents) {
  lap_token_shard shard = {
      .token_count = count, .vocab_size = 50, .tokens = tokens, .documents = documents};
  for (uint64_t i = 0; i < count; ++i) tokens[i] = 4 + (uint32_t)rand() % 46;
  for (uint64_t at = 0; at < count;) {
    documents[shard.document_count++] = at;
    if (rand() % 8 == 0) documents[shard.document_count++] = at;
    if (rand() % 8) tokens[at] = LAP_BOS;
    at += 1 + (uint64_t)rand() % 12;
    if (at > 0 && at <= count && rand() % 8) tokens[at - 1] = LAP_EOS;
  }
  documents[shard.document_count] = count;
  return shard;
}

static void random_streams_match_the_reference(void **state) {
  (void)state;
  srand(1);
  for (int trial = 0; trial < 3000; ++trial) {
    const uint32_t length = 2 + (uint32_t)(rand() % 3 ? rand() % 12 : rand() % (LONGEST - 2));
    uint64_t count = 1 + (uint64_t)rand() % 200;
    if (trial % 2) count = (1 + count / (length - 1)) * (length - 1) + (uint64_t)(rand() % 3) - 1;
    if (count == 0) count = 1;
    uint32_t tokens[512];
    uint64_t documents[1025];
    const lap_token_shard shard = random_stream(count, tokens, documents);
    check_reference(&shard, length);
    check_reference(&shard, 2);
  }
}

static void windows_of_a_set_lie_in_shard_order(void **state) {
  (void)state;
  lap_token_shard shards[3] = {{.token_count = 9}, {.token_count = 4}, {.token_count = 5}};
  lap_token_shard *pointers[3] = {&shards[0], &shards[1], &shards[2]};
  const lap_token_set set = {.shard = pointers, .count = 3, .token_count = 18};
  const size_t shard[6] = {0, 0, 0, 1, 2, 2};
  const uint64_t index[6] = {0, 1, 2, 0, 0, 1};
  assert_int_equal(lap_set_window_count(&set, 5), 6);
  for (uint64_t i = 0; i < 6; ++i) {
    const lap_shard_window found = lap_set_sliding(&set, 5, 4, i);
    assert_int_equal(found.shard, shard[i]);
    assert_int_equal(found.window, index[i]);
  }
}

/* Whatever the step, each counted row is counted once, with as much of its document before it as is
 * promised; what the windows show is the stream. */
static void check_sliding(const lap_token_shard *shard, uint32_t length, uint32_t step) {
  enum { MOST = 512 };
  int times[MOST] = {0};
  const uint64_t windows = lap_sliding_count(shard->token_count, length, step);
  for (uint64_t w = 0; w < windows; ++w) {
    window got;
    uint64_t row;
    const uint32_t rows = lap_sliding_rows(shard, w, length, step, &row);
    assert_int_equal(row, w * step);
    uint32_t counted = 0;
    got.counted =
        lap_sliding_fill(shard, w, length, step, true, got.inputs, got.targets, got.first);
    for (uint32_t p = 1; p <= rows; ++p) {
      const uint64_t r = row + p - 1;
      assert_int_equal(got.inputs[p], shard->tokens[r]);
      if (got.targets[p] < 0) continue;
      ++counted;
      ++times[r];
      assert_int_equal(got.targets[p], shard->tokens[r + 1]);
      uint64_t start = 0;
      for (uint64_t d = 0; d < shard->document_count; ++d)
        if (shard->documents[d] <= r) start = shard->documents[d];
      const uint64_t seen = p - (got.first[p] ? (uint64_t)got.first[p] : 1) + 1;
      const uint64_t of_document = r - start + 1, promised = length - step;
      assert_true(seen >= (of_document < promised ? of_document : promised));
    }
    assert_int_equal(got.counted, counted);
  }
  for (uint64_t r = 0; r < shard->token_count; ++r)
    assert_int_equal(times[r], shard->tokens[r] != LAP_EOS && r + 1 < shard->token_count);
}

static void sliding_windows_count_each_row_once_with_the_context_that_they_promise(void **state) {
  (void)state;
  srand(2);
  for (int trial = 0; trial < 2000; ++trial) {
    const uint32_t length = 2 + (uint32_t)rand() % 20, step = 1 + (uint32_t)rand() % (length - 1);
    const uint64_t count = 1 + (uint64_t)rand() % 200;
    uint32_t tokens[512];
    uint64_t documents[1025];
    const lap_token_shard shard = random_stream(count, tokens, documents);
    check_sliding(&shard, length, step);
    assert_int_equal(lap_sliding_count(count, length, length - 1), lap_window_count(count, length));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_worked_example_holds),
      cmocka_unit_test(without_the_mask_all_sees_all),
      cmocka_unit_test(random_streams_match_the_reference),
      cmocka_unit_test(sliding_windows_count_each_row_once_with_the_context_that_they_promise),
      cmocka_unit_test(windows_of_a_set_lie_in_shard_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
