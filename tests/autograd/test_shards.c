/* A model in several shards: gradients of the model in one, the same bits however the shards are
 * distributed over processes, and blocks that recompute or lose their weights in between. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/autograd/model_runner.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/reference_model.h"
#include "tests/autograd/shard_runner.h"

/* Divisible by `heads` shards, else odd. */
static lap_gemma2_config config_of(int64_t heads, int64_t kv_heads, int64_t layers) {
  lap_gemma2_config config = {.vocab_size = 7 * heads,
                              .hidden_size = 35,
                              .intermediate_size = 5 * heads,
                              .num_hidden_layers = layers,
                              .num_attention_heads = heads,
                              .num_key_value_heads = kv_heads,
                              .head_dim = 6,
                              .sliding_window = 3,
                              .query_pre_attn_scalar = 5,
                              .attn_logit_softcapping = 3,
                              .final_logit_softcapping = 4,
                              .rope_theta = 100,
                              .rms_norm_eps = 1e-3,
                              .max_position_embeddings = 64};
  for (int layer = 0; layer < LAP_MAX_LAYERS; ++layer) config.sliding[layer] = layer % 2 == 0;
  return config;
}

static const lap_objective ghost = {0.7, 1, LAP_TAIL_GHOST, 0, 0};

/* --- one result --- */

typedef struct {
  int64_t elements, rows;
  double *gradients, *losses; /* [elements], [4, rows] */
} outcome;

static outcome new_outcome(const shard_setup *setup) {
  lap_parameters *parameters = lap_parameters_create(setup->config);
  outcome made = {.elements = parameters->elements,
                  .rows = setup->batch->sequences * setup->batch->length};
  lap_parameters_destroy(parameters);
  made.gradients = test_random(made.elements, 0, 0);
  made.losses = test_random(4 * made.rows, 0, NAN);
  return made;
}

static void free_outcome(outcome *o) { free(o->gradients), free(o->losses); }

static test_losses losses_in(const outcome *o) {
  return (test_losses){o->losses, o->losses + o->rows, o->losses + 2 * o->rows,
                       o->losses + 3 * o->rows};
}

/* `more` may be NULL; its gradients and losses are those of the outcome. */
static outcome run_shards(const shard_runner *runner, const shard_setup *setup,
                          const double *weights, shard_result *more) {
  outcome made = new_outcome(setup);
  shard_result result = {.losses = losses_in(&made)};
  if (setup->mode == MODEL_TRAIN) result.gradients = made.gradients;
  runner->run(setup, weights, &result);
  if (more)
    *more = result;
  else
    free(result.events);
  return made;
}

static outcome run_whole(const model_runner *runner, const shard_setup *setup,
                         const double *weights) {
  outcome made = new_outcome(setup);
  const test_losses losses = losses_in(&made);
  model_session *s = runner->create(setup->config, setup->mode, setup->objective, setup->batch, 1);
  runner->run(s, weights, setup->mode == MODEL_TRAIN ? made.gradients : NULL, &losses);
  runner->destroy(s);
  return made;
}

static void name_of(const shard_setup *setup, char name[128]) {
  snprintf(name, 128,
           "%d shards, %d a process, k %d, tail %d, temperature %g, weight %g, recompute %d",
           setup->shards, setup->local, (int)setup->batch->k, (int)setup->objective->tail,
           setup->objective->temperature, setup->objective->distill_weight, (int)setup->recompute);
}

/* Tensor by tensor, relative to its largest element. */
static void expect_close(const shard_setup *setup, const outcome *found, const outcome *expected,
                         double tolerance) {
  char name[128];
  name_of(setup, name);
  lap_parameters *parameters = lap_parameters_create(setup->config);
  const double loss = test_distance(found->losses, expected->losses, 4 * found->rows);
  if (!(loss <= tolerance)) fail_msg("%s: losses are off by %g", name, loss);
  for (int i = 0; setup->mode == MODEL_TRAIN && i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const double distance =
        test_distance(found->gradients + p->offset, expected->gradients + p->offset, p->elements);
    if (!(distance <= tolerance)) fail_msg("%s: %s is off by %g", name, p->name, distance);
  }
  lap_parameters_destroy(parameters);
}

static void expect_equal(const shard_setup *setup, const outcome *found, const outcome *expected) {
  char name[128];
  name_of(setup, name);
  if (memcmp(found->losses, expected->losses, (size_t)(4 * found->rows) * sizeof(double)))
    fail_msg("%s: losses have other bits", name);
  if (memcmp(found->gradients, expected->gradients, (size_t)found->elements * sizeof(double)))
    fail_msg("%s: gradients have other bits", name);
}

/* Weights at random, also those of norms. */
static double *random_weights(const lap_gemma2_config *config) {
  lap_parameters *parameters = lap_parameters_create(config);
  double *weights = test_random(parameters->elements, 600, 0.4);
  lap_parameters_destroy(parameters);
  return weights;
}

/* --- gradients --- */

/* In double, the shards together against the uncut model; in float, all ways to distribute them. */
static void check_cuts(shard_setup setup) {
  double *weights = random_weights(setup.config);
  outcome whole = run_whole(&model_runner_double, &setup, weights), folded = {0};
  for (setup.local = setup.shards; setup.local >= 1; --setup.local) {
    if (setup.shards % setup.local) continue;
    setup.folded = setup.local == setup.shards;
    outcome exact = run_shards(&shard_runner_double, &setup, weights, NULL);
    expect_close(&setup, &exact, &whole, 1e-12);
    outcome found = run_shards(&shard_runner_float, &setup, weights, NULL);
    expect_close(&setup, &found, &whole, 1e-3);
    if (folded.rows)
      expect_equal(&setup, &found, &folded), free_outcome(&found);
    else
      folded = found;
    free_outcome(&exact);
  }
  free_outcome(&whole), free_outcome(&folded);
  free(weights);
}

static const struct {
  int shards;
  int64_t heads, kv_heads;
} cuts[] = {{1, 4, 2}, {2, 4, 2}, {3, 6, 3}, {4, 8, 4}, {4, 4, 4}, {5, 5, 5}, {6, 6, 6}};
enum { CUTS = sizeof cuts / sizeof *cuts };

static void every_cut_has_the_gradients_of_the_whole(void **state) {
  (void)state;
  for (int c = 0; c < CUTS; ++c)
    for (int cap = 0; cap < 2; ++cap) {
      lap_gemma2_config config = config_of(cuts[c].heads, cuts[c].kv_heads, 2);
      if (!cap) config.attn_logit_softcapping = config.final_logit_softcapping = 0;
      config.pre_norms_only = !cap;
      test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 601);
      check_cuts((shard_setup){.config = &config,
                               .mode = MODEL_TRAIN,
                               .objective = &ghost,
                               .batch = batch,
                               .shards = cuts[c].shards,
                               .threads = 1 + cap});
      test_batch_destroy(batch);
    }
}

/* k = 0, few, a stretch longer than one shard's, and all of the vocabulary, where the rest is empty
 * in one shard or in every one. */
static void every_rule_holds_across_shards(void **state) {
  (void)state;
  const lap_gemma2_config config = config_of(4, 4, 1);
  const double weights[] = {0, 0.3, 1};
  const int64_t ks[] = {0, 1, 6, 20, 28};
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_NONE; ++tail)
    for (int w = 0; w < 3; ++w)
      for (int k = 0; k < 5; ++k)
        for (int hot = 0; hot < 2; ++hot) {
          const bool renormalises =
              tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH;
          if (hot && !renormalises) continue;
          const lap_objective objective = {weights[w], hot ? 2.5 : 1, (lap_tail)tail, 0, 0};
          test_batch *batch = test_batch_create(1, 7, config.vocab_size, ks[k], 610);
          check_cuts((shard_setup){.config = &config,
                                   .mode = k % 2 ? MODEL_LOSS : MODEL_TRAIN,
                                   .objective = &objective,
                                   .batch = batch,
                                   .shards = 4,
                                   .threads = 1});
          check_cuts((shard_setup){.config = &config,
                                   .mode = MODEL_TRAIN,
                                   .objective = &objective,
                                   .batch = batch,
                                   .shards = 2,
                                   .threads = 1});
          test_batch_destroy(batch);
        }
}

/* Kept are all ids of the first shard and none of the last, the target among them or not. */
static void the_rest_may_be_empty_in_one_shard(void **state) {
  (void)state;
  const lap_gemma2_config config = config_of(4, 4, 1);
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_NONE; ++tail) {
    const lap_objective objective = {0.6, 1, (lap_tail)tail, 0, 0};
    test_batch *batch = test_batch_create(1, 9, config.vocab_size, 8, 611);
    for (int64_t row = 0; row < 9; ++row)
      for (int64_t i = 0; i < 8; ++i) {
        batch->ids[row * 8 + i] = i < 7 ? (int32_t)(6 - i) : -1;
        batch->probability[row * 8 + i] = i < 7 ? 0.1 + 0.01 * (double)(row - i) : NAN;
      }
    for (int64_t row = 0; row < 9; ++row) batch->tail[row] = 0.3;
    test_batch_set_entropy(batch);
    check_cuts((shard_setup){.config = &config,
                             .mode = MODEL_TRAIN,
                             .objective = &objective,
                             .batch = batch,
                             .shards = 4,
                             .threads = 2});
    test_batch_destroy(batch);
  }
}

static void nothing_counted_is_exactly_nothing_in_shards(void **state) {
  (void)state;
  const lap_gemma2_config config = config_of(4, 4, 2);
  test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 612);
  for (int i = 0; i < 18; ++i) batch->targets[i] = -1;
  double *weights = random_weights(&config);
  const shard_setup setup = {.config = &config,
                             .mode = MODEL_TRAIN,
                             .objective = &ghost,
                             .batch = batch,
                             .shards = 4,
                             .local = 2,
                             .threads = 1};
  outcome found = run_shards(&shard_runner_float, &setup, weights, NULL);
  for (int64_t i = 0; i < found.elements; ++i) assert_true(found.gradients[i] == 0);
  for (int64_t i = 0; i < 4 * found.rows; ++i) assert_true(found.losses[i] == 0);
  free_outcome(&found);
  free(weights);
  test_batch_destroy(batch);
}

/* A NaN in one shard's logits, those of the target and of kept ids included, reaches all shards. */
static void numbers_gone_wrong_are_known_to_every_shard(void **state) {
  (void)state;
  const lap_gemma2_config config = config_of(4, 4, 1);
  lap_parameters *parameters = lap_parameters_create(&config);
  test_batch *batch = test_batch_create(1, 9, config.vocab_size, 6, 615);
  for (int row = 0; row < 9; ++row) { /* id 27 is the last shard's, and no input */
    batch->tokens[row] %= 27;
    batch->targets[row] = row % 2 ? 27 : 3;
    batch->ids[row * 6] = row % 3 ? 27 : 2;
    for (int i = 1; i < 6; ++i) batch->ids[row * 6 + i] = 4 + i;
  }
  double *weights = random_weights(&config);
  const lap_parameter *embedding = lap_parameters_find(parameters, "model.embed_tokens.weight");
  weights[embedding->offset + 27 * config.hidden_size] = NAN;
  shard_setup setup = {.config = &config,
                       .mode = MODEL_TRAIN,
                       .objective = &ghost,
                       .batch = batch,
                       .shards = 4,
                       .threads = 1};
  for (setup.local = 1; setup.local <= 4; setup.local *= 2) {
    outcome found = run_shards(&shard_runner_float, &setup, weights, NULL);
    for (int row = 0; row < 9; ++row) assert_true(isnan(found.losses[row]));
    free_outcome(&found);
  }
  free(weights);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

/* A chunk of the head is at most 1024 positions. */
static void chunks_of_the_head_hold_across_shards(void **state) {
  (void)state;
  lap_gemma2_config config = config_of(2, 2, 1);
  config.vocab_size = 6, config.hidden_size = 5, config.intermediate_size = 2, config.head_dim = 2;
  test_batch *batch = test_batch_create(41, 26, config.vocab_size, 2, 613);
  const shard_setup setup = {.config = &config,
                             .mode = MODEL_TRAIN,
                             .objective = &ghost,
                             .batch = batch,
                             .shards = 2,
                             .threads = 2};
  check_cuts(setup);
  shard_setup apart = setup;
  apart.local = 1;
  double *weights = random_weights(&config);
  shard_result result;
  outcome found = run_shards(&shard_runner_float, &apart, weights, &result);
  /* Two chunks: masses, largest, and dx each; the embedding, and a layer's two sums each way. */
  assert_int_equal(result.largest, 2);
  assert_int_equal(result.double_sums, 2);
  assert_int_equal(result.sums, 2 + 1 + 4);
  free_outcome(&found);
  free(weights);
  test_batch_destroy(batch);
}

/* --- logits --- */

typedef struct {
  const lap_parameters *parameters;
  const double *weights;
} named_weights;

static const double *weight_by_name(void *context, const char *name) {
  const named_weights *w = context;
  return w->weights + lap_parameters_find(w->parameters, name)->offset;
}

static void logits_in_shards_are_those_of_nested_loops(void **state) {
  (void)state;
  for (int c = 0; c < CUTS; ++c) {
    const lap_gemma2_config config = config_of(cuts[c].heads, cuts[c].kv_heads, 3);
    lap_parameters *parameters = lap_parameters_create(&config);
    test_batch *batch = test_batch_create(2, 9, config.vocab_size, 0, 614);
    const int64_t n = 18 * config.vocab_size;
    double *weights = random_weights(&config);
    double *expected = test_random(n, 0, NAN), *found = test_random(n, 0, NAN);
    named_weights named = {parameters, weights};
    reference_model_logits(&config, weight_by_name, &named, 2, 9, batch->tokens,
                           batch->document_start, expected);
    shard_setup setup = {.config = &config,
                         .mode = MODEL_HIDDEN,
                         .objective = &ghost,
                         .batch = batch,
                         .shards = cuts[c].shards,
                         .local = 1,
                         .threads = 1};
    shard_result result = {.logits = found};
    shard_runner_double.run(&setup, weights, &result);
    assert_true(test_distance(found, expected, n) <= 1e-12);
    setup.local = setup.shards;
    shard_runner_float.run(&setup, weights, &result);
    assert_true(test_distance(found, expected, n) <= 1e-3);
    free(weights), free(expected), free(found);
    test_batch_destroy(batch);
    lap_parameters_destroy(parameters);
  }
}

/* --- recompute --- */

static void check_recompute(const shard_runner *runner, shard_setup setup) {
  double *weights = random_weights(setup.config);
  outcome kept = {0};
  shard_result result[3];
  for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute) {
    setup.recompute = (lap_recompute)recompute;
    outcome found = run_shards(runner, &setup, weights, &result[recompute]);
    if (recompute == LAP_RECOMPUTE_NONE)
      kept = found;
    else
      expect_equal(&setup, &found, &kept), free_outcome(&found);
  }
  const shard_result *none = &result[LAP_RECOMPUTE_NONE], *block = &result[LAP_RECOMPUTE_BLOCK];
  const shard_result *attention = &result[LAP_RECOMPUTE_ATTENTION];
  assert_true(block->bytes < attention->bytes && attention->bytes < none->bytes);
  assert_true(block->flops == none->flops && attention->flops == none->flops);
  assert_true(none->seconds[1] == 0 && block->seconds[1] > 0 && attention->seconds[1] > 0);
  /* A recomputed block makes its two sums over shards once more; attention has none. */
  const int layers = (int)setup.config->num_hidden_layers;
  assert_int_equal(attention->sums, none->sums);
  assert_int_equal(block->sums, none->sums + (setup.shards > 1 ? 2 * layers : 0));
  free_outcome(&kept);
  free(weights);
}

static void recomputing_changes_no_bit_and_saves_memory(void **state) {
  (void)state;
  for (int c = 0; c < 4; ++c) {
    const lap_gemma2_config config = config_of(cuts[c].heads, cuts[c].kv_heads, 6);
    test_batch *batch = test_batch_create(2, 33, config.vocab_size, 6, 620);
    shard_setup setup = {.config = &config,
                         .mode = MODEL_TRAIN,
                         .objective = &ghost,
                         .batch = batch,
                         .shards = cuts[c].shards,
                         .local = cuts[c].shards,
                         .threads = 2};
    check_recompute(&shard_runner_double, setup);
    check_recompute(&shard_runner_float, setup);
    setup.local = cuts[c].shards == 4 ? 2 : 1;
    check_recompute(&shard_runner_float, setup);
    test_batch_destroy(batch);
  }
}

/* --- blocks --- */

static char *expected_events(int layers, bool backward) {
  char *events = lap_copy_string("");
  for (int step = 0; step < (backward ? 2 : 1) * (layers + 2); ++step) {
    const bool back = step >= layers + 2;
    const int block = back ? 2 * (layers + 2) - 1 - step : step;
    char *longer = lap_format("%s%s+%d%s -%d%s", events, step ? " " : "", block, back ? "'" : "",
                              block, back ? "'" : "");
    free(events);
    events = longer;
  }
  return events;
}

/* Weights exist only between enter and leave, each time at another address. */
static void weights_may_move_between_blocks(void **state) {
  (void)state;
  for (int c = 0; c < 4; ++c)
    for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute)
      for (int mode = MODEL_TRAIN; mode <= MODEL_HIDDEN; ++mode) {
        const lap_gemma2_config config = config_of(cuts[c].heads, cuts[c].kv_heads, 3);
        test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 621);
        double *weights = random_weights(&config);
        shard_setup setup = {.config = &config,
                             .mode = (model_mode)mode,
                             .objective = &ghost,
                             .batch = batch,
                             .shards = cuts[c].shards,
                             .local = cuts[c].shards == 4 ? 2 : 1,
                             .recompute = (lap_recompute)recompute,
                             .threads = 1};
        outcome still = run_shards(&shard_runner_float, &setup, weights, NULL);
        setup.moving = true;
        shard_result result;
        outcome moved = run_shards(&shard_runner_float, &setup, weights, &result);
        expect_equal(&setup, &moved, &still);
        char *expected = expected_events(3, mode == MODEL_TRAIN);
        assert_string_equal(result.events, expected);
        free(expected), free(result.events), free(weights);
        free_outcome(&still), free_outcome(&moved);
        test_batch_destroy(batch);
      }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_cut_has_the_gradients_of_the_whole),
      cmocka_unit_test(every_rule_holds_across_shards),
      cmocka_unit_test(the_rest_may_be_empty_in_one_shard),
      cmocka_unit_test(nothing_counted_is_exactly_nothing_in_shards),
      cmocka_unit_test(numbers_gone_wrong_are_known_to_every_shard),
      cmocka_unit_test(chunks_of_the_head_hold_across_shards),
      cmocka_unit_test(logits_in_shards_are_those_of_nested_loops),
      cmocka_unit_test(recomputing_changes_no_bit_and_saves_memory),
      cmocka_unit_test(weights_may_move_between_blocks),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
