/* row_linear: y = sum over all M shards of x_s w_s^T, no bias; a projection cut by its inputs
 *   x [S R, I] input     w_s [O, I] weights     y [R, O] output
 */
#include "autograd/op/ops.h"
#include "autograd/op/projection.h"

static int64_t shards_of(const lap_op_call *call) {
  return call->input[0].rows / call->output.rows;
}

static lap_projection of_a_shard(const lap_op_call *call) {
  return (lap_projection){
      .rows = call->output.rows, .in = call->input[0].columns, .out = call->output.columns};
}

/* scratch: [S][R, O], what each shard held here has to add. */
static void forward(const lap_op_call *call) {
  const lap_projection p = of_a_shard(call);
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_projection_forward(&p, call->input[0].value + s * p.rows * p.in, &call->input[1 + s],
                           call->scratch + s * p.rows * p.out);
  call->group->sum(call->group->context, call->scratch, p.rows * p.out, call->output.value);
}

/* dx_s (+)= dy w_s        dw_s += dy^T x_s        nothing to exchange */
static void backward(const lap_op_call *call) {
  lap_projection p = of_a_shard(call);
  p.segment = call->batch->length;
  const lap_operand *x = &call->input[0];
  for (int64_t s = 0; s < shards_of(call); ++s)
    lap_projection_backward(&p, call->output.gradient, x->value + s * p.rows * p.in,
                            x->gradient + s * p.rows * p.in, x->accumulate, &call->input[1 + s]);
}

static int64_t scratch_size(const lap_op_call *call, const lap_op_extent *extent, bool backward) {
  (void)extent;
  return backward ? 0 : shards_of(call) * call->output.rows * call->output.columns;
}

static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  const lap_projection p = of_a_shard(call);
  (void)extent;
  lap_projection_cost(&p, shards_of(call), backward, sink);
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
