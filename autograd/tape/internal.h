/* internal: the inside of a tape, for the files of tape/ and their tests. */
#ifndef LAP_AUTOGRAD_TAPE_INTERNAL_H
#define LAP_AUTOGRAD_TAPE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/op/op.h"
#include "autograd/tape/recompute.h"
#include "autograd/tape/types.h"

#define lap_tape_shape_call LAP_PRECISION(lap_tape_shape_call)
#define lap_tape_step_flops LAP_PRECISION(lap_tape_step_flops)

/* A stretch of the arena that is needed during steps [born, last] of the schedule; born = -1:
 * never. */
typedef struct {
  int64_t size, offset; /* in reals */
  int born, last;
  lap_value shares; /* lies in the slot of the same kind of that value, or LAP_NO_VALUE */
} tape_slot;

typedef struct {
  int64_t rows, columns;
  int64_t gradient_rows;
  int bucket;        /* of the weights, -1: not a parameter */
  int64_t parameter; /* offset in the bucket */
  int producer;      /* op, -1: parameter */
  int consumers;     /* ops that have it as an input */
  bool taken;        /* by an op that must be its only consumer: nothing else may read it */
  tape_slot value[LAP_LIVES], gradient;
} tape_value;

typedef struct {
  const lap_op *op;
  void *attributes;
  lap_value input[LAP_MAX_INPUTS];
  lap_value output;
  int block;
  lap_recompute recompute; /* of its block */
  bool recomputed;         /* runs once more before the block's backward steps */
  bool accumulate[LAP_MAX_INPUTS];
  tape_slot saved[LAP_LIVES];
  tape_slot scratch[LAP_STEP_KINDS]; /* each lives for one step */
  double seconds[LAP_STEP_KINDS], flops;
  int64_t calls[LAP_STEP_KINDS]; /* since the last reset, as the two above */
} tape_op;

typedef struct {
  int op;
  lap_step_kind kind;
} tape_step;

struct lap_tape {
  tape_value *values;
  tape_op *ops;
  tape_step *steps;
  int value_count, op_count, step_count;
  int block; /* of the ops recorded next */
  lap_recompute recompute;
  lap_op_extent extent; /* that memory was planned for */
  real *arena;
  int64_t arena_size;
};

/* A call with shapes and attributes only, and `accumulate` of the inputs. */
lap_op_call lap_tape_shape_call(const lap_tape *tape, const tape_op *recorded);

/* Useful matrix FLOPs of one step; 0 of a recomputation. */
double lap_tape_step_flops(const lap_tape *tape, const tape_step *step, const lap_op_call *call);

/* Which life of the output of `op` a step sees. */
static inline int lap_tape_life(const tape_op *op, lap_step_kind kind) {
  return op->recomputed && kind != LAP_STEP_FORWARD;
}

/* The slot of a value as a step sees it; not of a parameter. */
static inline tape_slot *lap_tape_slot(const lap_tape *tape, lap_value index, lap_step_kind kind) {
  tape_value *value = &tape->values[index];
  return &value->value[lap_tape_life(&tape->ops[value->producer], kind)];
}

#endif
