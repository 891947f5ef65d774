/* gradient_sum_block: gradients of block lanes (mesh.shard: none, optimizer; private to mpi/).
 *
 * A rank adds its neighbouring lanes as they come, in a binary counter of vectors over all buckets:
 * about 2 log2 of its lanes, the current lane on top. In the last round its subtree roots go to the
 * owners, bucket by bucket, while the backward pass of its last lane is still going on.
 */
#ifndef LAP_MPI_COLLECTIVE_GRADIENT_SUM_BLOCK_H
#define LAP_MPI_COLLECTIVE_GRADIENT_SUM_BLOCK_H

#include "mpi/collective/gradient_strategy.h"

extern const lap_gradient_strategy lap_gradient_sum_block;

#endif
