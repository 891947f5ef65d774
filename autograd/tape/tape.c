#include "autograd/tape/tape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/tape/internal.h"
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

/* Its slots are filled by planning. */
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
 * the gradients of several shards have to be summed before another can be added. Parameters are
 * never taken. */
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
  assert(!lap_op_missing(op));
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
