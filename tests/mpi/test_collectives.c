/* Gathers, fetches and sums of scalars, in groups of ranks, on any number of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/collective/bucket_gather.h"
#include "mpi/collective/lane_sum.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/collective/partition_fetch.h"
#include "mpi/collective/segment_sum.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/message.h"
#include "reference.h"
#include "world.h"

typedef struct {
  lap_mesh mesh;
  int model_ranks;
} layout;

static const layout layouts[] = {{{1, 5, 1}, 1}, {{2, 3, 1}, 1},  {{3, 4, 1}, 1}, {{2, 8, 1}, 1},
                                 {{7, 3, 1}, 1}, {{1, 1, 1}, 1},  {{2, 3, 2}, 2}, {{1, 2, 6}, 3},
                                 {{1, 2, 4}, 4}, {{1, 300, 1}, 1}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* --- gathering buckets --- */

/* Element i of a vector of floats, or of halves of floats. */
static void put(char *vector, size_t size, int64_t i, float value) {
  memcpy(vector + (size_t)i * size, &value, size);
}

static bool is_there(const char *vector, size_t size, int64_t i, float value) {
  return memcmp(vector + (size_t)i * size, &value, size) == 0;
}

/* Starts all buckets at once, each rank having its part in place or in an array of its own. */
static void check_gather(lap_comm *comm, const lap_group *group, const int *segments, int buckets,
                         size_t size, bool in_place) {
  enum { MOST = 5 };
  lap_partition *partition = world_partition(segments, buckets, group->size);
  char *vector = lap_allocate(partition->elements + 1, size);
  char *owned = lap_allocate(lap_partition_owned(partition, group->index), size);
  const float untouched = 17; /* past the end */
  put(vector, size, partition->elements, untouched);
  lap_bucket_gather *gathers[MOST];
  for (int b = 0; b < buckets; ++b) {
    const lap_range own = lap_partition_range(partition, b, group->index);
    char *mine = in_place ? vector + (size_t)own.begin * size
                          : owned + (size_t)lap_partition_offset(partition, b, group->index) * size;
    for (int64_t i = own.begin; i < own.end; ++i)
      put(mine, size, i - own.begin, reference_value(group->first, i));
    gathers[b] = lap_bucket_gather_create(group, partition, size);
    lap_bucket_gather_wait(gathers[b]); /* nothing to wait for */
    lap_bucket_gather_start(gathers[b], b, mine, vector + (size_t)partition->bucket_begin[b] * size,
                            LAP_TRAFFIC_WEIGHTS);
  }
  for (int b = buckets - 1; b >= 0; --b) {
    lap_bucket_gather_wait(gathers[b]);
    lap_bucket_gather_destroy(gathers[b]);
  }
  int64_t wrong = !is_there(vector, size, partition->elements, untouched);
  for (int64_t i = 0; i < partition->elements; ++i)
    wrong += !is_there(vector, size, i, reference_value(group->first, i));
  assert_everywhere(comm, wrong);
  free(owned);
  free(vector);
  lap_partition_destroy(partition);
}

static void gathered_buckets_are_whole_everywhere(void **state) {
  lap_comm *comm = *state;
  for (int l = 0; l < LAYOUTS; ++l) {
    lap_fold fold;
    if (!world_fold(comm, &layouts[l].mesh, layouts[l].model_ranks, LAP_LANES_BLOCK, &fold))
      continue;
    const lap_group group = lap_group_of_replicas(comm, &fold);
    for (int in_place = 0; in_place < 2; ++in_place)
      for (size_t size = sizeof(uint16_t); size <= sizeof(float); size += sizeof(uint16_t)) {
        check_gather(comm, &group, (const int[]){1}, 1, size, in_place);
        check_gather(comm, &group, (const int[]){13, 0, 5, 5, 1}, 5, size, in_place);
      }
  }
}

/* As a stepper gathers the gradient: one gather, bucket after bucket. What an earlier bucket had is
 * not sent again. */
static void a_gather_serves_one_bucket_after_another(void **state) {
  lap_comm *comm = *state;
  enum { BUCKETS = 4, ROUNDS = 2 };
  const lap_group group = lap_group_of_all(comm);
  lap_partition *partition = world_partition((const int[]){9, 4, 0, 7}, BUCKETS, group.size);
  float *vector = lap_allocate(partition->elements, sizeof *vector);
  lap_bucket_gather *gather = lap_bucket_gather_create(&group, partition, sizeof *vector);
  int64_t wrong = 0;
  for (int round = 0; round < ROUNDS; ++round)
    for (int b = 0; b < BUCKETS; ++b) {
      const uint64_t before = lap_traffic_total(lap_comm_traffic(comm));
      const lap_range own = lap_partition_range(partition, b, group.index);
      for (int64_t i = 0; i < partition->elements; ++i) vector[i] = -1;
      for (int64_t i = own.begin; i < own.end; ++i) vector[i] = reference_value(round, i);
      lap_bucket_gather_start(gather, b, vector + own.begin, vector + partition->bucket_begin[b],
                              LAP_TRAFFIC_GRADIENTS);
      lap_bucket_gather_wait(gather);
      for (int64_t i = 0; i < partition->elements; ++i) {
        const bool gathered = i >= partition->bucket_begin[b] && i < partition->bucket_begin[b + 1];
        wrong += vector[i] != (gathered ? reference_value(round, i) : -1);
      }
      const uint64_t sent = lap_traffic_total(lap_comm_traffic(comm)) - before;
      wrong += sent != (uint64_t)(lap_range_count(own) * (group.size - 1)) * sizeof(float);
    }
  assert_everywhere(comm, wrong);
  lap_bucket_gather_destroy(gather);
  free(vector);
  lap_partition_destroy(partition);
}

static void pieces_above_the_message_limit_are_cut(void **state) {
  lap_comm *comm = *state;
  if (lap_comm_size(comm) != 2) return; /* half a gigabyte otherwise */
  const lap_group group = lap_group_of_all(comm);
  const int64_t limit = (int64_t)LAP_MESSAGE_BYTES / (int64_t)sizeof(float) / LAP_SEGMENT;
  check_gather(comm, &group, (const int[]){(int)(2 * limit + 4)}, 1, sizeof(float), true);
}

/* --- fetching ranges --- */

/* What one rank wants of a vector of 24 segments: everything, nothing, across buckets and owners,
 * neighbours, single elements. */
typedef struct {
  int count;
  lap_range ranges[4];
} request;

static const request requests[] = {
    {1, {{0, 24 * LAP_SEGMENT}}},
    {0, {{0, 0}}},
    {2, {{100, 100}, {5000, 5001}}},
    {3, {{1023, 1025}, {1025, 9000}, {14000, 24000}}},
    {4, {{0, 1}, {13 * LAP_SEGMENT - 1, 13 * LAP_SEGMENT + 1}, {19000, 19000}, {24575, 24576}}},
    {2, {{700, 2100}, {20000, 23000}}},
    {4, {{10, 20}, {21, 30}, {4095, 4096}, {4097, 4099}}}, /* one element between neighbours */
};
enum { REQUESTS = sizeof requests / sizeof *requests };

static void check_fetch(lap_comm *comm, const lap_group *group, int turn) {
  const int segments[] = {13, 0, 5, 5, 1};
  lap_partition *partition = world_partition(segments, 5, group->size);
  float *owned = lap_allocate(lap_partition_owned(partition, group->index), sizeof *owned);
  for (int b = 0, next = 0; b < 5; ++b) {
    const lap_range own = lap_partition_range(partition, b, group->index);
    for (int64_t i = own.begin; i < own.end; ++i) owned[next++] = reference_value(group->first, i);
  }
  const request *wanted = &requests[(group->index + turn) % REQUESTS];
  int64_t total = 0, wrong = 0;
  for (int r = 0; r < wanted->count; ++r) total += lap_range_count(wanted->ranges[r]);
  float *values = lap_allocate(total, sizeof *values);
  lap_partition_fetch(group, partition, owned, (lap_fetch){wanted->ranges, wanted->count, values},
                      LAP_TRAFFIC_WEIGHTS);
  const float *next = values;
  for (int r = 0; r < wanted->count; ++r)
    for (int64_t i = wanted->ranges[r].begin; i < wanted->ranges[r].end; ++i)
      wrong += *next++ != reference_value(group->first, i);
  assert_everywhere(comm, wrong);
  free(values);
  free(owned);
  lap_partition_destroy(partition);
}

static void any_ranges_of_an_owned_vector_can_be_fetched(void **state) {
  lap_comm *comm = *state;
  for (int l = 0; l < LAYOUTS; ++l) {
    lap_fold fold;
    if (!world_fold(comm, &layouts[l].mesh, layouts[l].model_ranks, LAP_LANES_BLOCK, &fold))
      continue;
    const lap_group group = lap_group_of_replicas(comm, &fold);
    for (int turn = 0; turn < REQUESTS; ++turn) check_fetch(comm, &group, turn);
  }
}

/* --- scalars --- */

static void check_lanes(lap_comm *comm, const lap_mesh *mesh, const lap_fold *fold) {
  enum { COUNT = 3, MOST_LANES = 300 };
  double mine[MOST_LANES * COUNT], all[COUNT][MOST_LANES], sums[COUNT];
  const lap_group group = lap_group_of_replicas(comm, fold);
  for (int lane = 0; lane < lap_mesh_lanes(mesh); ++lane)
    for (int i = 0; i < COUNT; ++i) all[i][lane] = reference_value(lane, i) / 3.0;
  for (int held = 0; held < fold->lanes.count; ++held)
    for (int i = 0; i < COUNT; ++i)
      mine[held * COUNT + i] = all[i][lap_lane_in_round(fold->lanes, held)];
  lap_lane_sum *sum = lap_lane_sum_create(&group, mesh, fold, COUNT);
  int wrong = 0;
  for (int run = 0; run < 2; ++run) {
    memset(sums, 0, sizeof sums);
    lap_lane_sum_run(sum, mine, sums);
    for (int i = 0; i < COUNT; ++i) {
      const double expected = reference_sum_double(lap_mesh_lanes(mesh), mesh->data, all[i]);
      wrong += memcmp(&expected, &sums[i], sizeof expected) != 0;
    }
  }
  assert_everywhere(comm, wrong);
  lap_lane_sum_destroy(sum);
}

static void scalars_of_lanes_have_the_bits_of_the_tree(void **state) {
  for (int l = 0; l < LAYOUTS; ++l)
    for (int cyclic = 0; cyclic < 2; ++cyclic) {
      lap_fold fold;
      if (world_fold(*state, &layouts[l].mesh, layouts[l].model_ranks,
                     cyclic ? LAP_LANES_CYCLIC : LAP_LANES_BLOCK, &fold))
        check_lanes(*state, &layouts[l].mesh, &fold);
    }
}

static double segment_value(int64_t segment, int run) {
  return reference_value(segment, 5 + run) / 3.0;
}

/* Buckets of so many segments, one after another in the canonical vector. */
static void check_segments(lap_comm *comm, const int *segments, int buckets) {
  enum { MOST_BUCKETS = 5, MOST_SEGMENTS = 1024 };
  const int ranks = lap_comm_size(comm), rank = lap_comm_rank(comm);
  lap_partition *partition = world_partition(segments, buckets, ranks);
  lap_range ranges[MOST_BUCKETS];
  for (int b = 0; b < buckets; ++b) ranges[b] = lap_partition_range(partition, b, rank);
  lap_segment_sum *sum = lap_segment_sum_create(comm, partition->elements, ranges, buckets);
  const int64_t count = partition->elements / LAP_SEGMENT;
  int wrong = 0;
  for (int run = 0; run < 2; ++run) {
    double partials[MOST_SEGMENTS], all[MOST_SEGMENTS];
    int64_t held = 0;
    for (int b = 0; b < buckets; ++b)
      for (int64_t segment = ranges[b].begin / LAP_SEGMENT; segment < ranges[b].end / LAP_SEGMENT;
           ++segment)
        partials[held++] = segment_value(segment, run);
    for (int64_t segment = 0; segment < count; ++segment)
      all[segment] = segment_value(segment, run);
    const double found = lap_segment_sum_run(sum, partials);
    const double expected = count ? reference_sum_double(count, count, all) : 0;
    wrong += memcmp(&found, &expected, sizeof found) != 0;
  }
  assert_everywhere(comm, wrong);
  lap_segment_sum_destroy(sum);
  lap_partition_destroy(partition);
}

static void scalars_of_segments_have_the_bits_of_the_tree(void **state) {
  static const int segments[][5] = {{0},
                                    {1},
                                    {2},
                                    {3},
                                    {5},
                                    {37},
                                    {1000},
                                    {13, 0, 5, 5, 1},
                                    {1, 1, 1, 1, 1},
                                    {100, 37, 37, 37, 3}};
  for (size_t c = 0; c < sizeof segments / sizeof *segments; ++c)
    check_segments(*state, segments[c], 5);
}

/* Bytes that a sum adds to the table of the logical mesh. */
static uint64_t counted_of(lap_comm *comm, lap_segment_sum *sum, const double *partials) {
  const uint64_t before = lap_mesh_traffic_total(lap_comm_mesh_traffic(comm));
  lap_segment_sum_run(sum, partials);
  return lap_mesh_traffic_total(lap_comm_mesh_traffic(comm)) - before;
}

/* Nothing at first; then what was said last, not all that was ever said. */
static void sums_of_segments_are_counted_as_last_set(void **state) {
  lap_comm *comm = *state;
  const lap_mesh mesh = {1, 4, 1};
  const lap_lanes one = lap_one_lane(1), all = {0, 1, 4};
  const double partials[37] = {0};
  lap_partition *partition = world_partition((const int[]){37}, 1, lap_comm_size(comm));
  const lap_range own = lap_partition_range(partition, 0, lap_comm_rank(comm));
  lap_segment_sum *sum = lap_segment_sum_create(comm, partition->elements, &own, 1);
  int wrong = counted_of(comm, sum, partials) != 0;
  lap_segment_sum_count(sum, &mesh, one, partition, 0);
  const uint64_t of_one = counted_of(comm, sum, partials);
  wrong += of_one == 0 || counted_of(comm, sum, partials) != of_one;
  lap_segment_sum_count(sum, &mesh, all, partition, 0);
  wrong += counted_of(comm, sum, partials) <= of_one;
  lap_segment_sum_count(sum, &mesh, one, partition, 0);
  wrong += counted_of(comm, sum, partials) != of_one;
  assert_everywhere(comm, wrong);
  lap_segment_sum_destroy(sum);
  lap_partition_destroy(partition);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gathered_buckets_are_whole_everywhere),
      cmocka_unit_test(a_gather_serves_one_bucket_after_another),
      cmocka_unit_test(pieces_above_the_message_limit_are_cut),
      cmocka_unit_test(any_ranges_of_an_owned_vector_can_be_fetched),
      cmocka_unit_test(scalars_of_lanes_have_the_bits_of_the_tree),
      cmocka_unit_test(scalars_of_segments_have_the_bits_of_the_tree),
      cmocka_unit_test(sums_of_segments_are_counted_as_last_set),
  };
  return cmocka_run_group_tests_name("collectives", tests, world_start, world_finish);
}
