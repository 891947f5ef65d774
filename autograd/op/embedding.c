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
    const real *w = call->input[s].value + row * hidden;
    real *y = out + r * hidden;
    if (row < 0)
      memset(y, 0, (size_t)hidden * sizeof *y);
    else
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

/* dw[token[r]] += dy[r] * scale, rows in token order: two positions may hold the same token, so
 * threads split columns, never rows. The embedding's gradient is the head's dw with these rows
 * added to it. */
static void shard_backward(const lap_op_call *call, int s) {
  enum { COLUMNS = 64 };
  assert(call->input[s].accumulate);
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < hidden; begin += COLUMNS) {
    const int64_t end = begin + COLUMNS < hidden ? begin + COLUMNS : hidden;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = row_of(call, s, r);
      if (row < 0) continue;
      real *dw = call->input[s].gradient + row * hidden;
      const real *dy = call->output.gradient + r * hidden;
      for (int64_t j = begin; j < end; ++j) dw[j] += dy[j] * scale;
    }
  }
}

static void backward(const lap_op_call *call) {
  const lap_embedding_attributes *attributes = call->attributes;
  for (int s = 0; s < attributes->shards.count; ++s) shard_backward(call, s);
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  (void)extent;
  const lap_embedding_attributes *attributes = call->attributes;
  if (backward || attributes->shards.of == 1) return 0;
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
                                 .shard_calls = shard_calls};
