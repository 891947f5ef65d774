#include "autograd/tape/internal.h"

lap_op_call lap_tape_shape_call(const lap_tape *tape, const tape_op *recorded) {
  lap_op_call call = {.attributes = recorded->attributes};
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    const tape_value *value = &tape->values[recorded->input[i]];
    call.input[i] = (lap_operand){.rows = value->rows,
                                  .columns = value->columns,
                                  .accumulate = value->bucket >= 0 || recorded->accumulate[i],
                                  .is_weight = value->bucket >= 0};
  }
  const tape_value *output = &tape->values[recorded->output];
  call.output = (lap_operand){.rows = output->rows, .columns = output->columns};
  return call;
}

double lap_tape_step_flops(const lap_tape *tape, const tape_step *step, const lap_op_call *call) {
  const lap_op *op = tape->ops[step->op].op;
  if (step->kind == LAP_STEP_RECOMPUTE) return 0;
  const double forward = lap_op_flops(op, call, &tape->extent);
  return (step->kind == LAP_STEP_FORWARD ? 1 : op->fused_loss ? 3 : 2) * forward;
}
