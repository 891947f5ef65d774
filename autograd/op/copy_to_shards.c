/* copy_to_shards: where a value that all shards share enters the projections of each
 *   x [R, I] input     the same memory as output, with a gradient for each shard held here
 */
#include <assert.h>

#include "autograd/op/ops.h"

static void forward(const lap_op_call *call) { assert(call->output.value == call->input[0].value); }

/* dx = sum over all M shards of dx_s        dx_s from the column_linears of shard s, [S][R, I] */
static void backward(const lap_op_call *call) {
  assert(!call->input[0].accumulate);
  call->group->sum(call->group->context, call->output.gradient,
                   call->input[0].rows * call->input[0].columns, call->input[0].gradient);
}

static int64_t gradient_rows(const lap_op_call *call) {
  const lap_copy_to_shards_attributes *attributes = call->attributes;
  return attributes->shards * call->input[0].rows;
}

/* No work of its own: the group adds the parts of all shards. */
static void cost(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                 const lap_cost_sink *sink) {
  (void)call, (void)extent, (void)backward, (void)sink;
}

static int shard_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                       lap_shard_call *list) {
  (void)extent;
  if (!backward) return 0;
  list[0] = (lap_shard_call){LAP_SHARD_CALL_SUM, call->input[0].rows * call->input[0].columns, 1};
  return 1;
}

const lap_op lap_op_copy_to_shards = {.name = "copy_to_shards",
                                      .forward = forward,
                                      .backward = backward,
                                      .gradient_rows = gradient_rows,
                                      .work = LAP_WORK_ELEMENTS,
                                      .cost = cost,
                                      .shard_calls = shard_calls,
                                      .shares_value = true,
                                      .cheap = true};
