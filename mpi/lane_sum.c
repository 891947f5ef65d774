#include "mpi/lane_sum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"

/* Floats of each of the two receive buffers, shared by the roots that arrive in one round. Large
 * enough that a round's start costs nothing beside its bytes, small enough to stay near the caches.
 * The numbers do not depend on it: sums are elementwise. */
enum { ARRIVING_FLOATS = 1 << 21, SMALLEST_CHUNK = 4 * LAP_BLOCK };

static lap_tree_node leaf_of(const lap_leaves *leaves, int lane) {
  return (lap_tree_node){0, lap_leaf_position(leaves, lane)};
}

/* The most vectors ever held at once, the lane that is being accumulated included. */
static int most_partials(const lap_leaves *leaves, const lap_fold *fold) {
  lap_tree_counter counter = {.leaves = *leaves};
  int most = 0;
  for (int lane = fold->first_lane; lane < fold->end_lane; ++lane) {
    if (counter.depth + 1 > most) most = counter.depth + 1;
    lap_tree_push(&counter, leaf_of(leaves, lane));
  }
  return most;
}

/* Number of subtree roots of the lanes that replica q of the fold holds. */
static int roots_of_replica(const lap_leaves *leaves, int replicas, int replica,
                            lap_tree_node roots[LAP_TREE_DEPTH]) {
  return lap_tree_roots(leaves, replica * leaves->items / replicas,
                        (replica + 1) * leaves->items / replicas, roots);
}

static int roots_of_all(const lap_leaves *leaves, int replicas) {
  lap_tree_node roots[LAP_TREE_DEPTH];
  int count = 0;
  for (int replica = 0; replica < replicas; ++replica)
    count += roots_of_replica(leaves, replicas, replica, roots);
  return count;
}

static int roots_of_others(const lap_leaves *leaves, const lap_fold *fold, int all) {
  lap_tree_node roots[LAP_TREE_DEPTH];
  return all - roots_of_replica(leaves, fold->replicas, fold->replica, roots);
}

/* Every rank must cut its messages alike, so the chunk is a function of the mesh and the rank
 * count. `roots` is how many subtree roots all replicas have. */
static int64_t chunk_elements(int roots, int replicas, int64_t elements) {
  int64_t chunk = ARRIVING_FLOATS / roots / LAP_BLOCK * LAP_BLOCK;
  if (chunk < SMALLEST_CHUNK) chunk = SMALLEST_CHUNK;
  const int64_t largest_piece = (elements / LAP_BLOCK + replicas - 1) / replicas * LAP_BLOCK;
  return chunk < largest_piece ? chunk : largest_piece;
}

static void plan_merges(lap_lane_sum *sum) {
  const lap_leaves *leaves = &sum->counter.leaves;
  const int replicas = sum->fold.replicas;
  lap_tree_node roots[LAP_TREE_DEPTH];
  sum->first_root = lap_allocate((size_t)replicas + 1, sizeof *sum->first_root);
  for (int q = 0; q < replicas; ++q)
    sum->first_root[q + 1] = sum->first_root[q] + roots_of_replica(leaves, replicas, q, roots);
  sum->merges = lap_allocate((size_t)sum->first_root[replicas], sizeof *sum->merges);
  lap_tree_counter counter = {.leaves = *leaves};
  for (int q = 0; q < replicas; ++q) {
    const int count = roots_of_replica(leaves, replicas, q, roots);
    for (int i = 0; i < count; ++i)
      sum->merges[sum->first_root[q] + i] = lap_tree_push(&counter, roots[i]);
  }
  assert(counter.depth == 1);
}

lap_lane_sum *lap_lane_sum_create(const lap_mesh *mesh, const lap_fold *fold, int64_t elements) {
  assert(fold->end_lane > fold->first_lane);
  lap_lane_sum *sum = lap_allocate(1, sizeof *sum);
  sum->fold = *fold;
  sum->elements = elements;
  sum->counter.leaves = lap_leaves_of_mesh(mesh);
  sum->partial_count = most_partials(&sum->counter.leaves, fold);
  sum->partials = lap_allocate((size_t)sum->partial_count, sizeof *sum->partials);
  for (int i = 0; i < sum->partial_count; ++i)
    sum->partials[i] = lap_allocate_aligned((size_t)elements, sizeof(float));
  plan_merges(sum);
  const int all = roots_of_all(&sum->counter.leaves, fold->replicas);
  const int others = roots_of_others(&sum->counter.leaves, fold, all);
  sum->chunk = chunk_elements(all, fold->replicas, elements);
  for (int i = 0; i < 2; ++i)
    sum->arriving[i] = lap_allocate_aligned((size_t)others * (size_t)sum->chunk, sizeof(float));
  return sum;
}

void lap_lane_sum_destroy(lap_lane_sum *sum) {
  if (!sum) return;
  for (int i = 0; i < sum->partial_count; ++i) lap_release_aligned(sum->partials[i]);
  for (int i = 0; i < 2; ++i) lap_release_aligned(sum->arriving[i]);
  free(sum->partials);
  free(sum->first_root);
  free(sum->merges);
  free(sum);
}

static lap_lane_sum_size size_of(const lap_leaves *leaves, const lap_fold *fold, int all_roots,
                                 int64_t elements) {
  const int64_t width = (int64_t)sizeof(float);
  const int64_t chunk = chunk_elements(all_roots, fold->replicas, elements);
  const int64_t others = roots_of_others(leaves, fold, all_roots);
  return (lap_lane_sum_size){.vectors = most_partials(leaves, fold) * elements * width,
                             .arriving = 2 * others * chunk * width};
}

lap_lane_sum_size lap_lane_sum_bytes(const lap_mesh *mesh, const lap_fold *fold, int64_t elements) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  return size_of(&leaves, fold, roots_of_all(&leaves, fold->replicas), elements);
}

int lap_lane_sum_fullest(const lap_mesh *mesh, int replicas, int64_t elements) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  const int all = roots_of_all(&leaves, replicas);
  int fullest = 0;
  int64_t most = -1;
  for (int replica = 0; replica < replicas; ++replica) {
    lap_fold fold;
    lap_status never; /* replicas <= lanes */
    lap_mesh_fold(mesh, replicas, replica, &fold, &never);
    const lap_lane_sum_size size = size_of(&leaves, &fold, all, elements);
    if (size.vectors + size.arriving <= most) continue;
    most = size.vectors + size.arriving;
    fullest = replica;
  }
  return fullest;
}

void lap_lane_sum_reset(lap_lane_sum *sum) {
  sum->counter.depth = 0;
  sum->lanes_done = 0;
  sum->lane_open = false;
}

float *lap_lane_sum_begin(lap_lane_sum *sum, int lane) {
  assert(!sum->lane_open && lane == sum->fold.first_lane + sum->lanes_done);
  assert(lane < sum->fold.end_lane && sum->counter.depth < sum->partial_count);
  sum->lane_open = true;
  float *vector = sum->partials[sum->counter.depth];
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < sum->elements; ++i) vector[i] = 0;
  return vector;
}

static void add(float *restrict left, const float *restrict right, int64_t count) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) left[i] = left[i] + right[i];
}

void lap_lane_sum_end(lap_lane_sum *sum) {
  assert(sum->lane_open);
  int top = sum->counter.depth;
  const int lane = sum->fold.first_lane + sum->lanes_done;
  const int merges = lap_tree_push(&sum->counter, leaf_of(&sum->counter.leaves, lane));
  for (int i = 0; i < merges; ++i, --top)
    add(sum->partials[top - 1], sum->partials[top], sum->elements);
  sum->lane_open = false;
  ++sum->lanes_done;
}
