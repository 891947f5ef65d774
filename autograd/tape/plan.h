/* plan: the schedule of a recorded tape, and a slot of one arena for each value, gradient, saved
 * and scratch memory: two slots may overlap when their lifetimes on the schedule do not meet.
 */
#ifndef LAP_AUTOGRAD_TAPE_PLAN_H
#define LAP_AUTOGRAD_TAPE_PLAN_H

#include <stdint.h>

#include "autograd/op/op.h"
#include "autograd/tape/types.h"

#define lap_tape_plan LAP_PRECISION(lap_tape_plan)
#define lap_tape_layout LAP_PRECISION(lap_tape_layout)
#define lap_tape_bytes LAP_PRECISION(lap_tape_bytes)
#define lap_tape_scratch_bytes LAP_PRECISION(lap_tape_scratch_bytes)

/* Plans and allocates; once, after recording. `extent` bounds what run will be given (threads is
 * the number of OpenMP threads; it decides scratch memory, never results). */
void lap_tape_plan(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent);

/* The same without memory: the bytes that plan would allocate. */
int64_t lap_tape_layout(lap_tape *tape, lap_tape_mode mode, const lap_op_extent *extent);
int64_t lap_tape_bytes(const lap_tape *tape);
/* Of these, the scratch memory of ops of this kind while they run. Other slots that are not needed
 * at that time lie in the same memory. */
int64_t lap_tape_scratch_bytes(const lap_tape *tape, const lap_op *op);

#endif
