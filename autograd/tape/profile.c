#include "autograd/tape/profile.h"

#include "autograd/tape/internal.h"

/* Of all calls since the last reset. */
static void add_work(const lap_tape *tape, const tape_op *recorded, lap_tape_profile_row *row) {
  const lap_op_call call = lap_tape_shape_call(tape, recorded);
  for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) {
    const bool backward = kind == LAP_STEP_BACKWARD;
    const double calls = (double)recorded->calls[kind];
    if (calls == 0) continue;
    row->computed_flops +=
        calls * lap_op_computed_flops(recorded->op, &call, &tape->extent, backward);
    row->moved += calls * lap_op_moved(recorded->op, &call, &tape->extent, backward);
  }
}

int lap_tape_profile(const lap_tape *tape, lap_tape_profile_row *rows, int capacity) {
  int count = 0;
  for (int i = 0; i < tape->op_count; ++i) {
    const tape_op *recorded = &tape->ops[i];
    int row = 0;
    while (row < count && rows[row].op != recorded->op) ++row;
    if (row == count) {
      if (count == capacity) continue;
      rows[count++] = (lap_tape_profile_row){.op = recorded->op};
    }
    rows[row].forward_seconds += recorded->seconds[LAP_STEP_FORWARD];
    rows[row].recompute_seconds += recorded->seconds[LAP_STEP_RECOMPUTE];
    rows[row].backward_seconds += recorded->seconds[LAP_STEP_BACKWARD];
    rows[row].flops += recorded->flops;
    add_work(tape, recorded, &rows[row]);
  }
  return count;
}

void lap_tape_profile_reset(lap_tape *tape) {
  for (int i = 0; i < tape->op_count; ++i) {
    for (int kind = 0; kind < LAP_STEP_KINDS; ++kind)
      tape->ops[i].seconds[kind] = 0, tape->ops[i].calls[kind] = 0;
    tape->ops[i].flops = 0;
  }
}

double lap_tape_flops(const lap_tape *tape) {
  double flops = 0;
  for (int i = 0; i < tape->op_count; ++i) flops += tape->ops[i].flops;
  return flops;
}

double lap_tape_flops_of(const lap_tape *tape, const lap_batch *batch, double *forward) {
  double flops = 0;
  *forward = 0;
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_step *step = &tape->steps[s];
    const tape_op *recorded = &tape->ops[step->op];
    lap_op_call call = lap_tape_shape_call(tape, recorded);
    call.batch = batch;
    flops += lap_tape_step_flops(tape, step, &call);
    const bool fused = step->kind == LAP_STEP_BACKWARD && recorded->op->fused_loss;
    if (fused || step->kind == LAP_STEP_FORWARD)
      *forward += lap_op_flops(recorded->op, &call, &tape->extent);
  }
  return flops;
}
