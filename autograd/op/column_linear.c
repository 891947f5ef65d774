/* column_linear: y_s = x w_s^T for each shard s held here, no bias; a projection cut by outputs
 *   x [R, I] input     w_s [O, I] weights     y [S R, O] output
 */
#include <assert.h>

#include "autograd/kernel/gemm.h"
#include "autograd/op/ops.h"

static int64_t shards_of(const lap_op_call *call) {
  return call->output.rows / call->input[0].rows;
}

static void forward(const lap_op_call *call) {
  const int64_t rows = call->input[0].rows, in = call->input[0].columns;
  const int64_t out = call->output.columns;
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_gemm(&(lap_gemm_operands){.m = rows,
                                  .n = out,
                                  .k = in,
                                  .a = call->input[0].value,
                                  .lda = in,
                                  .b = call->input[1 + s].value,
                                  .ldb = in,
                                  .transpose_b = true,
                                  .c = call->output.value + s * rows * out,
                                  .ldc = out});
}

/* dx_s (+)= dy_s w_s      dw_s += dy_s^T x      a lane's micro-batches add up by beta = 1
 * dx is [S R, I]: copy_to_shards sums it over shards. */
static void backward(const lap_op_call *call) {
  const int64_t rows = call->input[0].rows, in = call->input[0].columns;
  const int64_t out = call->output.columns;
  for (int64_t s = 0; s < shards_of(call); ++s) {
    const lap_operand *w = &call->input[1 + s];
    const real *dy = call->output.gradient + s * rows * out;
    assert(w->accumulate);
    lap_gemm(&(lap_gemm_operands){.m = rows,
                                  .n = in,
                                  .k = out,
                                  .a = dy,
                                  .lda = out,
                                  .b = w->value,
                                  .ldb = in,
                                  .c = call->input[0].gradient + s * rows * in,
                                  .ldc = in,
                                  .into = lap_gemm_into(call->input[0].accumulate)});
    lap_gemm(&(lap_gemm_operands){.m = out,
                                  .n = in,
                                  .k = rows,
                                  .a = dy,
                                  .lda = out,
                                  .transpose_a = true,
                                  .b = call->input[0].value,
                                  .ldb = in,
                                  .c = w->gradient,
                                  .ldc = in,
                                  .into = LAP_MATMUL_ADD,
                                  .segment = call->batch->length});
  }
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const int64_t rows = call->input[0].rows, in = call->input[0].columns;
  const int64_t out = call->output.columns;
  const double shards = (double)shards_of(call);
  (void)extent;
  if (!backward) {
    lap_cost_product(sink, LAP_PRODUCT_FORWARD, rows, out, in, shards);
    return;
  }
  lap_cost_product(sink, LAP_PRODUCT_INPUT, rows, in, out, shards);
  lap_cost_product(sink, LAP_PRODUCT_WEIGHT, out, in, rows, shards);
}

const lap_op lap_op_column_linear = {.name = "column_linear",
                                     .forward = forward,
                                     .backward = backward,
                                     .work = LAP_WORK_LINEAR,
                                     .cost = cost,
                                     .backward_reads = LAP_READS_INPUTS};
