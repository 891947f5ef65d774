/* gradient_strategy: what gradient_sum asks of the two ways to sum gradients, one for each lane
 * schedule, and what both are built on (private to mpi/).
 *
 * gradient_sum keeps the order of calls: a round is begun; buckets are opened where they share
 * memory; each becomes ready once.
 */
#ifndef LAP_MPI_COLLECTIVE_GRADIENT_STRATEGY_H
#define LAP_MPI_COLLECTIVE_GRADIENT_STRATEGY_H

#include "mpi/collective/chunk.h"
#include "mpi/transport/group.h"
#include "mpi/tree/bucket_slots.h"
#include "mpi/tree/lane_tree.h"

/* What a sum is made for. All that it points to outlives the sum. */
typedef struct {
  lap_group group; /* not looked at where only bytes are counted */
  const lap_mesh *mesh;
  const lap_fold *fold;
  const lap_partition *partition;
  const lap_bucket_slots *slots;
} lap_gradient_setup;

typedef struct {
  /* What create allocates: partial sums and the current lane, and receive buffers; what checking
   * takes beyond that. */
  void (*bytes)(const lap_gradient_setup *setup, int64_t *vectors, int64_t *arriving,
                int64_t *checking);
  void *(*create)(const lap_gradient_setup *setup);
  void (*destroy)(void *sum);
  /* Where the lane's gradient of each bucket [buckets] is accumulated, zeroed but for buckets that
   * share a slot; `lane` -1: not looked at. */
  float *const *(*begin)(void *sum, int round, int lane);
  /* Zeroes a bucket that shares its slot. */
  void (*open)(void *sum, int bucket);
  void (*ready)(void *sum, int bucket);
  void (*finish)(void *sum);
  lap_chunks *(*chunks)(void *sum); /* in which all that is between ranks happens */
  float *(*owned)(const void *sum, int bucket);
  float *(*whole)(const void *sum, int bucket); /* NULL: the sum never has whole buckets */
} lap_gradient_strategy;

/* `count` vectors of `elements` floats. */
float **lap_vectors_create(int count, int64_t elements);
void lap_vectors_release(float **vectors, int count);
/* Where each bucket begins in each of them: [count][buckets]. */
float **lap_vectors_buckets(float *const *vectors, int count, const int64_t *offset, int buckets);
void lap_vector_clear(float *vector, int64_t elements);

#endif
