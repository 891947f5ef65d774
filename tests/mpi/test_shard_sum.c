/* shard_sum: partial results of model shards have the bits of the recursive sum over shards,
 * however the shards share ranks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/collective/shard_sum.h"
#include "reference.h"
#include "world.h"

enum { MOST_SHARDS = 8 };
/* One message to all, and ranges, even and not; the last, which threads share, for 6 shards. */
static const int64_t counts[] = {1, 7, 2048, 2049, 5000, 40001};
enum { COUNTS = sizeof counts / sizeof *counts };

typedef struct {
  lap_comm *comm;
  lap_mesh mesh;
  lap_fold fold;
  lap_shard_sum *sum;
  lap_shard_group group;
} world;

/* A part of a shard in a lane; replicas are different lanes. */
static float part_of(const world *w, int shard, int64_t i) {
  return reference_value(shard, i + 100003 * w->fold.replica);
}

static int64_t wrong_floats(world *w, int64_t count) {
  const int shards = w->fold.shard_count;
  float *parts = lap_allocate(shards * count, sizeof *parts);
  float *out = lap_allocate(count, sizeof *out);
  for (int s = 0; s < shards; ++s)
    for (int64_t i = 0; i < count; ++i)
      parts[s * count + i] = part_of(w, w->fold.first_shard + s, i);
  w->group.sum(w->group.context, parts, count, out);
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    float values[MOST_SHARDS];
    for (int s = 0; s < w->mesh.model; ++s) values[s] = part_of(w, s, i);
    const float expected = reference_sum_float(w->mesh.model, w->mesh.model, values);
    wrong += memcmp(&expected, &out[i], sizeof expected) != 0;
  }
  free(parts);
  free(out);
  return wrong;
}

static int64_t wrong_doubles(world *w, int64_t count) {
  const int shards = w->fold.shard_count;
  double *parts = lap_allocate(shards * count, sizeof *parts);
  double *out = lap_allocate(count, sizeof *out);
  for (int s = 0; s < shards; ++s)
    for (int64_t i = 0; i < count; ++i)
      parts[s * count + i] = part_of(w, w->fold.first_shard + s, i) / 3.0;
  w->group.sum_double(w->group.context, parts, count, out);
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    double values[MOST_SHARDS];
    for (int s = 0; s < w->mesh.model; ++s) values[s] = part_of(w, s, i) / 3.0;
    const double expected = reference_sum_double(w->mesh.model, w->mesh.model, values);
    wrong += memcmp(&expected, &out[i], sizeof expected) != 0;
  }
  free(parts);
  free(out);
  return wrong;
}

static int64_t wrong_largest(world *w, int64_t count) {
  float *values = lap_allocate(count, sizeof *values);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = part_of(w, w->fold.first_shard, i);
    for (int s = 1; s < w->fold.shard_count; ++s) {
      const float part = part_of(w, w->fold.first_shard + s, i);
      if (part > values[i]) values[i] = part;
    }
  }
  w->group.largest(w->group.context, values, count);
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    float expected = part_of(w, 0, i);
    for (int s = 1; s < w->mesh.model; ++s)
      if (part_of(w, s, i) > expected) expected = part_of(w, s, i);
    wrong += values[i] != expected;
  }
  free(values);
  return wrong;
}

/* A NaN of one shard, whichever, is there on all ranks. */
static int64_t lost_nan(world *w, int64_t count) {
  (void)count;
  int64_t lost = 0;
  for (int shard = 0; shard < w->mesh.model; ++shard) {
    const bool mine =
        shard >= w->fold.first_shard && shard < w->fold.first_shard + w->fold.shard_count;
    float values[2] = {mine ? NAN : INFINITY, 1};
    w->group.largest(w->group.context, values, 2);
    lost += !isnan(values[0]) || values[1] != 1;
  }
  return lost;
}

static int64_t wrong_collected(world *w, int64_t count) {
  const int shards = w->fold.shard_count;
  float *parts = lap_allocate(shards * count, sizeof *parts);
  for (int s = 0; s < shards; ++s)
    for (int64_t i = 0; i < count; ++i)
      parts[s * count + i] = part_of(w, w->fold.first_shard + s, i);
  const bool first = w->fold.model_rank == 0;
  float *all = first ? lap_allocate(w->mesh.model * count, sizeof *all) : NULL;
  lap_shard_sum_collect(w->sum, parts, count, all);
  int64_t wrong = 0;
  for (int s = 0; s < w->mesh.model && first; ++s)
    for (int64_t i = 0; i < count; ++i) wrong += all[s * count + i] != part_of(w, s, i);
  free(all);
  free(parts);
  return wrong;
}

/* No rank raises a flag; then one rank after the other; then each rank a different one. */
static int64_t wrong_any(world *w, int64_t count) {
  (void)count;
  const int ranks = w->fold.model_ranks, mine = 1 << w->fold.model_rank % 8;
  int64_t wrong = lap_shard_sum_any(w->sum, 0) != 0;
  for (int rank = 0; rank < ranks; ++rank)
    wrong += lap_shard_sum_any(w->sum, rank == w->fold.model_rank ? 2 : 0) != 2;
  return wrong +
         (lap_shard_sum_any(w->sum, (uint8_t)mine) != (ranks >= 8 ? 255 : (1 << ranks) - 1));
}

typedef int64_t (*check)(world *w, int64_t count);

static void on_every_fold(lap_comm *comm, check wrong) {
  for (int model = 1; model <= MOST_SHARDS; ++model)
    for (int model_ranks = 1; model_ranks <= model; ++model_ranks) {
      world w = {.comm = comm, .mesh = {2, 3, model}};
      if (!world_fold(comm, &w.mesh, model_ranks, LAP_LANES_BLOCK, &w.fold)) continue;
      const lap_group shards = lap_group_of_shards(comm, &w.fold);
      w.sum = lap_shard_sum_create(&shards, &w.mesh, &w.fold);
      w.group = lap_shard_sum_group(w.sum);
      int64_t mistakes = 0;
      for (int c = 0; c < COUNTS - (model != 6); ++c) mistakes += wrong(&w, counts[c]);
      assert_everywhere(comm, mistakes);
      lap_shard_sum_destroy(w.sum);
    }
}

static void sums_of_floats_have_the_bits_of_the_tree(void **state) {
  on_every_fold(*state, wrong_floats);
}
static void sums_of_doubles_have_the_bits_of_the_tree(void **state) {
  on_every_fold(*state, wrong_doubles);
}
static void the_largest_value_is_known_to_all(void **state) {
  on_every_fold(*state, wrong_largest);
}
static void what_is_true_somewhere_is_known_to_all(void **state) {
  on_every_fold(*state, wrong_any);
}
static void a_nan_is_largest_on_all(void **state) { on_every_fold(*state, lost_nan); }
static void parts_come_together_on_the_first_rank(void **state) {
  on_every_fold(*state, wrong_collected);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_of_floats_have_the_bits_of_the_tree),
      cmocka_unit_test(sums_of_doubles_have_the_bits_of_the_tree),
      cmocka_unit_test(the_largest_value_is_known_to_all),
      cmocka_unit_test(what_is_true_somewhere_is_known_to_all),
      cmocka_unit_test(a_nan_is_largest_on_all),
      cmocka_unit_test(parts_come_together_on_the_first_rank),
  };
  return cmocka_run_group_tests_name("shard_sum", tests, world_start, world_finish);
}
