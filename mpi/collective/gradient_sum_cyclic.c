#include "mpi/collective/gradient_sum_cyclic.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/chunk.h"

enum { NO_BUCKET = -1 };

typedef struct {
  const lap_partition *partition;
  const lap_bucket_slots *slots;
  float *lane;     /* the memory of the slots */
  float **buckets; /* [buckets] in it */
  int *open;       /* [slots]: the shared bucket that is being accumulated, or NO_BUCKET */
  uint64_t *sent;  /* [slots]: chunks sent when the last bucket of the slot was */
  float **held;    /* [held_count][owned]: the values of the owner's counter */
  int held_count;
  lap_merge_plans plans;
  int64_t *held_offset; /* [buckets]: where this rank's range begins in `held` */
  lap_chunks chunks;
} cyclic_gradients;

/* The owner's counter takes the lanes round by round. */
static lap_merge_plans plan_merges(const lap_gradient_setup *setup) {
  const lap_leaves leaves = lap_leaves_of_mesh(setup->mesh);
  const int replicas = setup->fold->replicas, rounds = setup->fold->rounds;
  lap_merge_plans plans =
      lap_merge_plans_create(&leaves, replicas, rounds, lap_mesh_lanes(setup->mesh));
  lap_tree_node *nodes = lap_allocate(replicas, sizeof *nodes);
  int *counts = lap_allocate(replicas, sizeof *counts);
  for (int round = 0; round < rounds; ++round) {
    int values = 0;
    for (int q = 0; q < replicas; ++q) {
      const int lane = lap_lane_in_round(
          lap_lanes_of_replica(setup->mesh, LAP_LANES_CYCLIC, replicas, q), round);
      counts[q] = lane >= 0;
      if (lane >= 0) nodes[values++] = lap_leaf_of_lane(&leaves, lane);
    }
    lap_merge_plans_add(&plans, nodes, counts);
  }
  assert(plans.counter.depth == 1);
  free(counts);
  free(nodes);
  return plans;
}

static void bytes(const lap_gradient_setup *setup, int64_t *vectors, int64_t *arriving,
                  int64_t *checking) {
  lap_merge_plans plans = plan_merges(setup);
  const int64_t owned = lap_partition_owned(setup->partition, setup->fold->replica);
  *vectors =
      (setup->slots->elements + lap_merge_plans_most_held(&plans) * owned) * (int64_t)sizeof(float);
  *arriving = lap_chunks_bytes(setup->partition, &plans, setup->fold->replica);
  *checking = lap_sum_check_bytes(setup->partition, &plans, setup->fold->replica);
  lap_merge_plans_release(&plans);
}

static void *create(const lap_gradient_setup *setup) {
  const lap_partition *partition = setup->partition;
  const size_t buckets = (size_t)partition->buckets;
  const int index = setup->group.index;
  cyclic_gradients *sum = lap_allocate(1, sizeof *sum);
  sum->partition = partition;
  sum->slots = setup->slots;
  sum->lane = lap_allocate_aligned(setup->slots->elements, sizeof *sum->lane);
  sum->buckets = lap_vectors_buckets(&sum->lane, 1, setup->slots->offset, partition->buckets);
  sum->open = lap_allocate(buckets, sizeof *sum->open);
  for (size_t slot = 0; slot < buckets; ++slot) sum->open[slot] = NO_BUCKET;
  sum->sent = lap_allocate(buckets, sizeof *sum->sent);
  sum->plans = plan_merges(setup);
  sum->held_count = lap_merge_plans_most_held(&sum->plans);
  sum->held = lap_vectors_create(sum->held_count, lap_partition_owned(partition, index));
  sum->held_offset = lap_allocate(buckets, sizeof *sum->held_offset);
  for (int b = 0; b < partition->buckets; ++b)
    sum->held_offset[b] = lap_partition_offset(partition, b, index);
  lap_chunks_create(&sum->chunks, &setup->group, partition, &sum->plans, sum->held_offset);
  return sum;
}

static void destroy(void *state) {
  cyclic_gradients *sum = state;
  lap_chunks_release(&sum->chunks);
  lap_merge_plans_release(&sum->plans);
  lap_vectors_release(sum->held, sum->held_count);
  lap_release_aligned(sum->lane);
  free(sum->buckets);
  free(sum->open);
  free(sum->sent);
  free(sum->held_offset);
  free(sum);
}

static void clear_bucket(cyclic_gradients *sum, int bucket) {
  lap_vector_clear(sum->buckets[bucket], lap_partition_elements(sum->partition, bucket));
}

static float *const *begin(void *state, int round, int lane) {
  cyclic_gradients *sum = state;
  lap_chunks_add_all(&sum->chunks); /* they leave from memory that is zeroed here */
  lap_chunks_begin(&sum->chunks, &sum->plans.round[round], (const float *const *)sum->buckets,
                   sum->held);
  for (int b = 0; b < sum->partition->buckets && lane >= 0; ++b)
    if (!sum->slots->is_shared[b]) clear_bucket(sum, b);
  return sum->buckets;
}

static void open_bucket(void *state, int bucket) {
  cyclic_gradients *sum = state;
  const int slot = sum->slots->slot[bucket];
  assert(sum->open[slot] == NO_BUCKET);
  lap_chunks_add_first(&sum->chunks, sum->sent[slot]);
  sum->open[slot] = bucket;
  clear_bucket(sum, bucket);
}

static void ready(void *state, int bucket) {
  cyclic_gradients *sum = state;
  const int slot = sum->slots->slot[bucket];
  lap_chunks_send(&sum->chunks, bucket);
  sum->open[slot] = NO_BUCKET;
  sum->sent[slot] = sum->chunks.sent;
  lap_chunks_add_arrived(&sum->chunks);
}

static void finish(void *state) {
  cyclic_gradients *sum = state;
  lap_chunks_finish(&sum->chunks);
}

static lap_chunks *chunks(void *state) {
  cyclic_gradients *sum = state;
  return &sum->chunks;
}

static float *owned(const void *state, int bucket) {
  const cyclic_gradients *sum = state;
  return sum->held[0] + sum->held_offset[bucket];
}

const lap_gradient_strategy lap_gradient_sum_cyclic = {.bytes = bytes,
                                                       .create = create,
                                                       .destroy = destroy,
                                                       .begin = begin,
                                                       .open = open_bucket,
                                                       .ready = ready,
                                                       .finish = finish,
                                                       .chunks = chunks,
                                                       .owned = owned};
