/* mesh and tree, without MPI: however lanes are distributed over ranks, the counter yields the tree of the
 * page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mpi/tree/mesh.h"
#include "mpi/tree/node.h"
#include "mpi/tree/partition.h"
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
    assert_int_equal(lap_mesh_fold(mesh, 1, ranks, q, &fold, &status), LAP_OK);
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

static void counts_without_a_layout_name_the_nearest_that_work(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 3, 1};
  lap_fold fold;
  lap_status status;
  assert_int_equal(lap_mesh_fold(&mesh, 0, 8, 7, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "8 ranks were started"));
  assert_non_null(strstr(status.message, "the nearest counts that work are 6"));
  assert_int_equal(lap_mesh_fold(&mesh, 0, 6, 5, &fold, &status), LAP_OK);
  assert_int_equal(fold.first_lane, 5);
  assert_int_equal(fold.end_lane, 6);
  const lap_mesh sharded = {1, 3, 4};
  assert_int_equal(lap_mesh_fold(&sharded, 0, 7, 0, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "the nearest counts that work are 6 and 8"));
  assert_int_equal(lap_mesh_fold(&sharded, 3, 3, 0, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "mesh.model_ranks is 3"));
  assert_non_null(strstr(status.message, "the nearest counts that work are none"));
}

static void ranks_stand_in_replicas_that_share_the_shards(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 3, 6};
  lap_fold fold;
  lap_status status;
  assert_int_equal(lap_mesh_fold(&mesh, 2, 6, 3, &fold, &status), LAP_OK);
  assert_int_equal(fold.replicas, 3);
  assert_int_equal(fold.replica, 1);
  assert_int_equal(fold.model_rank, 1);
  assert_int_equal(fold.first_shard, 3);
  assert_int_equal(fold.shard_count, 3);
  assert_int_equal(fold.first_lane, 1);
  /* The fewest ranks a replica that put all ranks to use. */
  assert_int_equal(lap_mesh_fold(&mesh, 0, 3, 0, &fold, &status), LAP_OK);
  assert_int_equal(fold.model_ranks, 1);
  assert_int_equal(lap_mesh_fold(&mesh, 0, 4, 0, &fold, &status), LAP_OK);
  assert_int_equal(fold.model_ranks, 2);
}

static void every_lane_is_held_once_in_ranges_and_in_turn(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 5, 1};
  for (int ranks = 1; ranks <= 10; ++ranks)
    for (int schedule = 0; schedule < 2; ++schedule) {
      int held[10] = {0};
      for (int rank = 0; rank < ranks; ++rank) {
        lap_fold fold;
        lap_status status;
        assert_int_equal(lap_mesh_fold(&mesh, 1, ranks, rank, &fold, &status), LAP_OK);
        const lap_lanes lanes = lap_fold_lanes(&fold, &mesh, schedule);
        for (int i = 0; i < lanes.count; ++i) {
          const int lane = lanes.first + i * lanes.stride;
          assert_in_range(lane, 0, 9);
          ++held[lane];
          if (schedule == LAP_LANES_CYCLIC)
            assert_int_equal(lap_fold_cyclic_lane(&fold, &mesh, i), lane);
        }
      }
      for (int lane = 0; lane < 10; ++lane) assert_int_equal(held[lane], 1);
    }
}

static void efficiency_is_mean_over_fullest(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 8, 1};
  assert_true(lap_mesh_efficiency(&mesh, 4) == 1.0);
  assert_true(lap_mesh_efficiency(&mesh, 3) == 8.0 / 9.0);
  assert_true(lap_mesh_efficiency(&mesh, 5) == 0.8);
}

static void owners_cut_each_bucket_into_whole_blocks(void **state) {
  (void)state;
  const int64_t begins[] = {0, 13 * LAP_BLOCK, 13 * LAP_BLOCK, 14 * LAP_BLOCK};
  for (int owners = 1; owners < 40; ++owners) {
    lap_partition *partition = lap_partition_create(begins, 4, 44 * LAP_BLOCK, owners);
    int64_t owned[40] = {0}, most = 0;
    for (int b = 0; b < 4; ++b) {
      int64_t next = partition->bucket_begin[b], largest = 0;
      for (int owner = 0; owner < owners; ++owner) {
        const lap_range range = lap_partition_range(partition, b, owner);
        assert_int_equal(range.begin, next);
        assert_int_equal(range.end % LAP_BLOCK, 0);
        assert_int_equal(lap_partition_offset(partition, b, owner), owned[owner]);
        next = range.end;
        owned[owner] += lap_range_count(range);
        if (lap_range_count(range) > largest) largest = lap_range_count(range);
      }
      assert_int_equal(next, partition->bucket_begin[b + 1]);
      assert_int_equal(lap_partition_largest(partition, b), largest);
    }
    for (int owner = 0; owner < owners; ++owner) {
      assert_int_equal(lap_partition_owned(partition, owner), owned[owner]);
      if (owned[owner] > most) most = owned[owner];
    }
    assert_int_equal(lap_partition_most_owned(partition), most);
    lap_partition_destroy(partition);
  }
  /* 27 billion elements on the ranks of a large machine do not overflow. */
  const int64_t large = INT64_C(26367188) * LAP_BLOCK;
  lap_partition *partition = lap_partition_create(begins, 1, large, 100000);
  assert_int_equal(lap_partition_range(partition, 0, 99999).end, large);
  lap_partition_destroy(partition);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_fold_of_every_mesh_gives_the_same_bits),
      cmocka_unit_test(every_way_to_cut_twelve_lanes_gives_the_same_bits),
      cmocka_unit_test(a_left_fold_gives_other_bits),
      cmocka_unit_test(pods_are_summed_before_they_are_joined),
      cmocka_unit_test(counts_without_a_layout_name_the_nearest_that_work),
      cmocka_unit_test(ranks_stand_in_replicas_that_share_the_shards),
      cmocka_unit_test(every_lane_is_held_once_in_ranges_and_in_turn),
      cmocka_unit_test(efficiency_is_mean_over_fullest),
      cmocka_unit_test(owners_cut_each_bucket_into_whole_blocks),
  };
  return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
