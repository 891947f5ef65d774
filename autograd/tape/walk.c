#include "autograd/tape/plan.h"

void lap_tape_walk(const lap_tape *tape,
                   void (*visit)(void *context, const lap_op *op, const lap_op_call *shapes,
                                 lap_visit kind, int block),
                   void *context) {
  static const lap_visit kinds[STEP_KINDS] = {[STEP_FORWARD] = LAP_VISIT_FORWARD,
                                              [STEP_RECOMPUTE] = LAP_VISIT_RECOMPUTE,
                                              [STEP_BACKWARD] = LAP_VISIT_BACKWARD};
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_op *recorded = &tape->ops[tape->steps[s].op];
    const lap_op_call call = lap_tape_shape_call(tape, recorded);
    visit(context, recorded->op, &call, kinds[tape->steps[s].kind], recorded->block);
  }
}
