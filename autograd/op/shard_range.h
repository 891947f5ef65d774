/* shard_range: which of the model shards of the logical mesh (mesh.model,
 * docs/design.md#logical-mesh) are meant. */
#ifndef LAP_AUTOGRAD_OP_SHARD_RANGE_H
#define LAP_AUTOGRAD_OP_SHARD_RANGE_H

/* The largest number of shards that one process can hold: an op takes one weight of each. */
enum { LAP_MAX_SHARDS = 16 };

/* Shards [first, first + count) of the `of` that the logical mesh has. */
typedef struct {
  int of, first, count;
} lap_shard_range;

static inline lap_shard_range lap_whole_model(void) { return (lap_shard_range){1, 0, 1}; }

#endif
