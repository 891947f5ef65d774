/* row_linear: y = sum over all M shards of x_s w_s^T, no bias; a projection cut by its inputs
 *   x [S R, I] input     w_s [O, I] weights     y [R, O] output
 */
#include <assert.h>

#include "autograd/kernel/gemm.h"
#include "autograd/op/ops.h"

static int64_t shards_of(const lap_op_call *call) {
  return call->input[0].rows / call->output.rows;
}

/* scratch: [S][R, O], what each shard held here has to add. */
static void forward(const lap_op_call *call) {
  const int64_t rows = call->output.rows, out = call->output.columns;
  const int64_t in = call->input[0].columns;
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_gemm(&(lap_gemm_operands){.m = rows,
                                  .n = out,
                                  .k = in,
                                  .a = call->input[0].value + s * rows * in,
                                  .lda = in,
                                  .b = call->input[1 + s].value,
                                  .ldb = in,
                                  .transpose_b = true,
                                  .c = call->scratch + s * rows * out,
                                  .ldc = out});
  call->group->sum(call->group->context, call->scratch, rows * out, call->output.value);
}

/* dx_s (+)= dy w_s        dw_s += dy^T x_s        nothing to exchange */
static void backward(const lap_op_call *call) {
  const int64_t rows = call->output.rows, out = call->output.columns;
  const int64_t in = call->input[0].columns;
  const real *dy = call->output.gradient;
  for (int64_t s = 0; s < shards_of(call); ++s) {
    const lap_operand *w = &call->input[1 + s];
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
                                  .b = call->input[0].value + s * rows * in,
                                  .ldb = in,
                                  .c = w->gradient,
                                  .ldc = in,
                                  .into = LAP_MATMUL_ADD,
                                  .segment = call->batch->length});
  }
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  (void)extent;
  return backward ? 0 : shards_of(call) * call->output.rows * call->output.columns;
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const int64_t rows = call->output.rows, in = call->input[0].columns;
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

static int shard_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                       lap_shard_call *list) {
  (void)extent;
  if (backward) return 0;
  list[0] = (lap_shard_call){LAP_SHARD_CALL_SUM, call->output.rows * call->output.columns, 1};
  return 1;
}

const lap_op lap_op_row_linear = {.name = "row_linear",
                                  .forward = forward,
                                  .backward = backward,
                                  .scratch_size = scratch_size,
                                  .work = LAP_WORK_LINEAR,
                                  .cost = cost,
                                  .shard_calls = shard_calls,
                                  .backward_reads = LAP_READS_INPUTS};
