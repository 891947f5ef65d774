/* block_weights: whatever mesh.shard and the ranks, a block has the newest weights from entering to
 * leaving it, in float32 or rounded to bfloat16; and full gathers each layer as often as is said,
 * one layer ahead. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/matmul/bfloat16.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "trainer/state/block_weights.h"

static const lap_sharding every_sharding[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                              LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};
enum { SHARDINGS = 4, LANES = 4, MOST_LAYERS = 6 };
/* Passes read float32, or bfloat16. */
static const lap_state_use uses[] = {LAP_STATE_WEIGHTS, LAP_STATE_TRAINING_BFLOAT16};
enum { USES = sizeof uses / sizeof *uses };

/* --- a model whose weights say where and of which version they are --- */

typedef struct {
  lap_comm *comm;
  lap_state *state;
  lap_block_weights *weights;
  const lap_parameters *parameters;
  int layers, version;
  bool full;
} world;

/* Both signs, sixteen binades: rounded to bfloat16 they differ still. */
static float weight_of(int64_t element, int version) {
  const uint64_t mixed = (uint64_t)(element * 128 + version % 100) * UINT64_C(0x9e3779b97f4a7c15);
  const uint32_t bits = 0x38000000u | ((uint32_t)(mixed >> 32) & 0x87ffffffu);
  float weight;
  memcpy(&weight, &bits, sizeof weight);
  return weight;
}

static bool place(lap_comm *comm, int shards, int model_ranks, lap_sharding sharding,
                  lap_placement *placement) {
  const lap_mesh mesh = {1, LANES, shards};
  lap_status status;
  return lap_placement_create(&mesh, model_ranks, sharding, comm, placement, &status) == LAP_OK;
}

static void create_placed(world *w, const lap_placement *placement, int layers, lap_state_use use) {
  const lap_gemma2_config model = {.vocab_size = 200,
                                   .hidden_size = 48,
                                   .intermediate_size = 64,
                                   .num_hidden_layers = layers,
                                   .num_attention_heads = 4,
                                   .num_key_value_heads = 2,
                                   .head_dim = 12};
  *w = (world){
      .comm = placement->comm, .layers = layers, .full = placement->sharding == LAP_SHARDING_FULL};
  w->state = lap_state_create(&model, placement, use);
  w->parameters = w->state->parameters;
  w->weights = lap_block_weights_create(w->state);
}

/* One shard, which any ranks can share. */
static void create(world *w, lap_comm *comm, int layers, lap_sharding sharding, lap_state_use use) {
  lap_placement placement = {0};
  assert_true(place(comm, 1, 1, sharding, &placement));
  create_placed(w, &placement, layers, use);
}

static void destroy(world *w) {
  lap_block_weights_wait_all(w->weights);
  lap_block_weights_destroy(w->weights);
  lap_state_destroy(w->state);
}

/* An update: the owner's ranges are right, what else is held is not; or all of it is. */
static void update(world *w, bool everywhere) {
  lap_block_weights_wait_all(w->weights);
  ++w->version;
  for (int b = 0; b < w->parameters->bucket_count; ++b) {
    const lap_range held = lap_state_held(w->state, LAP_WEIGHT, b), own = w->state->owned[b];
    for (int64_t i = held.begin; i < held.end; ++i) {
      const bool right = everywhere || (i >= own.begin && i < own.end);
      *lap_state_at(w->state, LAP_WEIGHT, b, i) = right ? weight_of(i, w->version) : NAN;
    }
  }
  lap_block_weights_changed(w->weights, everywhere);
}

/* Whether passes would read there what element i of the vector is now. */
static bool is_newest(const world *w, int64_t i, const void *at) {
  const float newest = weight_of(i, w->version);
  const uint16_t rounded = lap_bfloat16_pack(newest);
  return lap_state_reads_bfloat16(w->state) ? memcmp(at, &rounded, sizeof rounded) == 0
                                            : memcmp(at, &newest, sizeof newest) == 0;
}

/* Elements of the block that are not those of the newest version. */
static int64_t wrong_in(const world *w, int block) {
  const float *const *pointer = lap_block_weights_buckets(w->weights);
  const uint16_t *const *bfloat16 = lap_block_weights_bfloat16(w->weights);
  int64_t wrong = (pointer != NULL) == (bfloat16 != NULL);
  for (int b = 0; b < w->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = &w->parameters->bucket[b];
    if (bucket->block != block) continue;
    for (int64_t i = bucket->begin; i < bucket->end; ++i)
      wrong += !is_newest(w, i,
                          bfloat16 ? (const void *)(bfloat16[b] + (i - bucket->begin))
                                   : pointer[b] + (i - bucket->begin));
  }
  return wrong;
}

/* A pass over all blocks; right before a block is left its weights must still be there, and the
 * embedding's in the last block too. */
static int64_t wrong_in_pass(world *w, bool backward) {
  int64_t wrong = 0;
  for (int i = 0; i <= w->layers + 1; ++i) {
    const int block = backward ? w->layers + 1 - i : i;
    lap_block_weights_enter(w->weights, block, backward);
    wrong += wrong_in(w, block);
    if (block == w->layers + 1) wrong += wrong_in(w, 0);
  }
  return wrong;
}

/* --- the right weights --- */

static const struct { int shards, model_ranks; } layouts[] = {{1, 1}, {2, 1}, {2, 2}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Forward and backward of two micro-batches, forward alone, and with one version after another. */
static int64_t wrong_in_versions(world *w) {
  int64_t wrong = 0;
  for (int version = 0; version < 4; ++version) {
    update(w, version == 2);
    for (int micro = 0; micro < 2; ++micro) {
      wrong += wrong_in_pass(w, false);
      wrong += wrong_in_pass(w, true);
    }
    for (int evaluation = 0; evaluation < 2; ++evaluation) wrong += wrong_in_pass(w, false);
    lap_block_weights_set_lanes(w->weights, lap_one_lane(version));
    wrong += wrong_in_pass(w, false);
  }
  return wrong;
}

static void every_block_has_the_newest_weights(void **state) {
  int checked = 0;
  for (int s = 0; s < SHARDINGS; ++s)
    for (int layers = 1; layers <= MOST_LAYERS; ++layers)
      for (int l = 0; l < LAYOUTS; ++l)
        for (int u = 0; u < USES; ++u) {
          world w;
          lap_placement placement;
          if (!place(*state, layouts[l].shards, layouts[l].model_ranks, every_sharding[s],
                     &placement))
            continue; /* these ranks cannot share them so */
          create_placed(&w, &placement, layers, uses[u]);
          assert_everywhere(w.comm, wrong_in_versions(&w));
          destroy(&w);
          ++checked;
        }
  assert_true(checked >= USES * SHARDINGS * MOST_LAYERS * 2);
}

/* Two updates without a pass in between: the first one's gathers are in flight at the second. */
static void updates_may_follow_each_other(void **state) {
  for (int i = 0; i < SHARDINGS * USES; ++i) {
    world w;
    create(&w, *state, 3, every_sharding[i / USES], uses[i % USES]);
    update(&w, false);
    update(&w, false);
    lap_block_weights_changed(w.weights, false); /* in flight once more */
    int64_t wrong = wrong_in_pass(&w, false);
    lap_block_weights_enter(w.weights, 4, true); /* a pass is left off */
    update(&w, false);
    wrong += wrong_in_pass(&w, false) + wrong_in_pass(&w, true);
    assert_everywhere(w.comm, wrong);
    destroy(&w);
  }
}

/* All that is gathered of whole weights has arrived, without a pass. */
static void waiting_for_all_makes_whole_weights_right(void **state) {
  for (int s = 0; s < (SHARDINGS - 1) * USES; ++s) {
    world w;
    create(&w, *state, 4, every_sharding[s / USES], uses[s % USES]);
    update(&w, false);
    lap_block_weights_wait_all(w.weights);
    const uint16_t *bfloat16 = w.state->bfloat16;
    int64_t wrong = 0;
    for (int64_t b = 0; b < w.parameters->bucket_count; ++b)
      for (int64_t i = w.parameters->bucket[b].begin; i < w.parameters->bucket[b].end; ++i)
        wrong += !is_newest(
            &w, i, bfloat16 ? (const void *)(bfloat16 + i) : w.state->values[LAP_WEIGHT] + i);
    assert_everywhere(w.comm, wrong);
    destroy(&w);
  }
}

/* Rank 0 computes; the others only join its forward pass. */
static void ranks_without_work_join_the_passes_of_others(void **state) {
  for (int i = 0; i < SHARDINGS * USES; ++i) {
    world w;
    create(&w, *state, 5, every_sharding[i / USES], uses[i % USES]);
    const bool everyone = lap_block_weights_need_everyone(w.weights);
    assert_int_equal(everyone, w.full && lap_comm_size(w.comm) > 1);
    int64_t wrong = 0;
    for (int version = 0; version < 3; ++version) {
      update(&w, false);
      for (int pass = 0; pass < 2; ++pass)
        if (lap_comm_rank(w.comm) == 0)
          wrong += wrong_in_pass(&w, false);
        else
          lap_block_weights_join_pass(w.weights);
    }
    assert_everywhere(w.comm, wrong);
    destroy(&w);
  }
}

/* --- how often, and how far ahead --- */

/* Bytes that the chips of `lanes` send to gather buckets of block `block`: each has a LANES-th of
 * the segments of a bucket, rounded as ranges are, and sends it to all the others. */
static uint64_t bytes_of_block(const world *w, int block, lap_lanes lanes) {
  int64_t segments = 0;
  for (int b = 0; b < w->parameters->bucket_count; ++b) {
    const lap_bucket *bucket = &w->parameters->bucket[b];
    if (bucket->block != block || bucket->is_copy) continue;
    const int64_t all = (bucket->end - bucket->begin) / 1024;
    for (int i = 0; i < lanes.count; ++i) {
      const int lane = lanes.first + i * lanes.stride;
      segments += (lane + 1) * all / LANES - lane * all / LANES;
    }
  }
  return (uint64_t)segments * 1024 * (lap_state_reads_bfloat16(w->state) ? 2 : 4) * (LANES - 1);
}

/* What the gathers started since the last call send, by the table of the logical mesh. */
static uint64_t started_bytes(const world *w) {
  static uint64_t before;
  const uint64_t now = lap_comm_mesh_traffic(w->comm)->ici[LAP_TRAFFIC_WEIGHTS];
  const uint64_t since = now - before;
  before = now;
  return since;
}

/* Without full, all blocks are gathered after an update, for the lanes of this rank; with it, only
 * those that are no layer. Nothing is gathered where all is right already, which in bfloat16 is so
 * where every rank has all in float32. */
static void an_update_gathers_what_is_not_right_already(void **state) {
  for (int i = 0; i < SHARDINGS * USES; ++i)
    for (int l = 0; l < LAYOUTS; ++l) {
      world w;
      lap_placement placement;
      const lap_sharding sharding = every_sharding[i / USES];
      if (!place(*state, layouts[l].shards, layouts[l].model_ranks, sharding, &placement)) continue;
      create_placed(&w, &placement, 3, uses[i % USES]);
      const lap_lanes lanes = w.state->placement.fold.lanes;
      uint64_t all = 0;
      for (int block = 0; block <= 4; ++block)
        if (!w.full || block == 0 || block == 4) all += bytes_of_block(&w, block, lanes);
      started_bytes(&w);
      update(&w, false);
      assert_true(all > 0);
      assert_int_equal(started_bytes(&w), all);
      update(&w, true);
      const bool rounds = uses[i % USES] == LAP_STATE_TRAINING_BFLOAT16;
      const bool gathers = rounds ? sharding != LAP_SHARDING_NONE : w.full;
      assert_int_equal(started_bytes(&w), gathers ? all : 0);
      destroy(&w);
    }
}

/* Entering a block starts the gather of the next layer, in the order of the pass. */
static void check_that_layers_are_gathered_ahead(lap_comm *comm, lap_state_use use) {
  enum { LAYERS = 5 };
  world w;
  create(&w, comm, LAYERS, LAP_SHARDING_FULL, use);
  const lap_lanes lane = lap_one_lane(2);
  update(&w, false);
  lap_block_weights_set_lanes(w.weights, lane);
  for (int micro = 0; micro < 2; ++micro)
    for (int backward = 0; backward < 2; ++backward)
      for (int i = 0; i <= LAYERS + 1; ++i) {
        const int block = backward ? LAYERS + 1 - i : i, next = backward ? block - 1 : block + 1;
        /* The last two layers of a pass are there when the next one begins. */
        const bool is_layer = next >= 1 && next <= LAYERS;
        const bool there = (backward || micro > 0) && i < 2;
        started_bytes(&w);
        lap_block_weights_enter(w.weights, block, backward);
        assert_int_equal(started_bytes(&w),
                         is_layer && !there ? bytes_of_block(&w, next, lane) : 0);
      }
  destroy(&w);
}

static void a_layer_is_gathered_while_the_one_before_computes(void **state) {
  for (int u = 0; u < USES; ++u) check_that_layers_are_gathered_ahead(*state, uses[u]);
}

/* The first pass gathers all layers. Each later one finds the two that the pass before it has left
 * last: a backward pass the last two layers, a forward pass the first two. */
static uint64_t gatherings_of(int layer, int layers, uint64_t micro_batches) {
  uint64_t times = 0;
  const bool first_two = layer <= 2, last_two = layer > layers - 2;
  for (uint64_t pass = 0; pass < 2 * micro_batches; ++pass)
    times += pass == 0 || !(pass % 2 ? last_two : first_two);
  return times;
}

static void layers_are_gathered_as_often_as_announced(void **state) {
  for (int layers = 1; layers <= MOST_LAYERS; ++layers)
    for (uint64_t micro_batches = 1; micro_batches <= 3; ++micro_batches) {
      uint64_t times[MOST_LAYERS + 1];
      world w;
      create(&w, *state, layers, LAP_SHARDING_FULL, uses[layers % USES]);
      lap_block_weights_gatherings(layers, (int64_t)micro_batches, times);
      update(&w, false);
      for (int lane = 0; lane < 2; ++lane) { /* the second lane as the first */
        lap_block_weights_set_lanes(w.weights, lap_one_lane(lane + 1));
        started_bytes(&w);
        uint64_t expected = 0;
        for (int layer = 1; layer <= layers; ++layer) {
          assert_int_equal(times[layer], gatherings_of(layer, layers, micro_batches));
          expected += times[layer] * bytes_of_block(&w, layer, lap_one_lane(lane + 1));
        }
        for (uint64_t micro = 0; micro < micro_batches; ++micro)
          assert_everywhere(w.comm, wrong_in_pass(&w, false) + wrong_in_pass(&w, true));
        assert_int_equal(started_bytes(&w), expected);
      }
      destroy(&w);
    }
}

/* A round in which this rank has no lane counts nothing, but gathers with the others. */
static void no_lane_is_counted_as_none(void **state) {
  world w;
  create(&w, *state, 3, LAP_SHARDING_FULL, LAP_STATE_TRAINING_BFLOAT16);
  update(&w, false);
  for (int lanes_are_set = 0; lanes_are_set < 2; ++lanes_are_set) {
    if (lanes_are_set) lap_block_weights_set_lanes(w.weights, lap_one_lane(-1));
    started_bytes(&w);
    assert_everywhere(w.comm, wrong_in_pass(&w, false) + wrong_in_pass(&w, true));
    assert_int_equal(started_bytes(&w), 0);
  }
  destroy(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_block_has_the_newest_weights),
      cmocka_unit_test(updates_may_follow_each_other),
      cmocka_unit_test(waiting_for_all_makes_whole_weights_right),
      cmocka_unit_test(ranks_without_work_join_the_passes_of_others),
      cmocka_unit_test(an_update_gathers_what_is_not_right_already),
      cmocka_unit_test(a_layer_is_gathered_while_the_one_before_computes),
      cmocka_unit_test(layers_are_gathered_as_often_as_announced),
      cmocka_unit_test(no_lane_is_counted_as_none),
  };
  return cmocka_run_group_tests_name("block_weights", tests, world_start, world_finish);
}
