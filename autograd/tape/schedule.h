/* schedule: which ops are recomputed, and the order of all steps. A part of planning (tape/plan.h).
 */
#ifndef LAP_AUTOGRAD_TAPE_SCHEDULE_H
#define LAP_AUTOGRAD_TAPE_SCHEDULE_H

#include "autograd/tape/internal.h"

#define lap_tape_schedule LAP_PRECISION(lap_tape_schedule)

/* Every op forward, then block by block in reverse: the ops that are recomputed, in order, and all
 * ops backward, in reverse. */
void lap_tape_schedule(lap_tape *tape, lap_tape_mode mode);

#endif
