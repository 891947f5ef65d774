/* plan: the inside of a tape, shared by recording and replay (tape.c) and planning (plan.c). */
#ifndef LAP_AUTOGRAD_TAPE_PLAN_H
#define LAP_AUTOGRAD_TAPE_PLAN_H

#include "autograd/tape/tape.h"

#define lap_tape_shape_call LAP_PRECISION(lap_tape_shape_call)

/* A place in the arena, needed during steps [born, last] of the schedule; born = -1: never. */
typedef struct {
  int64_t size, offset; /* in reals */
  int born, last;
  lap_value shares; /* lies where the same thing of that value lies, or LAP_NO_VALUE */
} tape_place;

typedef struct {
  int64_t rows, columns;
  int64_t parameter; /* offset in the weight vector, -1: not a parameter */
  int producer;      /* op, -1: parameter */
  int consumers;     /* ops that have it as an input */
  bool overwritten;  /* by an in-place op: nothing else may read it */
  tape_place value, gradient;
} tape_value;

typedef struct {
  const lap_op *op;
  void *attributes;
  lap_value input[LAP_MAX_INPUTS];
  lap_value output;
  bool accumulate[LAP_MAX_INPUTS];
  tape_place saved;
  tape_place scratch[2]; /* of the forward and of the backward step: each lives for one step */
  double forward_seconds, backward_seconds, flops;
} tape_op;

typedef struct {
  int op;
  bool backward;
} tape_step;

struct lap_tape {
  tape_value *values;
  tape_op *ops;
  tape_step *steps;
  int value_count, op_count, step_count;
  int64_t threads; /* that scratch memory was planned for */
  real *arena;
  int64_t arena_size;
};

/* A call with shapes and attributes only. */
lap_op_call lap_tape_shape_call(const lap_tape *tape, const tape_op *recorded);

#endif
