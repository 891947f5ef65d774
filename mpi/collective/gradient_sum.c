#include "mpi/collective/gradient_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/collective/chunk.h"
#include "mpi/tree/lane_roots.h"

/* What has happened to a bucket of the lane at hand. */
typedef enum { UNOPENED, OPEN, TOLD } bucket_progress;

/* In the last round (block lanes) or in each (cyclic lanes) parcels go to the owners; until then block lanes
 * only adds what this rank has. */
struct lap_gradient_sum {
  lap_group group;
  lap_mesh mesh;
  lap_fold fold;
  const lap_partition *partition;
  lap_lane_schedule schedule;
  lap_leaves leaves;
  int rounds;

  /* Whole: the counter of this rank's lanes, each vector [elements], the lane at hand on top.
   * Dealt: that of the owned ranges of all lanes, each [owned]. */
  float **partials;
  int partial_count;
  lap_tree_counter counter; /* whole: with the lane at hand */
  float *cyclic_lane;       /* of all places; NULL with block lanes */
  int *place;               /* [buckets] of cyclic_lane */
  bool *shares;             /* [buckets]: its place with others */
  float **buckets_at;       /* [partials, or 1 of cyclic lanes][buckets]: where each begins */

  lap_parcels parcels;
  lap_merge_plan *plans; /* [rounds] of cyclic lanes, else one */
  int *first_source, *merges;

  /* The round at hand; -1 before the first. */
  int round, lane;
  bool open;
  int top, merges_here;      /* whole: place of the lane's vector, and its merges */
  bucket_progress *progress; /* [buckets] in this round */
  int told_count;
  uint64_t *leaves_by; /* [places]: parcels sent when all that left it was sent */
  int *order;          /* [buckets] in which round 0 was told, for rounds without a lane */
};

/* --- sizes --- */

/* The most vectors that a whole sum ever has at once, the lane that is being accumulated included.
 */
static int most_whole(const lap_leaves *leaves, const lap_fold *fold) {
  lap_tree_counter counter = {.leaves = *leaves};
  int most = 0;
  for (int lane = fold->first_lane; lane < fold->end_lane; ++lane) {
    if (counter.depth + 1 > most) most = counter.depth + 1;
    lap_tree_push(&counter, lap_leaf_of_lane(leaves, lane));
  }
  return most;
}

/* The most values that the counter of an owner holds between the rounds of cyclic lanes. */
static int most_cyclic(const lap_leaves *leaves, int replicas) {
  lap_tree_counter counter = {.leaves = *leaves};
  int most = 0;
  for (int lane = 0; lane < leaves->items; ++lane) {
    lap_tree_push(&counter, lap_leaf_of_lane(leaves, lane));
    const bool round_ends = lane % replicas == replicas - 1 || lane == leaves->items - 1;
    if (round_ends && counter.depth > most) most = counter.depth;
  }
  return most;
}

/* Values that all replicas, or all but `except`, send in one round. */
static int most_values(const lap_leaves *leaves, int replicas, lap_lane_schedule schedule,
                       int except) {
  if (schedule == LAP_LANES_CYCLIC) return replicas - (except >= 0);
  int count = 0;
  for (int q = 0; q < replicas; ++q)
    if (q != except) count += lap_roots_of_replica(leaves, replicas, q, false, NULL);
  return count;
}

static int64_t elements_of(const lap_partition *partition, int bucket) {
  return partition->bucket_begin[bucket + 1] - partition->bucket_begin[bucket];
}

static int slot_of(const int *places, int bucket) { return places ? places[bucket] : bucket; }

/* The elements of a cyclic lane, and where each bucket begins in them (`begin` may be NULL): a place
 * is as large as the largest bucket that comes there. */
static int64_t lay_out_lane(const lap_partition *partition, const int *places, int64_t *begin) {
  int64_t total = 0;
  for (int place = 0; place < partition->buckets; ++place) {
    int64_t largest = 0;
    for (int b = 0; b < partition->buckets; ++b) {
      if (slot_of(places, b) != place) continue;
      if (begin) begin[b] = total;
      if (elements_of(partition, b) > largest) largest = elements_of(partition, b);
    }
    total += largest;
  }
  return total;
}

lap_gradient_sum_size lap_gradient_sum_bytes(const lap_mesh *mesh, const lap_fold *fold,
                                             const lap_partition *partition,
                                             lap_lane_schedule schedule, const int *places) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  const int64_t arriving = lap_parcel_slots(partition) * lap_parcel_chunk(partition) *
                           most_values(&leaves, fold->replicas, schedule, fold->replica);
  const int64_t vectors =
      schedule == LAP_LANES_CYCLIC
          ? lay_out_lane(partition, places, NULL) +
                most_cyclic(&leaves, fold->replicas) * lap_partition_owned(partition, fold->replica)
          : most_whole(&leaves, fold) * partition->elements;
  const int64_t width = (int64_t)sizeof(float);
  return (lap_gradient_sum_size){vectors * width, arriving * width};
}

/* --- plans of the owners' additions --- */

/* The owner's counter takes the roots of all ranks' ranges. */
static void plan_whole(lap_gradient_sum *sum) {
  const int replicas = sum->fold.replicas;
  lap_tree_counter counter = {.leaves = sum->leaves};
  for (int q = 0, value = 0; q < replicas; ++q) {
    lap_tree_node roots[LAP_TREE_DEPTH];
    const int count = lap_roots_of_replica(&sum->leaves, replicas, q, false, roots);
    sum->first_source[q + 1] = sum->first_source[q] + count;
    for (int i = 0; i < count; ++i) sum->merges[value++] = lap_tree_push(&counter, roots[i]);
  }
  assert(counter.depth == 1);
  *sum->plans = (lap_merge_plan){sum->first_source, sum->merges, 0, 0, 1};
}

/* The owner's counter takes the lanes as they come. */
static void plan_cyclic(lap_gradient_sum *sum) {
  const int replicas = sum->fold.replicas, lanes = lap_mesh_lanes(&sum->mesh);
  lap_tree_counter counter = {.leaves = sum->leaves};
  for (int round = 0; round < sum->rounds; ++round) {
    const int first = round * replicas, count = first + replicas < lanes ? replicas : lanes - first;
    int *first_source = sum->first_source + round * (replicas + 1);
    for (int q = 0; q < replicas; ++q) first_source[q + 1] = first_source[q] + (q < count);
    lap_merge_plan plan = {.first_source = first_source,
                           .merges = sum->merges + first,
                           .before = counter.depth,
                           .low = counter.depth};
    for (int i = 0; i < count; ++i) {
      const int depth = counter.depth;
      sum->merges[first + i] = lap_tree_push(&counter, lap_leaf_of_lane(&sum->leaves, first + i));
      if (depth - sum->merges[first + i] < plan.low) plan.low = depth - sum->merges[first + i];
    }
    plan.after = counter.depth;
    sum->plans[round] = plan;
  }
  assert(counter.depth == 1);
}

/* --- life --- */

/* Where buckets begin: in each partial sum, or in the one cyclic lane. */
static void point_at_buckets(lap_gradient_sum *sum, const int64_t *begin) {
  const int buckets = sum->partition->buckets,
            vectors = sum->schedule == LAP_LANES_CYCLIC ? 1 : sum->partial_count;
  sum->buckets_at = lap_allocate(vectors * buckets, sizeof *sum->buckets_at);
  for (int i = 0; i < vectors; ++i)
    for (int b = 0; b < buckets; ++b)
      sum->buckets_at[i * buckets + b] =
          (sum->schedule == LAP_LANES_CYCLIC ? sum->cyclic_lane : sum->partials[i]) + begin[b];
}

static void place_buckets(lap_gradient_sum *sum, const int *places) {
  const int buckets = sum->partition->buckets;
  for (int b = 0; b < buckets; ++b) {
    sum->place[b] = slot_of(places, b);
    for (int other = 0; other < buckets; ++other)
      sum->shares[b] |= other != b && slot_of(places, other) == sum->place[b];
  }
}

static void allocate_vectors(lap_gradient_sum *sum, const int *places) {
  const lap_partition *partition = sum->partition;
  const int64_t each = sum->schedule == LAP_LANES_CYCLIC
                           ? lap_partition_owned(partition, sum->group.index)
                           : partition->elements;
  sum->partial_count = sum->schedule == LAP_LANES_CYCLIC
                           ? most_cyclic(&sum->leaves, sum->fold.replicas)
                           : most_whole(&sum->leaves, &sum->fold);
  sum->partials = lap_allocate(sum->partial_count, sizeof *sum->partials);
  for (int i = 0; i < sum->partial_count; ++i)
    sum->partials[i] = lap_allocate_aligned(each, sizeof(float));
  if (sum->schedule == LAP_LANES_BLOCK) {
    point_at_buckets(sum, partition->bucket_begin);
    return;
  }
  int64_t *begin = lap_allocate(partition->buckets, sizeof *begin);
  sum->cyclic_lane = lap_allocate_aligned(lay_out_lane(partition, places, begin), sizeof(float));
  point_at_buckets(sum, begin);
  free(begin);
}

lap_gradient_sum *lap_gradient_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                          const lap_fold *fold, const lap_partition *partition,
                                          lap_lane_schedule schedule, const int *places) {
  assert(schedule == LAP_LANES_CYCLIC || !places);
  assert(replicas->size == fold->replicas && replicas->index == fold->replica);
  assert(partition->owners == replicas->size);
  lap_gradient_sum *sum = lap_allocate(1, sizeof *sum);
  sum->group = *replicas;
  sum->mesh = *mesh;
  sum->fold = *fold;
  sum->partition = partition;
  sum->schedule = schedule;
  sum->leaves = lap_leaves_of_mesh(mesh);
  sum->counter.leaves = sum->leaves;
  sum->rounds = lap_fold_rounds(fold, mesh);
  sum->round = -1;
  const size_t buckets = (size_t)partition->buckets;
  sum->progress = lap_allocate(buckets, sizeof *sum->progress);
  sum->order = lap_allocate(buckets, sizeof *sum->order);
  sum->place = lap_allocate(buckets, sizeof *sum->place);
  sum->shares = lap_allocate(buckets, sizeof *sum->shares);
  sum->leaves_by = lap_allocate(buckets, sizeof *sum->leaves_by);
  place_buckets(sum, places);
  allocate_vectors(sum, places);
  const size_t plans = schedule == LAP_LANES_CYCLIC ? (size_t)sum->rounds : 1;
  const int values = most_values(&sum->leaves, fold->replicas, schedule, -1);
  sum->plans = lap_allocate(plans, sizeof *sum->plans);
  sum->first_source = lap_allocate(plans * (fold->replicas + 1), sizeof *sum->first_source);
  sum->merges = lap_allocate(plans * values, sizeof *sum->merges);
  if (schedule == LAP_LANES_CYCLIC)
    plan_cyclic(sum);
  else
    plan_whole(sum);
  lap_parcels_create(&sum->parcels, replicas, partition, values,
                     most_values(&sum->leaves, fold->replicas, schedule, fold->replica),
                     schedule == LAP_LANES_BLOCK);
  return sum;
}

void lap_gradient_sum_destroy(lap_gradient_sum *sum) {
  if (!sum) return;
  lap_parcels_release(&sum->parcels);
  for (int i = 0; i < sum->partial_count; ++i) lap_release_aligned(sum->partials[i]);
  lap_release_aligned(sum->cyclic_lane);
  free(sum->partials);
  free(sum->plans);
  free(sum->first_source);
  free(sum->merges);
  free(sum->progress);
  free(sum->order);
  free(sum->place);
  free(sum->shares);
  free(sum->leaves_by);
  free(sum->buckets_at);
  free(sum);
}

/* --- a step --- */

int lap_gradient_sum_rounds(const lap_gradient_sum *sum) { return sum->rounds; }

int lap_gradient_sum_lane(const lap_gradient_sum *sum, int round) {
  assert(round >= 0 && round < sum->rounds);
  if (sum->schedule == LAP_LANES_CYCLIC) return lap_fold_cyclic_lane(&sum->fold, &sum->mesh, round);
  const int lane = sum->fold.first_lane + round;
  return lane < sum->fold.end_lane ? lane : -1;
}

/* Whether the parcels of this round travel. With one rank a whole sum has all it needs. */
static bool is_sending(const lap_gradient_sum *sum) {
  return sum->schedule == LAP_LANES_CYCLIC ||
         (sum->round == sum->rounds - 1 && sum->group.size > 1);
}

/* Where the buckets of the lane at hand begin. */
static float **lane_buckets(const lap_gradient_sum *sum) {
  return sum->buckets_at +
         (sum->schedule == LAP_LANES_CYCLIC ? 0 : sum->top * sum->partition->buckets);
}

static void push_lane(lap_gradient_sum *sum) {
  sum->top = sum->counter.depth;
  assert(sum->top < sum->partial_count);
  sum->merges_here = lap_tree_push(&sum->counter, lap_leaf_of_lane(&sum->leaves, sum->lane));
}

static void clear(float *vector, int64_t elements) {
#pragma omp parallel for simd schedule(static) if (elements > LAP_PARALLEL_FROM)
  for (int64_t i = 0; i < elements; ++i) vector[i] = 0;
}

static void open_bucket(lap_gradient_sum *sum, int bucket) {
  clear(lane_buckets(sum)[bucket], elements_of(sum->partition, bucket));
  sum->progress[bucket] = OPEN;
}

float *const *lap_gradient_sum_begin(lap_gradient_sum *sum, int round) {
  assert(!sum->open && round == sum->round + 1 && round < sum->rounds);
  sum->open = true;
  sum->round = round;
  sum->lane = lap_gradient_sum_lane(sum, round);
  sum->told_count = 0;
  for (int b = 0; b < sum->partition->buckets; ++b) sum->progress[b] = UNOPENED;
  lap_parcels_add_all(&sum->parcels); /* they leave from vectors that are zeroed here */
  if (sum->lane >= 0 && sum->schedule == LAP_LANES_BLOCK) push_lane(sum);
  if (is_sending(sum)) {
    assert(sum->schedule == LAP_LANES_CYCLIC ||
           sum->counter.depth ==
               sum->first_source[sum->group.index + 1] - sum->first_source[sum->group.index]);
    lap_parcels_begin(&sum->parcels, &sum->plans[sum->schedule == LAP_LANES_CYCLIC ? round : 0],
                      (const float *const *)sum->buckets_at, sum->partials);
  }
  if (sum->lane < 0) return NULL;
  for (int b = 0; b < sum->partition->buckets; ++b)
    if (!sum->shares[b]) open_bucket(sum, b);
  return lane_buckets(sum);
}

static bool is_free(const lap_gradient_sum *sum, int place) {
  for (int b = 0; b < sum->partition->buckets; ++b)
    if (sum->place[b] == place && sum->progress[b] == OPEN) return false;
  return true;
}

void lap_gradient_sum_open(lap_gradient_sum *sum, int bucket) {
  assert(sum->open && bucket >= 0 && bucket < sum->partition->buckets);
  if (!sum->shares[bucket] || sum->lane < 0) return;
  assert(is_free(sum, sum->place[bucket]));
  lap_parcels_add_first(&sum->parcels, sum->leaves_by[sum->place[bucket]]);
  open_bucket(sum, bucket);
}

static void add(float *restrict left, const float *restrict right, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count > LAP_PARALLEL_FROM)
  for (int64_t i = 0; i < count; ++i) left[i] = left[i] + right[i];
}

/* Whole: the lane's bucket into the counter. */
static void add_lane(lap_gradient_sum *sum, int bucket) {
  const int64_t begin = sum->partition->bucket_begin[bucket];
  const int64_t count = elements_of(sum->partition, bucket);
  for (int i = 0, top = sum->top; i < sum->merges_here; ++i, --top)
    add(sum->partials[top - 1] + begin, sum->partials[top] + begin, count);
}

void lap_gradient_sum_bucket(lap_gradient_sum *sum, int bucket) {
  assert(sum->open && bucket >= 0 && bucket < sum->partition->buckets);
  assert(sum->progress[bucket] == (sum->lane >= 0 ? OPEN : UNOPENED));
  if (sum->round == 0) sum->order[sum->told_count] = bucket;
  assert(sum->order[sum->told_count] == bucket);
  sum->progress[bucket] = TOLD;
  ++sum->told_count;
  if (sum->lane >= 0 && bucket < sum->partition->counted_buckets)
    lap_mesh_count_scatter(lap_comm_mesh_traffic(sum->group.comm), &sum->mesh,
                           lap_one_lane(sum->lane), elements_of(sum->partition, bucket),
                           LAP_TRAFFIC_GRADIENTS);
  if (sum->lane >= 0 && sum->schedule == LAP_LANES_BLOCK) add_lane(sum, bucket);
  if (is_sending(sum)) lap_parcels_send(&sum->parcels, bucket);
  sum->leaves_by[sum->place[bucket]] = sum->parcels.sent;
  lap_parcels_add_arrived(&sum->parcels);
}

static void end_bucket(lap_gradient_sum *sum, int bucket) {
  if (sum->progress[bucket] == UNOPENED) lap_gradient_sum_open(sum, bucket);
  lap_gradient_sum_bucket(sum, bucket);
}

void lap_gradient_sum_end(lap_gradient_sum *sum) {
  assert(sum->open);
  const int buckets = sum->partition->buckets;
  /* Round 0 has a lane on every rank and sets the order, so that ranks without one keep it too. */
  while (sum->round > 0 && sum->told_count < buckets) end_bucket(sum, sum->order[sum->told_count]);
  for (int b = 0; b < buckets; ++b)
    if (sum->progress[b] != TOLD) end_bucket(sum, b);
  sum->open = false;
}

void lap_gradient_sum_finish(lap_gradient_sum *sum) {
  assert(!sum->open && sum->round == sum->rounds - 1);
  lap_parcels_add_all(&sum->parcels);
  sum->counter.depth = 0;
  sum->round = -1;
}

float *lap_gradient_sum_whole(const lap_gradient_sum *sum, int bucket) {
  assert(sum->schedule == LAP_LANES_BLOCK && sum->round == -1);
  return sum->partials[0] + sum->partition->bucket_begin[bucket];
}

float *lap_gradient_sum_owned(const lap_gradient_sum *sum, int bucket) {
  assert(sum->round == -1);
  const int index = sum->group.index;
  return sum->partials[0] + (sum->schedule == LAP_LANES_CYCLIC
                                 ? lap_partition_offset(sum->partition, bucket, index)
                                 : lap_partition_range(sum->partition, bucket, index).begin);
}
