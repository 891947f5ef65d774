/* plan: what it says a run takes is what the run's modules then allocate; parameters, FLOPs and
 * steps are those of the paper and of the definition. Linked so that every allocation goes through
 * the counters below (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_backend.h"
#include "core/memory.h"
#include "tests/teacher/synthetic.h"
#include "trainer/config/load.h"
#include "trainer/model/evaluate.h"
#include "trainer/model/window_logits.h"
#include "trainer/plan/fit.h"
#include "trainer/plan/plan.h"
#include "trainer/state/checksums.h"
#include "trainer/step/step.h"

/* --- counting --- */

static int64_t aligned_bytes, plain_bytes;

void *__real_lap_allocate(int64_t count, size_t size);
void *__real_lap_allocate_aligned(int64_t count, size_t size);
void *__wrap_lap_allocate(int64_t count, size_t size);
void *__wrap_lap_allocate_aligned(int64_t count, size_t size);

void *__wrap_lap_allocate(int64_t count, size_t size) {
  plain_bytes += count * (int64_t)size;
  return __real_lap_allocate(count, size);
}

void *__wrap_lap_allocate_aligned(int64_t count, size_t size) {
  aligned_bytes += count * (int64_t)size;
  return __real_lap_allocate_aligned(count, size);
}

static void count_from_here(void) { aligned_bytes = plain_bytes = 0; }

static void must(lap_code code, const lap_status *status) {
  if (code != LAP_OK) fail_msg("%s", status->message);
}

static lap_gemma2_config small_model(void) {
  lap_gemma2_config model = {.vocab_size = 311,
                             .hidden_size = 24,
                             .intermediate_size = 56,
                             .num_hidden_layers = 3,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .head_dim = 8,
                             .sliding_window = 20,
                             .query_pre_attn_scalar = 8,
                             .attn_logit_softcapping = 50,
                             .final_logit_softcapping = 30,
                             .rope_theta = 10000,
                             .rms_norm_eps = 1e-6,
                             .max_position_embeddings = 4096};
  for (int i = 0; i < LAP_MAX_LAYERS; ++i) model.sliding[i] = i % 2 == 0;
  return model;
}

/* --- modules --- */

static const lap_sharding every_sharding[] = {LAP_SHARDING_NONE, LAP_SHARDING_OPTIMIZER,
                                              LAP_SHARDING_GRADIENTS, LAP_SHARDING_FULL};

/* Rank `rank` of `ranks`, which do not run; model_ranks as few as can be. */
static lap_placement placement_of(lap_mesh mesh, lap_sharding sharding, int ranks, int rank) {
  lap_placement placement;
  lap_status status = {0};
  must(lap_placement_of_rank(&mesh, 0, sharding, ranks, rank, &placement, &status), &status);
  return placement;
}

static void a_state_takes_what_it_says(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  for (int sharding = 0; sharding < 4; ++sharding)
    for (int rank = 0; rank < 6; ++rank)
      for (int use = LAP_STATE_WEIGHTS; use <= LAP_STATE_TRAINING_BFLOAT16; ++use) {
        const lap_placement placement =
            placement_of((lap_mesh){1, 3, 2}, every_sharding[sharding], 6, rank);
        if (use == LAP_STATE_WEIGHTS_BFLOAT16 && placement.sharding == LAP_SHARDING_FULL) continue;
        count_from_here();
        lap_state *outline = lap_state_outline(&model, &placement, (lap_state_use)use);
        assert_int_equal(aligned_bytes, 0);
        lap_memory_table memory = {0};
        lap_state_bytes(outline, &memory);
        lap_state *made = lap_state_create(&model, &placement, (lap_state_use)use);
        assert_int_equal(lap_memory_total(&memory), aligned_bytes);
        lap_state_destroy(outline);
        lap_state_destroy(made);
      }
}

/* Of all ranks together. */
static lap_memory_table states_of(lap_sharding sharding, int ranks, lap_state_use use,
                                  int64_t *elements) {
  const lap_gemma2_config model = small_model();
  lap_memory_table sum = {0};
  for (int rank = 0; rank < ranks; ++rank) {
    const lap_placement placement = placement_of((lap_mesh){1, 7, 1}, sharding, ranks, rank);
    lap_state *outline = lap_state_outline(&model, &placement, use);
    lap_state_bytes(outline, &sum);
    *elements = outline->parameters->elements;
    lap_state_destroy(outline);
  }
  return sum;
}

/* What is shared out, all owners together hold once; what is not, each holds whole. In bfloat16
 * each holds whole weights in two bytes but with full, and those in float32 are moments' like. */
static void moments_and_weights_are_shared_out(void **state) {
  (void)state;
  for (int ranks = 1; ranks <= 7; ++ranks)
    for (int s = 0; s < 4; ++s) {
      int64_t elements = 0;
      const bool none = every_sharding[s] == LAP_SHARDING_NONE;
      const bool full = every_sharding[s] == LAP_SHARDING_FULL;
      lap_memory_table sum = states_of(every_sharding[s], ranks, LAP_STATE_TRAINING, &elements);
      assert_int_equal(sum.bytes[LAP_MEMORY_MOMENTS], (none ? ranks : 1) * 8 * elements);
      assert_int_equal(sum.bytes[LAP_MEMORY_WEIGHTS], (full ? 1 : ranks) * 4 * elements);
      sum = states_of(every_sharding[s], ranks, LAP_STATE_TRAINING_BFLOAT16, &elements);
      assert_int_equal(sum.bytes[LAP_MEMORY_MOMENTS], (none ? ranks : 1) * 8 * elements);
      assert_int_equal(sum.bytes[LAP_MEMORY_WEIGHTS],
                       (none ? ranks : 1) * 4 * elements + (full ? 0 : ranks) * 2 * elements);
    }
}

static void weights_in_bfloat16_take_what_they_say(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  const lap_placement placement = placement_of((lap_mesh){1, 3, 1}, LAP_SHARDING_OPTIMIZER, 2, 1);
  lap_state *outline = lap_state_outline(&model, &placement, LAP_STATE_WEIGHTS_BFLOAT16);
  lap_memory_table memory = {0};
  lap_state_bytes(outline, &memory);
  count_from_here();
  lap_state *made = lap_state_create(&model, &placement, LAP_STATE_WEIGHTS_BFLOAT16);
  assert_int_equal(lap_memory_total(&memory), aligned_bytes);
  assert_int_equal(memory.bytes[LAP_MEMORY_WEIGHTS], 2 * outline->parameters->elements);
  lap_state_destroy(made);
  lap_state_destroy(outline);
}

/* Those of float32 take as many more than what is said of them as those of bfloat16: lists. */
static void checksums_in_bfloat16_take_what_they_say(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  for (int sharding = 0; sharding < 4; ++sharding) {
    const lap_placement placement =
        placement_of((lap_mesh){1, 3, 1}, every_sharding[sharding], 3, 1);
    int64_t beyond[2];
    for (int half = 0; half < 2; ++half) {
      lap_state *made = lap_state_create(&model, &placement,
                                         half ? LAP_STATE_TRAINING_BFLOAT16 : LAP_STATE_TRAINING);
      lap_memory_table memory = {0};
      lap_checksums_bytes(made, &memory);
      count_from_here();
      lap_checksums *checksums = lap_checksums_create(made);
      beyond[half] = plain_bytes - lap_memory_total(&memory);
      lap_checksums_destroy(checksums);
      lap_state_destroy(made);
    }
    assert_int_equal(beyond[0], beyond[1]);
  }
}

/* Groups of ranks that do not run send nothing, but buffers are made: of one rank too where its
 * weights are not as passes read them. */
static void gathered_weights_take_what_they_say(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  for (int sharding = 0; sharding < 4; ++sharding)
    for (int i = 0; i < 6; ++i) {
      const int ranks = 1 + i / 2;
      const bool half = i % 2 == 1;
      const lap_placement placement =
          placement_of((lap_mesh){1, 3, 1}, every_sharding[sharding], ranks, 0);
      lap_state *made = lap_state_create(&model, &placement,
                                         half ? LAP_STATE_TRAINING_BFLOAT16 : LAP_STATE_WEIGHTS);
      lap_memory_table memory = {0};
      lap_block_weights_bytes(made, &memory);
      count_from_here();
      lap_block_weights *weights = lap_block_weights_create(made);
      assert_int_equal(lap_memory_total(&memory), aligned_bytes);
      assert_true((aligned_bytes > 0) ==
                  (every_sharding[sharding] == LAP_SHARDING_FULL && (ranks > 1 || half)));
      lap_block_weights_destroy(weights);
      lap_state_destroy(made);
    }
}

static void a_smoothed_micro_batch_takes_what_it_says(void **state) {
  (void)state;
  count_from_here();
  lap_smoothing *smoothing = lap_smoothing_create(LAP_SMOOTHING_UNIFORM, NULL, 312, false);
  const int64_t counts = 312 * 2 * (int64_t)sizeof(uint64_t); /* for a moment */
  assert_int_equal(
      lap_smoothing_bytes(LAP_SMOOTHING_UNIFORM, 312) + counts + (int64_t)sizeof *smoothing,
      aligned_bytes + plain_bytes);
  const lap_data data = {.sequence_length = 45, .smoothing = smoothing};
  count_from_here();
  lap_micro_batch *micro = lap_micro_batch_create(&data, 3);
  assert_int_equal(lap_micro_batch_bytes(3, 45, 312, true) + (int64_t)sizeof *micro,
                   aligned_bytes + plain_bytes);
  lap_micro_batch_destroy(micro);
  lap_smoothing_destroy(smoothing);
}

static void a_micro_batch_takes_what_it_says(void **state) {
  (void)state;
  for (int64_t k = 0; k <= 7; k += 7) {
    const lap_synthetic made_up = {.vocab_size = 311, .k = k, .windows = 9};
    const lap_data data = {.sequence_length = 45, .synthetic = &made_up};
    count_from_here();
    lap_micro_batch *micro = lap_micro_batch_create(&data, 3);
    /* Synthetic data reads no cache rows. */
    const int64_t rows = k ? lap_cache_rows_bytes(45, k) : 0;
    assert_int_equal(lap_micro_batch_bytes(3, 45, k, false) - rows + (int64_t)sizeof *micro,
                     aligned_bytes + plain_bytes);
    lap_micro_batch_destroy(micro);
  }
}

static void rows_and_content_of_a_cache_take_what_they_say(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, 1, 400);
  lap_cache *cache;
  lap_status status = {0};
  must(lap_cache_open(synthetic_write_all(&made), &made.tokens, &made.expectation, &cache, &status),
       &status);
  count_from_here();
  lap_cache_rows *rows = lap_cache_rows_create(cache, 50);
  assert_int_equal(lap_cache_rows_bytes(50, SYNTHETIC_K) + (int64_t)sizeof *rows, plain_bytes);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
  count_from_here();
  lap_cache_content content;
  lap_cache_content_create(123, 5, &content);
  assert_int_equal(lap_cache_content_bytes(123, 5), plain_bytes);
  lap_cache_content_destroy(&content);
  lap_token_set_size size;
  char *pattern = lap_format("%s/tokens-*.h5", made.directory);
  must(lap_token_set_measure(pattern, SYNTHETIC_LENGTH, &size, &status), &status);
  assert_int_equal(size.bytes, lap_token_set_bytes(&made.tokens));
  free(pattern);
  synthetic_destroy(&made);
}

static void windows_take_what_they_say(void **state) {
  (void)state;
  lap_gemma2_config model = small_model();
  model.vocab_size = 312;
  const lap_synthetic made_up = {.vocab_size = 312, .windows = 9};
  const lap_data data = {.sequence_length = 45, .synthetic = &made_up};
  for (int shards = 1; shards <= 2; ++shards)
    for (int rank = 0; rank < 2 * shards; ++rank) {
      /* With one rank a replica, and with two. */
      const int ranks = rank < shards ? 1 : shards;
      const lap_placement placement =
          placement_of((lap_mesh){1, 1, shards}, LAP_SHARDING_OPTIMIZER, ranks, rank % ranks);
      lap_state *made = lap_state_create(&model, &placement, LAP_STATE_WEIGHTS);
      lap_block_weights *weights = lap_block_weights_create(made);
      lap_memory_table memory = {0};
      count_from_here();
      lap_window_logits_bytes(&model, made, 45, 0, 2, &memory);
      assert_int_equal(aligned_bytes, 0);
      lap_window_logits *windows = lap_window_logits_create(&model, made, weights, &data, 2);
      assert_int_equal(memory.bytes[LAP_MEMORY_ACTIVATIONS] + memory.bytes[LAP_MEMORY_LOGITS],
                       aligned_bytes);
      const int64_t logits = 45 * 312 * 4; /* parts, and whole rows where they come together */
      const bool leads = rank % ranks == 0;
      assert_int_equal(memory.bytes[LAP_MEMORY_LOGITS], shards == 1  ? logits
                                                        : ranks == 1 ? 2 * logits
                                                        : leads      ? logits / 2 + 2 * logits
                                                                     : logits / 2);
      lap_window_logits_destroy(windows);
      lap_block_weights_destroy(weights);
      lap_state_destroy(made);
    }
}

/* --- the whole --- */

static lap_config *load(const char *text) {
  lap_config *config;
  lap_status status = {0};
  must(lap_config_parse("c.yaml", text, strlen(text), NULL, 0, &config, &status), &status);
  return config;
}

static const char training[] =
    "model: {vocab_size: 312, hidden_size: 24, intermediate_size: 56, num_hidden_layers: 3,\n"
    "  num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, sliding_window: 20,\n"
    "  query_pre_attn_scalar: 8}\n"
    "data: {sequence_length: 45}\nmesh: {data: 5}\nbatch: {sequences: 30, micro_sequences: 2}\n"
    "threads: 2\n";

static lap_plan plan_of(const lap_config *config, const lap_plan_request *request) {
  lap_plan plan;
  lap_status status = {0};
  must(lap_plan_make(config, request, &plan, &status), &status);
  return plan;
}

/* A state and a stepper on one rank; what they allocate beyond the plan is lists of tensors. */
static void compare_with_plan(lap_comm *comm, lap_config *config, int64_t k) {
  enum { LISTS = 64 << 10 };
  lap_status status = {0};
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 1, .teacher_k = k};
  count_from_here();
  const lap_plan plan = plan_of(config, &request);
  assert_int_equal(aligned_bytes, 0);
  const lap_synthetic made_up = {.vocab_size = 312, .k = k, .windows = 9};
  const lap_data data = {.sequence_length = 45, .synthetic = &made_up};
  lap_placement placement;
  must(lap_placement_create(&config->mesh, 0, config->sharding, comm, &placement, &status),
       &status);
  count_from_here();
  lap_state *made = lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  lap_block_weights *weights = lap_block_weights_create(made);
  lap_stepper *stepper = lap_stepper_create(config, &data, 10, made, weights);
  const int64_t cache = k ? lap_cache_rows_bytes(45, k) + lap_cache_bytes(k) : 0;
  const int64_t planned =
      lap_memory_total(&plan.memory) - plan.memory.bytes[LAP_MEMORY_PROCESS] - cache;
  assert_in_range(aligned_bytes + plain_bytes, planned, planned + LISTS);
  const int64_t in_batches = k ? 2 * 45 * k * (int64_t)sizeof(float) : 0; /* aligned too */
  assert_int_equal(planned - plan.memory.bytes[LAP_MEMORY_BUFFERS] + cache + in_batches,
                   aligned_bytes);
  lap_stepper_destroy(stepper);
  lap_block_weights_destroy(weights);
  lap_state_destroy(made);
}

static void compare_in(lap_comm *comm, lap_config *config, lap_matmul_precision precision) {
  lap_status status = {0};
  const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, precision, NULL};
  must(lap_gemm_open(&choice, &status), &status);
  config->precision = precision;
  for (int sharding = 0; sharding < 4; ++sharding)
    for (int shards = 1; shards <= 2; ++shards)
      for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute) {
        config->sharding = every_sharding[sharding];
        config->mesh.model = shards;
        config->recompute = (lap_recompute)recompute;
        compare_with_plan(comm, config, 0);
        compare_with_plan(comm, config, 7);
      }
}

static void training_takes_what_the_plan_says(void **state) {
  (void)state;
  lap_config *config = load(training);
  lap_comm *comm;
  lap_status status = {0};
  must(lap_comm_start(&comm, LAP_WATCHDOG_SECONDS, &status), &status);
  compare_in(comm, config, LAP_MATMUL_BFLOAT16);
  compare_in(comm, config, LAP_MATMUL_FLOAT32);
  lap_comm_finish(comm);
  lap_config_destroy(config);
}

/* The largest micro-batch whose plan takes half of the memory; one that is given stays. */
static void a_micro_batch_is_lowered_until_it_fits(void **state) {
  (void)state;
  static const char text[] =
      "model: {vocab_size: 312, hidden_size: 24, intermediate_size: 56, num_hidden_layers: 3,\n"
      "  num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, sliding_window: 20,\n"
      "  query_pre_attn_scalar: 8}\n"
      "data: {sequence_length: 300}\nmesh: {data: 2}\nbatch: {sequences: 24}\n";
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 1};
  lap_status status = {0};
  double bytes[13] = {0};
  for (int micro = 1; micro <= 12; ++micro) {
    if (12 % micro) continue;
    lap_config *config = load(text);
    assert_int_equal(config->batch.micro_sequences, 12);
    config->batch.micro_sequences = micro;
    const lap_plan plan = plan_of(config, &request);
    bytes[micro] = (double)lap_memory_total(&plan.memory);
    lap_config_destroy(config);
  }
  for (int micro = 1; micro <= 12; ++micro) {
    if (12 % micro) continue;
    lap_config *config = load(text);
    must(lap_fit_micro_sequences(config, &request, 2 * bytes[micro], &status), &status);
    assert_int_equal(config->batch.micro_sequences, micro);
    must(lap_fit_micro_sequences(config, &request, 1, &status), &status);
    assert_int_equal(config->batch.micro_sequences, 1);
    lap_config_destroy(config);
  }
  lap_config *config = load(training);
  must(lap_fit_micro_sequences(config, &request, 1, &status), &status);
  assert_int_equal(config->batch.micro_sequences, 2);
  lap_config_destroy(config);
}

static void an_evaluation_beside_training_is_counted(void **state) {
  (void)state;
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 2};
  lap_config *config = load(training);
  const lap_plan alone = plan_of(config, &request);
  config->data.eval = strdup("anything");
  const lap_plan both = plan_of(config, &request);
  lap_memory_table windows = {0};
  const lap_placement placement =
      placement_of(config->mesh, config->sharding, 2, both.fullest_rank);
  lap_state *outline = lap_state_outline(&config->model, &placement, LAP_STATE_TRAINING);
  lap_evaluate_bytes(&config->model, outline, 45, 0, 2, &windows);
  lap_state_destroy(outline);
  assert_int_equal(lap_memory_total(&both.memory),
                   lap_memory_total(&alone.memory) + lap_memory_total(&windows));
  lap_config_destroy(config);
}

/* 5 lanes on 2 ranks are 2 and 3: the second holds 2 + 3 while it makes 4. */
static void the_plan_is_that_of_the_fullest_rank(void **state) {
  (void)state;
  lap_config *config = load(training);
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 5};
  for (int ranks = 1; ranks <= 5; ++ranks) {
    const lap_plan plan =
        plan_of(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = ranks});
    assert_int_equal(plan.ranks, ranks);
    assert_in_range(plan.fullest_rank, 0, ranks - 1);
  }
  const lap_plan plan = plan_of(config, &request);
  enum { BUCKETS = 5 }; /* 3 layers, embedding, final norm: of each a fifth, in whole blocks */
  const int64_t elements = plan.memory.bytes[LAP_MEMORY_WEIGHTS] / 4;
  /* Of one lane; its 6 sequences of 45 come in twos, so sums of the rows they read wait. */
  const int64_t input_rows = 4 * (312 + 270 + 270 * 24);
  assert_int_equal(plan.memory.bytes[LAP_MEMORY_GRADIENTS], 4 * elements + input_rows);
  assert_in_range(plan.memory.bytes[LAP_MEMORY_MOMENTS], 8 * elements / 5,
                  8 * (elements / 5 + BUCKETS * LAP_SEGMENT));
  lap_config_destroy(config);
}

/* From the definition: 2 m n k for each product, 4 D for each visible score of each head. */
static void flops_are_those_of_the_definition(void **state) {
  (void)state;
  lap_config *config = load(training);
  double visible = 0; /* of layers 0, 2 with a window of 20, and of layer 1 */
  for (int t = 0; t < 45; ++t) visible += t + 1 + 2 * (t < 20 ? t + 1 : 20);
  const double layer = 24 * 32 + 2 * 24 * 16 + 32 * 24 + 3 * 24 * 56, head = 24 * 312;
  const double window = 2 * 45 * (3 * layer + head) + 4 * 4 * 8 * visible;
  lap_plan plan = plan_of(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = 3});
  assert_true(plan.forward_flops == 30 * window);
  assert_true(plan.backward_flops == 60 * window);
  assert_int_equal(plan.tokens_per_step, 30 * 45);
  plan = plan_of(config, &(lap_plan_request){.command = LAP_PLAN_EVAL, .ranks = 3});
  assert_true(plan.forward_flops == window && plan.backward_flops == 0);
  assert_int_equal(plan.tokens_per_step, 45);
  lap_config_destroy(config);
}

static void steps_come_from_the_schedule_where_it_is_known(void **state) {
  (void)state;
  lap_config *config = load(training);
  lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 1, .window_count = 100};
  assert_int_equal(plan_of(config, &request).steps, 0);
  config->schedule.tokens = 30 * 45 * 7 + 1;
  lap_plan plan = plan_of(config, &request);
  assert_int_equal(plan.steps, 8);
  assert_true(plan.tokens == 8 * 30 * 45);
  assert_true(plan.flops == 8 * (plan.forward_flops + plan.backward_flops));
  config->schedule.tokens = 0;
  config->schedule.epochs = 1.5;
  assert_int_equal(plan_of(config, &request).steps, 5);
  request.window_count = 0;
  assert_int_equal(plan_of(config, &request).steps, 0);
  lap_config_destroy(config);
}

static void assert_refused(const lap_config *config, const lap_plan_request *request,
                           const char *says) {
  lap_plan plan;
  lap_status status = {0};
  assert_int_equal(lap_plan_make(config, request, &plan, &status), LAP_USAGE);
  if (!strstr(status.message, says)) fail_msg("\"%s\" does not say \"%s\"", status.message, says);
}

static void what_cannot_be_planned_is_refused(void **state) {
  (void)state;
  lap_config *config = load(training);
  assert_refused(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = 6},
                 "the nearest counts that work are 5");
  lap_config_destroy(config);
  config = load(training);
  config->batch.sequences = config->batch.micro_sequences = INT64_C(1000000000);
  config->data.sequence_length = 1 << 24;
  config->model.intermediate_size = 1 << 20;
  assert_refused(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = 1},
                 "lower batch.micro_sequences");
  lap_config_destroy(config);
  config = load("seed: 2\n");
  assert_refused(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = 1},
                 "model.vocab_size is missing");
  lap_config_destroy(config);
  char *text = strdup(training);
  *strstr(text, "data:") = '\0'; /* the model alone */
  config = load(text);
  for (int command = LAP_PLAN_TRAIN; command <= LAP_PLAN_TEACH; ++command)
    assert_refused(config, &(lap_plan_request){.command = (lap_plan_command)command, .ranks = 1},
                   "data.sequence_length is missing");
  lap_config_destroy(config);
  free(text);
}

/* --- the paper's sizes --- */

/* 4096 is the most that the key threads takes. */
static void each_thread_takes_half_a_mebibyte(void **state) {
  (void)state;
  const int64_t alone = lap_plan_process_bytes(1, 1);
  assert_int_equal(lap_plan_process_bytes(1, 4096) - alone, INT64_C(4095) << 19);
}

static void parameters_are_those_of_table_2(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t embedding, others, vocabulary, lanes;
  } models[] = {
      {"gemma2-2b", 590118912, 2024517888, 256128, 512},
      {"gemma2-9b", 917962752, 8324201984, 256128, 1024},
      {"gemma2-27b", 1180237824, 26047480320, 256128, 768},
      {"gemma2-2b-hf", 256000 * 2304, 2024517888, 256000, 512},
      {"gemma2-9b-hf", 256000 * 3584, 8324201984, 256000, 1024},
      {"gemma2-27b-hf", 256000 * INT64_C(4608), 26047480320, 256000, 768},
  };
  for (size_t i = 0; i < sizeof models / sizeof *models; ++i) {
    char *path = lap_format("%s/configs/%s.yaml", LAPIDARY_SOURCE, models[i].name);
    lap_config *config;
    lap_status status = {0};
    must(lap_config_load(path, NULL, 0, &config, &status), &status);
    const lap_plan plan =
        plan_of(config, &(lap_plan_request){.command = LAP_PLAN_TRAIN, .ranks = 1});
    assert_int_equal(plan.embedding_parameters, models[i].embedding);
    assert_int_equal(plan.non_embedding_parameters, models[i].others);
    assert_int_equal(config->model.vocab_size, models[i].vocabulary);
    assert_int_equal(lap_mesh_lanes(&config->mesh), models[i].lanes);
    /* Padding is less than a block a tensor: 11 a layer. */
    const int64_t parameters = models[i].embedding + models[i].others;
    const int64_t padding = (11 * config->model.num_hidden_layers + 2) * LAP_SEGMENT;
    assert_in_range(plan.memory.bytes[LAP_MEMORY_WEIGHTS], 4 * parameters,
                    4 * (parameters + padding));
    /* About 6 N FLOPs a token, N without the embedding's look-up, and some scores. */
    const double token = (plan.forward_flops + plan.backward_flops) / (double)plan.tokens_per_step;
    assert_true(token > 6.0 * (double)parameters && token < 8.0 * (double)parameters);
    lap_config_destroy(config);
    free(path);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_state_takes_what_it_says),
      cmocka_unit_test(moments_and_weights_are_shared_out),
      cmocka_unit_test(weights_in_bfloat16_take_what_they_say),
      cmocka_unit_test(checksums_in_bfloat16_take_what_they_say),
      cmocka_unit_test(gathered_weights_take_what_they_say),
      cmocka_unit_test(a_micro_batch_takes_what_it_says),
      cmocka_unit_test(a_smoothed_micro_batch_takes_what_it_says),
      cmocka_unit_test(rows_and_content_of_a_cache_take_what_they_say),
      cmocka_unit_test(windows_take_what_they_say),
      cmocka_unit_test(training_takes_what_the_plan_says),
      cmocka_unit_test(a_micro_batch_is_lowered_until_it_fits),
      cmocka_unit_test(an_evaluation_beside_training_is_counted),
      cmocka_unit_test(the_plan_is_that_of_the_fullest_rank),
      cmocka_unit_test(flops_are_those_of_the_definition),
      cmocka_unit_test(steps_come_from_the_schedule_where_it_is_known),
      cmocka_unit_test(what_cannot_be_planned_is_refused),
      cmocka_unit_test(each_thread_takes_half_a_mebibyte),
      cmocka_unit_test(parameters_are_those_of_table_2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
