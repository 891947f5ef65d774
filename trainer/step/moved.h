/* moved: the compulsory traffic of the parts of a step that are not ops: sums over lanes and ranks,
 * update, gather. For `bench --profile`, which compares it with the bandwidth of memory.
 */
#ifndef LAP_TRAINER_STEP_MOVED_H
#define LAP_TRAINER_STEP_MOVED_H

#include "trainer/step/step.h"

/* Bytes of a step of this rank, by phase; each operand read once, each result written once:
 *   sum lanes  a vector for each lane is set to 0; each but a replica's first is added to another
 *   reduce     what this rank has is read to be kept or sent, what arrives for its own part is
 *              read, the sum of that part is written
 *   update     the norm reads the gradient; AdamW reads it, the weight and its two moments, and
 *              writes these three. One element's clipping needs the norm of all: two passes
 *   gather     what is owned is read, all else is written; in bfloat16 what is updated here is
 *              read, and all is written in two bytes
 * 0 of `data` and of `model`: of the model, the ops say themselves (op.h, lap_op_moved). Not
 * collective; an outline of the state will do. */
void lap_step_moved(const lap_config *config, const lap_state *state, double bytes[LAP_PHASES]);

#endif
