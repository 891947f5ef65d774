/* plan: the inside of a tape, shared by recording and replay (tape.c) and planning (schedule.c,
 * plan.c). */
#ifndef LAP_AUTOGRAD_TAPE_PLAN_H
#define LAP_AUTOGRAD_TAPE_PLAN_H

#include "autograd/tape/tape.h"

#define lap_tape_shape_call LAP_PRECISION(lap_tape_shape_call)
#define lap_tape_schedule LAP_PRECISION(lap_tape_schedule)

/* A place in the arena, needed during steps [born, last] of the schedule; born = -1: never. */
typedef struct {
  int64_t size, offset; /* in reals */
  int born, last;
  lap_value shares; /* lies where the same thing of that value lies, or LAP_NO_VALUE */
} tape_slot;

/* What an op makes has two lives where it is made again: the first in the forward steps, the second
 * from then on. Else the first is all there is. */
enum { LIVES = 2 };

typedef struct {
  int64_t rows, columns;
  int64_t gradient_rows;
  int bucket;        /* of the weights, -1: not a parameter */
  int64_t parameter; /* offset in the bucket */
  int producer;      /* op, -1: parameter */
  int consumers;     /* ops that have it as an input */
  bool taken;        /* by an op that must be its only consumer: nothing else may read it */
  tape_slot value[LIVES], gradient;
} tape_value;

typedef enum { STEP_FORWARD, STEP_RECOMPUTE, STEP_BACKWARD, STEP_KINDS } tape_step_kind;

typedef struct {
  const lap_op *op;
  void *attributes;
  lap_value input[LAP_MAX_INPUTS];
  lap_value output;
  int block;
  lap_recompute recompute; /* what its block asks for */
  bool again;              /* made again before the block's backward steps */
  bool accumulate[LAP_MAX_INPUTS];
  tape_slot saved[LIVES];
  tape_slot scratch[STEP_KINDS]; /* each lives for one step */
  double seconds[STEP_KINDS], flops;
} tape_op;

typedef struct {
  int op;
  tape_step_kind kind;
} tape_step;

struct lap_tape {
  tape_value *values;
  tape_op *ops;
  tape_step *steps;
  int value_count, op_count, step_count;
  int block; /* of the ops recorded next */
  lap_recompute recompute;
  int64_t threads; /* that scratch memory was planned for */
  real *arena;
  int64_t arena_size;
};

/* A call with shapes and attributes only. */
lap_op_call lap_tape_shape_call(const lap_tape *tape, const tape_op *recorded);

/* Decides which ops are made again, and puts all steps in order. */
void lap_tape_schedule(lap_tape *tape, lap_tape_mode mode);

/* Which life of what `op` makes a step sees. */
static inline int lap_tape_life(const tape_op *op, tape_step_kind kind) {
  return op->again && kind != STEP_FORWARD;
}

/* The memory of a value as a step sees it; not of a parameter. */
static inline tape_slot *lap_tape_slot(const lap_tape *tape, lap_value index, tape_step_kind kind) {
  tape_value *value = &tape->values[index];
  return &value->value[lap_tape_life(&tape->ops[value->producer], kind)];
}

#endif
