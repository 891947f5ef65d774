/* select: what a cache keeps of one row of logits.
 *
 * The same bits on every machine: no libm, ties go to the lower id, every sum in 16 fixed partial
 * sums (autograd/kernel/vector.h).
 */
#ifndef LAP_TEACHER_SELECT_H
#define LAP_TEACHER_SELECT_H

#include <stdbool.h>
#include <stdint.h>

/* One row of a cache, in memory of the caller. */
typedef struct {
  uint32_t *ids;      /* [min(k, V)], most probable first */
  float *logprob;     /* [min(k, V)], natural, normalised over all V; at most 0 */
  float tail_mass;    /* of the ids that are not kept: their sum, not 1 - the sum of the others */
  float next_logprob; /* of `next`; 0 without one */
  float entropy;      /* of the whole distribution, nats */
} lap_selection;

/* The k most probable ids of softmax(logits), logits [V] after the soft-cap; k >= V keeps
 * everything, with tail_mass exactly 0. `next` is the id whose log-probability is wanted, or -1.
 * scratch: [2 V]. False where a logit is NaN or +inf; then the selection is not to be used. */
bool lap_select_top(const float *logits, uint32_t vocab, uint32_t k, int32_t next, float *scratch,
                    lap_selection *selection);

#endif
