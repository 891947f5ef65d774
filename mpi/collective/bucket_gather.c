#include "mpi/collective/bucket_gather.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/exchange.h"

struct lap_bucket_gather {
  lap_group group;
  const lap_partition *partition;
  size_t element_size;
  lap_exchange exchange;
  lap_comm_ticket ticket; /* 0: nothing was started */
  lap_mesh mesh;
  lap_lanes lanes; /* whose chips are counted */
};

lap_bucket_gather *lap_bucket_gather_create(const lap_group *replicas,
                                            const lap_partition *partition, size_t element_size) {
  assert(partition->owners == replicas->size);
  lap_bucket_gather *gather = lap_allocate(1, sizeof *gather);
  gather->group = *replicas;
  gather->partition = partition;
  gather->element_size = element_size;
  gather->exchange = (lap_exchange){.tag = LAP_TAG_GATHER, .what = "gather a bucket"};
  return gather;
}

void lap_bucket_gather_destroy(lap_bucket_gather *gather) {
  if (!gather) return;
  assert(gather->ticket == 0);
  lap_exchange_release(&gather->exchange);
  free(gather);
}

void lap_bucket_gather_count(lap_bucket_gather *gather, const lap_mesh *mesh, lap_lanes lanes) {
  gather->mesh = *mesh;
  gather->lanes = lanes;
}

static size_t bytes_of(const lap_bucket_gather *gather, lap_range range) {
  return (size_t)lap_range_count(range) * gather->element_size;
}

/* Where a range of the bucket lies in `values`. */
static char *place_of(const lap_bucket_gather *gather, int bucket, lap_range range, void *values) {
  const int64_t begin = gather->partition->bucket_begin[bucket];
  return (char *)values + (size_t)(range.begin - begin) * gather->element_size;
}

void lap_bucket_gather_start(lap_bucket_gather *gather, int bucket, const void *owned, void *values,
                             lap_traffic_kind kind) {
  assert(gather->ticket == 0);
  const lap_group *group = &gather->group;
  const int64_t elements = lap_partition_elements(gather->partition, bucket);
  if (bucket < gather->partition->counted_buckets)
    lap_mesh_count_gather(lap_comm_mesh_traffic(group->comm), &gather->mesh, gather->lanes,
                          elements, gather->element_size, kind);
  const lap_range mine = lap_partition_range(gather->partition, bucket, group->index);
  const size_t bytes = bytes_of(gather, mine);
  char *own_values = place_of(gather, bucket, mine, values);
  if (own_values != owned && bytes > 0) memcpy(own_values, owned, bytes);
  if (group->size == 1) return;
  gather->exchange.kind = kind;
  lap_exchange_clear(&gather->exchange);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    const lap_range theirs = lap_partition_range(gather->partition, bucket, from);
    lap_exchange_send(&gather->exchange, lap_group_rank(group, to), owned, bytes);
    lap_exchange_receive(&gather->exchange, lap_group_rank(group, from),
                         place_of(gather, bucket, theirs, values), bytes_of(gather, theirs));
  }
  gather->ticket = lap_comm_start_exchange(group->comm, &gather->exchange);
}

void lap_bucket_gather_wait(lap_bucket_gather *gather) {
  if (gather->ticket == 0) return;
  lap_comm_wait(gather->group.comm, gather->ticket);
  gather->ticket = 0;
}
