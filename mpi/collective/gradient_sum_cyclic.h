/* gradient_sum_cyclic: gradients of cyclic lanes (mesh.shard: gradients, full; private to mpi/).
 *
 * In each round the pieces of the lanes' buckets go to their owners, which push them in the order
 * of lanes into counters of their own ranges only: 1/R of about log2(L) vectors for L lanes on R
 * replicas, and one vector for the current lane. That one is shorter where buckets share slots: a
 * bucket leaves its slot as soon as its chunks were added.
 */
#ifndef LAP_MPI_COLLECTIVE_GRADIENT_SUM_CYCLIC_H
#define LAP_MPI_COLLECTIVE_GRADIENT_SUM_CYCLIC_H

#include "mpi/collective/gradient_strategy.h"

extern const lap_gradient_strategy lap_gradient_sum_cyclic;

#endif
