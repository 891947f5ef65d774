/* objective: what a student is trained towards (docs/design.md#objective), as numbers.
 *
 * Loss per counted position: (1 - distill_weight) CE + distill_weight tau^2 KD, with
 * KD = -sum_x P_T(x) log P_S(x). What a truncated teacher says about the ids it did not keep is
 * `tail`, by one of these rules.
 */
#ifndef LAP_AUTOGRAD_OP_OBJECTIVE_H
#define LAP_AUTOGRAD_OP_OBJECTIVE_H

#include <stdint.h>

/* t: kept probabilities, a: their sum, r: stored tail mass, P: student's mass on the kept ids.
 * decoupled: H the first `head` slots of a row, P_H the student's mass on them, T the other slots
 * with all ids that were not kept, r_T their probability. */
typedef enum {
  LAP_TAIL_GHOST,            /* -sum_K t log p - r log(1 - P) */
  LAP_TAIL_DROP,             /* -sum_K t log p */
  LAP_TAIL_RENORMALISE,      /* t / a */
  LAP_TAIL_RENORMALISE_BOTH, /* t / a, and p / P over K */
  LAP_TAIL_NONE,             /* the row sums to 1 as it is */
  /* -sum_H t log p - r_T log(1 - P_H) - tail_weight sum_T (t / r_T) log(p / (1 - P_H)) */
  LAP_TAIL_DECOUPLED,
} lap_tail;

typedef struct {
  double distill_weight; /* in [0, 1]; 0: next-token prediction, no teacher is read */
  double temperature;    /* tau > 0; != 1 only with the two renormalise rules */
  lap_tail tail;
  int64_t head;       /* decoupled: slots of a row whose ids are the head; else 0 */
  double tail_weight; /* decoupled: of the tail's own distribution; else 0 */
} lap_objective;

#endif
