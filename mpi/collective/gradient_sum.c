#include "mpi/collective/gradient_sum.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/gradient_strategy.h"
#include "mpi/collective/gradient_sum_block.h"
#include "mpi/collective/gradient_sum_cyclic.h"

/* What has happened to a bucket in the current round. */
typedef enum { UNOPENED, OPEN, READY } bucket_progress;

struct lap_gradient_sum {
  lap_comm *comm;
  lap_mesh mesh;
  lap_fold fold;
  const lap_partition *partition;
  lap_bucket_slots slots;
  const lap_gradient_strategy *strategy;
  void *state; /* the strategy's */

  /* The current round; -1 before the first. */
  int round, lane;
  bool in_round;
  bucket_progress *progress; /* [buckets] */
  int *order;                /* [buckets] in which they became ready in round 0 */
  int ready_count;
};

static const lap_gradient_strategy *strategy_for(const lap_fold *fold) {
  return fold->schedule == LAP_LANES_CYCLIC ? &lap_gradient_sum_cyclic : &lap_gradient_sum_block;
}

lap_gradient_sum_size lap_gradient_sum_bytes(const lap_mesh *mesh, const lap_fold *fold,
                                             const lap_partition *partition, const int *slots) {
  lap_bucket_slots layout = lap_bucket_slots_create(partition, slots);
  const lap_gradient_setup setup = {
      .mesh = mesh, .fold = fold, .partition = partition, .slots = &layout};
  lap_gradient_sum_size size;
  strategy_for(fold)->bytes(&setup, &size.vectors, &size.arriving, &size.checking);
  lap_bucket_slots_release(&layout);
  return size;
}

lap_gradient_sum *lap_gradient_sum_create(const lap_group *replicas, const lap_mesh *mesh,
                                          const lap_fold *fold, const lap_partition *partition,
                                          const int *slots) {
  assert(fold->schedule == LAP_LANES_CYCLIC || !slots);
  assert(replicas->size == fold->replicas && replicas->index == fold->replica);
  assert(partition->owners == replicas->size);
  const size_t buckets = (size_t)partition->buckets;
  lap_gradient_sum *sum = lap_allocate(1, sizeof *sum);
  sum->comm = replicas->comm;
  sum->mesh = *mesh;
  sum->fold = *fold;
  sum->partition = partition;
  sum->slots = lap_bucket_slots_create(partition, slots);
  sum->strategy = strategy_for(fold);
  sum->state = sum->strategy->create(&(lap_gradient_setup){.group = *replicas,
                                                           .mesh = &sum->mesh,
                                                           .fold = &sum->fold,
                                                           .partition = partition,
                                                           .slots = &sum->slots});
  sum->round = -1;
  sum->progress = lap_allocate(buckets, sizeof *sum->progress);
  sum->order = lap_allocate(buckets, sizeof *sum->order);
  return sum;
}

void lap_gradient_sum_destroy(lap_gradient_sum *sum) {
  if (!sum) return;
  sum->strategy->destroy(sum->state);
  lap_bucket_slots_release(&sum->slots);
  free(sum->progress);
  free(sum->order);
  free(sum);
}

void lap_gradient_sum_check(lap_gradient_sum *sum, uint64_t seed) {
  lap_chunks_check(sum->strategy->chunks(sum->state), seed);
}

void lap_gradient_sum_set_step(lap_gradient_sum *sum, uint64_t step) {
  assert(!sum->in_round && sum->round == -1);
  lap_sum_check_set_step(sum->strategy->chunks(sum->state)->check, step);
}

lap_code lap_gradient_sum_verdict(const lap_gradient_sum *sum, lap_status *status) {
  return lap_sum_check_verdict(sum->strategy->chunks(sum->state)->check, status);
}

float *const *lap_gradient_sum_begin(lap_gradient_sum *sum, int round) {
  assert(!sum->in_round && round == sum->round + 1 && round < sum->fold.rounds);
  sum->in_round = true;
  sum->round = round;
  sum->lane = lap_lane_in_round(sum->fold.lanes, round);
  sum->ready_count = 0;
  for (int b = 0; b < sum->partition->buckets; ++b)
    sum->progress[b] = sum->lane < 0 || sum->slots.is_shared[b] ? UNOPENED : OPEN;
  float *const *buckets = sum->strategy->begin(sum->state, round, sum->lane);
  return sum->lane < 0 ? NULL : buckets;
}

void lap_gradient_sum_open(lap_gradient_sum *sum, int bucket) {
  assert(sum->in_round && bucket >= 0 && bucket < sum->partition->buckets);
  if (!sum->slots.is_shared[bucket] || sum->lane < 0) return;
  assert(sum->progress[bucket] == UNOPENED);
  sum->strategy->open(sum->state, bucket);
  sum->progress[bucket] = OPEN;
}

void lap_gradient_sum_ready(lap_gradient_sum *sum, int bucket) {
  assert(sum->in_round && bucket >= 0 && bucket < sum->partition->buckets);
  assert(sum->progress[bucket] == (sum->lane >= 0 ? OPEN : UNOPENED));
  if (sum->round == 0) sum->order[sum->ready_count] = bucket;
  assert(sum->order[sum->ready_count] == bucket);
  sum->progress[bucket] = READY;
  ++sum->ready_count;
  if (sum->lane >= 0 && bucket < sum->partition->counted_buckets)
    lap_mesh_count_scatter(lap_comm_mesh_traffic(sum->comm), &sum->mesh, lap_one_lane(sum->lane),
                           lap_partition_elements(sum->partition, bucket), LAP_TRAFFIC_GRADIENTS);
  sum->strategy->ready(sum->state, bucket);
}

static void end_bucket(lap_gradient_sum *sum, int bucket) {
  if (sum->progress[bucket] == UNOPENED) lap_gradient_sum_open(sum, bucket);
  lap_gradient_sum_ready(sum, bucket);
}

void lap_gradient_sum_end(lap_gradient_sum *sum) {
  assert(sum->in_round);
  const int buckets = sum->partition->buckets;
  /* In round 0 every rank has a lane, so the order of that round is known on all of them. */
  while (sum->round > 0 && sum->ready_count < buckets)
    end_bucket(sum, sum->order[sum->ready_count]);
  for (int b = 0; b < buckets; ++b)
    if (sum->progress[b] != READY) end_bucket(sum, b);
  sum->in_round = false;
}

void lap_gradient_sum_finish(lap_gradient_sum *sum) {
  assert(!sum->in_round && sum->round == sum->fold.rounds - 1);
  sum->strategy->finish(sum->state);
  sum->round = -1;
}

float *lap_gradient_sum_owned(const lap_gradient_sum *sum, int bucket) {
  assert(sum->round == -1);
  return sum->strategy->owned(sum->state, bucket);
}

float *lap_gradient_sum_whole(const lap_gradient_sum *sum, int bucket) {
  assert(sum->round == -1 && sum->strategy->whole);
  return sum->strategy->whole(sum->state, bucket);
}
