/* spread: where what all shards share enters the projections of each
 *   x [R, I] input     the same memory as output, with a gradient for each shard held here
 */
#include <assert.h>

#include "autograd/op/op.h"

static void forward(const lap_op_call *call) { assert(call->output.value == call->input[0].value); }

/* dx = sum over all M shards of dx_s        dx_s from the linears of shard s, [S][R, I] */
static void backward(const lap_op_call *call) {
  assert(!call->input[0].accumulate);
  call->group->sum(call->group->context, call->output.gradient,
                   call->input[0].rows * call->input[0].columns, call->input[0].gradient);
}

static int64_t gradient_rows(const lap_op_call *call) {
  const lap_copy_to_shards_attributes *attributes = call->attributes;
  return attributes->shards * call->input[0].rows;
}

const lap_op lap_op_copy_to_shards = {.name = "copy_to_shards",
                                      .forward = forward,
                                      .backward = backward,
                                      .gradient_rows = gradient_rows,
                                      .shares_value = true,
                                      .cheap = true};
