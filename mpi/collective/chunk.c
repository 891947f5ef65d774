#include "mpi/collective/chunk.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"

/* Below this a chunk's start would cost more than its bytes. */
enum { SMALLEST_CHUNK = 4 * LAP_SEGMENT };

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int by_size(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Elements of a chunk, alike on all ranks: those of the median bucket, a layer. Larger buckets go
 * in several chunks. */
static int64_t chunk_elements(const lap_partition *partition) {
  int64_t *largest = lap_allocate(partition->buckets, sizeof *largest);
  int count = 0;
  for (int b = 0; b < partition->buckets; ++b) {
    largest[count] = lap_partition_largest(partition, b);
    count += largest[count] > 0;
  }
  qsort(largest, (size_t)count, sizeof *largest, by_size);
  int64_t elements = count > 0 ? largest[count / 2] : 0;
  if (elements < SMALLEST_CHUNK)
    elements = count > 0 ? smaller(SMALLEST_CHUNK, largest[count - 1]) : 0;
  free(largest);
  return elements;
}

static int64_t chunks_of_bucket(const lap_partition *partition, int64_t elements, int bucket) {
  const int64_t largest = lap_partition_largest(partition, bucket);
  assert(largest == 0 || elements > 0);
  return largest > 0 ? (largest + elements - 1) / elements : 0;
}

/* Chunks that are in flight at once, alike on all ranks. */
static int count_slots(const lap_partition *partition, int64_t elements) {
  if (partition->owners == 1) return 0;
  int64_t chunks = 0;
  for (int b = 0; b < partition->buckets; ++b) chunks += chunks_of_bucket(partition, elements, b);
  return (int)smaller(chunks, LAP_CHUNKS_IN_FLIGHT);
}

int64_t lap_chunks_bytes(const lap_partition *partition, const lap_merge_plans *plans, int rank) {
  const int64_t elements = chunk_elements(partition);
  return count_slots(partition, elements) * elements * lap_merge_plans_most_arriving(plans, rank) *
         (int64_t)sizeof(float);
}

void lap_chunks_create(lap_chunks *chunks, const lap_group *group, const lap_partition *partition,
                       const lap_merge_plans *plans, const int64_t *held_offset) {
  assert(partition->owners == group->size);
  const int64_t elements = chunk_elements(partition);
  *chunks = (lap_chunks){.group = *group,
                         .partition = partition,
                         .elements = elements,
                         .slots = count_slots(partition, elements),
                         .most_arriving = lap_merge_plans_most_arriving(plans, group->index),
                         .held_offset = held_offset,
                         .plans = plans};
  chunks->merging = lap_allocate(lap_merge_plans_most_values(plans), sizeof *chunks->merging);
  for (int i = 0; i < chunks->slots; ++i) {
    chunks->slot[i].arriving =
        lap_allocate_aligned(chunks->most_arriving * elements, sizeof(float));
    chunks->slot[i].exchange = (lap_exchange){
        .tag = LAP_TAG_REDUCE, .kind = LAP_TRAFFIC_GRADIENTS, .what = "reduce gradients"};
  }
}

void lap_chunks_release(lap_chunks *chunks) {
  assert(chunks->added == chunks->sent);
  for (int i = 0; i < chunks->slots; ++i) {
    lap_release_aligned(chunks->slot[i].arriving);
    lap_exchange_release(&chunks->slot[i].exchange);
  }
  free(chunks->merging);
  lap_sum_check_destroy(chunks->check);
}

void lap_chunks_check(lap_chunks *chunks, uint64_t seed) {
  assert(!chunks->check);
  chunks->check = lap_sum_check_create(&chunks->group, chunks->partition, chunks->plans, seed);
}

void lap_chunks_begin(lap_chunks *chunks, const lap_merge_plan *plan, const float *const *sources,
                      float *const *held) {
  assert(chunks->added == chunks->sent);
  lap_sum_check_begin(chunks->check, plan);
  chunks->plan = plan;
  chunks->sources = sources;
  chunks->held = held;
}

/* --- messages --- */

/* Of this rank's value `own`. */
static const float *source_of(const lap_chunks *chunks, int own, int bucket, int64_t element) {
  const lap_partition *partition = chunks->partition;
  return chunks->sources[own * partition->buckets + bucket] +
         (element - partition->bucket_begin[bucket]);
}

/* The elements of a chunk that belong to an owner; the chunk begins at `begin` in its range. */
static lap_range part_of(const lap_chunks *chunks, int bucket, int64_t begin, int owner) {
  const lap_range range = lap_partition_range(chunks->partition, bucket, owner);
  const int64_t from = smaller(range.begin + begin, range.end);
  return (lap_range){from, smaller(from + chunks->elements, range.end)};
}

/* Where value `value`, of another rank, arrives; this rank's own values do not. */
static float *arriving_at(const lap_chunks *chunks, int slot, int value) {
  const int *first = chunks->plan->first_value + chunks->group.index;
  const int index = value < first[0] ? value : value - (first[1] - first[0]);
  assert(index < chunks->most_arriving);
  return chunks->slot[slot].arriving + index * chunks->elements;
}

static void list_messages(lap_chunks *chunks, int slot) {
  const lap_group *group = &chunks->group;
  const int *first = chunks->plan->first_value;
  const int bucket = chunks->slot[slot].bucket;
  const int64_t begin = chunks->slot[slot].begin;
  lap_exchange *exchange = &chunks->slot[slot].exchange;
  lap_exchange_clear(exchange);
  const lap_range mine = part_of(chunks, bucket, begin, group->index);
  for (int step = 1; step < group->size; ++step) {
    const int to = lap_group_to(group, step), from = lap_group_from(group, step);
    for (int value = first[from]; value < first[from + 1]; ++value)
      lap_exchange_receive(exchange, lap_group_rank(group, from), arriving_at(chunks, slot, value),
                           (size_t)lap_range_count(mine) * sizeof(float));
    const lap_range theirs = part_of(chunks, bucket, begin, to);
    for (int own = 0; own < first[group->index + 1] - first[group->index]; ++own)
      lap_exchange_send(exchange, lap_group_rank(group, to),
                        source_of(chunks, own, bucket, theirs.begin),
                        (size_t)lap_range_count(theirs) * sizeof(float));
  }
}

/* --- additions --- */

/* Elements [begin, begin + count) of this rank's range of the bucket; values of others lie in
 * `slot`. */
static void merge(lap_chunks *chunks, int slot, int bucket, int64_t begin, int64_t count) {
  const lap_merge_plan *plan = chunks->plan;
  const int index = chunks->group.index, values = plan->first_value[chunks->group.size];
  const int64_t first = lap_partition_range(chunks->partition, bucket, index).begin + begin;
  for (int value = 0; value < values; ++value) {
    const int own = value - plan->first_value[index];
    const bool here = own >= 0 && value < plan->first_value[index + 1];
    chunks->merging[value] =
        here ? source_of(chunks, own, bucket, first) : arriving_at(chunks, slot, value);
  }
  const int64_t held_offset = chunks->held_offset[bucket] + begin;
#pragma omp parallel for schedule(static) if (count > LAP_PARALLEL_FROM)
  for (int64_t offset = 0; offset < count; offset += LAP_MERGE_TILE)
    lap_merge_tile(plan, values, chunks->merging, offset, chunks->held, held_offset + offset);
}

static void add_oldest(lap_chunks *chunks) {
  const int slot = (int)(chunks->added % (uint64_t)chunks->slots);
  lap_comm_wait(chunks->group.comm, chunks->slot[slot].ticket);
  const int bucket = chunks->slot[slot].bucket;
  const int64_t begin = chunks->slot[slot].begin;
  const lap_range mine = part_of(chunks, bucket, begin, chunks->group.index);
  merge(chunks, slot, bucket, begin, lap_range_count(mine));
  ++chunks->added;
}

static void send_part(lap_chunks *chunks, int bucket, int64_t begin) {
  if (chunks->sent - chunks->added == (uint64_t)chunks->slots) add_oldest(chunks);
  const int slot = (int)(chunks->sent % (uint64_t)chunks->slots);
  chunks->slot[slot].bucket = bucket;
  chunks->slot[slot].begin = begin;
  list_messages(chunks, slot);
  chunks->slot[slot].ticket =
      lap_comm_start_exchange(chunks->group.comm, &chunks->slot[slot].exchange);
  ++chunks->sent;
}

void lap_chunks_send(lap_chunks *chunks, int bucket) {
  assert(chunks->plan->before - chunks->plan->lowest < LAP_MERGE_DEPTH / 2);
  if (chunks->group.size == 1) {
    merge(chunks, 0, bucket, 0, lap_range_count(lap_partition_range(chunks->partition, bucket, 0)));
    return;
  }
  lap_sum_check_copy(chunks->check, bucket, chunks->sources);
  const int64_t count = chunks_of_bucket(chunks->partition, chunks->elements, bucket);
  for (int64_t part = 0; part < count; ++part) send_part(chunks, bucket, part * chunks->elements);
}

void lap_chunks_add_arrived(lap_chunks *chunks) {
  while (chunks->added < chunks->sent) {
    const int slot = (int)(chunks->added % (uint64_t)chunks->slots);
    if (!lap_comm_is_done(chunks->group.comm, chunks->slot[slot].ticket)) return;
    add_oldest(chunks);
  }
}

void lap_chunks_add_first(lap_chunks *chunks, uint64_t count) {
  assert(count <= chunks->sent);
  while (chunks->added < count) add_oldest(chunks);
}

void lap_chunks_add_all(lap_chunks *chunks) { lap_chunks_add_first(chunks, chunks->sent); }

void lap_chunks_finish(lap_chunks *chunks) {
  lap_chunks_add_all(chunks);
  if (chunks->check) lap_sum_check_finish(chunks->check, chunks->held[0], chunks->held_offset);
}
