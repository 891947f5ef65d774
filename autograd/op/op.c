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
