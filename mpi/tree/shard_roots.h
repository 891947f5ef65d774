/* shard_roots: which rank adds which part of a sum over model shards (private to mpi/). */
#ifndef LAP_MPI_TREE_SHARD_ROOTS_H
#define LAP_MPI_TREE_SHARD_ROOTS_H

#include "mpi/tree/node.h"
#include "mpi/tree/partition.h"

/* Up to so many elements, every rank sends all to every other: one latency instead of two. */
enum { LAP_SHARD_SUM_DIRECT = 2048 };

/* The part of a vector that rank `rank` of the `ranks` that share the shards adds. */
static inline lap_range lap_shard_sum_range(int64_t elements, int ranks, int rank) {
  if (elements <= LAP_SHARD_SUM_DIRECT) return (lap_range){0, elements};
  return (lap_range){rank * elements / ranks, (rank + INT64_C(1)) * elements / ranks};
}

/* The subtree roots of the shards of that rank; `leaves` are those of all shards. */
static inline int lap_roots_of_model_rank(const lap_leaves *leaves, int ranks, int rank,
                                          lap_tree_node roots[LAP_TREE_DEPTH]) {
  const int64_t each = leaves->items / ranks;
  return lap_tree_roots(leaves, rank * each, (rank + 1) * each, roots);
}

#endif
