/* mesh and tree, without MPI: however lanes are distributed over ranks, the counter yields the tree
 * of mpi/tree/node.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mpi/tree/bucket_slots.h"
#include "mpi/tree/lane_tree.h"
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
      push(&rank, lap_leaf_of_lane(&leaves, lane), reference_value(lane, 0));
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
    assert_int_equal(lap_mesh_fold(mesh, 1, LAP_LANES_BLOCK, ranks, q, &fold, &status), LAP_OK);
    assert_int_equal(fold.lanes.first, cuts[q]);
    assert_int_equal(fold.lanes.stride, 1);
    assert_true(fold.lanes.count > 0);
    cuts[q + 1] = fold.lanes.first + fold.lanes.count;
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
    for (int cut_after = 0; cut_after < 1 << 11; ++cut_after) {
      int cuts[13] = {0}, ranks = 0;
      for (int lane = 1; lane < 12; ++lane)
        if (cut_after >> (lane - 1) & 1) cuts[++ranks] = lane;
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
  const lap_leaves leaves = lap_leaves_of_mesh(&mesh);
  for (int lane = 0; lane < 10; ++lane)
    assert_int_equal(lap_leaf_of_lane(&leaves, lane).index, expected[lane]);
}

static void counts_without_a_layout_name_the_nearest_that_work(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 3, 1};
  lap_fold fold;
  lap_status status;
  assert_int_equal(lap_mesh_fold(&mesh, 0, LAP_LANES_BLOCK, 8, 7, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "8 ranks were started"));
  assert_non_null(strstr(status.message, "the nearest counts that work are 6"));
  assert_int_equal(lap_mesh_fold(&mesh, 0, LAP_LANES_BLOCK, 6, 5, &fold, &status), LAP_OK);
  assert_int_equal(fold.lanes.first, 5);
  assert_int_equal(fold.lanes.count, 1);
  const lap_mesh sharded = {1, 3, 4};
  assert_int_equal(lap_mesh_fold(&sharded, 0, LAP_LANES_BLOCK, 7, 0, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "the nearest counts that work are 6 and 8"));
  assert_int_equal(lap_mesh_fold(&sharded, 3, LAP_LANES_BLOCK, 3, 0, &fold, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "mesh.model_ranks is 3"));
  assert_non_null(strstr(status.message, "the nearest counts that work are none"));
}

static void surplus_ranks_are_counted(void **state) {
  (void)state;
  static const struct {
    lap_mesh mesh;
    int model_ranks, ranks, usable;
  } cases[] = {{{1, 4, 1}, 0, 3, 3}, {{1, 4, 1}, 0, 4, 4},        {{1, 4, 1}, 0, 8, 4},
               {{2, 3, 1}, 0, 7, 6}, {{1, 3, 4}, 0, 7, 6},        {{1, 3, 4}, 0, 100, 12},
               {{1, 3, 4}, 2, 7, 6}, {{1, 3, 4}, 2, 1, 0},        {{1, 3, 4}, 3, 9, 0},
               {{1, 1, 8}, 0, 7, 4}, {{1, 768, 8}, 0, 6143, 6136}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const int usable = lap_mesh_usable_ranks(&cases[i].mesh, cases[i].model_ranks, cases[i].ranks);
    assert_int_equal(usable, cases[i].usable);
    lap_fold fold;
    lap_status status;
    if (usable)
      assert_int_equal(lap_mesh_fold(&cases[i].mesh, cases[i].model_ranks, LAP_LANES_BLOCK, usable,
                                     usable - 1, &fold, &status),
                       LAP_OK);
  }
}

static void ranks_stand_in_replicas_that_share_the_shards(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 3, 6};
  lap_fold fold;
  lap_status status;
  assert_int_equal(lap_mesh_fold(&mesh, 2, LAP_LANES_BLOCK, 6, 3, &fold, &status), LAP_OK);
  assert_int_equal(fold.replicas, 3);
  assert_int_equal(fold.replica, 1);
  assert_int_equal(fold.model_rank, 1);
  assert_int_equal(fold.first_shard, 3);
  assert_int_equal(fold.shard_count, 3);
  assert_int_equal(fold.lanes.first, 1);
  /* The fewest ranks a replica with which all ranks have work. */
  assert_int_equal(lap_mesh_fold(&mesh, 0, LAP_LANES_BLOCK, 3, 0, &fold, &status), LAP_OK);
  assert_int_equal(fold.model_ranks, 1);
  assert_int_equal(lap_mesh_fold(&mesh, 0, LAP_LANES_BLOCK, 4, 0, &fold, &status), LAP_OK);
  assert_int_equal(fold.model_ranks, 2);
}

/* In each round a replica has at most one lane, and only its last rounds may have none. */
static void count_lanes(const lap_fold *fold, int held[10]) {
  for (int round = 0; round < fold->rounds; ++round) {
    const int lane = lap_lane_in_round(fold->lanes, round);
    assert_int_equal(lane >= 0, round < fold->lanes.count);
    if (lane < 0) continue;
    assert_in_range(lane, 0, 9);
    if (fold->schedule == LAP_LANES_CYCLIC)
      assert_int_equal(lane, round * fold->replicas + fold->replica);
    ++held[lane];
  }
  assert_true(fold->lanes.count <= fold->rounds);
}

static void every_lane_runs_once_with_either_schedule(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 5, 1};
  for (int ranks = 1; ranks <= 10; ++ranks)
    for (int schedule = 0; schedule < 2; ++schedule) {
      int held[10] = {0}, most = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        lap_fold fold;
        lap_status status;
        assert_int_equal(lap_mesh_fold(&mesh, 1, schedule, ranks, rank, &fold, &status), LAP_OK);
        count_lanes(&fold, held);
        assert_int_equal(fold.rounds, lap_mesh_rounds(&mesh, ranks));
        if (fold.lanes.count > most) most = fold.lanes.count;
      }
      assert_int_equal(most, lap_mesh_rounds(&mesh, ranks));
      for (int lane = 0; lane < 10; ++lane) assert_int_equal(held[lane], 1);
    }
}

/* Of five lanes, 0 to 3 are one node and lane 4 another, up to where the tree ends. */
static void neighbouring_lanes_are_sent_as_subtrees_and_others_one_by_one(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 5, 1};
  const lap_leaves leaves = lap_leaves_of_mesh(&mesh);
  lap_tree_node roots[5];
  assert_int_equal(lap_roots_of_lanes(&leaves, (lap_lanes){0, 1, 5}, roots), 1);
  assert_int_equal(roots[0].level, leaves.levels);
  assert_int_equal(lap_roots_of_lanes(&leaves, (lap_lanes){1, 1, 3}, roots), 2);
  assert_int_equal(roots[0].level, 0);
  assert_int_equal(roots[0].index, 1);
  assert_int_equal(roots[1].level, 1);
  assert_int_equal(roots[1].index, 1);
  roots[3] = (lap_tree_node){7, 7}; /* behind those of three lanes */
  assert_int_equal(lap_roots_of_lanes(&leaves, (lap_lanes){0, 2, 3}, roots), 3);
  assert_int_equal(roots[3].level, 7);
  for (int i = 0; i < 3; ++i) {
    assert_int_equal(roots[i].level, 0);
    assert_int_equal(roots[i].index, 2 * i);
  }
  assert_int_equal(lap_roots_of_lanes(&leaves, (lap_lanes){0, 2, 3}, NULL), 3);
}

static void buckets_of_one_slot_lie_in_the_same_memory(void **state) {
  (void)state;
  const int64_t begins[] = {0, 3 * LAP_SEGMENT, 4 * LAP_SEGMENT, 6 * LAP_SEGMENT, 7 * LAP_SEGMENT};
  lap_partition *partition = lap_partition_create(begins, 5, 9 * LAP_SEGMENT, 1);
  lap_bucket_slots own = lap_bucket_slots_create(partition, NULL);
  for (int b = 0; b < 5; ++b) {
    assert_int_equal(own.offset[b], begins[b]);
    assert_false(own.is_shared[b]);
  }
  assert_int_equal(own.elements, 9 * LAP_SEGMENT);
  /* Of 3, 1, 2, 1 and 2 segments: the four after the first take turns in two slots of 2. */
  lap_bucket_slots shared = lap_bucket_slots_create(partition, (const int[]){0, 1, 1, 3, 3});
  const int64_t expected[] = {0, 3, 3, 5, 5};
  for (int b = 0; b < 5; ++b) {
    assert_int_equal(shared.offset[b], expected[b] * LAP_SEGMENT);
    assert_int_equal(shared.is_shared[b], b > 0);
  }
  assert_int_equal(shared.elements, 7 * LAP_SEGMENT);
  lap_bucket_slots_release(&own);
  lap_bucket_slots_release(&shared);
  lap_partition_destroy(partition);
}

static void efficiency_is_mean_over_fullest(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 8, 1};
  assert_true(lap_mesh_efficiency(&mesh, 4) == 1.0);
  assert_true(lap_mesh_efficiency(&mesh, 3) == 8.0 / 9.0);
  assert_true(lap_mesh_efficiency(&mesh, 5) == 0.8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_fold_of_every_mesh_gives_the_same_bits),
      cmocka_unit_test(every_way_to_cut_twelve_lanes_gives_the_same_bits),
      cmocka_unit_test(a_left_fold_gives_other_bits),
      cmocka_unit_test(pods_are_summed_before_they_are_joined),
      cmocka_unit_test(counts_without_a_layout_name_the_nearest_that_work),
      cmocka_unit_test(surplus_ranks_are_counted),
      cmocka_unit_test(ranks_stand_in_replicas_that_share_the_shards),
      cmocka_unit_test(every_lane_runs_once_with_either_schedule),
      cmocka_unit_test(neighbouring_lanes_are_sent_as_subtrees_and_others_one_by_one),
      cmocka_unit_test(buckets_of_one_slot_lie_in_the_same_memory),
      cmocka_unit_test(efficiency_is_mean_over_fullest),
  };
  return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
