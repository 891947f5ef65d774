/* embedding: y[r] = w[token[r]] * scale            (Gemma 2: scale = sqrt(hidden_size))
 *   w  [V, H] weight         token [R] from the batch
 *   y  [R, H] output
 */
#include <assert.h>

#include "autograd/op/op.h"

static void forward(const lap_op_call *call) {
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t r = 0; r < rows; ++r) {
    const real *w = call->input[0].value + call->batch->tokens[r] * hidden;
    real *y = call->output.value + r * hidden;
    for (int64_t j = 0; j < hidden; ++j) y[j] = w[j] * scale;
  }
}

/* dw[token[r]] += dy[r] * scale, rows in token order: two positions may hold the same token, so
 * threads split columns, never rows. The embedding's gradient is the head's dw with these rows
 * added to it. */
static void backward(const lap_op_call *call) {
  enum { COLUMNS = 64 };
  assert(call->input[0].accumulate);
  const lap_embedding_attributes *attributes = call->attributes;
  const int64_t rows = call->output.rows, hidden = call->output.columns;
  const real scale = (real)attributes->scale;
#pragma omp parallel for schedule(static)
  for (int64_t begin = 0; begin < hidden; begin += COLUMNS) {
    const int64_t end = begin + COLUMNS < hidden ? begin + COLUMNS : hidden;
    for (int64_t r = 0; r < rows; ++r) {
      real *dw = call->input[0].gradient + call->batch->tokens[r] * hidden;
      const real *dy = call->output.gradient + r * hidden;
      for (int64_t j = begin; j < end; ++j) dw[j] += dy[j] * scale;
    }
  }
}

const lap_op lap_op_embedding = {.name = "embedding", .forward = forward, .backward = backward};
