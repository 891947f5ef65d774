/* computed_as: what, besides weights, decides the numbers that `teach` writes, as a text.
 *
 * Two finished caches of equal weights are one only where this is equal too: the same weights with
 * another window, soft-cap or precision are another teacher. What belongs to the machine, as the
 * core type of OpenBLAS does, is not in it, so that a pass may go on elsewhere.
 */
#ifndef LAP_TRAINER_MODEL_COMPUTED_AS_H
#define LAP_TRAINER_MODEL_COMPUTED_AS_H

#include <stddef.h>

#include "autograd/gemma2/config.h"
#include "teacher/schema.h"

/* "numerics 6, lapidary bfloat16, model shards 1, model config SHA256": of the products that this
 * process has opened (lap_gemm_open), the shards of each model, and the configs [count] of all
 * models, in order, without max_position_embeddings, which decides no number. */
void lap_computed_as(const lap_gemma2_config *const *configs, size_t count, int shards,
                     char text[LAP_COMPUTED_AS]);

#endif
