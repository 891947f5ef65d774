/* bucket_slots: memory for the buckets of a vector when not all of them are there at once.
 *
 * Buckets of one slot take turns in its memory, so a slot is as large as its largest bucket. Slots
 * lie one after another. Which bucket has which slot is for the owner of the buckets to say.
 */
#ifndef LAP_MPI_TREE_BUCKET_SLOTS_H
#define LAP_MPI_TREE_BUCKET_SLOTS_H

#include <stdbool.h>

#include "mpi/tree/partition.h"

typedef struct {
  int *slot;       /* [buckets], below `buckets` */
  bool *is_shared; /* [buckets]: the slot has other buckets too */
  int64_t *offset; /* [buckets] of the slot in the memory */
  int64_t elements;
} lap_bucket_slots;

/* `slot` [buckets] is copied; NULL gives every bucket a slot of its own. */
lap_bucket_slots lap_bucket_slots_create(const lap_partition *partition, const int *slot);
void lap_bucket_slots_release(lap_bucket_slots *slots);

#endif
