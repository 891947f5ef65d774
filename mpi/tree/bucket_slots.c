#include "mpi/tree/bucket_slots.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

lap_bucket_slots lap_bucket_slots_create(const lap_partition *partition, const int *slot) {
  const int buckets = partition->buckets;
  lap_bucket_slots slots = {.slot = lap_allocate(buckets, sizeof *slots.slot),
                            .is_shared = lap_allocate(buckets, sizeof *slots.is_shared),
                            .offset = lap_allocate(buckets, sizeof *slots.offset)};
  int64_t *largest = lap_allocate(buckets, sizeof *largest);
  int *members = lap_allocate(buckets, sizeof *members);
  for (int b = 0; b < buckets; ++b) {
    slots.slot[b] = slot ? slot[b] : b;
    assert(slots.slot[b] >= 0 && slots.slot[b] < buckets);
    const int64_t elements = lap_partition_elements(partition, b);
    if (elements > largest[slots.slot[b]]) largest[slots.slot[b]] = elements;
    ++members[slots.slot[b]];
  }
  int64_t *begin = lap_allocate(buckets, sizeof *begin);
  for (int s = 0; s < buckets; slots.elements += largest[s++]) begin[s] = slots.elements;
  for (int b = 0; b < buckets; ++b) {
    slots.offset[b] = begin[slots.slot[b]];
    slots.is_shared[b] = members[slots.slot[b]] > 1;
  }
  free(begin);
  free(members);
  free(largest);
  return slots;
}

void lap_bucket_slots_release(lap_bucket_slots *slots) {
  free(slots->slot);
  free(slots->is_shared);
  free(slots->offset);
}
