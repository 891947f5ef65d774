#include "autograd/tape/tape.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/clock.h"
#include "autograd/core/memory.h"
#include "autograd/tape/plan.h"

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

static lap_value add_value(lap_tape *tape, int64_t rows, int64_t columns) {
  tape->values = lap_reallocate(tape->values, (size_t)tape->value_count + 1, sizeof *tape->values);
  tape->values[tape->value_count] = (tape_value){.rows = rows,
                                                 .columns = columns,
                                                 .parameter = -1,
                                                 .producer = -1,
                                                 .value = {.shares = LAP_NO_VALUE, .born = -1},
                                                 .gradient = {.shares = LAP_NO_VALUE, .born = -1}};
  return tape->value_count++;
}

lap_value lap_tape_parameter(lap_tape *tape, int64_t rows, int64_t columns, int64_t offset) {
  const lap_value value = add_value(tape, rows, columns);
  tape->values[value].parameter = offset;
  return value;
}

/* An in-place op overwrites its input: a value that nothing else reads, and no parameter. */
static void check_in_place(const lap_tape *tape, lap_value input) {
  const tape_value *value = &tape->values[input];
  assert(value->producer >= 0 && value->consumers == 0);
}

/* Inputs come before the output, each once: gradients of the same value through two inputs of one
 * op would be written over each other. */
static void record_inputs(lap_tape *tape, tape_op *recorded, const lap_value *inputs) {
  for (int i = 0; i < LAP_MAX_INPUTS; ++i) recorded->input[i] = LAP_NO_VALUE;
  for (int i = 0; i < LAP_MAX_INPUTS && inputs[i] != LAP_NO_VALUE; ++i) {
    assert(inputs[i] >= 0 && inputs[i] < recorded->output);
    for (int j = 0; j < i; ++j) assert(inputs[j] != inputs[i]);
    tape_value *value = &tape->values[inputs[i]];
    assert(!value->overwritten);
    recorded->input[i] = inputs[i];
    if (recorded->op->in_place && i == 0) {
      check_in_place(tape, inputs[i]);
      value->overwritten = true;
    }
    ++value->consumers;
  }
}

lap_value lap_tape_record(lap_tape *tape, const lap_op *op, const void *attributes,
                          size_t attributes_size, const lap_value inputs[LAP_MAX_INPUTS],
                          int64_t rows, int64_t columns) {
  assert(!tape->steps); /* recording ends with planning */
  const lap_value output = add_value(tape, rows, columns);
  tape->values[output].producer = tape->op_count;
  tape->ops = lap_reallocate(tape->ops, (size_t)tape->op_count + 1, sizeof *tape->ops);
  tape_op *recorded = &tape->ops[tape->op_count++];
  *recorded = (tape_op){.op = op, .output = output};
  record_inputs(tape, recorded, inputs);
  if (attributes_size) {
    recorded->attributes = lap_allocate(1, attributes_size);
    memcpy(recorded->attributes, attributes, attributes_size);
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
  tape->arena = lap_allocate_aligned((size_t)tape->arena_size, sizeof(real));
}

int64_t lap_tape_bytes(const lap_tape *tape) { return tape->arena_size * (int64_t)sizeof(real); }

int64_t lap_tape_scratch_bytes(const lap_tape *tape, const lap_op *op) {
  int64_t largest = 0;
  for (int i = 0; i < tape->op_count; ++i)
    for (int pass = 0; pass < 2; ++pass) {
      const tape_place *scratch = &tape->ops[i].scratch[pass];
      if (tape->ops[i].op == op && scratch->born >= 0 && scratch->size > largest)
        largest = scratch->size;
    }
  return largest * (int64_t)sizeof(real);
}

/* --- replay --- */

static void bind(const lap_tape *tape, const real *weights, real *gradients, lap_value value,
                 lap_operand *operand) {
  const tape_value *v = &tape->values[value];
  if (v->parameter >= 0) {
    operand->value = (real *)weights + v->parameter; /* ops never write a parameter's value */
    operand->gradient = gradients ? gradients + v->parameter : NULL;
    operand->accumulate = true;
    return;
  }
  operand->value = v->value.born >= 0 ? tape->arena + v->value.offset : NULL;
  operand->gradient = v->gradient.born >= 0 ? tape->arena + v->gradient.offset : NULL;
}

/* Matrix FLOPs of one step of the schedule. */
static double flops_of_step(const tape_step *step, const lap_op *op, const lap_op_call *call) {
  const double forward = op->flops ? op->flops(call) : 0;
  return (!step->backward ? 1 : op->fused_loss ? 3 : 2) * forward;
}

void lap_tape_run(lap_tape *tape, const real *weights, real *gradients, const lap_batch *batch,
                  const lap_losses *losses) {
  assert(omp_get_max_threads() <= tape->threads); /* scratch is per thread */
  double before = lap_clock_seconds();
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_step *step = &tape->steps[s];
    tape_op *recorded = &tape->ops[step->op];
    lap_op_call call = lap_tape_shape_call(tape, recorded);
    for (int i = 0; i < LAP_MAX_INPUTS && recorded->input[i] != LAP_NO_VALUE; ++i) {
      bind(tape, weights, gradients, recorded->input[i], &call.input[i]);
      if (tape->values[recorded->input[i]].parameter < 0)
        call.input[i].accumulate = recorded->accumulate[i];
    }
    bind(tape, weights, gradients, recorded->output, &call.output);
    call.saved = recorded->saved.born >= 0 ? tape->arena + recorded->saved.offset : NULL;
    const tape_place *scratch = &recorded->scratch[step->backward];
    call.scratch = scratch->born >= 0 ? tape->arena + scratch->offset : NULL;
    call.batch = batch;
    call.losses = losses;
    (step->backward ? recorded->op->backward : recorded->op->forward)(&call);
    const double after = lap_clock_seconds();
    *(step->backward ? &recorded->backward_seconds : &recorded->forward_seconds) += after - before;
    recorded->flops += flops_of_step(step, recorded->op, &call);
    before = after;
  }
}

const real *lap_tape_value(const lap_tape *tape, lap_value value) {
  return tape->arena + tape->values[value].value.offset;
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
    rows[row].forward_seconds += recorded->forward_seconds;
    rows[row].backward_seconds += recorded->backward_seconds;
    rows[row].flops += recorded->flops;
  }
  return count;
}

void lap_tape_profile_reset(lap_tape *tape) {
  for (int i = 0; i < tape->op_count; ++i)
    tape->ops[i].forward_seconds = tape->ops[i].backward_seconds = tape->ops[i].flops = 0;
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
    const bool fused = tape->steps[s].backward && recorded->op->fused_loss;
    if (recorded->op->flops && (fused || !tape->steps[s].backward))
      *forward += recorded->op->flops(&call);
  }
  return flops;
}
