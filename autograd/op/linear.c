/* linear: y = x w^T, no bias
 *   x [R, I] input     w [O, I] weight     y [R, O] output
 */
#include <assert.h>

#include "autograd/kernel/gemm.h"
#include "autograd/op/op.h"

static void forward(const lap_op_call *call) {
  const int64_t rows = call->output.rows, out = call->output.columns, in = call->input[0].columns;
  lap_gemm(LAP_PLAIN, LAP_TRANSPOSED, rows, out, in, call->input[0].value, in, call->input[1].value,
           in, 0, call->output.value, out);
}

/* dx (+)= dy w        dw += dy^T x        a lane's micro-batches add up by beta = 1 */
static void backward(const lap_op_call *call) {
  assert(call->input[1].accumulate);
  const int64_t rows = call->output.rows, out = call->output.columns, in = call->input[0].columns;
  const real *dy = call->output.gradient;
  lap_gemm(LAP_PLAIN, LAP_PLAIN, rows, in, out, dy, out, call->input[1].value, in,
           call->input[0].accumulate ? 1 : 0, call->input[0].gradient, in);
  lap_gemm(LAP_TRANSPOSED, LAP_PLAIN, out, in, rows, dy, out, call->input[0].value, in, 1,
           call->input[1].gradient, in);
}

static double flops(const lap_op_call *call) {
  return 2.0 * (double)call->output.rows * (double)call->output.columns *
         (double)call->input[0].columns;
}

const lap_op lap_op_linear = {.name = "linear",
                              .forward = forward,
                              .backward = backward,
                              .flops = flops,
                              .backward_reads = LAP_READS_INPUT(0) | LAP_READS_INPUT(1)};
