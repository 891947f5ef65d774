/* partition: which rank owns which elements of a vector of buckets
 * (docs/design.md#canonical-vector).
 *
 * A bucket is a part of the vector that moves as one (autograd/gemma2/parameters.h). Each bucket is
 * divided among all owners, so that every rank sends and receives alike while the bucket is reduced
 * or gathered and others are computed. Of the S segments of LAP_SEGMENT elements of a bucket, owner
 * q of Q owns [floor(q S/Q), floor((q+1) S/Q)); an owner keeps its ranges one after another in an
 * array of its own, in bucket order.
 *
 * Ownership decides which rank adds and updates, never the numbers.
 */
#ifndef LAP_MPI_TREE_PARTITION_H
#define LAP_MPI_TREE_PARTITION_H

#include <stdint.h>

#include "core/segment.h"

typedef struct {
  int64_t begin, end;
} lap_range;

typedef struct {
  int owners;
  int buckets;
  int64_t elements;      /* of the vector */
  int64_t *bucket_begin; /* [buckets + 1], multiples of LAP_SEGMENT; the last is `elements` */
  /* Buckets from here on are copies of what another rank holds (norms); they move like the others,
   * but are not counted in the `mesh` table of traffic, where a tensor has one home. The creator
   * may lower it; at first it is `buckets`. */
  int counted_buckets;
} lap_partition;

/* `bucket_begin` [buckets] in increasing order from 0; copied. */
lap_partition *lap_partition_create(const int64_t *bucket_begin, int buckets, int64_t elements,
                                    int owners);
void lap_partition_destroy(lap_partition *partition);

/* The owner's range of a bucket, as elements of the vector; may be empty. */
lap_range lap_partition_range(const lap_partition *partition, int bucket, int owner);
/* Where that range begins in the owner's own array. */
int64_t lap_partition_offset(const lap_partition *partition, int bucket, int owner);
/* Elements of the owner's own array. */
int64_t lap_partition_owned(const lap_partition *partition, int owner);
/* The most elements that any owner has of one bucket. */
int64_t lap_partition_largest(const lap_partition *partition, int bucket);

/* Elements of a bucket. */
static inline int64_t lap_partition_elements(const lap_partition *partition, int bucket) {
  return partition->bucket_begin[bucket + 1] - partition->bucket_begin[bucket];
}

static inline int64_t lap_range_count(lap_range range) { return range.end - range.begin; }
/* What two ranges have in common; begin == end where nothing. */
lap_range lap_range_overlap(lap_range a, lap_range b);

#endif
