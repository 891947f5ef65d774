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

/* The parts of wanted ranges that an owner has, one after another in increasing order. */
typedef struct {
  const lap_partition *partition;
  const lap_range *wanted;
  int count, owner;
  int range, bucket; /* where the search is */
  int64_t in_owned;  /* where the owner's range of the bucket begins in its array */
  int64_t in_values; /* where the wanted range begins among the values */
} search;

static search search_owner(const lap_partition *partition, const lap_range *wanted, int count,
                           int owner) {
  return (search){.partition = partition, .wanted = wanted, .count = count, .owner = owner};
}

/* The next part, and where it lies in the owner's array and among the values. False: no more. */
static bool next_part(search *s, lap_range *part, int64_t *in_owned, int64_t *in_values) {
  while (s->range < s->count && s->bucket < s->partition->buckets) {
    const lap_range own = lap_partition_range(s->partition, s->bucket, s->owner);
    const lap_range wanted = s->wanted[s->range];
    *part = lap_range_overlap(own, wanted);
    *in_owned = s->in_owned + (part->begin - own.begin);
    *in_values = s->in_values + (part->begin - wanted.begin);
    if (wanted.end <= s->partition->bucket_begin[s->bucket + 1]) {
      s->in_values += lap_range_count(wanted);
      ++s->range;
    } else {
      s->in_owned += lap_range_count(own);
      ++s->bucket;
    }
    if (part->begin < part->end) return true;
  }
  return false;
}

void lap_partition_fetch(const lap_group *group, const lap_partition *partition, const float *owned,
                         lap_fetch wanted, lap_traffic_kind kind) {
  assert(partition->owners == group->size);
  lap_range *mine = lap_allocate(wanted.count, sizeof *mine);
  const int mine_count = join_ranges(wanted.ranges, wanted.count, mine);
  assert(mine_count == 0 ||
         (mine[0].begin >= 0 && mine[mine_count - 1].end <= partition->elements));
  void *all;
  size_t *bytes;
  lap_gather_strings(group, mine, (size_t)mine_count * sizeof *mine, &all, &bytes);
  lap_exchange exchange = {.tag = LAP_TAG_RANGES, .kind = kind, .what = "an exchange of ranges"};
  const char *theirs = all;
  lap_range part;
  int64_t in_owned, in_values;
  for (int index = 0; index < group->size; theirs += bytes[index++]) {
    search s = search_owner(partition, (const lap_range *)theirs,
                            (int)(bytes[index] / sizeof *mine), group->index);
    while (next_part(&s, &part, &in_owned, &in_values))
      if (index == group->index)
        memcpy(wanted.values + in_values, owned + in_owned, bytes_of(part));
      else
        lap_exchange_send(&exchange, lap_group_rank(group, index), owned + in_owned,
                          bytes_of(part));
  }
  for (int step = 1; step < group->size; ++step) {
    const int from = lap_group_from(group, step);
    search s = search_owner(partition, mine, mine_count, from);
    while (next_part(&s, &part, &in_owned, &in_values))
      lap_exchange_receive(&exchange, lap_group_rank(group, from), wanted.values + in_values,
                           bytes_of(part));
  }
  lap_comm_run_exchange(group->comm, &exchange);
  lap_exchange_release(&exchange);
  free(bytes);
  free(all);
  free(mine);
}
