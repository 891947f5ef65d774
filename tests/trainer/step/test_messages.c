/* messages: the list of a step's messages is what a pencil says, whatever shards it is made with;
 * that runs send it is held by tests/system/test_traffic.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autograd/op/loss_row.h"
#include "trainer/config/load.h"
#include "trainer/step/messages.h"
#include "trainer/step/step.h"

/* A lane of two micro-batches of 2 x 4 positions. */
static const char text[] =
    "model: {vocab_size: 512, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3,"
    " num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, sliding_window: 2,"
    " query_pre_attn_scalar: 8}\n"
    "data: {sequence_length: 4}\n"
    "batch: {sequences: 24, micro_sequences: 2}\n"
    "mesh: {pods: 2, data: 3, model: 2}\n";
enum { LAYERS = 3, HIDDEN = 32, ROWS = 8, TEACHER_K = 5, MICRO_BATCHES = 2, SHARDS = 2 };
/* Of shard 0, in order: embedding, layers, final norm; of shard 1 no norms. */
enum { BUCKETS_OF_FIRST = LAYERS + 2, BUCKETS = BUCKETS_OF_FIRST + LAYERS + 1 };

typedef struct {
  lap_config *config;
  lap_gemma2 *model;
  lap_step_messages *list;
} fixture;

/* A list made with these shards. */
static fixture open_list(const char *const *overrides, size_t count, int first, int shards) {
  fixture f;
  lap_status status;
  if (lap_config_parse("test", text, sizeof text - 1, overrides, count, &f.config, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  const lap_shard_range range = {f.config->mesh.model, first, shards};
  f.model = lap_stepper_record(f.config, range, TEACHER_K, false);
  f.list = lap_step_messages_create(f.config, f.model->parameters, f.model->tape);
  return f;
}

static void close_list(fixture *f) {
  lap_step_messages_destroy(f->list);
  lap_gemma2_destroy(f->model);
  lap_config_destroy(f->config);
}

/* The message of this kind (and bucket, or of this many elements), or NULL. */
static const lap_message *find(const fixture *f, lap_message_kind kind, int bucket,
                               int64_t elements) {
  const lap_message *found = NULL;
  for (int i = 0; i < f->list->count; ++i) {
    const lap_message *m = &f->list->message[i];
    if (m->kind != kind || m->bucket != bucket || (elements && m->elements != elements)) continue;
    assert_null(found); /* messages that differ in nothing are one */
    found = m;
  }
  return found;
}

static int count_kind(const fixture *f, lap_message_kind kind) {
  int count = 0;
  for (int i = 0; i < f->list->count; ++i) count += f->list->message[i].kind == kind;
  return count;
}

/* --- gradients and weights --- */

static void gradients_of_every_bucket_go_to_their_owners(void **state) {
  (void)state;
  fixture f = open_list(NULL, 0, 0, SHARDS);
  assert_int_equal(f.model->parameters->bucket_count, BUCKETS);
  assert_int_equal(count_kind(&f, LAP_MESSAGE_GRADIENT_SUM), BUCKETS);
  for (int b = 0; b < BUCKETS; ++b) {
    const lap_bucket *bucket = &f.model->parameters->bucket[b];
    const lap_message *m = find(&f, LAP_MESSAGE_GRADIENT_SUM, b, 0);
    assert_non_null(m);
    assert_int_equal(m->elements, bucket->end - bucket->begin);
    assert_int_equal(m->element_size, sizeof(float));
    assert_int_equal(m->block, bucket->block);
    assert_true(m->times == 1 && m->rate == LAP_EACH_STEP);
    const bool of_layer = bucket->block >= 1 && bucket->block <= LAYERS;
    assert_int_equal(m->overlap, of_layer ? LAP_BESIDE_BACKWARD : LAP_BESIDE_NOTHING);
  }
  close_list(&f);
}

/* Where all ranks make all updates the sums come back instead of the weights. */
static void gradients_or_weights_come_back(void **state) {
  (void)state;
  static const char *const shards[] = {"mesh.shard=none", "mesh.shard=optimizer",
                                       "mesh.shard=gradients"};
  for (int i = 0; i < 3; ++i) {
    fixture f = open_list(&shards[i], 1, 0, 1);
    assert_int_equal(count_kind(&f, LAP_MESSAGE_GRADIENT_GATHER), i == 0 ? BUCKETS_OF_FIRST : 0);
    assert_int_equal(count_kind(&f, LAP_MESSAGE_WEIGHT_GATHER), i == 0 ? 0 : BUCKETS_OF_FIRST);
    const lap_message *layer = find(&f, LAP_MESSAGE_WEIGHT_GATHER, 1, 0);
    if (layer) {
      assert_true(layer->times == 1 && layer->rate == LAP_EACH_STEP);
      assert_int_equal(layer->overlap, LAP_BESIDE_FORWARD);
    }
    const lap_message *embedding = find(&f, LAP_MESSAGE_WEIGHT_GATHER, 0, 0);
    if (embedding) assert_int_equal(embedding->overlap, LAP_BESIDE_NOTHING);
    close_list(&f);
  }
}

/* Weights alone move in two bytes; gradients and their sums do not. */
static void in_bfloat16_weights_are_half_as_large(void **state) {
  (void)state;
  static const char *const half[][2] = {{"precision=bfloat16", "mesh.shard=none"},
                                        {"precision=bfloat16", "mesh.shard=gradients"},
                                        {"precision=bfloat16", "mesh.shard=full"}};
  for (int i = 0; i < 3; ++i) {
    fixture f = open_list(half[i], 2, 0, 1);
    for (int m = 0; m < f.list->count; ++m) {
      const lap_message *message = &f.list->message[m];
      if (message->bucket < 0) continue;
      const bool weights = message->kind == LAP_MESSAGE_WEIGHT_GATHER;
      assert_int_equal(message->element_size, weights ? sizeof(uint16_t) : sizeof(float));
    }
    assert_int_equal(count_kind(&f, LAP_MESSAGE_WEIGHT_GATHER), i == 0 ? 0 : BUCKETS_OF_FIRST);
    close_list(&f);
  }
}

/* mesh.shard: full, three layers with room for two: a micro-batch gathers 1 2 3 forward and 1
 * backward, the next one, which finds 1 and 2 there, 3 forward and 1 backward. */
static void layers_are_gathered_in_each_lane(void **state) {
  (void)state;
  static const char *const full[] = {"mesh.shard=full"};
  static const uint64_t times[LAYERS + 2] = {1, 1 + 2, 1, 1 + 1, 1};
  fixture f = open_list(full, 1, 0, 1);
  for (int b = 0; b < BUCKETS_OF_FIRST; ++b) {
    const lap_message *m = find(&f, LAP_MESSAGE_WEIGHT_GATHER, b, 0);
    assert_non_null(m);
    assert_int_equal(m->times, times[m->block]);
    assert_int_equal(m->rate, m->block >= 1 && m->block <= LAYERS ? LAP_EACH_LANE : LAP_EACH_STEP);
  }
  close_list(&f);
}

/* --- activations and scalars --- */

/* The embedding, in each layer two forward, two backward and two recomputed, and the head's dx are
 * sums of as many elements. */
static void shards_meet_where_ops_say(void **state) {
  (void)state;
  static const char *const recompute[] = {"recompute=none", "recompute=attention",
                                          "recompute=block"};
  static const uint64_t sums[] = {4, 4, 6};
  for (int i = 0; i < 3; ++i) {
    fixture f = open_list(&recompute[i], 1, 1, 1);
    assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_SUM), 2);
    assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_LARGEST), 1);
    const lap_message *wide = find(&f, LAP_MESSAGE_SHARD_SUM, -1, ROWS * HIDDEN);
    assert_non_null(wide);
    assert_int_equal(wide->times, 1 + sums[i] * LAYERS + 1);
    assert_true(wide->rate == LAP_EACH_MICRO_BATCH && wide->element_size == sizeof(float));
    const lap_message *masses = find(&f, LAP_MESSAGE_SHARD_SUM, -1, ROWS * LAP_ROW_MASSES);
    assert_non_null(masses);
    assert_true(masses->times == 1 && masses->element_size == sizeof(double));
    assert_non_null(
        find(&f, LAP_MESSAGE_SHARD_LARGEST, -1, ROWS * (LAP_ROW_ENDS + (int64_t)TEACHER_K)));
    close_list(&f);
  }
}

static void one_shard_meets_nobody(void **state) {
  (void)state;
  static const char *const one[] = {"mesh.model=1"};
  fixture f = open_list(one, 1, 0, 1);
  assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_SUM), 0);
  assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_LARGEST), 0);
  assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_ANY), 0);
  assert_int_equal(count_kind(&f, LAP_MESSAGE_LANE_SUM), 1);
  close_list(&f);
}

static void scalars_are_sums_of_losses_norm_and_flags(void **state) {
  (void)state;
  fixture f = open_list(NULL, 0, 0, 1);
  const lap_message *losses = find(&f, LAP_MESSAGE_LANE_SUM, -1, LAP_STEP_SUMS);
  assert_non_null(losses);
  assert_true(losses->times == 1 && losses->rate == LAP_EACH_STEP);
  const int64_t canonical = f.model->parameters->canonical_elements;
  assert_non_null(find(&f, LAP_MESSAGE_SEGMENT_SUM, -1, canonical / LAP_SEGMENT));
  assert_int_equal(count_kind(&f, LAP_MESSAGE_SHARD_ANY), 2); /* a step's, a micro-batch's */
  close_list(&f);
}

static bool same(const lap_message *a, const lap_message *b) {
  return a->kind == b->kind && a->bucket == b->bucket && a->elements == b->elements &&
         a->element_size == b->element_size && a->times == b->times && a->rate == b->rate;
}

/* What the tape sends does not depend on the shards that it was recorded with. */
static void every_shard_lists_the_same_activations(void **state) {
  (void)state;
  fixture first = open_list(NULL, 0, 0, 1), both = open_list(NULL, 0, 0, SHARDS);
  for (int i = 0; i < first.list->count; ++i) {
    const lap_message *m = &first.list->message[i];
    if (m->bucket >= 0) continue;
    bool found = false;
    for (int j = 0; j < both.list->count; ++j) found |= same(m, &both.list->message[j]);
    assert_true(found);
  }
  close_list(&first);
  close_list(&both);
}

/* --- how often --- */

/* Six lanes over four replicas: cyclic, replicas 0 and 1 have two and all take part in two rounds
 * of gathers; in blocks, replicas 1 and 3 have two. */
static void a_rank_takes_part_in_what_its_lanes_need(void **state) {
  (void)state;
  static const char *const shard[] = {"mesh.shard=full", "mesh.shard=optimizer"};
  static const int lanes[2][4] = {{2, 2, 1, 1}, {1, 2, 1, 2}};
  for (int i = 0; i < 2; ++i) {
    fixture f = open_list(&shard[i], 1, 0, SHARDS);
    lap_rank_layout layout = {.mesh = f.config->mesh, .ranks_per_node = 4};
    const lap_lane_schedule schedule = lap_sharding_lane_schedule(f.config->sharding);
    for (int rank = 0; rank < 4; ++rank) {
      lap_status status;
      assert_int_equal(lap_mesh_fold(&layout.mesh, 1, schedule, 4, rank, &layout.fold, &status),
                       LAP_OK);
      const lap_message *masses = find(&f, LAP_MESSAGE_SHARD_SUM, -1, ROWS * LAP_ROW_MASSES);
      assert_int_equal(lap_message_times(f.list, masses, &layout), lanes[i][rank] * MICRO_BATCHES);
      const lap_message *layer = find(&f, LAP_MESSAGE_WEIGHT_GATHER, 2, 0);
      assert_int_equal(lap_message_times(f.list, layer, &layout), i == 0 ? 2 * layer->times : 1);
      const lap_message *losses = find(&f, LAP_MESSAGE_LANE_SUM, -1, 0);
      assert_int_equal(lap_message_times(f.list, losses, &layout), 1);
    }
    close_list(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_of_every_bucket_go_to_their_owners),
      cmocka_unit_test(gradients_or_weights_come_back),
      cmocka_unit_test(in_bfloat16_weights_are_half_as_large),
      cmocka_unit_test(layers_are_gathered_in_each_lane),
      cmocka_unit_test(shards_meet_where_ops_say),
      cmocka_unit_test(one_shard_meets_nobody),
      cmocka_unit_test(scalars_are_sums_of_losses_norm_and_flags),
      cmocka_unit_test(every_shard_lists_the_same_activations),
      cmocka_unit_test(a_rank_takes_part_in_what_its_lanes_need),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
