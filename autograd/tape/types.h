/* types: what the headers of the tape share. */
#ifndef LAP_AUTOGRAD_TAPE_TYPES_H
#define LAP_AUTOGRAD_TAPE_TYPES_H

typedef struct lap_tape lap_tape;
typedef int lap_value; /* a value of one tape, from lap_tape_parameter or lap_tape_record */

enum { LAP_NO_VALUE = -1 };

typedef enum {
  LAP_TRAINING, /* forward and backward of everything */
  LAP_FORWARD,  /* forward only; the last value stays readable */
} lap_tape_mode;

/* Steps of a schedule. An op that is recomputed runs forward twice: the second time, before its
 * block goes backward, is a step of its own kind. */
typedef enum {
  LAP_STEP_FORWARD,
  LAP_STEP_RECOMPUTE,
  LAP_STEP_BACKWARD,
  LAP_STEP_KINDS
} lap_step_kind;

/* The output of an op that is recomputed has two lives: the first in the forward steps, the second
 * from its recomputation on. All others have one. */
enum { LAP_LIVES = 2 };

#endif
