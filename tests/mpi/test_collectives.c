/* tree: every collective, on any number of ranks, has the bits of the recursive sum on one process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/core/memory.h"
#include "mpi/agree.h"
#include "mpi/tree.h"
#include "reference.h"

static const lap_mesh meshes[] = {{1, 5, 1}, {2, 3, 1}, {3, 4, 1}, {2, 8, 1}, {1, 13, 1},
                                  {5, 1, 1}, {7, 3, 1}, {1, 1, 1}, {2, 1, 1}};
enum { MESHES = sizeof meshes / sizeof *meshes };
static const int64_t block_counts[] = {0, 1, 2, 3, 7, 32};
enum { BLOCK_COUNTS = sizeof block_counts / sizeof *block_counts };

static int start(void **state) {
  lap_comm *comm;
  lap_status status;
  if (lap_comm_start(&comm, &status) != LAP_OK) return -1;
  lap_comm_set_watchdog(comm, 60);
  *state = comm;
  return 0;
}

static int finish(void **state) {
  lap_comm_finish(*state);
  return 0;
}

/* Fails on all ranks where it fails on one, so that no rank is left waiting in the next collective.
 */
static void assert_everywhere(lap_comm *comm, int64_t mistakes) {
  int64_t fewest, most;
  lap_agree_range(comm, mistakes, &fewest, &most);
  assert_int_equal(most, 0);
}

static bool foldable(lap_comm *comm, const lap_mesh *mesh, lap_fold *fold) {
  lap_status status;
  return lap_mesh_fold(mesh, lap_comm_size(comm), lap_comm_rank(comm), fold, &status) == LAP_OK;
}

/* The lane sum of a step in which lane l has the gradient reference_value(l, .). */
static lap_lane_sum *sum_lanes(const lap_mesh *mesh, const lap_fold *fold, int64_t elements) {
  lap_lane_sum *sum = lap_lane_sum_create(mesh, fold, elements);
  lap_lane_sum_reset(sum);
  for (int lane = fold->first_lane; lane < fold->end_lane; ++lane) {
    float *vector = lap_lane_sum_begin(sum, lane);
    for (int64_t i = 0; i < elements; ++i) vector[i] += reference_value(lane, i);
    lap_lane_sum_end(sum);
  }
  return sum;
}

static float expected_sum(const lap_mesh *mesh, int64_t element) {
  float values[32];
  const int lanes = lap_mesh_lanes(mesh);
  for (int lane = 0; lane < lanes; ++lane) values[lane] = reference_value(lane, element);
  return reference_sum_float(lanes, mesh->data, values);
}

/* How many of the elements [begin, end) in `found` do not have the bits of the reference. */
static int64_t wrong_sums(const lap_mesh *mesh, const float *found, int64_t begin, int64_t end) {
  int64_t wrong = 0;
  for (int64_t i = begin; i < end; ++i) {
    const float expected = expected_sum(mesh, i);
    wrong += memcmp(&expected, &found[i - begin], sizeof expected) != 0;
  }
  return wrong;
}

static void check_reductions(lap_comm *comm, const lap_mesh *mesh, int64_t elements) {
  lap_fold fold;
  if (!foldable(comm, mesh, &fold)) return;
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  const int64_t begin = lap_owned_begin(elements, ranks, rank);
  const int64_t end = lap_owned_end(elements, ranks, rank);
  lap_lane_sum *sum = sum_lanes(mesh, &fold, elements);
  float *piece = lap_allocate((size_t)(end - begin), sizeof *piece);
  lap_tree_reduce_scatter(comm, sum, piece);
  assert_everywhere(comm, wrong_sums(mesh, piece, begin, end));
  float *vector = lap_allocate((size_t)elements, sizeof *vector);
  lap_tree_reduce(comm, sum, vector);
  assert_everywhere(comm, wrong_sums(mesh, vector, 0, elements));
  free(vector);
  free(piece);
  lap_lane_sum_destroy(sum);
}

static void reduced_gradients_have_the_bits_of_the_tree(void **state) {
  for (int m = 0; m < MESHES; ++m)
    for (int b = 0; b < BLOCK_COUNTS; ++b)
      check_reductions(*state, &meshes[m], block_counts[b] * LAP_BLOCK);
}

static void reductions_of_several_rounds_have_the_bits_of_the_tree(void **state) {
  check_reductions(*state, &(lap_mesh){1, 6, 1}, INT64_C(3001) * LAP_BLOCK);
}

static void each_rank_sends_the_optimal_number_of_bytes(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  const lap_mesh mesh = {ranks, 3, 1}; /* one pod a rank: one whole subtree each */
  const int64_t elements = 60 * LAP_BLOCK;
  lap_fold fold;
  assert_true(foldable(comm, &mesh, &fold));
  lap_lane_sum *sum = sum_lanes(&mesh, &fold, elements);
  float *vector = lap_allocate((size_t)elements, sizeof *vector);
  const uint64_t optimal = (uint64_t)(elements * (ranks - 1) / ranks) * sizeof(float);
  const lap_traffic *traffic = lap_comm_traffic(comm);
  const uint64_t before = traffic->within_node[LAP_TRAFFIC_GRADIENTS];
  lap_tree_reduce_scatter(comm, sum, vector);
  const uint64_t scattered = traffic->within_node[LAP_TRAFFIC_GRADIENTS] - before;
  const uint64_t weights = traffic->within_node[LAP_TRAFFIC_WEIGHTS];
  lap_tree_gather(comm, vector, elements, LAP_TRAFFIC_WEIGHTS);
  const uint64_t gathered = traffic->within_node[LAP_TRAFFIC_WEIGHTS] - weights;
  assert_everywhere(comm, scattered != optimal || gathered != optimal);
  assert_int_equal(traffic->between_nodes[LAP_TRAFFIC_GRADIENTS], 0);
  assert_int_equal(lap_comm_ranks_on_node(comm), ranks);
  free(vector);
  lap_lane_sum_destroy(sum);
}

static void check_gather(lap_comm *comm, int64_t elements) {
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  float *vector = lap_allocate((size_t)elements, sizeof *vector);
  const int64_t end = lap_owned_end(elements, ranks, rank);
  for (int64_t i = lap_owned_begin(elements, ranks, rank); i < end; ++i)
    vector[i] = reference_value(7, i);
  lap_tree_gather(comm, vector, elements, LAP_TRAFFIC_WEIGHTS);
  int64_t wrong = 0;
  for (int64_t i = 0; i < elements; ++i) wrong += vector[i] != reference_value(7, i);
  assert_everywhere(comm, wrong);
  free(vector);
}

static void a_gathered_vector_is_whole_everywhere(void **state) {
  for (int b = 0; b < BLOCK_COUNTS; ++b) check_gather(*state, block_counts[b] * LAP_BLOCK);
}

static void pieces_above_the_message_limit_are_cut(void **state) {
  if (lap_comm_size(*state) != 2) return; /* half a gigabyte otherwise */
  check_gather(*state, 2 * (int64_t)LAP_MESSAGE_BYTES / (int64_t)sizeof(float) + 4 * LAP_BLOCK);
}

static void scalars_of_lanes_have_the_bits_of_the_tree(void **state) {
  lap_comm *comm = *state;
  enum { COUNT = 3 };
  for (int m = 0; m < MESHES; ++m) {
    lap_fold fold;
    if (!foldable(comm, &meshes[m], &fold)) continue;
    double mine[32 * COUNT], all[COUNT][32], sums[COUNT];
    const int lanes = lap_mesh_lanes(&meshes[m]);
    for (int lane = 0; lane < lanes; ++lane)
      for (int i = 0; i < COUNT; ++i) {
        all[i][lane] = reference_value(lane, i) / 3.0;
        if (lane >= fold.first_lane && lane < fold.end_lane)
          mine[(lane - fold.first_lane) * COUNT + i] = all[i][lane];
      }
    lap_tree_sum_lanes(comm, &meshes[m], &fold, mine, COUNT, sums);
    int wrong = 0;
    for (int i = 0; i < COUNT; ++i) {
      const double expected = reference_sum_double(lanes, meshes[m].data, all[i]);
      wrong += memcmp(&expected, &sums[i], sizeof expected) != 0;
    }
    assert_everywhere(comm, wrong);
  }
}

static void scalars_of_blocks_have_the_bits_of_the_tree(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  const int64_t counts[] = {0, 1, 2, 3, 5, 37, 1000};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; ++c) {
    const int64_t blocks = counts[c], elements = blocks * LAP_BLOCK;
    double all[1000];
    for (int64_t block = 0; block < blocks; ++block) all[block] = reference_value(block, 5) / 3.0;
    const double found = lap_tree_sum_blocks(
        comm, elements, all + lap_owned_begin(elements, ranks, rank) / LAP_BLOCK);
    const double expected = blocks ? reference_sum_double(blocks, blocks, all) : 0;
    assert_everywhere(comm, memcmp(&found, &expected, sizeof found) != 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reduced_gradients_have_the_bits_of_the_tree),
      cmocka_unit_test(reductions_of_several_rounds_have_the_bits_of_the_tree),
      cmocka_unit_test(each_rank_sends_the_optimal_number_of_bytes),
      cmocka_unit_test(a_gathered_vector_is_whole_everywhere),
      cmocka_unit_test(pieces_above_the_message_limit_are_cut),
      cmocka_unit_test(scalars_of_lanes_have_the_bits_of_the_tree),
      cmocka_unit_test(scalars_of_blocks_have_the_bits_of_the_tree),
  };
  return cmocka_run_group_tests_name("collectives", tests, start, finish);
}
