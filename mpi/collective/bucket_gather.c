#include "mpi/collective/bucket_gather.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/exchange.h"

struct lap_bucket_gather {
  lap_group group;
  const lap_partition *partition;
  lap_exchange exchange;
  lap_comm_ticket ticket; /* 0: nothing was started */
  lap_mesh mesh;
  lap_lanes lanes; /* whose chips are counted */
};

lap_bucket_gather *lap_bucket_gather_create(const lap_group *replicas,
                                            const lap_partition *partition) {
  assert(partition->owners == replicas->size);
  lap_bucket_gather *gather = lap_allocate(1, sizeof *gather);
  gather->group = *replicas;
  gather->partition = partition;
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

void lap_bucket_gather_start(lap_bucket_gather *gather, int bucket, const float *owned,
                             float *values, lap_traffic_kind kind) {
  assert(gather->ticket == 0);
  const lap_group *group = &gather->group;
  const int64_t begin = gather->partition->bucket_begin[bucket];
  const int64_t elements = lap_partition_elements(gather->partition, bucket);
  if (bucket < gather->partition->counted_buckets)
    lap_mesh_count_gather(lap_comm_mesh_traffic(group->comm), &gather->mesh, gather->lanes,
                          elements, kind);
  const lap_range mine = lap_partition_range(gather->partition, bucket, group->index);
  const size_t bytes = (size_t)lap_range_count(mine) * sizeof(float);
  float *own_values = values + (mine.begin - begin);
  if (own_values != owned && bytes > 0) memcpy(own_values, owned, bytes);
  if (group->size == 1) return;
  gather->exchange.kind = kind;
  lap_exchange_clear(&gather->exchange);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    const lap_range theirs = lap_partition_range(gather->partition, bucket, from);
    lap_exchange_send(&gather->exchange, lap_group_rank(group, to), owned, bytes);
    lap_exchange_receive(&gather->exchange, lap_group_rank(group, from),
                         values + (theirs.begin - begin),
                         (size_t)lap_range_count(theirs) * sizeof(float));
  }
  gather->ticket = lap_comm_start_exchange(group->comm, &gather->exchange);
}

void lap_bucket_gather_wait(lap_bucket_gather *gather) {
  if (gather->ticket == 0) return;
  lap_comm_wait(gather->group.comm, gather->ticket);
  gather->ticket = 0;
}
