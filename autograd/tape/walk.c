#include "autograd/tape/walk.h"

#include "autograd/tape/internal.h"

void lap_tape_walk(const lap_tape *tape, void (*visit)(void *context, const lap_tape_visit *step),
                   void *context) {
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_op *recorded = &tape->ops[tape->steps[s].op];
    const lap_op_call call = lap_tape_shape_call(tape, recorded);
    visit(context, &(lap_tape_visit){.kind = tape->steps[s].kind,
                                     .block = recorded->block,
                                     .op = recorded->op,
                                     .shapes = &call,
                                     .extent = &tape->extent});
  }
}

int lap_tape_op_count(const lap_tape *tape) { return tape->op_count; }

static lap_tape_memory memory_of(const tape_slot *slot) {
  if (slot->born < 0) return (lap_tape_memory){0};
  return (lap_tape_memory){slot->offset * (int64_t)sizeof(real),
                           slot->size * (int64_t)sizeof(real)};
}

static void find_steps(const lap_tape *tape, int op, int step[LAP_STEP_KINDS]) {
  for (int kind = 0; kind < LAP_STEP_KINDS; ++kind) step[kind] = -1;
  for (int s = 0; s < tape->step_count; ++s)
    if (tape->steps[s].op == op) step[tape->steps[s].kind] = s;
}

void lap_tape_describe(const lap_tape *tape, int op, lap_tape_row *row) {
  const tape_op *recorded = &tape->ops[op];
  const tape_value *output = &tape->values[recorded->output];
  *row = (lap_tape_row){.block = recorded->block,
                        .op = recorded->op,
                        .shapes = lap_tape_shape_call(tape, recorded),
                        .gradient = memory_of(&output->gradient)};
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i)
    row->producer[row->inputs++] = tape->values[recorded->input[i]].producer;
  for (int life = 0; life < LAP_LIVES; ++life) {
    row->value[life] = memory_of(&output->value[life]);
    row->saved[life] = memory_of(&recorded->saved[life]);
  }
  for (int kind = 0; kind < LAP_STEP_KINDS; ++kind)
    row->scratch[kind] = memory_of(&recorded->scratch[kind]);
  find_steps(tape, op, row->step);
}
