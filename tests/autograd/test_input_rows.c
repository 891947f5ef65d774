/* input_rows: the embedding's gradient is the head's part and one sum for each row that a lane
 * reads, in however many micro-batches. Compiled for float: bit for bit against the definition. */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/op/ops.h"
#include "core/memory.h"
#include "core/philox.h"

enum { VOCAB = 12, HIDDEN = 150, POSITIONS = 60, SHARDS = 2, LANES = 2 };

static float number(uint64_t stream, int64_t index) {
  return (float)(lap_uniform(lap_philox(11, LAP_PURPOSE_BENCH, stream, (uint64_t)index)) - 0.5);
}

/* Shard by shard. */
typedef struct {
  int32_t tokens[POSITIONS];
  float dy[POSITIONS * HIDDEN], dw[VOCAB * HIDDEN], expected[VOCAB * HIDDEN];
} lane;

static const float scale = 7.3F;

/* Token 3 is not read. */
static void make_lane(lane *made, uint64_t stream) {
  for (int i = 0; i < POSITIONS; ++i) {
    made->tokens[i] =
        (int32_t)(lap_philox(12, LAP_PURPOSE_BENCH, stream, (uint64_t)i).word[0] % VOCAB);
    if (made->tokens[i] == 3) made->tokens[i] = 4;
  }
  for (int i = 0; i < POSITIONS * HIDDEN; ++i) made->dy[i] = number(stream + 100, i);
  for (int i = 0; i < VOCAB * HIDDEN; ++i) made->dw[i] = number(stream + 200, i);
  for (int v = 0; v < VOCAB; ++v)
    for (int j = 0; j < HIDDEN; ++j) {
      float sum = 0;
      bool read = false;
      for (int r = 0; r < POSITIONS; ++r)
        if (made->tokens[r] == v) sum += made->dy[r * HIDDEN + j] * scale, read = true;
      const float head = made->dw[v * HIDDEN + j];
      made->expected[v * HIDDEN + j] = read ? head + sum : head;
    }
}

/* Positions [begin, end) of the lane, of a model in two shards that both are here. */
static void backward(lane *l, int begin, int end, lap_input_rows *rows, int shards) {
  float scratch[VOCAB + POSITIONS];
  const lap_embedding_attributes attributes = {(double)scale, {shards, 0, shards}};
  const lap_batch batch = {.sequences = 1,
                           .length = end - begin,
                           .tokens = l->tokens + begin,
                           .input_rows = rows,
                           .lane_ends = end == POSITIONS};
  lap_op_call call = {.attributes = &attributes,
                      .output = {.rows = end - begin,
                                 .columns = HIDDEN,
                                 .gradient = l->dy + (ptrdiff_t)begin * HIDDEN},
                      .scratch = scratch,
                      .batch = &batch};
  for (int s = 0; s < shards; ++s)
    call.input[s] = (lap_operand){.rows = VOCAB / shards,
                                  .columns = HIDDEN,
                                  .gradient = l->dw + (ptrdiff_t)s * VOCAB / shards * HIDDEN,
                                  .accumulate = true};
  lap_op_embedding.backward(&call);
}

static void a_lane_of_one_micro_batch(void **state) {
  (void)state;
  static lane l;
  for (int threads = 1; threads <= 3; ++threads)
    for (int shards = 1; shards <= SHARDS; ++shards) {
      omp_set_num_threads(threads);
      make_lane(&l, 1);
      backward(&l, 0, POSITIONS, NULL, shards);
      assert_memory_equal(l.dw, l.expected, sizeof l.dw);
    }
}

/* Two lanes, so that the sums of the first are forgotten; nothing is added before a lane ends. */
static void lanes_of_several_micro_batches(void **state) {
  (void)state;
  static const int ends[] = {1, 2, 20, 33, POSITIONS};
  static lane l;
  lap_input_rows *rows = lap_input_rows_create(VOCAB, HIDDEN, POSITIONS);
  for (int shards = 1; shards <= SHARDS; ++shards)
    for (uint64_t stream = 1; stream <= LANES; ++stream) {
      omp_set_num_threads((int)stream);
      make_lane(&l, stream);
      float before[VOCAB * HIDDEN];
      memcpy(before, l.dw, sizeof before);
      lap_input_rows_begin(rows);
      for (int i = 0, begin = 0; i < 5; begin = ends[i++]) {
        assert_memory_equal(l.dw, before, sizeof before);
        backward(&l, begin, ends[i], rows, shards);
      }
      assert_memory_equal(l.dw, l.expected, sizeof l.dw);
      assert_int_equal(rows->used, VOCAB - 1);
    }
  lap_input_rows_destroy(rows);
}

/* A lane that was left, as after a failure, leaves nothing. */
static void a_lane_that_does_not_end_is_forgotten(void **state) {
  (void)state;
  static lane l, other;
  lap_input_rows *rows = lap_input_rows_create(VOCAB, HIDDEN, POSITIONS);
  make_lane(&other, 5);
  make_lane(&l, 6);
  lap_input_rows_begin(rows);
  backward(&other, 0, 30, rows, 1);
  lap_input_rows_begin(rows);
  backward(&l, 0, 30, rows, 1);
  backward(&l, 30, POSITIONS, rows, 1);
  assert_memory_equal(l.dw, l.expected, sizeof l.dw);
  lap_input_rows_destroy(rows);
}

static void memory_is_for_the_rows_that_a_lane_can_read(void **state) {
  (void)state;
  const int64_t integer = sizeof(int32_t), row = 8 * (int64_t)sizeof(float);
  assert_int_equal(lap_input_rows_bytes(1000, 8, 30), 1000 * integer + 30 * (integer + row));
  assert_int_equal(lap_input_rows_bytes(20, 8, 30), 20 * integer + 20 * (integer + row));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_lane_of_one_micro_batch),
      cmocka_unit_test(lanes_of_several_micro_batches),
      cmocka_unit_test(a_lane_that_does_not_end_is_forgotten),
      cmocka_unit_test(memory_is_for_the_rows_that_a_lane_can_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
