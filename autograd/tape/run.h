/* run: a planned tape replayed over micro-batches. */
#ifndef LAP_AUTOGRAD_TAPE_RUN_H
#define LAP_AUTOGRAD_TAPE_RUN_H

#include <stdbool.h>

#include "autograd/op/op.h"
#include "autograd/tape/types.h"

#define lap_tape_run LAP_PRECISION(lap_tape_run)
#define lap_tape_value LAP_PRECISION(lap_tape_value)

/* Called around the steps of a block, on the calling thread. Each block is entered and left once
 * forward, in increasing order, and in training once backward, in decreasing order; its
 * recomputation lies between its enter and leave backward. */
typedef struct {
  void *context;
  /* Before the block's first step: its weights must be there when this returns, at the pointers
   * that the pass's table then holds. */
  void (*enter)(void *context, int block, bool backward);
  /* After its last step. Forward: its weights are not needed until its backward. Backward: they are
   * not needed any more, and this micro-batch has added all it adds to the block's gradients. */
  void (*leave)(void *context, int block, bool backward);
} lap_block_hooks;

/* One micro-batch. The tables of pointers are read at each step: between blocks, hooks may change
 * them. */
typedef struct {
  const real *const *weights;      /* [buckets] */
  const uint16_t *const *bfloat16; /* [buckets]: weights that are held in bfloat16; `weights` is
                                    * then NULL */
  real *const *gradients;          /* [buckets], added to; NULL in forward mode */
  const lap_batch *batch;
  const lap_losses *losses;     /* written by the op that makes them; NULL without one */
  const lap_shard_group *group; /* NULL where the model is one shard */
  const lap_block_hooks *hooks; /* NULL: none */
  bool again;                   /* a check of an earlier pass: not part of the profile */
} lap_tape_pass;

/* Replays the schedule. In training, gradients of the sum over counted positions are added. */
void lap_tape_run(lap_tape *tape, const lap_tape_pass *pass);

/* The memory of a value; valid after run for the last recorded value in forward mode. */
const real *lap_tape_value(const lap_tape *tape, lap_value value);

#endif
