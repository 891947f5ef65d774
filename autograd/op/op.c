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

static double elements_of(const lap_operand *operand) {
  return (double)operand->rows * (double)operand->columns;
}

/* Of input i; of a table whose rows are gathered, the shards' parts together, as input 0. */
static double input_elements(const lap_op *op, const lap_op_call *call, int i) {
  if (!op->gathers) return elements_of(&call->input[i]);
  double table = 0;
  for (int s = 0; s < LAP_MAX_INPUTS; ++s) table += elements_of(&call->input[s]);
  const double gathered = elements_of(&call->output);
  return i > 0 ? 0 : gathered < table ? gathered : table;
}

/* Of what an input holds; its gradient is of reals. */
static double value_bytes(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                          int i) {
  const bool is_held = call->input[i].is_weight && extent->bfloat16;
  return input_elements(op, call, i) * (double)(is_held ? sizeof(uint16_t) : sizeof(real));
}

static double moved_backward(const lap_op *op, const lap_op_call *call,
                             const lap_op_extent *extent) {
  const int64_t rows = op->gradient_rows ? op->gradient_rows(call) : call->output.rows;
  double reals = op->fused_loss ? 0 : (double)rows * (double)call->output.columns, read = 0;
  for (int i = 0; i < LAP_MAX_INPUTS; ++i) {
    const bool adds = call->input[i].accumulate;
    if (op->backward_reads & LAP_READS_INPUT(i)) read += value_bytes(op, call, extent, i);
    if (i == 0 && op->passes_gradient && !adds) continue; /* it lies there already */
    reals += (adds ? 2 : 1) * input_elements(op, call, i);
  }
  return read + reals * (double)sizeof(real);
}

double lap_op_moved(const lap_op *op, const lap_op_call *call, const lap_op_extent *extent,
                    bool backward) {
  const int64_t saved = op->saved_size ? op->saved_size(call, extent) : 0;
  double bytes = (double)saved * (double)sizeof(real);
  if (backward) return bytes + moved_backward(op, call, extent);
  if (op->shares_value) return bytes;
  for (int i = 0; i < LAP_MAX_INPUTS; ++i) bytes += value_bytes(op, call, extent, i);
  return bytes + elements_of(&call->output) * (double)sizeof(real);
}
