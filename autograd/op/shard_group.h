/* shard_group: how the ops of one lane meet the model shards that other processes hold.
 *
 * A process holds S of the M shards of the model and runs each of them by GEMMs of its own. Where
 * the shards' partial results come together, an op hands its S parts to these functions; what is
 * behind them (mpi/collective/shard_sum.h) adds the parts of all M shards in the fixed tree over
 * shards, the same additions whether the shards share a process or not. The autograd does not know
 * who the others are. Calls are collective over the processes of the lane: all of them make the
 * same calls in the same order. Never called where M is 1.
 */
#ifndef LAP_AUTOGRAD_OP_SHARD_GROUP_H
#define LAP_AUTOGRAD_OP_SHARD_GROUP_H

#include <stdint.h>

#include "autograd/kernel/real.h"

typedef struct {
  void *context;
  /* out [elements] = the tree sum over all M shards; `parts` [S][elements] are those held here and
   * may be overwritten. `out` is not in `parts`. */
  void (*sum)(void *context, real *parts, int64_t elements, real *out);
  void (*sum_double)(void *context, double *parts, int64_t elements, double *out);
  /* values [count], the largest over the shards held here, become the largest over all M; where a
   * process has NaN, it is NaN on all of them. */
  void (*largest)(void *context, real *values, int64_t count);
} lap_shard_group;

/* The same calls as an op describes them before it makes them (op.h: `shard_calls`). */
typedef enum {
  LAP_SHARD_CALL_SUM,
  LAP_SHARD_CALL_SUM_DOUBLE,
  LAP_SHARD_CALL_LARGEST,
} lap_shard_call_kind;

typedef struct {
  lap_shard_call_kind kind;
  int64_t elements; /* of one call */
  int64_t times;    /* calls */
} lap_shard_call;

#endif
