/* op_time: seconds of the steps of a tape on a measured machine, from what each op says of its work
 * (autograd/op/cost.h) and what a hardware file says such work takes.
 */
#ifndef LAP_TRAINER_PLAN_OP_TIME_H
#define LAP_TRAINER_PLAN_OP_TIME_H

#include "autograd/tape/walk.h"
#include "trainer/plan/hardware.h"

/* The work of a step: what the file prices by shape, and what is left, by the unit. */
typedef struct {
  double seconds; /* matrix products by the grid, memory that streams by its bandwidth */
  double units[LAP_UNITS];
} lap_op_work;

lap_op_work lap_op_work_of(const lap_hardware *hardware, const lap_tape_visit *step);

/* All of it, of one thread at core_share 1. */
double lap_op_work_seconds(const lap_hardware *hardware, const lap_op_work *work, bool backward);

#endif
