#include "mpi/tree/partition.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

lap_partition *lap_partition_create(const int64_t *bucket_begin, int buckets, int64_t elements,
                                    int owners) {
  assert(buckets >= 1 && owners >= 1 && bucket_begin[0] == 0);
  lap_partition *partition = lap_allocate(1, sizeof *partition);
  partition->owners = owners;
  partition->buckets = buckets;
  partition->counted_buckets = buckets;
  partition->elements = elements;
  partition->bucket_begin = lap_allocate(buckets + 1, sizeof *partition->bucket_begin);
  memcpy(partition->bucket_begin, bucket_begin, (size_t)buckets * sizeof *bucket_begin);
  partition->bucket_begin[buckets] = elements;
  for (int b = 0; b < buckets; ++b) {
    assert(partition->bucket_begin[b] % LAP_SEGMENT == 0);
    assert(partition->bucket_begin[b] <= partition->bucket_begin[b + 1]);
  }
  assert(elements % LAP_SEGMENT == 0);
  return partition;
}

void lap_partition_destroy(lap_partition *partition) {
  if (!partition) return;
  free(partition->bucket_begin);
  free(partition);
}

/* First element of the bucket that belongs to owner `owner` or a later one. */
static int64_t cut(const lap_partition *partition, int bucket, int owner) {
  const int64_t begin = partition->bucket_begin[bucket];
  const int64_t segments = (partition->bucket_begin[bucket + 1] - begin) / LAP_SEGMENT;
  return begin + owner * segments / partition->owners * LAP_SEGMENT;
}

lap_range lap_partition_range(const lap_partition *partition, int bucket, int owner) {
  assert(bucket >= 0 && bucket < partition->buckets && owner >= 0 && owner < partition->owners);
  return (lap_range){cut(partition, bucket, owner), cut(partition, bucket, owner + 1)};
}

int64_t lap_partition_offset(const lap_partition *partition, int bucket, int owner) {
  int64_t offset = 0;
  for (int b = 0; b < bucket; ++b)
    offset += lap_range_count(lap_partition_range(partition, b, owner));
  return offset;
}

int64_t lap_partition_owned(const lap_partition *partition, int owner) {
  return lap_partition_offset(partition, partition->buckets, owner);
}

int64_t lap_partition_largest(const lap_partition *partition, int bucket) {
  int64_t largest = 0;
  for (int owner = 0; owner < partition->owners; ++owner) {
    const int64_t count = lap_range_count(lap_partition_range(partition, bucket, owner));
    if (count > largest) largest = count;
  }
  return largest;
}

lap_range lap_range_overlap(lap_range a, lap_range b) {
  const lap_range both = {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
  return both.begin < both.end ? both : (lap_range){both.begin, both.begin};
}
