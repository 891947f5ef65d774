/* mesh and tree, without MPI: however lanes are dealt to ranks, the counter yields the tree of the
 * page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/core/memory.h"
#include "mpi/mesh.h"
#include "mpi/tree_node.h"
#include "mpi/tree.h"
#include "reference.h"

enum { MOST_LANES = 40 };

/* A counter that carries one float. */
typedef struct {
  lap_tree_counter nodes;
  float values[LAP_TREE_DEPTH];
} float_counter;

static void push(float_counter *counter, lap_tree_node node, float value) {
  int top = counter->nodes.depth;
  counter->values[top] = value;
  const int merges = lap_tree_push(&counter->nodes, node);
  for (int i = 0; i < merges; ++i, --top)
    counter->values[top - 1] = counter->values[top - 1] + counter->values[top];
}

/* Lanes [cuts[q], cuts[q + 1]) belong to rank q: each sums what it holds, then one owner merges. */
static float sum_on_ranks(const lap_mesh *mesh, const int *cuts, int ranks) {
  const lap_leaves leaves = lap_leaves_of_mesh(mesh);
  float_counter owner = {.nodes.leaves = leaves};
  for (int q = 0; q < ranks; ++q) {
    float_counter rank = {.nodes.leaves = leaves};
    for (int lane = cuts[q]; lane < cuts[q + 1]; ++lane)
      push(&rank, (lap_tree_node){0, lap_mesh_leaf(mesh, lane)}, reference_value(lane, 0));
    lap_tree_node roots[LAP_TREE_DEPTH];
    assert_int_equal(lap_tree_roots(&leaves, cuts[q], cuts[q + 1], roots), rank.nodes.depth);
    for (int i = 0; i < rank.nodes.depth; ++i) {
      assert_int_equal(roots[i].level, rank.nodes.nodes[i].level);
      assert_int_equal(roots[i].index, rank.nodes.nodes[i].index);
      push(&owner, roots[i], rank.values[i]);
    }
  }
  assert_int_equal(owner.nodes.depth, 1);
  return owner.values[0];
}

static float reference_of(const lap_mesh *mesh) {
  float values[MOST_LANES];
  for (int lane = 0; lane < lap_mesh_lanes(mesh); ++lane) values[lane] = reference_value(lane, 0);
  return reference_sum_float(lap_mesh_lanes(mesh), mesh->data, values);
}

static void cut_as_folded(const lap_mesh *mesh, int ranks, int *cuts) {
  cuts[0] = 0;
  for (int q = 0; q < ranks; ++q) {
    lap_status status;
    lap_fold fold;
    assert_int_equal(lap_mesh_fold(mesh, ranks, q, &fold, &status), LAP_OK);
    assert_int_equal(fold.first_lane, cuts[q]);
    assert_true(fold.end_lane > fold.first_lane);
    cuts[q + 1] = fold.end_lane;
  }
  assert_int_equal(cuts[ranks], lap_mesh_lanes(mesh));
}

static void every_fold_of_every_mesh_gives_the_same_bits(void **state) {
  (void)state;
  int cuts[MOST_LANES + 1];
  for (int pods = 1; pods <= MOST_LANES; ++pods)
    for (int data = 1; pods * data <= MOST_LANES; ++data) {
      const lap_mesh mesh = {pods, data, 1};
      const float expected = reference_of(&mesh);
      for (int ranks = 1; ranks <= pods * data; ++ranks) {
        cut_as_folded(&mesh, ranks, cuts);
        const float found = sum_on_ranks(&mesh, cuts, ranks);
        assert_memory_equal(&found, &expected, sizeof found);
      }
    }
}

static void every_way_to_cut_twelve_lanes_gives_the_same_bits(void **state) {
  (void)state;
  const lap_mesh meshes[] = {{1, 12, 1}, {2, 6, 1}, {4, 3, 1}, {12, 1, 1}};
  for (size_t m = 0; m < sizeof meshes / sizeof *meshes; ++m) {
    const float expected = reference_of(&meshes[m]);
    for (int places = 0; places < 1 << 11; ++places) {
      int cuts[13] = {0}, ranks = 0;
      for (int lane = 1; lane < 12; ++lane)
        if (places >> (lane - 1) & 1) cuts[++ranks] = lane;
      cuts[++ranks] = 12;
      const float found = sum_on_ranks(&meshes[m], cuts, ranks);
      assert_memory_equal(&found, &expected, sizeof found);
    }
  }
}

/* Without this the tests above could not fail: values that add up alike in any order prove nothing.
 */
static void a_left_fold_gives_other_bits(void **state) {
  (void)state;
  int different = 0;
  for (int lanes = 3; lanes <= MOST_LANES; ++lanes) {
    const lap_mesh mesh = {1, lanes, 1};
    float fold = reference_value(0, 0);
    for (int lane = 1; lane < lanes; ++lane) fold = fold + reference_value(lane, 0);
    const float tree = reference_of(&mesh);
    different += memcmp(&fold, &tree, sizeof fold) != 0;
  }
  assert_true(different > 20);
}

static void pods_are_summed_before_they_are_joined(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 5, 4};
  const int64_t expected[10] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 12};
  for (int lane = 0; lane < 10; ++lane)
    assert_int_equal(lap_mesh_leaf(&mesh, lane), expected[lane]);
}

static void more_ranks_than_lanes_name_a_count_that_works(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 3, 1};
  lap_fold fold;
  lap_status status;
  assert_int_equal(lap_mesh_fold(&mesh, 8, 7, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "8 ranks were started"));
  assert_non_null(strstr(status.message, "start 6 ranks or fewer"));
  assert_int_equal(lap_mesh_fold(&mesh, 6, 5, &fold, &status), LAP_OK);
  assert_int_equal(fold.first_lane, 5);
  assert_int_equal(fold.end_lane, 6);
}

static void efficiency_is_mean_over_fullest(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 8, 1};
  assert_true(lap_mesh_efficiency(&mesh, 4) == 1.0);
  assert_true(lap_mesh_efficiency(&mesh, 3) == 8.0 / 9.0);
  assert_true(lap_mesh_efficiency(&mesh, 5) == 0.8);
}

static void owned_pieces_are_whole_blocks_that_cover_the_vector(void **state) {
  (void)state;
  for (int64_t blocks = 0; blocks < 30; ++blocks)
    for (int ranks = 1; ranks < 40; ++ranks) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        assert_int_equal(lap_owned_begin(blocks * LAP_BLOCK, ranks, rank), next);
        next = lap_owned_end(blocks * LAP_BLOCK, ranks, rank);
        assert_int_equal(next % LAP_BLOCK, 0);
      }
      assert_int_equal(next, blocks * LAP_BLOCK);
    }
  /* 27 billion elements on the ranks of a large machine do not overflow. */
  const int64_t large = INT64_C(26367188) * LAP_BLOCK;
  assert_int_equal(lap_owned_end(large, 100000, 99999), large);
}

static void a_lane_sum_holds_few_vectors(void **state) {
  (void)state;
  lap_status status;
  lap_fold fold;
  const lap_mesh mesh = {2, 256, 1};
  assert_int_equal(lap_mesh_fold(&mesh, 1, 0, &fold, &status), LAP_OK);
  const lap_lane_sum_size size = lap_lane_sum_bytes(&mesh, &fold, LAP_BLOCK);
  const int64_t held = 10; /* log2(512), and the lane at hand */
  assert_int_equal(size.vectors, held * LAP_BLOCK * (int64_t)sizeof(float));
  assert_int_equal(size.arriving, 0);
}

/* Seven lanes on three ranks: 0-1, 2-3, 4-6. The last rank keeps 4+5 while it makes 6; the others
 * keep their first lane while they make the second. On five ranks, 0, 1, 2-3, 4, 5-6: rank 2 and
 * rank 4 hold two vectors; the lanes of rank 4 lie in two subtrees, so less arrives there. */
static void the_fullest_replica_is_the_first_of_the_largest(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 7, 1};
  const int64_t elements = 5 * LAP_BLOCK;
  assert_int_equal(lap_lane_sum_fullest(&mesh, 1, elements), 0);
  assert_int_equal(lap_lane_sum_fullest(&mesh, 5, elements), 2);
  for (int ranks = 1; ranks <= 7; ++ranks) {
    const int fullest = lap_lane_sum_fullest(&mesh, ranks, elements);
    int64_t total[7], most = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      lap_fold fold;
      lap_status status;
      assert_int_equal(lap_mesh_fold(&mesh, ranks, rank, &fold, &status), LAP_OK);
      const lap_lane_sum_size size = lap_lane_sum_bytes(&mesh, &fold, elements);
      total[rank] = size.vectors + size.arriving;
      if (total[rank] > most) most = total[rank];
    }
    assert_int_equal(total[fullest], most);
    for (int rank = 0; rank < fullest; ++rank) assert_true(total[rank] < most);
  }
}

static void a_lane_sum_starts_each_lane_and_each_step_from_zero(void **state) {
  (void)state;
  lap_status status;
  lap_fold fold;
  const lap_mesh mesh = {1, 6, 1};
  assert_int_equal(lap_mesh_fold(&mesh, 1, 0, &fold, &status), LAP_OK);
  lap_lane_sum *sum = lap_lane_sum_create(&mesh, &fold, LAP_BLOCK);
  for (int step = 0; step < 2; ++step) {
    lap_lane_sum_reset(sum);
    for (int lane = 0; lane < 6; ++lane) {
      float *vector = lap_lane_sum_begin(sum, lane);
      for (int i = 0; i < LAP_BLOCK; ++i) {
        assert_true(vector[i] == 0);
        vector[i] = reference_value(lane, i);
      }
      lap_lane_sum_end(sum);
    }
  }
  lap_lane_sum_destroy(sum);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_fold_of_every_mesh_gives_the_same_bits),
      cmocka_unit_test(every_way_to_cut_twelve_lanes_gives_the_same_bits),
      cmocka_unit_test(a_left_fold_gives_other_bits),
      cmocka_unit_test(pods_are_summed_before_they_are_joined),
      cmocka_unit_test(more_ranks_than_lanes_name_a_count_that_works),
      cmocka_unit_test(efficiency_is_mean_over_fullest),
      cmocka_unit_test(owned_pieces_are_whole_blocks_that_cover_the_vector),
      cmocka_unit_test(a_lane_sum_holds_few_vectors),
      cmocka_unit_test(the_fullest_replica_is_the_first_of_the_largest),
      cmocka_unit_test(a_lane_sum_starts_each_lane_and_each_step_from_zero),
  };
  return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
