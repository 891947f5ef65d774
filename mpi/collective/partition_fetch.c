#include "mpi/collective/partition_fetch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/exchange.h"

static size_t bytes_of(lap_range range) { return (size_t)lap_range_count(range) * sizeof(float); }

/* Without empty ranges, and neighbours as one: fewer and longer messages. */
static int join_ranges(const lap_range *ranges, int count, lap_range *joined) {
  int found = 0;
  for (int i = 0; i < count; ++i) {
    if (ranges[i].begin >= ranges[i].end) continue;
    assert(found == 0 || joined[found - 1].end <= ranges[i].begin);
    if (found > 0 && joined[found - 1].end == ranges[i].begin)
      joined[found - 1].end = ranges[i].end;
    else
      joined[found++] = ranges[i];
  }
  return found;
}

/* The stretches that an owner has of wanted ranges, one after another in increasing order. */
typedef struct {
  const lap_partition *partition;
  const lap_range *wanted;
  int count, owner;
  int range, bucket; /* where the search is */
  int64_t place;     /* of the bucket in the owner's array */
  int64_t offset;    /* of the range in the values */
} search;

static search search_owner(const lap_partition *partition, const lap_range *wanted, int count,
                           int owner) {
  return (search){.partition = partition, .wanted = wanted, .count = count, .owner = owner};
}

/* The next stretch; where it lies in the owner's array and among the values. False: no more. */
static bool next_stretch(search *s, lap_range *stretch, int64_t *in_owned, int64_t *in_values) {
  while (s->range < s->count && s->bucket < s->partition->buckets) {
    const lap_range own = lap_partition_range(s->partition, s->bucket, s->owner);
    const lap_range wanted = s->wanted[s->range];
    *stretch = lap_range_overlap(own, wanted);
    *in_owned = s->place + (stretch->begin - own.begin);
    *in_values = s->offset + (stretch->begin - wanted.begin);
    if (wanted.end <= s->partition->bucket_begin[s->bucket + 1]) {
      s->offset += lap_range_count(wanted);
      ++s->range;
    } else {
      s->place += lap_range_count(own);
      ++s->bucket;
    }
    if (stretch->begin < stretch->end) return true;
  }
  return false;
}

void lap_partition_fetch(const lap_group *group, const lap_partition *partition, const float *owned,
                         const lap_range *wanted, int count, float *values, lap_traffic_kind kind) {
  assert(partition->owners == group->size);
  lap_range *mine = lap_allocate(count, sizeof *mine);
  const int mine_count = join_ranges(wanted, count, mine);
  assert(mine_count == 0 ||
         (mine[0].begin >= 0 && mine[mine_count - 1].end <= partition->elements));
  void *all;
  size_t *bytes;
  lap_gather_strings(group, mine, (size_t)mine_count * sizeof *mine, &all, &bytes);
  lap_exchange exchange = {
      .round = LAP_ROUND_RANGES, .kind = kind, .what = "an exchange of ranges"};
  const char *theirs = all;
  lap_range stretch;
  int64_t in_owned, in_values;
  for (int index = 0; index < group->size; theirs += bytes[index++]) {
    search s = search_owner(partition, (const lap_range *)theirs,
                            (int)(bytes[index] / sizeof *mine), group->index);
    while (next_stretch(&s, &stretch, &in_owned, &in_values))
      if (index == group->index)
        memcpy(values + in_values, owned + in_owned, bytes_of(stretch));
      else
        lap_exchange_send(&exchange, lap_group_rank(group, index), owned + in_owned,
                          bytes_of(stretch));
  }
  for (int step = 1; step < group->size; ++step) {
    const int from = lap_group_from(group, step);
    search s = search_owner(partition, mine, mine_count, from);
    while (next_stretch(&s, &stretch, &in_owned, &in_values))
      lap_exchange_receive(&exchange, lap_group_rank(group, from), values + in_values,
                           bytes_of(stretch));
  }
  lap_exchange_finish(group->comm, &exchange);
  free(bytes);
  free(all);
  free(mine);
}
