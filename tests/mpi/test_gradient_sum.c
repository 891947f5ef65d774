/* gradient_sum: on any number of ranks, with block and with cyclic lanes, every element has the
 * bits of the recursive sum over lanes on one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/collective/gradient_sum.h"
#include "mpi/collective/merge_plan.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/transport/agree.h"
#include "reference.h"
#include "world.h"

/* The linker puts this in place of lap_allocate_aligned (CMakeLists.txt): what create allocates for
 * vectors and buffers is what the bytes function says. */
static int64_t allocated;
void *__real_lap_allocate_aligned(int64_t count, size_t size);
void *__wrap_lap_allocate_aligned(int64_t count, size_t size);
void *__wrap_lap_allocate_aligned(int64_t count, size_t size) {
  allocated += count * (int64_t)size;
  return __real_lap_allocate_aligned(count, size);
}

typedef struct {
  lap_mesh mesh;
  int model_ranks;
} layout;

static const layout layouts[] = {
    {{1, 1, 1}, 1}, {{1, 2, 1}, 1}, {{1, 3, 1}, 1},  {{1, 5, 1}, 1}, {{2, 3, 1}, 1},
    {{3, 4, 1}, 1}, {{2, 5, 1}, 1}, {{5, 1, 1}, 1},  {{7, 3, 1}, 1}, {{1, 13, 1}, 1},
    {{2, 8, 1}, 1}, {{1, 3, 2}, 2}, {{2, 3, 2}, 2},  {{3, 1, 4}, 2}, {{1, 2, 4}, 4},
    {{2, 5, 6}, 3}, {{1, 3, 6}, 2}, {{1, 31, 1}, 1},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, MOST_BUCKETS = 8, MOST_LANES = 31 };

/* Segments of each bucket. */
typedef struct {
  int buckets;
  int segments[MOST_BUCKETS];
} vector_shape;

static const vector_shape vectors[] = {
    {1, {1}},                      /* owners without anything */
    {3, {2, 0, 1}},                /* an empty bucket */
    {5, {13, 5, 5, 5, 1}},         /* an embedding, layers, a norm; not divisible by owners */
    {8, {1, 1, 7, 1, 2, 1, 1, 3}}, /* more chunks than are in flight at once */
    {4, {110, 9, 9, 1}},           /* a bucket of many chunks, which threads share */
};
enum { VECTORS = sizeof vectors / sizeof *vectors };

/* The gradient of a lane in a step, on the ranks that hold the same shards. */
static float gradient(int lane, int step, int model_rank, int64_t element) {
  return reference_value(lane, element + 1000003 * (step + 10 * model_rank));
}

static int64_t wrong_sums(const lap_mesh *mesh, const lap_fold *fold, int step,
                          const lap_partition *partition, const lap_gradient_sum *sum) {
  int64_t wrong = 0;
  for (int b = 0; b < partition->buckets; ++b) {
    const lap_range own = lap_partition_range(partition, b, fold->replica);
    const float *owned = lap_gradient_sum_owned(sum, b);
    for (int64_t i = own.begin; i < own.end; ++i) {
      float values[MOST_LANES];
      const int lanes = lap_mesh_lanes(mesh);
      for (int lane = 0; lane < lanes; ++lane)
        values[lane] = gradient(lane, step, fold->model_rank, i);
      const float expected = reference_sum_float(lanes, mesh->data, values);
      wrong += memcmp(&expected, owned++, sizeof expected) != 0;
    }
  }
  return wrong;
}

/* The order in which buckets become ready: backwards but for the first, forwards but for the last,
 * or all at the end of the round. */
typedef enum { BACKWARDS, FORWARDS, AT_THE_END, ORDERS } ready_order;

static void make_ready(lap_gradient_sum *sum, ready_order order, int buckets) {
  for (int i = 0; i + 1 < buckets && order != AT_THE_END; ++i)
    lap_gradient_sum_ready(sum, order == BACKWARDS ? buckets - 1 - i : i);
}

/* A lane's gradient of a bucket, into what must be zero. */
static int64_t accumulate(float *const *buckets, const lap_partition *partition, int b, int lane,
                          int step, int model_rank) {
  int64_t mistakes = 0;
  for (int64_t i = partition->bucket_begin[b]; i < partition->bucket_begin[b + 1]; ++i) {
    float *value = &buckets[b][i - partition->bucket_begin[b]];
    mistakes += *value != 0;
    *value += gradient(lane, step, model_rank, i);
  }
  return mistakes;
}

static int64_t run_step(lap_gradient_sum *sum, const lap_fold *fold, int step,
                        const lap_partition *partition) {
  int64_t mistakes = 0;
  for (int round = 0; round < fold->rounds; ++round) {
    const int lane = lap_lane_in_round(fold->lanes, round);
    float *const *buckets = lap_gradient_sum_begin(sum, round);
    mistakes += (lane < 0) != (buckets == NULL);
    for (int b = 0; b < partition->buckets && buckets; ++b)
      mistakes += accumulate(buckets, partition, b, lane, step, fold->model_rank);
    if (lane >= 0) make_ready(sum, (ready_order)(step % ORDERS), partition->buckets);
    if ((fold->replica + round) % 3 == 1) usleep(300); /* ranks out of step */
    lap_gradient_sum_end(sum);
  }
  lap_gradient_sum_finish(sum);
  return mistakes;
}

/* All buckets but the first and the last take turns in two slots, which are therefore full soon;
 * the next bucket is opened while the one before is still in flight. */
static int64_t run_shared_step(lap_gradient_sum *sum, const lap_fold *fold, int step,
                               const lap_partition *partition) {
  int64_t mistakes = 0;
  const int buckets = partition->buckets;
  for (int round = 0; round < fold->rounds; ++round) {
    const int lane = lap_lane_in_round(fold->lanes, round);
    float *const *at = lap_gradient_sum_begin(sum, round);
    for (int i = 0; i < buckets; ++i) {
      const int b = step % 2 ? i : buckets - 1 - i;
      lap_gradient_sum_open(sum, b);
      if (at) mistakes += accumulate(at, partition, b, lane, step, fold->model_rank);
      if (i + 1 < buckets) lap_gradient_sum_ready(sum, b);
    }
    if ((fold->replica + round) % 3 == 1) usleep(300);
    lap_gradient_sum_end(sum);
  }
  lap_gradient_sum_finish(sum);
  return mistakes;
}

/* Whose sums are added again, and found to be right. */
static int64_t run_checked_step(lap_gradient_sum *sum, const lap_fold *fold, int step,
                                const lap_partition *partition,
                                int64_t (*run)(lap_gradient_sum *, const lap_fold *, int,
                                               const lap_partition *)) {
  lap_status status;
  lap_gradient_sum_set_step(sum, (uint64_t)step + 1);
  const int64_t mistakes = run(sum, fold, step, partition);
  return mistakes + (lap_gradient_sum_verdict(sum, &status) != LAP_OK);
}

static void check_shared_slots(lap_comm *comm, const layout *where, const vector_shape *vector) {
  lap_fold fold;
  if (!world_fold(comm, &where->mesh, where->model_ranks, LAP_LANES_CYCLIC, &fold)) return;
  const lap_group replicas = lap_group_of_replicas(comm, &fold);
  lap_partition *partition = world_partition(vector->segments, vector->buckets, fold.replicas);
  int slots[MOST_BUCKETS];
  for (int b = 0; b < vector->buckets; ++b)
    slots[b] = b > 2 && b + 1 < vector->buckets ? 2 - b % 2 : b;
  allocated = 0;
  lap_gradient_sum *sum = lap_gradient_sum_create(&replicas, &where->mesh, &fold, partition, slots);
  const lap_gradient_sum_size size = lap_gradient_sum_bytes(&where->mesh, &fold, partition, slots);
  int64_t mistakes = allocated != size.vectors + size.arriving;
  lap_gradient_sum_check(sum, 11);
  mistakes += allocated != size.vectors + size.arriving + size.checking;
  const int64_t apart =
      lap_gradient_sum_bytes(&where->mesh, &fold, partition, NULL).vectors - size.vectors;
  mistakes += vector->buckets > 4 ? apart <= 0 : apart != 0;
  for (int step = 0; step < ORDERS; ++step) {
    mistakes += run_checked_step(sum, &fold, step, partition, run_shared_step);
    mistakes += wrong_sums(&where->mesh, &fold, step, partition, sum);
  }
  assert_everywhere(comm, mistakes);
  lap_gradient_sum_destroy(sum);
  lap_partition_destroy(partition);
}

static void check_layout(lap_comm *comm, const layout *where, const vector_shape *vector,
                         lap_lane_schedule schedule) {
  lap_fold fold;
  if (!world_fold(comm, &where->mesh, where->model_ranks, schedule, &fold)) return;
  const lap_group replicas = lap_group_of_replicas(comm, &fold);
  lap_partition *partition = world_partition(vector->segments, vector->buckets, fold.replicas);
  allocated = 0;
  lap_gradient_sum *sum = lap_gradient_sum_create(&replicas, &where->mesh, &fold, partition, NULL);
  const lap_gradient_sum_size size = lap_gradient_sum_bytes(&where->mesh, &fold, partition, NULL);
  int64_t mistakes = allocated != size.vectors + size.arriving;
  lap_gradient_sum_check(sum, 11);
  mistakes += allocated != size.vectors + size.arriving + size.checking;
  const int64_t before = allocated;
  for (int step = 0; step < ORDERS; ++step) {
    mistakes += run_checked_step(sum, &fold, step, partition, run_step);
    mistakes += wrong_sums(&where->mesh, &fold, step, partition, sum);
    for (int b = 0; b < partition->buckets && schedule == LAP_LANES_BLOCK; ++b)
      mistakes +=
          lap_gradient_sum_owned(sum, b) - lap_gradient_sum_whole(sum, b) !=
          lap_partition_range(partition, b, fold.replica).begin - partition->bucket_begin[b];
  }
  assert_everywhere(comm, mistakes + (allocated - before));
  lap_gradient_sum_destroy(sum);
  lap_partition_destroy(partition);
}

static void check_all(lap_comm *comm, lap_lane_schedule schedule) {
  for (int l = 0; l < LAYOUTS; ++l)
    for (int v = 0; v < VECTORS; ++v)
      if (vectors[v].segments[0] < 100 || l == 3 || l == 11)
        check_layout(comm, &layouts[l], &vectors[v], schedule);
}

static void block_lanes_have_the_bits_of_the_tree(void **state) {
  check_all(*state, LAP_LANES_BLOCK);
}

static void cyclic_lanes_have_the_bits_of_the_tree(void **state) {
  check_all(*state, LAP_LANES_CYCLIC);
}

static void buckets_may_share_memory(void **state) {
  for (int l = 0; l < LAYOUTS; ++l)
    for (int v = 1; v < VECTORS; ++v) check_shared_slots(*state, &layouts[l], &vectors[v]);
}

/* Without this the tests above could not fail. */
static void a_left_fold_over_uneven_ranges_gives_other_bits(void **state) {
  (void)state;
  const lap_mesh mesh = {1, 5, 1};
  int64_t different = 0;
  for (int64_t i = 0; i < LAP_SEGMENT; ++i) {
    float values[5], fold = 0;
    for (int lane = 0; lane < 5; ++lane) values[lane] = gradient(lane, 0, 0, i);
    fold = (values[0] + values[1]) + ((values[2] + values[3]) + values[4]); /* two ranks: 2 + 3 */
    const float tree = reference_sum_float(5, mesh.data, values);
    different += memcmp(&fold, &tree, sizeof fold) != 0;
  }
  assert_true(different > LAP_SEGMENT / 10);
}

/* Links with --wrap=lap_merge_tile: what an owner has added of one of its tiles is wrong by one
 * bit. */
static int64_t wrong_offset = -1; /* in what is held; of chunks only: checks hold their own */
static bool is_wrong;
void __real_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset);
void __wrap_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset);
void __wrap_lap_merge_tile(const lap_merge_plan *plan, int values, const float *const *merging,
                           int64_t offset, float *const *held, int64_t held_offset) {
  __real_lap_merge_tile(plan, values, merging, offset, held, held_offset);
  if (!is_wrong || (wrong_offset >= 0 && held_offset != wrong_offset)) return;
  uint32_t bits;
  memcpy(&bits, &held[0][held_offset], sizeof bits);
  bits ^= 1;
  memcpy(&held[0][held_offset], &bits, sizeof bits);
}

/* Rank 1 adds wrongly all the time: its checkers find it in the first step, and it thinks that the
 * others are wrong. */
static void a_rank_that_adds_wrongly_is_found(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  const lap_mesh mesh = {1, ranks, 1};
  const vector_shape vector = {2, {300, 100}};
  for (int schedule = 0; schedule < 2 && ranks > 1; ++schedule) {
    lap_fold fold;
    assert_true(world_fold(comm, &mesh, 1, (lap_lane_schedule)schedule, &fold));
    const lap_group replicas = lap_group_of_replicas(comm, &fold);
    lap_partition *partition = world_partition(vector.segments, vector.buckets, ranks);
    lap_gradient_sum *sum = lap_gradient_sum_create(&replicas, &mesh, &fold, partition, NULL);
    lap_gradient_sum_check(sum, 11);
    int64_t found = 0;
    for (int step = 0; step < 8; ++step) {
      lap_status status = {0};
      is_wrong = lap_comm_rank(comm) == 1;
      lap_gradient_sum_set_step(sum, (uint64_t)step + 1);
      run_step(sum, &fold, step, partition);
      is_wrong = false;
      if (lap_gradient_sum_verdict(sum, &status) == LAP_OK) continue;
      char place[32];
      snprintf(place, sizeof place, ", step %d: ", step + 1);
      ++found;
      if (!strstr(status.message, "wrong arithmetic at rank ") || !strstr(status.message, place) ||
          !strstr(status.message, "of the gradient of bucket "))
        found = -1000;
      if (lap_comm_rank(comm) != 1 && !strstr(status.message, "wrong arithmetic at rank 1 on "))
        found = -1000;
    }
    int64_t fewest, most;
    lap_agree_range(comm, found, &fewest, &most);
    assert_true(fewest >= 0 && most > 0);
    lap_gradient_sum_destroy(sum);
    lap_partition_destroy(partition);
  }
}

/* One addition of a step is wrong: 64 steps later it was added again, on the average. */
static void a_64th_is_added_again(void **state) {
  lap_comm *comm = *state;
  enum { STEPS = 3200, SEGMENTS = 40 };
  const int ranks = lap_comm_size(comm);
  if (ranks != 2) return;
  const lap_mesh mesh = {1, ranks, 1};
  const vector_shape vector = {1, {SEGMENTS}};
  lap_fold fold;
  assert_true(world_fold(comm, &mesh, 1, LAP_LANES_BLOCK, &fold));
  const lap_group replicas = lap_group_of_replicas(comm, &fold);
  lap_partition *partition = world_partition(vector.segments, vector.buckets, ranks);
  lap_gradient_sum *sum = lap_gradient_sum_create(&replicas, &mesh, &fold, partition, NULL);
  lap_gradient_sum_check(sum, 11);
  int64_t found = 0;
  for (int step = 0; step < STEPS; ++step) {
    lap_status status = {0};
    wrong_offset = lap_partition_range(partition, 0, 1).begin + 7 * LAP_SEGMENT;
    is_wrong = lap_comm_rank(comm) == 1;
    lap_gradient_sum_set_step(sum, (uint64_t)step + 1);
    for (int round = 0; round < fold.rounds; ++round) {
      lap_gradient_sum_begin(sum, round);
      lap_gradient_sum_end(sum);
    }
    lap_gradient_sum_finish(sum);
    is_wrong = false;
    found += lap_gradient_sum_verdict(sum, &status) != LAP_OK;
  }
  wrong_offset = -1;
  int64_t fewest, most;
  lap_agree_range(comm, found, &fewest, &most);
  assert_int_equal(fewest, 0);                                      /* on the rank that is wrong */
  assert_in_range(most, STEPS / 64 * 5 / 10, STEPS / 64 * 15 / 10); /* 3.5 deviations */
  lap_gradient_sum_destroy(sum);
  lap_partition_destroy(partition);
}

static void each_rank_sends_the_optimal_number_of_bytes(void **state) {
  lap_comm *comm = *state;
  const int ranks = lap_comm_size(comm);
  const lap_mesh mesh = {ranks, 3, 1}; /* one pod a rank: one whole subtree each */
  const vector_shape vector = {2, {60, 120}};
  lap_fold fold;
  assert_true(world_fold(comm, &mesh, 1, LAP_LANES_BLOCK, &fold));
  const lap_group replicas = lap_group_of_replicas(comm, &fold);
  lap_partition *partition = world_partition(vector.segments, vector.buckets, ranks);
  lap_gradient_sum *sum = lap_gradient_sum_create(&replicas, &mesh, &fold, partition, NULL);
  const uint64_t optimal = (uint64_t)(partition->elements * (ranks - 1) / ranks) * sizeof(float);
  const uint64_t before = lap_comm_traffic(comm)->within_node[LAP_TRAFFIC_GRADIENTS];
  run_step(sum, &fold, 0, partition);
  const uint64_t sent = lap_comm_traffic(comm)->within_node[LAP_TRAFFIC_GRADIENTS] - before;
  assert_everywhere(comm, sent != optimal);
  lap_gradient_sum_destroy(sum);
  lap_partition_destroy(partition);
}

static void sums_hold_few_vectors(void **state) {
  (void)state;
  lap_status status;
  lap_fold fold;
  const lap_mesh mesh = {2, 256, 1};
  const vector_shape vector = {2, {64, 64}};
  const int64_t bytes = 128 * LAP_SEGMENT * (int64_t)sizeof(float);
  assert_int_equal(lap_mesh_fold(&mesh, 1, LAP_LANES_BLOCK, 1, 0, &fold, &status), LAP_OK);
  lap_partition *alone = world_partition(vector.segments, vector.buckets, 1);
  /* log2(512) and the lane; no receive buffers. */
  lap_gradient_sum_size size = lap_gradient_sum_bytes(&mesh, &fold, alone, NULL);
  assert_int_equal(size.vectors, 10 * bytes);
  assert_int_equal(size.arriving, 0);
  assert_int_equal(lap_mesh_fold(&mesh, 1, LAP_LANES_CYCLIC, 8, 3, &fold, &status), LAP_OK);
  lap_partition *shared = world_partition(vector.segments, vector.buckets, 8);
  /* The lane, and an eighth of log2(512 / 8) + 1 vectors; 7 lanes of two chunks of a bucket. */
  size = lap_gradient_sum_bytes(&mesh, &fold, shared, NULL);
  assert_int_equal(size.vectors, bytes + 6 * bytes / 8);
  assert_int_equal(size.arriving, 2 * 7 * bytes / 2 / 8);
  const int one_slot[] = {1, 1};
  size = lap_gradient_sum_bytes(&mesh, &fold, shared, one_slot);
  assert_int_equal(size.vectors, bytes / 2 + 6 * bytes / 8);
  lap_partition_destroy(alone);
  lap_partition_destroy(shared);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(block_lanes_have_the_bits_of_the_tree),
      cmocka_unit_test(cyclic_lanes_have_the_bits_of_the_tree),
      cmocka_unit_test(buckets_may_share_memory),
      cmocka_unit_test(a_left_fold_over_uneven_ranges_gives_other_bits),
      cmocka_unit_test(a_rank_that_adds_wrongly_is_found),
      cmocka_unit_test(a_64th_is_added_again),
      cmocka_unit_test(each_rank_sends_the_optimal_number_of_bytes),
      cmocka_unit_test(sums_hold_few_vectors),
  };
  return cmocka_run_group_tests_name("gradient_sum", tests, world_start, world_finish);
}
