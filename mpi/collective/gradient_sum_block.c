#include "mpi/collective/gradient_sum_block.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/chunk.h"

typedef struct {
  lap_group group;
  const lap_partition *partition;
  int last_round;
  lap_tree_counter counter; /* of this rank's lanes, the current lane included */
  float **partials;         /* [partial_count][elements]: the values of the counter */
  int partial_count;
  float **buckets;      /* [partial_count][buckets]: where each begins */
  int top, merges;      /* the partial of the current lane, and the additions that it allows */
  bool sending;         /* to the owners, in this round */
  lap_merge_plans plan; /* of the last round */
  int64_t *held_offset; /* [buckets]: where this rank's range begins in a partial */
  lap_chunks chunks;
} block_gradients;

/* The most vectors at once, the one that is being accumulated included. */
static int most_partials(const lap_leaves *leaves, lap_lanes lanes) {
  lap_tree_counter counter = {.leaves = *leaves};
  int most = 0;
  for (int i = 0; i < lanes.count; ++i) {
    if (counter.depth + 1 > most) most = counter.depth + 1;
    lap_tree_push(&counter, lap_leaf_of_lane(leaves, lap_lane_in_round(lanes, i)));
  }
  return most;
}

/* The owner's counter takes the subtree roots of all ranks. */
static lap_merge_plans plan_merges(const lap_gradient_setup *setup) {
  const lap_leaves leaves = lap_leaves_of_mesh(setup->mesh);
  const int replicas = setup->fold->replicas;
  lap_tree_node *roots = lap_allocate(leaves.items, sizeof *roots);
  int *counts = lap_allocate(replicas, sizeof *counts);
  int total = 0;
  for (int q = 0; q < replicas; ++q) {
    const lap_lanes lanes = lap_lanes_of_replica(setup->mesh, LAP_LANES_BLOCK, replicas, q);
    counts[q] = lap_roots_of_lanes(&leaves, lanes, roots + total);
    total += counts[q];
  }
  lap_merge_plans plan = lap_merge_plans_create(&leaves, replicas, 1, total);
  lap_merge_plans_add(&plan, roots, counts);
  assert(plan.counter.depth == 1);
  free(counts);
  free(roots);
  return plan;
}

static void bytes(const lap_gradient_setup *setup, int64_t *vectors, int64_t *arriving,
                  int64_t *checking) {
  const lap_leaves leaves = lap_leaves_of_mesh(setup->mesh);
  lap_merge_plans plan = plan_merges(setup);
  *vectors = most_partials(&leaves, setup->fold->lanes) * setup->partition->elements *
             (int64_t)sizeof(float);
  *arriving = lap_chunks_bytes(setup->partition, &plan, setup->fold->replica);
  *checking = lap_sum_check_bytes(setup->partition, &plan, setup->fold->replica);
  lap_merge_plans_release(&plan);
}

static void *create(const lap_gradient_setup *setup) {
  const lap_partition *partition = setup->partition;
  block_gradients *sum = lap_allocate(1, sizeof *sum);
  sum->group = setup->group;
  sum->partition = partition;
  sum->last_round = setup->fold->rounds - 1;
  sum->counter.leaves = lap_leaves_of_mesh(setup->mesh);
  sum->partial_count = most_partials(&sum->counter.leaves, setup->fold->lanes);
  sum->partials = lap_vectors_create(sum->partial_count, partition->elements);
  sum->buckets = lap_vectors_buckets(sum->partials, sum->partial_count, partition->bucket_begin,
                                     partition->buckets);
  sum->plan = plan_merges(setup);
  sum->held_offset = lap_allocate(partition->buckets, sizeof *sum->held_offset);
  for (int b = 0; b < partition->buckets; ++b)
    sum->held_offset[b] = lap_partition_range(partition, b, sum->group.index).begin;
  lap_chunks_create(&sum->chunks, &sum->group, partition, &sum->plan, sum->held_offset);
  return sum;
}

static void destroy(void *state) {
  block_gradients *sum = state;
  lap_chunks_release(&sum->chunks);
  lap_merge_plans_release(&sum->plan);
  lap_vectors_release(sum->partials, sum->partial_count);
  free(sum->buckets);
  free(sum->held_offset);
  free(sum);
}

/* Where the buckets of the current lane begin. */
static float **lane_buckets(const block_gradients *sum) {
  return sum->buckets + (int64_t)sum->top * sum->partition->buckets;
}

static void push_lane(block_gradients *sum, int lane) {
  sum->top = sum->counter.depth;
  assert(sum->top < sum->partial_count);
  sum->merges = lap_tree_push(&sum->counter, lap_leaf_of_lane(&sum->counter.leaves, lane));
  for (int b = 0; b < sum->partition->buckets; ++b)
    lap_vector_clear(lane_buckets(sum)[b], lap_partition_elements(sum->partition, b));
}

static float *const *begin(void *state, int round, int lane) {
  block_gradients *sum = state;
  sum->merges = 0;
  if (lane >= 0) push_lane(sum, lane);
  /* One rank has all it needs. */
  sum->sending = round == sum->last_round && sum->group.size > 1;
  if (sum->sending)
    lap_chunks_begin(&sum->chunks, sum->plan.round, (const float *const *)sum->buckets,
                     sum->partials);
  return lane_buckets(sum);
}

static void add(float *restrict left, const float *restrict right, int64_t count) {
#pragma omp parallel for simd schedule(static) if (count > LAP_PARALLEL_FROM)
  for (int64_t i = 0; i < count; ++i) left[i] = left[i] + right[i];
}

static void ready(void *state, int bucket) {
  block_gradients *sum = state;
  const int64_t begin = sum->partition->bucket_begin[bucket];
  for (int i = 0, top = sum->top; i < sum->merges; ++i, --top)
    add(sum->partials[top - 1] + begin, sum->partials[top] + begin,
        lap_partition_elements(sum->partition, bucket));
  if (!sum->sending) return;
  lap_chunks_send(&sum->chunks, bucket);
  lap_chunks_add_arrived(&sum->chunks);
}

static void finish(void *state) {
  block_gradients *sum = state;
  lap_chunks_finish(&sum->chunks);
  sum->counter.depth = 0;
}

static float *whole(const void *state, int bucket) {
  const block_gradients *sum = state;
  return sum->partials[0] + sum->partition->bucket_begin[bucket];
}

static lap_chunks *chunks(void *state) {
  block_gradients *sum = state;
  return &sum->chunks;
}

static float *owned(const void *state, int bucket) {
  const block_gradients *sum = state;
  return sum->partials[0] + sum->held_offset[bucket];
}

const lap_gradient_strategy lap_gradient_sum_block = {.bytes = bytes,
                                                      .create = create,
                                                      .destroy = destroy,
                                                      .begin = begin,
                                                      .ready = ready,
                                                      .finish = finish,
                                                      .chunks = chunks,
                                                      .owned = owned,
                                                      .whole = whole};
