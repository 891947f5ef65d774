/* block_gradient: the mean gradient of a student over the counted positions of some windows, and
 * what gradients have to do with each other.
 */
#ifndef LAP_TRAINER_AUDIT_BLOCK_GRADIENT_H
#define LAP_TRAINER_AUDIT_BLOCK_GRADIENT_H

#include "autograd/gemma2/parameters.h"
#include "autograd/op/objective.h"
#include "trainer/audit/dense_rows.h"
#include "trainer/audit/made_rows.h"

/* One target at one student. */
typedef struct lap_block_gradient lap_block_gradient;
/* Everything given must outlive it. `weights` in the layout of `parameters`, the whole model. */
lap_block_gradient *lap_block_gradient_create(const lap_gemma2_config *model,
                                              const lap_parameters *parameters,
                                              const float *weights, const lap_kept *kept,
                                              const lap_objective *objective, lap_dense_rows *dense,
                                              int threads);
void lap_block_gradient_destroy(lap_block_gradient *block);

/* Windows [begin, end) of the set into gradients[s] [parameters->elements] of each of `seeds` draw
 * seeds 1, 2, ...; *counted gets the positions. Where none is counted, 0. */
lap_code lap_block_gradient_run(lap_block_gradient *block, uint64_t begin, uint64_t end, int seeds,
                                float *const *gradients, uint64_t *counted, lap_status *status);

/* Inner products of the embedding's elements and of all others. */
typedef struct {
  double embedding, other;
} lap_inner;
lap_inner lap_gradient_inner(const lap_parameters *parameters, const float *a, const float *b);
/* |a - b|^2 of them. */
lap_inner lap_gradient_apart(const lap_parameters *parameters, const float *a, const float *b);

#endif
