/* column_linear: y_s = x w_s^T for each shard s held here, no bias; a projection cut by outputs
 *   x [R, I] input     w_s [O, I] weights     y [S R, O] output
 */
#include "autograd/op/ops.h"
#include "autograd/op/projection.h"

static int64_t shards_of(const lap_op_call *call) {
  return call->output.rows / call->input[0].rows;
}

static lap_projection of_a_shard(const lap_op_call *call) {
  return (lap_projection){
      .rows = call->input[0].rows, .in = call->input[0].columns, .out = call->output.columns};
}

static void forward(const lap_op_call *call) {
  const lap_projection p = of_a_shard(call);
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_projection_forward(&p, call->input[0].value, &call->input[1 + s],
                           call->output.value + s * p.rows * p.out);
}

/* dx_s (+)= dy_s w_s      dw_s += dy_s^T x
 * dx is [S R, I]: copy_to_shards sums it over shards. */
static void backward(const lap_op_call *call) {
  lap_projection p = of_a_shard(call);
  p.segment = call->batch->length;
  const lap_operand *x = &call->input[0];
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_projection_backward(&p, call->output.gradient + s * p.rows * p.out, x->value,
                            x->gradient + s * p.rows * p.in, x->accumulate, &call->input[1 + s]);
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const lap_projection p = of_a_shard(call);
  (void)extent;
  lap_projection_cost(&p, shards_of(call), backward, sink);
}

const lap_op lap_op_column_linear = {.name = "column_linear",
                                     .forward = forward,
                                     .backward = backward,
                                     .work = LAP_WORK_LINEAR,
                                     .cost = cost,
                                     .backward_reads = LAP_READS_INPUTS};
