/* traffic: what is counted is what was predicted, to the byte, and the table of the logical mesh
 * does not depend on how the mesh was folded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/collective/bucket_gather.h"
#include "mpi/collective/gradient_sum.h"
#include "mpi/collective/lane_sum.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/collective/segment_sum.h"
#include "mpi/collective/shard_sum.h"
#include "mpi/traffic/plan.h"
#include "mpi/transport/agree.h"
#include "world.h"

/* A toy model: each shard has these buckets, in segments; the last, a norm, only shard 0, and ranks
 * without shard 0 a replica of it at their end. */
static const int shard_segments[] = {11, 3, 3, 1};
enum { SHARD_BUCKETS = 4, MOST_SHARDS = 4, MOST_BUCKETS = SHARD_BUCKETS * MOST_SHARDS + 1 };
/* Rounds and passes of a step, and what its collectives are given. */
enum { PASSES = 2, LANE_DOUBLES = 3, SUM_ELEMENTS = 5001, FEW_ELEMENTS = 77 };

static int buckets_of_shard(int shard) { return shard == 0 ? SHARD_BUCKETS : SHARD_BUCKETS - 1; }

static int64_t elements_of_shards(int count) {
  int64_t segments = 0;
  for (int shard = 0; shard < count; ++shard)
    for (int b = 0; b < buckets_of_shard(shard); ++b) segments += shard_segments[b];
  return segments * LAP_SEGMENT;
}

typedef struct {
  lap_comm *comm;
  lap_rank_layout layout;
  lap_partition *partition;
  int64_t canonical, canonical_begin;
  lap_range own[MOST_BUCKETS]; /* in the canonical vector, of counted buckets */
  size_t weight_size;
} world;

static void make_model(world *w) {
  const lap_fold *fold = &w->layout.fold;
  int segments[MOST_BUCKETS], count = 0;
  for (int s = fold->first_shard; s < fold->first_shard + fold->shard_count; ++s)
    for (int b = 0; b < buckets_of_shard(s); ++b) segments[count++] = shard_segments[b];
  const int counted = count;
  if (fold->first_shard > 0) segments[count++] = shard_segments[SHARD_BUCKETS - 1];
  w->partition = world_partition(segments, count, fold->replicas);
  w->partition->counted_buckets = counted;
  w->canonical = elements_of_shards(w->layout.mesh.model);
  w->canonical_begin = elements_of_shards(fold->first_shard);
  for (int b = 0; b < counted; ++b) {
    const lap_range own = lap_partition_range(w->partition, b, fold->replica);
    w->own[b] = (lap_range){own.begin + w->canonical_begin, own.end + w->canonical_begin};
  }
}

/* --- a step: every collective at least once --- */

static void reduce_gradients(world *w) {
  const lap_group replicas = lap_group_of_replicas(w->comm, &w->layout.fold);
  lap_gradient_sum *sum =
      lap_gradient_sum_create(&replicas, &w->layout.mesh, &w->layout.fold, w->partition, NULL);
  for (int round = 0; round < w->layout.fold.rounds; ++round) {
    lap_gradient_sum_begin(sum, round);
    lap_gradient_sum_end(sum);
  }
  lap_gradient_sum_finish(sum);
  lap_gradient_sum_destroy(sum);
}

/* Each bucket as often as it is needed: once a step for all lanes, or in each pass for the lane at
 * hand. */
static void gather_weights(world *w) {
  const lap_group replicas = lap_group_of_replicas(w->comm, &w->layout.fold);
  const lap_mesh *mesh = &w->layout.mesh;
  lap_bucket_gather *gathers[MOST_BUCKETS];
  const size_t size = w->weight_size;
  char *values = lap_allocate(w->partition->elements, size);
  for (int b = 0; b < w->partition->buckets; ++b)
    gathers[b] = lap_bucket_gather_create(&replicas, w->partition, size);
  const int rounds = w->layout.fold.schedule == LAP_LANES_CYCLIC ? w->layout.fold.rounds : 1;
  for (int pass = 0; pass < rounds * PASSES; ++pass) {
    const lap_lanes lanes =
        w->layout.fold.schedule == LAP_LANES_CYCLIC
            ? lap_one_lane(lap_lane_in_round(w->layout.fold.lanes, pass / PASSES))
            : w->layout.fold.lanes;
    for (int b = 0; b < w->partition->buckets; ++b) {
      const lap_range own = lap_partition_range(w->partition, b, w->layout.fold.replica);
      lap_bucket_gather_count(gathers[b], mesh, lanes);
      lap_bucket_gather_start(gathers[b], b, values + (size_t)own.begin * size,
                              values + (size_t)w->partition->bucket_begin[b] * size,
                              LAP_TRAFFIC_WEIGHTS);
    }
    for (int b = 0; b < w->partition->buckets; ++b) lap_bucket_gather_wait(gathers[b]);
  }
  for (int b = 0; b < w->partition->buckets; ++b) lap_bucket_gather_destroy(gathers[b]);
  free(values);
}

static void sum_shards(world *w) {
  const lap_group shards = lap_group_of_shards(w->comm, &w->layout.fold);
  lap_shard_sum *sum = lap_shard_sum_create(&shards, &w->layout.mesh, &w->layout.fold);
  const lap_shard_group group = lap_shard_sum_group(sum);
  const size_t held = (size_t)w->layout.fold.shard_count;
  double *parts = lap_allocate(held * SUM_ELEMENTS, sizeof *parts);
  double *out = lap_allocate(w->layout.mesh.model * SUM_ELEMENTS, sizeof *out);
  const lap_lanes lanes = w->layout.fold.lanes;
  for (int lane = 0; lane < lanes.count; ++lane) {
    group.sum(sum, (float *)parts, SUM_ELEMENTS, (float *)out);
    group.sum_double(sum, parts, FEW_ELEMENTS, out);
    group.largest(sum, (float *)out, SUM_ELEMENTS);
    lap_shard_sum_collect(sum, (float *)parts, SUM_ELEMENTS, (float *)out);
    lap_shard_sum_any(sum, 0);
  }
  free(parts);
  free(out);
  lap_shard_sum_destroy(sum);
}

static void sum_scalars(world *w) {
  const lap_group replicas = lap_group_of_replicas(w->comm, &w->layout.fold);
  const lap_lanes lanes = w->layout.fold.lanes;
  double sums[LANE_DOUBLES];
  double *mine = lap_allocate(lanes.count * LANE_DOUBLES, sizeof *mine);
  lap_lane_sum *sum =
      lap_lane_sum_create(&replicas, &w->layout.mesh, &w->layout.fold, LANE_DOUBLES);
  lap_lane_sum_run(sum, mine, sums);
  lap_lane_sum_destroy(sum);
  free(mine);
}

static void sum_segments(world *w, lap_segment_sum *sum) {
  double *partials = lap_allocate((w->canonical / LAP_SEGMENT), sizeof *partials);
  lap_segment_sum_run(sum, partials);
  free(partials);
}

/* --- what was counted, and what is predicted --- */

static void subtract(uint64_t *values, const uint64_t *before, size_t count) {
  for (size_t i = 0; i < count; ++i) values[i] -= before[i];
}

static void predict_sent(const world *w, lap_traffic *sent) {
  const lap_fold *fold = &w->layout.fold;
  const uint64_t lanes = (uint64_t)fold->lanes.count;
  const uint64_t gathers =
      PASSES * (w->layout.fold.schedule == LAP_LANES_CYCLIC ? (uint64_t)fold->rounds : 1);
  for (int b = 0; b < w->partition->buckets; ++b) {
    lap_sent_by_gradient_sum(&w->layout, w->partition, b, 1, sent);
    lap_sent_by_bucket_gather(&w->layout, w->partition, b, w->weight_size, LAP_TRAFFIC_WEIGHTS,
                              gathers, sent);
  }
  lap_sent_by_shard_sum(&w->layout, SUM_ELEMENTS, sizeof(float), lanes, sent);
  lap_sent_by_shard_sum(&w->layout, FEW_ELEMENTS, sizeof(double), lanes, sent);
  lap_sent_by_shard_largest(&w->layout, SUM_ELEMENTS, lanes, sent);
  lap_sent_by_shard_collect(&w->layout, SUM_ELEMENTS, lanes, sent);
  lap_sent_by_shard_any(&w->layout, lanes, sent);
  lap_sent_by_lane_sum(&w->layout, LANE_DOUBLES, 1, sent);
  lap_sent_by_segment_sum(&w->layout, w->canonical, w->own, w->partition->counted_buckets, 1, sent);
  lap_sent_by_gather_all(&w->layout, 12, 1, sent);
}

static void predict_mesh(const lap_mesh *mesh, size_t weight_size, lap_mesh_traffic *traffic) {
  const int64_t canonical = elements_of_shards(mesh->model);
  int64_t begin = 0;
  for (int shard = 0; shard < mesh->model; ++shard)
    for (int b = 0; b < buckets_of_shard(shard); ++b) {
      const int64_t elements = (int64_t)shard_segments[b] * LAP_SEGMENT;
      lap_mesh_plan_bucket(mesh, elements, sizeof(float), LAP_TRAFFIC_GRADIENTS, 1, traffic);
      lap_mesh_plan_bucket(mesh, elements, weight_size, LAP_TRAFFIC_WEIGHTS, PASSES, traffic);
      lap_mesh_plan_segment_sum(mesh, canonical, begin, elements, 1, traffic);
      begin += elements;
    }
  lap_mesh_plan_shard_sum(mesh, SUM_ELEMENTS, sizeof(float), 2, traffic); /* and the largest */
  lap_mesh_plan_shard_sum(mesh, FEW_ELEMENTS, sizeof(double), 1, traffic);
  lap_mesh_plan_shard_collect(mesh, SUM_ELEMENTS, 1, traffic);
  lap_mesh_plan_lane_sum(mesh, LANE_DOUBLES, 1, traffic);
}

/* The table of this rank becomes that of all. */
static void add_up(lap_comm *comm, lap_mesh_traffic *traffic) {
  enum { MOST_RANKS = 16 };
  lap_mesh_traffic all[MOST_RANKS];
  lap_gather_all(comm, traffic, sizeof *traffic, all);
  *traffic = (lap_mesh_traffic){0};
  for (int rank = 0; rank < lap_comm_size(comm); ++rank)
    for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind) {
      traffic->ici[kind] += all[rank].ici[kind];
      traffic->dcn[kind] += all[rank].dcn[kind];
    }
}

static void check_fold(world *w) {
  lap_comm *comm = w->comm;
  make_model(w);
  lap_segment_sum *segments =
      lap_segment_sum_create(comm, w->canonical, w->own, w->partition->counted_buckets);
  lap_segment_sum_count(segments, &w->layout.mesh, w->layout.fold.lanes, w->partition,
                        w->canonical_begin);
  const lap_traffic before = *lap_comm_traffic(comm);
  const lap_mesh_traffic mesh_before = *lap_comm_mesh_traffic(comm);
  reduce_gradients(w);
  gather_weights(w);
  sum_shards(w);
  sum_scalars(w);
  sum_segments(w, segments);
  char rows[16][12] = {{0}};
  lap_gather_all(comm, rows[lap_comm_rank(comm)], sizeof *rows, rows);
  lap_traffic counted = *lap_comm_traffic(comm), predicted = {0};
  lap_mesh_traffic mesh = *lap_comm_mesh_traffic(comm), mesh_predicted = {0};
  subtract((uint64_t *)&counted, (const uint64_t *)&before, sizeof counted / sizeof(uint64_t));
  subtract((uint64_t *)&mesh, (const uint64_t *)&mesh_before, sizeof mesh / sizeof(uint64_t));
  predict_sent(w, &predicted);
  predict_mesh(&w->layout.mesh, w->weight_size, &mesh_predicted);
  add_up(comm, &mesh);
  assert_everywhere(comm, memcmp(&counted, &predicted, sizeof counted) != 0);
  assert_everywhere(comm, memcmp(&mesh, &mesh_predicted, sizeof mesh) != 0);
  lap_segment_sum_destroy(segments);
  lap_partition_destroy(w->partition);
}

static void check_all_folds(lap_comm *comm, size_t weight_size) {
  static const int models[] = {1, 2, 4};
  for (int pods = 1; pods <= 3; ++pods)
    for (int data = 1; data <= 5; ++data)
      for (int m = 0; m < 3; ++m)
        for (int model_ranks = 1; model_ranks <= models[m]; model_ranks *= 2)
          for (int schedule = 0; schedule < 2; ++schedule) {
            world w = {
                .comm = comm,
                .layout = {.mesh = {pods, data, models[m]}, .ranks_per_node = lap_comm_size(comm)},
                .weight_size = weight_size};
            if (world_fold(comm, &w.layout.mesh, model_ranks, schedule, &w.layout.fold))
              check_fold(&w);
          }
}

static void counted_is_predicted_to_the_byte(void **state) {
  check_all_folds(*state, sizeof(float));
  check_all_folds(*state, sizeof(uint16_t));
}

/* What follows a message to check it is not what the step sends. */
static void hashes_are_not_counted(void **state) {
  lap_comm_set_hashes(*state, false);
  check_all_folds(*state, sizeof(float));
  lap_comm_set_hashes(*state, true);
}

/* Bytes between ranks do not depend on where nodes end; with one rank a node all are between. */
static void nodes_divide_what_is_sent(void **state) {
  (void)state;
  enum { RANKS = 12 };
  const lap_mesh mesh = {1, 7, 4};
  for (int rank = 0; rank < RANKS; ++rank) {
    uint64_t totals[RANKS + 1];
    for (int on_node = 1; on_node <= RANKS; ++on_node) {
      lap_status status;
      world w = {.layout = {.mesh = mesh, .ranks_per_node = on_node},
                 .weight_size = sizeof(uint16_t)};
      assert_int_equal(
          lap_mesh_fold(&mesh, 2, LAP_LANES_BLOCK, RANKS, rank, &w.layout.fold, &status), LAP_OK);
      make_model(&w);
      lap_traffic sent = {0};
      predict_sent(&w, &sent);
      uint64_t within = 0;
      for (int kind = 0; kind < LAP_TRAFFIC_KINDS; ++kind) within += sent.within_node[kind];
      totals[on_node] = lap_traffic_total(&sent);
      assert_int_equal(totals[on_node], totals[1]);
      if (on_node == 1) assert_int_equal(within, 0);
      if (on_node == RANKS) assert_int_equal(within, totals[1]);
      /* Two ranks a node: a replica's two, whose activations stay. */
      if (on_node == 2) {
        assert_int_equal(sent.between_nodes[LAP_TRAFFIC_ACTIVATIONS], 0);
        assert_int_equal(sent.within_node[LAP_TRAFFIC_GRADIENTS], 0);
      }
      lap_partition_destroy(w.partition);
    }
  }
}

/* Two pods of two lanes, one bucket of 4 segments: each chip sends 2 segments to its neighbour,
 * then one of its two to the other pod. Weights come back in half as many bytes. */
static void the_logical_algorithm_is_that_of_the_page(void **state) {
  (void)state;
  const lap_mesh mesh = {2, 2, 1};
  const uint64_t segment = LAP_SEGMENT * sizeof(float);
  for (int lane = 0; lane < 4; ++lane) {
    lap_mesh_traffic traffic = {0};
    lap_mesh_count_scatter(&traffic, &mesh, lap_one_lane(lane), 4 * LAP_SEGMENT,
                           LAP_TRAFFIC_GRADIENTS);
    lap_mesh_count_gather(&traffic, &mesh, lap_one_lane(lane), 4 * LAP_SEGMENT, sizeof(uint16_t),
                          LAP_TRAFFIC_WEIGHTS);
    lap_mesh_count_roots(&traffic, &mesh, lap_one_lane(lane), 4 * LAP_SEGMENT, 0, 4 * LAP_SEGMENT);
    assert_int_equal(traffic.ici[LAP_TRAFFIC_GRADIENTS], 2 * segment);
    assert_int_equal(traffic.dcn[LAP_TRAFFIC_GRADIENTS], segment);
    assert_int_equal(traffic.dcn[LAP_TRAFFIC_WEIGHTS], segment / 2);
    assert_int_equal(traffic.ici[LAP_TRAFFIC_WEIGHTS], segment);
    assert_int_equal(traffic.ici[LAP_TRAFFIC_SCALARS], 8); /* one root to one neighbour */
    assert_int_equal(traffic.dcn[LAP_TRAFFIC_SCALARS], 16);
  }
  /* Three shards of 7 elements: 2, 2 and 3. Shard 0 sends 2 + 3, then its own 2 to both. */
  lap_mesh_traffic traffic = {0};
  lap_mesh_count_shard_sum(&traffic, &(lap_mesh){1, 1, 3}, 0, 1, 7, sizeof(float));
  assert_int_equal(traffic.ici[LAP_TRAFFIC_ACTIVATIONS], (5 + 4) * 4);
  assert_int_equal(lap_mesh_traffic_total(&traffic), 36);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counted_is_predicted_to_the_byte),
      cmocka_unit_test(hashes_are_not_counted),
      cmocka_unit_test(nodes_divide_what_is_sent),
      cmocka_unit_test(the_logical_algorithm_is_that_of_the_page),
  };
  return cmocka_run_group_tests_name("traffic", tests, world_start, world_finish);
}
