/* recompute: what of a block the backward pass makes again instead of keeping
 * (docs/design.md#recomputation). Memory and time differ, bits do not. */
#ifndef LAP_AUTOGRAD_TAPE_RECOMPUTE_H
#define LAP_AUTOGRAD_TAPE_RECOMPUTE_H

typedef enum {
  LAP_RECOMPUTE_NONE,
  /* Keeps a block's input alone, and makes again whatever backward needs of the rest; sums over
   * shards inside the block travel once more. */
  LAP_RECOMPUTE_BLOCK,
  /* Makes attention again (its output and log-sums), and the outputs of the norms and of geglu,
   * which are large and cost little; no matrix product with weights and no sum over shards. */
  LAP_RECOMPUTE_ATTENTION,
} lap_recompute;

#endif
