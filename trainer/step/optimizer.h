/* optimizer: AdamW (Loshchilov & Hutter 2019) fused with the mean and with clipping.
 *
 * Backward leaves the gradient of the *sum* over counted positions. The owner of a piece applies
 * one float32 factor, min(1, clip / norm) / count, inside the update; the norm is that of the mean
 * gradient, in float64 (docs/design.md#mean-gradient). For each element, t the number of updates
 * including this one:
 *   g = factor * gradient
 *   m = beta1 m + (1 - beta1) g            v = beta2 v + (1 - beta2) g^2
 *   w -= lr (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay w)
 * Moments, and squares g^2, below 2^-126 are 0: a weight without a gradient would otherwise keep
 * subnormal moments for ever, and its update take a hundred times as long.
 * epsilon is at least 1e-16, by the config: a gradient of which the square became 0 would otherwise
 * make a step of m / epsilon, without any bound, and where m is 0 too, 0 / 0 in float32.
 * decay is weight_decay for matrices and the embedding, 0 for norms.
 */
#ifndef LAP_TRAINER_STEP_OPTIMIZER_H
#define LAP_TRAINER_STEP_OPTIMIZER_H

#include <stdint.h>

#include "autograd/gemma2/parameters.h"

typedef struct {
  double learning_rate; /* of this step */
  double beta1, beta2, epsilon, weight_decay;
  uint64_t update; /* t, from 1 */
} lap_adamw;

/* Elements [begin, end) of the vector of `parameters`; every array starts at element `begin`. */
void lap_adamw_update(const lap_adamw *adamw, const lap_parameters *parameters, int64_t begin,
                      int64_t end, float factor, const float *gradient, float *weight,
                      float *exp_avg, float *exp_avg_sq);

/* Sum of squares in float64 of each segment: partials [count / LAP_SEGMENT]. */
void lap_square_partials(const float *gradient, int64_t count, double *partials);

#endif
