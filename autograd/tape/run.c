#include "autograd/tape/run.h"

#include <assert.h>
#include <omp.h>

#include "autograd/tape/internal.h"
#include "core/clock.h"

static real *memory_of(const lap_tape *tape, const tape_slot *slot) {
  return slot->born >= 0 ? tape->arena + slot->offset : NULL;
}

/* Ops never write a parameter's value. */
static void bind_weight(const lap_tape_pass *pass, const tape_value *value, lap_operand *operand) {
  if (pass->weights)
    operand->value = (real *)pass->weights[value->bucket] + value->parameter;
  else
    operand->bfloat16 = pass->bfloat16[value->bucket] + value->parameter;
}

static void bind(const lap_tape *tape, const lap_tape_pass *pass, lap_step_kind kind,
                 lap_value index, lap_operand *operand) {
  const tape_value *value = &tape->values[index];
  if (value->bucket >= 0) {
    bind_weight(pass, value, operand);
    if (kind == LAP_STEP_BACKWARD) {
      operand->gradient = pass->gradients[value->bucket] + value->parameter;
      operand->accumulate = true;
    }
    return;
  }
  operand->value = memory_of(tape, lap_tape_slot(tape, index, kind));
  operand->gradient = memory_of(tape, &value->gradient);
}

static lap_op_call bind_step(const lap_tape *tape, const lap_tape_pass *pass,
                             const tape_step *step) {
  const tape_op *recorded = &tape->ops[step->op];
  lap_op_call call = lap_tape_shape_call(tape, recorded);
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    call.input[i].accumulate = recorded->accumulate[i];
    bind(tape, pass, step->kind, recorded->input[i], &call.input[i]);
  }
  bind(tape, pass, step->kind, recorded->output, &call.output);
  call.saved = memory_of(tape, &recorded->saved[lap_tape_life(recorded, step->kind)]);
  call.scratch = memory_of(tape, &recorded->scratch[step->kind]);
  call.batch = pass->batch;
  call.losses = pass->losses;
  if (recorded->op->shard_calls) call.group = pass->group;
  return call;
}

static void run_step(lap_tape *tape, const lap_tape_pass *pass, const tape_step *step) {
  tape_op *recorded = &tape->ops[step->op];
  const lap_op_call call = bind_step(tape, pass, step);
  const double before = lap_clock_seconds();
  (step->kind == LAP_STEP_BACKWARD ? recorded->op->backward : recorded->op->forward)(&call);
  if (pass->again) return;
  recorded->seconds[step->kind] += lap_clock_seconds() - before;
  recorded->flops += lap_tape_step_flops(tape, step, &call);
  recorded->calls[step->kind] += 1;
}

/* Whether steps s and `other` belong to different blocks, or to different directions. */
static bool differ(const lap_tape *tape, int s, int other) {
  if (other < 0 || other == tape->step_count) return true;
  const tape_step *a = &tape->steps[s], *b = &tape->steps[other];
  return tape->ops[a->op].block != tape->ops[b->op].block ||
         (a->kind == LAP_STEP_FORWARD) != (b->kind == LAP_STEP_FORWARD);
}

void lap_tape_run(lap_tape *tape, const lap_tape_pass *pass) {
  assert(omp_get_max_threads() <= tape->extent.threads); /* scratch is per thread */
  const lap_block_hooks *hooks = pass->hooks;
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_step *step = &tape->steps[s];
    const int block = tape->ops[step->op].block;
    const bool backward = step->kind != LAP_STEP_FORWARD;
    if (hooks && differ(tape, s, s - 1)) hooks->enter(hooks->context, block, backward);
    run_step(tape, pass, step);
    if (hooks && differ(tape, s, s + 1)) hooks->leave(hooks->context, block, backward);
  }
}

const real *lap_tape_value(const lap_tape *tape, lap_value value) {
  return tape->arena + tape->values[value].value[0].offset;
}
