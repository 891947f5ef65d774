#include "autograd/tape/tape.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/tape/plan.h"
#include "core/clock.h"
#include "core/memory.h"

lap_tape *lap_tape_create(void) { return lap_allocate(1, sizeof(lap_tape)); }

void lap_tape_destroy(lap_tape *tape) {
  if (!tape) return;
  for (int i = 0; i < tape->op_count; ++i) free(tape->ops[i].attributes);
  free(tape->ops);
  free(tape->values);
  free(tape->steps);
  lap_release_aligned(tape->arena);
  free(tape);
}

void lap_tape_block(lap_tape *tape, int block, lap_recompute recompute) {
  assert(block >= tape->block);
  tape->block = block;
  tape->recompute = recompute;
}

/* Places are the plan's to fill. */
static lap_value add_value(lap_tape *tape, int64_t rows, int64_t columns) {
  tape->values = lap_reallocate(tape->values, tape->value_count + 1, sizeof *tape->values);
  tape->values[tape->value_count] = (tape_value){
      .rows = rows, .columns = columns, .gradient_rows = rows, .bucket = -1, .producer = -1};
  return tape->value_count++;
}

lap_value lap_tape_parameter(lap_tape *tape, int64_t rows, int64_t columns, int bucket,
                             int64_t offset) {
  assert(bucket >= 0);
  const lap_value value = add_value(tape, rows, columns);
  tape->values[value].bucket = bucket;
  tape->values[value].parameter = offset;
  return value;
}

/* An op that takes its input's memory must be its only consumer: an in-place op overwrites it, and
 * a gradient that is several has to be one before another can be added. No parameter. */
static void take_input(tape_value *value) {
  assert(value->producer >= 0 && value->consumers == 0);
  value->taken = true;
}

/* Inputs come before the output, each once: gradients of the same value through two inputs of one
 * op would be written over each other. */
static void record_inputs(lap_tape *tape, tape_op *recorded, const lap_value *inputs) {
  for (int i = 0; i < LAP_MAX_INPUTS; ++i) recorded->input[i] = LAP_NO_VALUE;
  for (int i = 0; i < LAP_MAX_INPUTS && inputs[i] != LAP_NO_VALUE; ++i) {
    assert(inputs[i] >= 0 && inputs[i] < recorded->output);
    for (int j = 0; j < i; ++j) assert(inputs[j] != inputs[i]);
    tape_value *value = &tape->values[inputs[i]];
    assert(!value->taken);
    recorded->input[i] = inputs[i];
    if (i == 0 && (recorded->op->in_place || recorded->op->shares_value)) take_input(value);
    ++value->consumers;
  }
}

lap_value lap_tape_record(lap_tape *tape, const lap_op *op, const void *attributes,
                          size_t attributes_size, const lap_value inputs[LAP_MAX_INPUTS],
                          int64_t rows, int64_t columns) {
  assert(!tape->steps); /* recording ends with planning */
  const lap_value output = add_value(tape, rows, columns);
  tape->values[output].producer = tape->op_count;
  tape->ops = lap_reallocate(tape->ops, tape->op_count + 1, sizeof *tape->ops);
  tape_op *recorded = &tape->ops[tape->op_count++];
  *recorded =
      (tape_op){.op = op, .output = output, .block = tape->block, .recompute = tape->recompute};
  record_inputs(tape, recorded, inputs);
  if (attributes_size) {
    recorded->attributes = lap_allocate(1, attributes_size);
    memcpy(recorded->attributes, attributes, attributes_size);
  }
  if (op->gradient_rows) {
    const lap_op_call call = lap_tape_shape_call(tape, recorded);
    tape->values[output].gradient_rows = op->gradient_rows(&call);
  }
  return output;
}

lap_op_call lap_tape_shape_call(const lap_tape *tape, const tape_op *recorded) {
  lap_op_call call = {.attributes = recorded->attributes};
  for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
    const tape_value *value = &tape->values[recorded->input[i]];
    call.input[i] = (lap_operand){.rows = value->rows, .columns = value->columns};
  }
  const tape_value *output = &tape->values[recorded->output];
  call.output = (lap_operand){.rows = output->rows, .columns = output->columns};
  return call;
}

void lap_tape_plan(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent) {
  lap_tape_layout(tape, mode, extent);
  tape->arena = lap_allocate_aligned(tape->arena_size, sizeof(real));
}

int64_t lap_tape_bytes(const lap_tape *tape) { return tape->arena_size * (int64_t)sizeof(real); }

int64_t lap_tape_scratch_bytes(const lap_tape *tape, const lap_op *op) {
  int64_t largest = 0;
  for (int i = 0; i < tape->op_count; ++i)
    for (int kind = 0; kind < STEP_KINDS; ++kind) {
      const tape_slot *scratch = &tape->ops[i].scratch[kind];
      if (tape->ops[i].op == op && scratch->born >= 0 && scratch->size > largest)
        largest = scratch->size;
    }
  return largest * (int64_t)sizeof(real);
}

/* --- replay --- */

static real *memory_of(const lap_tape *tape, const tape_slot *place) {
  return place->born >= 0 ? tape->arena + place->offset : NULL;
}

static void bind(const lap_tape *tape, const lap_tape_pass *pass, tape_step_kind kind,
                 lap_value index, lap_operand *operand) {
  const tape_value *value = &tape->values[index];
  if (value->bucket >= 0) {
    /* Ops never write a parameter's value. */
    operand->value = (real *)pass->weights[value->bucket] + value->parameter;
    if (kind == STEP_BACKWARD) {
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
  call.group = pass->group;
  return call;
}

/* Useful matrix FLOPs of one step of the schedule: not of what is made again. */
static double flops_of_step(const tape_step *step, const lap_op *op, const lap_op_call *call) {
  if (!op->flops || step->kind == STEP_RECOMPUTE) return 0;
  return (step->kind == STEP_FORWARD ? 1 : op->fused_loss ? 3 : 2) * op->flops(call);
}

static void run_step(lap_tape *tape, const lap_tape_pass *pass, const tape_step *step) {
  tape_op *recorded = &tape->ops[step->op];
  const lap_op_call call = bind_step(tape, pass, step);
  const double before = lap_clock_seconds();
  (step->kind == STEP_BACKWARD ? recorded->op->backward : recorded->op->forward)(&call);
  recorded->seconds[step->kind] += lap_clock_seconds() - before;
  recorded->flops += flops_of_step(step, recorded->op, &call);
}

/* Whether step s belongs to another block, or to the other direction, than step `other`. */
static bool parts(const lap_tape *tape, int s, int other) {
  if (other < 0 || other == tape->step_count) return true;
  const tape_step *a = &tape->steps[s], *b = &tape->steps[other];
  return tape->ops[a->op].block != tape->ops[b->op].block ||
         (a->kind == STEP_FORWARD) != (b->kind == STEP_FORWARD);
}

void lap_tape_run(lap_tape *tape, const lap_tape_pass *pass) {
  assert(omp_get_max_threads() <= tape->threads); /* scratch is per thread */
  const lap_block_hooks *hooks = pass->hooks;
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_step *step = &tape->steps[s];
    const int block = tape->ops[step->op].block;
    const bool backward = step->kind != STEP_FORWARD;
    if (hooks && parts(tape, s, s - 1)) hooks->enter(hooks->context, block, backward);
    run_step(tape, pass, step);
    if (hooks && parts(tape, s, s + 1)) hooks->leave(hooks->context, block, backward);
  }
}

const real *lap_tape_value(const lap_tape *tape, lap_value value) {
  return tape->arena + tape->values[value].value[0].offset;
}

/* --- profile --- */

int lap_tape_profile(const lap_tape *tape, lap_tape_profile_row *rows, int capacity) {
  int count = 0;
  for (int i = 0; i < tape->op_count; ++i) {
    const tape_op *recorded = &tape->ops[i];
    int row = 0;
    while (row < count && strcmp(rows[row].name, recorded->op->name)) ++row;
    if (row == count) {
      if (count == capacity) continue;
      rows[count++] = (lap_tape_profile_row){.name = recorded->op->name};
    }
    rows[row].forward_seconds += recorded->seconds[STEP_FORWARD];
    rows[row].recompute_seconds += recorded->seconds[STEP_RECOMPUTE];
    rows[row].backward_seconds += recorded->seconds[STEP_BACKWARD];
    rows[row].flops += recorded->flops;
  }
  return count;
}

void lap_tape_profile_reset(lap_tape *tape) {
  for (int i = 0; i < tape->op_count; ++i) {
    for (int kind = 0; kind < STEP_KINDS; ++kind) tape->ops[i].seconds[kind] = 0;
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
    const tape_op *recorded = &tape->ops[tape->steps[s].op];
    lap_op_call call = lap_tape_shape_call(tape, recorded);
    call.batch = batch;
    flops += flops_of_step(&tape->steps[s], recorded->op, &call);
    const tape_step_kind kind = tape->steps[s].kind;
    const bool fused = kind == STEP_BACKWARD && recorded->op->fused_loss;
    if (recorded->op->flops && (fused || kind == STEP_FORWARD))
      *forward += recorded->op->flops(&call);
  }
  return flops;
}
