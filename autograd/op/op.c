#include "autograd/op/op.h"

#include <stddef.h>

const char *lap_op_missing(const lap_op *op) {
  if (!op->name) return "name";
  if (!op->forward) return "forward";
  if (!op->backward) return "backward";
  if (op->work == LAP_WORK_UNKNOWN) return "work";
  if (!op->cost) return "cost";
  return NULL;
}

static void add_flops(void *context, const lap_product_work *work) {
  *(double *)context += 2 * work->times * (double)work->m * (double)work->n * (double)work->k;
}

double lap_op_flops(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent) {
  if (op->useful_flops) return op->useful_flops(call);
  double flops = 0;
  const lap_cost_sink sink = {.context = &flops, .product = add_flops};
  op->cost(call, extent, false, &sink);
  return flops;
}

double lap_op_computed_flops(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                             bool backward) {
  double flops = 0;
  const lap_cost_sink sink = {.context = &flops, .product = add_flops};
  op->cost(call, extent, backward, &sink);
  return flops;
}

/* --- compulsory traffic --- */

static double reals_of(const lap_operand *operand) {
  return (double)operand->rows * (double)operand->columns;
}

/* Of input i; of a table whose rows are gathered, the shards' parts together, as input 0. */
static double input_reals(const lap_op *op, const lap_op_call *call, int i) {
  if (!op->gathers) return reals_of(&call->input[i]);
  double table = 0;
  for (int s = 0; s < LAP_MAX_INPUTS; ++s) table += reals_of(&call->input[s]);
  const double gathered = reals_of(&call->output);
  return i > 0 ? 0 : gathered < table ? gathered : table;
}

static double moved_backward(const lap_op *op, const lap_op_call *call) {
  const int64_t rows = op->gradient_rows ? op->gradient_rows(call) : call->output.rows;
  double reals = op->fused_loss ? 0 : (double)rows * (double)call->output.columns;
  for (int i = 0; i < LAP_MAX_INPUTS; ++i) {
    const double input = input_reals(op, call, i);
    const bool adds = call->input[i].accumulate;
    if (op->backward_reads & LAP_READS_INPUT(i)) reals += input;
    if (i == 0 && op->passes_gradient && !adds) continue; /* it lies there already */
    reals += (adds ? 2 : 1) * input;
  }
  return reals;
}

double lap_op_moved(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                    bool backward) {
  double reals = op->saved_size ? (double)op->saved_size(call, extent) : 0;
  if (backward) {
    reals += moved_backward(op, call);
  } else if (!op->shares_value) {
    reals += reals_of(&call->output);
    for (int i = 0; i < LAP_MAX_INPUTS; ++i) reals += input_reals(op, call, i);
  }
  return reals * (double)sizeof(real);
}
