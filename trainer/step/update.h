/* update: AdamW on everything that this rank updates, and the checksums of what it reads and
 * leaves.
 */
#ifndef LAP_TRAINER_STEP_UPDATE_H
#define LAP_TRAINER_STEP_UPDATE_H

#include "mpi/collective/gradient_sum.h"
#include "trainer/state/checksums.h"
#include "trainer/step/optimizer.h"

/* Collective where `checksums` (NULL: none) has copies. `factor` is that of lap_adamw_update; where
 * all ranks make all updates the sum has whole buckets. With checksums each block is checked,
 * updated and its checksums taken again while it lies in a core's cache; what was found is theirs
 * to say. The bits of the update are the same. */
void lap_update_state(const lap_adamw *adamw, lap_state *state, float factor,
                      const lap_gradient_sum *gradients, lap_checksums *checksums);

#endif
