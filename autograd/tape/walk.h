/* walk: a planned tape, step by step and op by op, without running it: for predictions, and for
 * people who want to see it.
 */
#ifndef LAP_AUTOGRAD_TAPE_WALK_H
#define LAP_AUTOGRAD_TAPE_WALK_H

#include <stdint.h>

#include "autograd/op/op.h"
#include "autograd/tape/types.h"

#define lap_tape_walk LAP_PRECISION(lap_tape_walk)
#define lap_tape_op_count LAP_PRECISION(lap_tape_op_count)
#define lap_tape_describe LAP_PRECISION(lap_tape_describe)

/* One step of the schedule. */
typedef struct {
  lap_step_kind kind;
  int block;
  const lap_op *op;
  const lap_op_call *shapes; /* shapes and attributes only */
  const lap_op_extent *extent;
} lap_tape_visit;

/* Calls `visit` for every step of the schedule in order, after plan or layout. */
void lap_tape_walk(const lap_tape *tape, void (*visit)(void *context, const lap_tape_visit *step),
                   void *context);

/* A stretch of the arena; bytes 0 where there is none. */
typedef struct {
  int64_t offset, bytes;
} lap_tape_memory;

/* One recorded op. */
typedef struct {
  int block;
  const lap_op *op;
  lap_op_call shapes;
  int inputs;
  int producer[LAP_MAX_INPUTS]; /* the op that makes an input; -1: a parameter */
  int step[LAP_STEP_KINDS];     /* where the schedule has it; -1: nowhere */
  lap_tape_memory value[LAP_LIVES], saved[LAP_LIVES];
  lap_tape_memory gradient; /* of the output */
  lap_tape_memory scratch[LAP_STEP_KINDS];
} lap_tape_row;

/* Recorded ops are 0 .. count - 1. */
int lap_tape_op_count(const lap_tape *tape);
/* After plan or layout. */
void lap_tape_describe(const lap_tape *tape, int op, lap_tape_row *row);

#endif
