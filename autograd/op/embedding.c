/* embedding: y[r] = w[token[r]] * scale            (Gemma 2: scale = sqrt(hidden_size))
 *   w_s [V/M, H] weights, shard by shard       token [R] from the batch
 *   y   [R, H] output
 *
 * A shard has the rows of its stretch of the vocabulary, and zeros for the other tokens; y is their
 * sum over all shards.
 */
#include <assert.h>
#include <string.h>

#include "autograd/op/ops.h"
#include "autograd/op/weight.h"

/* The row of shard s, counted from the first held here, for the token of r; -1 where another shard
 * has it. */
static int64_t row_of(const lap_op_call *call, int s, int64_t r) {
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->input[0].rows;
  const int64_t row = call->batch->tokens[r] - (attributes->shards.first + s) * rows;
  return row >= 0 && row < rows ? row : -1;
}

static void shard_forward(const lap_op_call *call, int s, real *out) {
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = row_of(call, s, r);
    real *y = out + r * hidden;
    if (row < 0) {
      memset(y, 0, (size_t)hidden * sizeof *y);
      continue;
    }
    const real *w = lap_weight_values(&call->input[s], row * hidden, hidden, y);
    for (int64_t j = 0; j < hidden; ++j) y[j] = w[j] * scale;
  }
}

/* scratch: [S][R, H] where the model is several shards. */
static void forward(const lap_op_call *call) {
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t elements = call->output.rows * call->output.columns;
  if (attributes->shards.of == 1) {
    shard_forward(call, 0, call->output.value);
    return;
  }
  for (int s = 0; s < attributes->shards.count; ++s)
    shard_forward(call, s, call->scratch + s * elements);
  call->group->sum(call->group->context, call->scratch, elements, call->output.value);
}

enum { COLUMNS = 64 }; /* threads split columns, never rows: positions may share a token */

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

/* Positions that read one row of a shard: row r of the micro-batch, next[r], ... until -1. */
typedef struct {
  int32_t *first; /* [V/M]: -1: none */
  int32_t *next;  /* [R] */
} position_lists;

static position_lists list_positions(const lap_op_call *call, int s) {
  const int64_t vocab = call->input[s].rows, rows = call->output.rows;
  const position_lists lists = {(int32_t *)call->scratch, (int32_t *)call->scratch + vocab};
  for (int64_t i = 0; i < vocab; ++i) lists.first[i] = -1;
  for (int64_t r = rows - 1; r >= 0; --r) {
    const int64_t row = row_of(call, s, r);
    if (row < 0) continue;
    lists.next[r] = lists.first[row];
    lists.first[row] = (int32_t)r;
  }
  return lists;
}

/* All of a lane: each row's sum is made and added. */
static void add_lane(const lap_op_call *call, int s) {
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
  const position_lists lists = list_positions(call, s);
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < hidden; begin += COLUMNS)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = row_of(call, s, r), columns = lesser(COLUMNS, hidden - begin);
      if (row < 0 || lists.first[row] != r) continue;
      real sum[COLUMNS] = {0};
      for (int64_t at = r; at >= 0; at = lists.next[at]) {
        const real *dy = call->output.gradient + at * hidden + begin;
        for (int64_t j = 0; j < columns; ++j) sum[j] += dy[j] * scale;
      }
      real *dw = call->input[s].gradient + row * hidden + begin;
      for (int64_t j = 0; j < columns; ++j) dw[j] += sum[j];
    }
}

/* A part of a lane: its rows go on with their sums. scratch: [R] slots. */
static void add_to_sums(const lap_op_call *call, int s) {
  const lap_embedding_attributes *attributes = call->attributes;
  lap_input_rows *sums = call->batch->input_rows;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
  int32_t *slot = (int32_t *)call->scratch;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = row_of(call, s, r);
    slot[r] = row < 0 ? -1 : lap_input_rows_slot(sums, s * call->input[s].rows + row);
  }
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < hidden; begin += COLUMNS) {
    const int64_t end = lesser(begin + COLUMNS, hidden);
    for (int64_t r = 0; r < rows; ++r) {
      if (slot[r] < 0) continue;
      real *sum = sums->sum + slot[r] * hidden;
      const real *dy = call->output.gradient + r * hidden;
      for (int64_t j = begin; j < end; ++j) sum[j] += dy[j] * scale;
    }
  }
}

static void add_sums(const lap_op_call *call) {
  const lap_input_rows *sums = call->batch->input_rows;
  const int64_t hidden = call->output.columns, shard = call->input[0].rows;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < sums->used; ++i) {
    real *dw = call->input[sums->row[i] / shard].gradient + sums->row[i] % shard * hidden;
    for (int64_t j = 0; j < hidden; ++j) dw[j] += sums->sum[i * hidden + j];
  }
}

/* dw[v] += sum over the lane's positions r with token v, in order, of dy[r] * scale
 *
 * Before, dw is what the head gave of the whole lane: where a lane has several micro-batches, the
 * sums wait for its end in op/input_rows.h. So the bits do not depend on how many it has. */
static void backward(const lap_op_call *call) {
  const lap_embedding_attributes *attributes = call->attributes;
  for (int s = 0; s < attributes->shards.count; ++s) {
    assert(call->input[s].accumulate);
    if (call->batch->input_rows)
      add_to_sums(call, s);
    else
      add_lane(call, s);
  }
  if (call->batch->input_rows && call->batch->lane_ends) add_sums(call);
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  (void)extent;
  const lap_embedding_attributes *attributes = call->attributes;
  _Static_assert(sizeof(real) >= sizeof(int32_t), "a real has room for one");
  if (backward) return call->input[0].rows + call->output.rows;
  if (attributes->shards.of == 1) return 0;
  return attributes->shards.count * call->output.rows * call->output.columns;
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)extent, (void)backward;
  lap_cost_units(sink, LAP_UNIT_EMBEDDING, call->output.rows * call->output.columns);
}

static int shard_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                       lap_shard_call *list) {
  const lap_embedding_attributes *attributes = call->attributes;
  (void)extent;
  if (backward || attributes->shards.of == 1) return 0;
  list[0] = (lap_shard_call){LAP_SHARD_CALL_SUM, call->output.rows * call->output.columns, 1};
  return 1;
}

const lap_op lap_op_embedding = {.name = "embedding",
                                 .forward = forward,
                                 .backward = backward,
                                 .scratch_size = scratch_size,
                                 .work = LAP_WORK_ELEMENTS,
                                 .cost = cost,
                                 .shard_calls = shard_calls,
                                 .gathers = true};
