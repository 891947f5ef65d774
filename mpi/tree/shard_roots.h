/* shard_roots: who adds what of a sum over model shards (private to mpi/). */
#ifndef LAP_MPI_TREE_SHARD_ROOTS_H
#define LAP_MPI_TREE_SHARD_ROOTS_H

#include "mpi/tree/node.h"
#include "mpi/tree/partition.h"

/* So few elements go from every rank to every other at once: one latency instead of two. */
enum { LAP_SHARD_SUM_DIRECT = 2048 };

/* What rank `rank` of the `ranks` that share the shards adds of a vector. */
static inline lap_range lap_shard_sum_stretch(int64_t elements, int ranks, int rank) {
  if (elements <= LAP_SHARD_SUM_DIRECT) return (lap_range){0, elements};
  return (lap_range){rank * elements / ranks, (rank + INT64_C(1)) * elements / ranks};
}

/* Subtree roots of the shards of that rank; `leaves` are those of all shards. */
static inline int lap_roots_of_model_rank(const lap_leaves *leaves, int ranks, int rank,
                                          lap_tree_node roots[LAP_TREE_DEPTH]) {
  const int64_t each = leaves->items / ranks;
  return lap_tree_roots(leaves, rank * each, (rank + 1) * each, roots);
}

#endif
