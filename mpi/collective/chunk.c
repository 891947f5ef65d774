#include "mpi/collective/chunk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* Elements that are merged at a time by one thread: the stack of partial sums stays in its
 * first-level cache. A divisor of LAP_BLOCK. */
enum { TILE = 256, MERGE_DEPTH = 64 };
/* Below this a parcel's start would cost more than its bytes. */
enum { SMALLEST_CHUNK = 4 * LAP_BLOCK };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int by_size(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

int64_t lap_parcel_chunk(const lap_partition *partition) {
  int64_t *largest = lap_allocate(partition->buckets, sizeof *largest);
  int count = 0;
  for (int b = 0; b < partition->buckets; ++b) {
    largest[count] = lap_partition_largest(partition, b);
    count += largest[count] > 0;
  }
  qsort(largest, (size_t)count, sizeof *largest, by_size);
  int64_t chunk = count > 0 ? largest[count / 2] : 0;
  if (chunk < SMALLEST_CHUNK) chunk = count > 0 ? smaller(SMALLEST_CHUNK, largest[count - 1]) : 0;
  free(largest);
  return chunk;
}

/* Parcels that a bucket goes in. */
static int64_t parcels_of(const lap_partition *partition, int64_t chunk, int bucket) {
  const int64_t largest = lap_partition_largest(partition, bucket);
  return largest > 0 ? (largest + chunk - 1) / chunk : 0;
}

int lap_parcel_slots(const lap_partition *partition) {
  if (partition->owners == 1) return 0;
  const int64_t chunk = lap_parcel_chunk(partition);
  int64_t parcels = 0;
  for (int b = 0; b < partition->buckets; ++b) parcels += parcels_of(partition, chunk, b);
  return (int)smaller(parcels, LAP_PARCELS_AT_ONCE);
}

void lap_parcels_create(lap_parcels *parcels, const lap_group *group,
                        const lap_partition *partition, int most_values, int most_arriving,
                        bool in_place) {
  assert(partition->owners == group->size);
  *parcels = (lap_parcels){.group = *group,
                           .partition = partition,
                           .chunk = lap_parcel_chunk(partition),
                           .slots = lap_parcel_slots(partition),
                           .most_arriving = most_arriving};
  parcels->place = lap_allocate(partition->buckets, sizeof *parcels->place);
  int64_t place = 0;
  for (int b = 0; b < partition->buckets; ++b) {
    const lap_range own = lap_partition_range(partition, b, group->index);
    parcels->place[b] = in_place ? own.begin : place;
    place += lap_range_count(own);
  }
  parcels->merging = lap_allocate(most_values, sizeof *parcels->merging);
  for (int i = 0; i < parcels->slots; ++i) {
    parcels->slot[i].arriving =
        lap_allocate_aligned((int64_t)most_arriving * (int64_t)parcels->chunk, sizeof(float));
    parcels->slot[i].exchange = (lap_exchange){
        .round = LAP_ROUND_REDUCE, .kind = LAP_TRAFFIC_GRADIENTS, .what = "reduce gradients"};
  }
}

void lap_parcels_release(lap_parcels *parcels) {
  assert(parcels->added == parcels->sent);
  for (int i = 0; i < parcels->slots; ++i) {
    lap_release_aligned(parcels->slot[i].arriving);
    lap_exchange_release(&parcels->slot[i].exchange);
  }
  free(parcels->merging);
  free(parcels->place);
}

void lap_parcels_begin(lap_parcels *parcels, const lap_merge_plan *plan,
                       const float *const *sources, float *const *held) {
  assert(parcels->added == parcels->sent);
  parcels->plan = plan;
  parcels->sources = sources;
  parcels->held = held;
}

/* --- messages --- */

/* Of this rank's value `own`. */
static const float *source_of(const lap_parcels *parcels, int own, int bucket, int64_t element) {
  const lap_partition *partition = parcels->partition;
  return parcels->sources[own * partition->buckets + bucket] +
         (element - partition->bucket_begin[bucket]);
}

/* What of an owner's range of the bucket is in a parcel. */
static lap_range part_of(const lap_parcels *parcels, int bucket, int64_t begin, int owner) {
  const lap_range range = lap_partition_range(parcels->partition, bucket, owner);
  const int64_t from = smaller(range.begin + begin, range.end);
  return (lap_range){from, smaller(from + parcels->chunk, range.end)};
}

/* Where value `value`, of another rank, arrives: this rank's own have no place. */
static float *place_of_arriving(const lap_parcels *parcels, int slot, int value) {
  const int *first = parcels->plan->first_source + parcels->group.index;
  const int index = value < first[0] ? value : value - (first[1] - first[0]);
  assert(index < parcels->most_arriving);
  return parcels->slot[slot].arriving + index * parcels->chunk;
}

static void list_messages(lap_parcels *parcels, int slot) {
  const lap_group *group = &parcels->group;
  const int *first = parcels->plan->first_source;
  const int bucket = parcels->slot[slot].bucket;
  const int64_t begin = parcels->slot[slot].begin;
  lap_exchange *exchange = &parcels->slot[slot].exchange;
  lap_exchange_clear(exchange);
  const lap_range mine = part_of(parcels, bucket, begin, group->index);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    for (int value = first[from]; value < first[from + 1]; ++value)
      lap_exchange_receive(exchange, lap_group_rank(group, from),
                           place_of_arriving(parcels, slot, value),
                           (size_t)lap_range_count(mine) * sizeof(float));
    const lap_range theirs = part_of(parcels, bucket, begin, to);
    for (int own = 0; own < first[group->index + 1] - first[group->index]; ++own)
      lap_exchange_send(exchange, lap_group_rank(group, to),
                        source_of(parcels, own, bucket, theirs.begin),
                        (size_t)lap_range_count(theirs) * sizeof(float));
  }
}

/* --- additions --- */

/* One tile of an owner's range: the values, in the order of the tree, go through the counter, whose
 * additions are planned; what it holds already lies below them. */
static void merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                       int64_t offset, float *const *held, int64_t place) {
  float stack[MERGE_DEPTH][TILE];
  int depth = plan->before - plan->low;
  for (int i = 0; i < depth; ++i) memcpy(stack[i], held[plan->low + i] + place, sizeof stack[0]);
  for (int value = 0; value < values; ++value) {
    memcpy(stack[depth++], merging[value] + offset, sizeof stack[0]);
    for (int merge = 0; merge < plan->merges[value]; ++merge, --depth)
      for (int i = 0; i < TILE; ++i)
        stack[depth - 2][i] = stack[depth - 2][i] + stack[depth - 1][i];
  }
  for (int i = 0; i < depth; ++i) memcpy(held[plan->low + i] + place, stack[i], sizeof stack[0]);
}

/* Elements [begin, begin + count) of this rank's range of the bucket; values of others lie in
 * `slot`. */
static void merge(lap_parcels *parcels, int slot, int bucket, int64_t begin, int64_t count) {
  const lap_merge_plan *plan = parcels->plan;
  const int index = parcels->group.index, values = plan->first_source[parcels->group.size];
  const int64_t first = lap_partition_range(parcels->partition, bucket, index).begin + begin;
  for (int value = 0; value < values; ++value) {
    const int own = value - plan->first_source[index];
    const bool here = own >= 0 && value < plan->first_source[index + 1];
    parcels->merging[value] =
        here ? source_of(parcels, own, bucket, first) : place_of_arriving(parcels, slot, value);
  }
  const int64_t place = parcels->place[bucket] + begin;
#pragma omp parallel for schedule(static) if (count > LAP_PARALLEL_FROM)
  for (int64_t offset = 0; offset < count; offset += TILE)
    merge_tile(plan, values, parcels->merging, offset, parcels->held, place + offset);
}

static void add_oldest(lap_parcels *parcels) {
  const int slot = (int)(parcels->added % (uint64_t)parcels->slots);
  lap_comm_wait(parcels->group.comm, parcels->slot[slot].ticket);
  const int bucket = parcels->slot[slot].bucket;
  const int64_t begin = parcels->slot[slot].begin;
  const lap_range mine = part_of(parcels, bucket, begin, parcels->group.index);
  merge(parcels, slot, bucket, begin, lap_range_count(mine));
  ++parcels->added;
}

static void send_part(lap_parcels *parcels, int bucket, int64_t begin) {
  if (parcels->sent - parcels->added == (uint64_t)parcels->slots) add_oldest(parcels);
  const int slot = (int)(parcels->sent % (uint64_t)parcels->slots);
  parcels->slot[slot].bucket = bucket;
  parcels->slot[slot].begin = begin;
  list_messages(parcels, slot);
  parcels->slot[slot].ticket =
      lap_exchange_start(parcels->group.comm, &parcels->slot[slot].exchange);
  ++parcels->sent;
}

void lap_parcels_send(lap_parcels *parcels, int bucket) {
  assert(parcels->plan->before - parcels->plan->low < MERGE_DEPTH / 2);
  if (parcels->group.size == 1) {
    merge(parcels, 0, bucket, 0,
          lap_range_count(lap_partition_range(parcels->partition, bucket, 0)));
    return;
  }
  const int64_t count = parcels_of(parcels->partition, parcels->chunk, bucket);
  for (int64_t part = 0; part < count; ++part) send_part(parcels, bucket, part * parcels->chunk);
}

void lap_parcels_add_arrived(lap_parcels *parcels) {
  while (parcels->added < parcels->sent) {
    const int slot = (int)(parcels->added % (uint64_t)parcels->slots);
    if (!lap_comm_done(parcels->group.comm, parcels->slot[slot].ticket)) return;
    add_oldest(parcels);
  }
}

void lap_parcels_add_first(lap_parcels *parcels, uint64_t count) {
  assert(count <= parcels->sent);
  while (parcels->added < count) add_oldest(parcels);
}

void lap_parcels_add_all(lap_parcels *parcels) { lap_parcels_add_first(parcels, parcels->sent); }
