/* norm: the sum of squares of which the norm of a step's gradient is made. */
#ifndef LAP_TRAINER_STEP_NORM_H
#define LAP_TRAINER_STEP_NORM_H

#include "mpi/collective/segment_sum.h"
#include "trainer/state/state.h"

/* Over the ranges that this rank owns, without copies, as elements of the canonical vector: this
 * rank's vector is a part of it. */
lap_segment_sum *lap_norm_sum_create(const lap_state *state);

#endif
