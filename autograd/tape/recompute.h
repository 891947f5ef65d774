/* recompute: which values of a block the backward pass recomputes instead of keeping them
 * (docs/design.md#recomputation). Memory and time differ, bits do not. */
#ifndef LAP_AUTOGRAD_TAPE_RECOMPUTE_H
#define LAP_AUTOGRAD_TAPE_RECOMPUTE_H

typedef enum {
  LAP_RECOMPUTE_NONE,
  /* Keeps a block's input alone, and recomputes all else that its backward needs; sums over shards
   * inside the block travel once more. */
  LAP_RECOMPUTE_BLOCK,
  /* Recomputes attention (its output and log-sums), and the outputs of the norms and of geglu,
   * which are large and cost little; no matrix product with weights and no sum over shards. */
  LAP_RECOMPUTE_ATTENTION,
} lap_recompute;

#endif
