/* profile: how long the ops of a tape took, their FLOPs, and the bytes they cannot but move, in all
 * passes but those that check earlier ones (run.h: `again`). */
#ifndef LAP_AUTOGRAD_TAPE_PROFILE_H
#define LAP_AUTOGRAD_TAPE_PROFILE_H

#include "autograd/op/op.h"
#include "autograd/tape/types.h"

#define lap_tape_profile LAP_PRECISION(lap_tape_profile)
#define lap_tape_profile_reset LAP_PRECISION(lap_tape_profile_reset)
#define lap_tape_flops LAP_PRECISION(lap_tape_flops)
#define lap_tape_flops_of LAP_PRECISION(lap_tape_flops_of)

/* All ops of one kind. */
typedef struct {
  const lap_op *op;
  double forward_seconds, backward_seconds;
  double recompute_seconds; /* of recomputations; in neither of the two above */
  double flops;             /* useful matrix FLOPs done, forward and backward */
  double computed_flops;    /* of all products, recomputed and hidden scores too */
  double moved;             /* bytes of compulsory traffic (lap_op_moved), of all calls */
} lap_tape_profile_row;

/* One row for each kind of op, summed since the last reset, at most `capacity`. Their number. */
int lap_tape_profile(const lap_tape *tape, lap_tape_profile_row *rows, int capacity);
void lap_tape_profile_reset(lap_tape *tape);

/* Useful matrix FLOPs of this process since the last reset: forward, and twice that for backward.
 * Recomputation is not in them. */
double lap_tape_flops(const lap_tape *tape);
/* What one run over this batch would add to it, and how much of that is forward. After plan or
 * layout; of the batch only sequences, length and document_start are looked at. */
double lap_tape_flops_of(const lap_tape *tape, const lap_batch *batch, double *forward);

#endif
