/* The whole Gemma 2: logits against nested loops, gradients against finite differences, and what a
 * training run stands on: micro-batches add up, uncounted positions count nothing, threads change
 * nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/autograd/model_runner.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/reference_model.h"

/* Odd everywhere, and hidden_size is not heads * head_dim. */
static const lap_objective ghost = {0.7, 1, LAP_TAIL_GHOST, 0, 0};

/* A random start with norms that are not 0, so that (1 + w) shows. */
static double *random_weights(const lap_parameters *p, uint64_t seed) {
  float *start = lap_allocate(p->elements, sizeof *start);
  lap_parameters_initialise(p, seed, 0, p->elements, start);
  double *weights = lap_allocate(p->elements, sizeof *weights);
  for (int64_t i = 0; i < p->elements; ++i) weights[i] = (double)start[i];
  for (int i = 0; i < p->count; ++i)
    if (p->parameter[i].is_norm)
      test_fill(weights + p->parameter[i].offset, p->parameter[i].elements, 500 + (uint64_t)i, 0.5);
  free(start);
  return weights;
}

static double sum(const double *x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

/* --- values --- */

typedef struct {
  const lap_parameters *parameters;
  const double *weights;
} named_weights;

static const double *weight_by_name(void *context, const char *name) {
  const named_weights *w = context;
  const lap_parameter *p = lap_parameters_find(w->parameters, name);
  assert_non_null(p);
  return w->weights + p->offset;
}

static void compare_logits(const lap_gemma2_config *config, int64_t sequences, int64_t length) {
  lap_parameters *parameters = lap_parameters_create(config);
  test_batch *batch = test_batch_create(sequences, length, config->vocab_size, 0, 200);
  double *weights = random_weights(parameters, 3);
  const int64_t rows = sequences * length, n = rows * config->vocab_size;
  double *expected = test_random(n, 0, 0), *found = test_random(n, 0, NAN);
  named_weights named = {parameters, weights};
  reference_model_logits(config, weight_by_name, &named, sequences, length, batch->tokens,
                         batch->document_start, expected);
  const struct {
    const model_runner *runner;
    double tolerance;
  } builds[] = {{&model_runner_double, 1e-12}, {&model_runner_float, 2e-5}};
  for (int b = 0; b < 2; ++b) {
    model_session *s = builds[b].runner->create(config, MODEL_HIDDEN, &ghost, batch, 2);
    builds[b].runner->run(s, weights, NULL, NULL);
    builds[b].runner->logits(s, weights, 0, rows, found);
    const double distance = test_distance(found, expected, n);
    if (!(distance <= builds[b].tolerance)) fail_msg("build %d is off by %g", b, distance);
    builds[b].runner->destroy(s);
  }
  free(weights), free(expected), free(found);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

static void logits_are_those_of_nested_loops(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  compare_logits(&config, 3, 17);
  compare_logits(&config, 1, 70); /* more than a tile of queries */
  config.num_key_value_heads = 1;
  compare_logits(&config, 2, 3);
  config.num_key_value_heads = 4;
  compare_logits(&config, 1, 1);
  config.attn_logit_softcapping = config.final_logit_softcapping = 0;
  config.sliding[0] = false, config.sliding[1] = true;
  compare_logits(&config, 2, 9);
  config.num_hidden_layers = 12; /* "layers.10" sorts before "layers.2" */
  compare_logits(&config, 1, 9);
  config.pre_norms_only = true;
  compare_logits(&config, 1, 9);
}

static void losses_agree_between_modes(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 201);
  double *weights = random_weights(parameters, 4);
  double *gradients = test_random(parameters->elements, 0, 0);
  double losses[2][4][18], logits[23];
  for (int mode = MODEL_TRAIN; mode <= MODEL_LOSS; ++mode) {
    double(*l)[18] = losses[mode];
    model_session *s = model_runner_float.create(&config, (model_mode)mode, &ghost, batch, 1);
    model_runner_float.run(s, weights, mode == MODEL_TRAIN ? gradients : NULL,
                           &(test_losses){l[0], l[1], l[2], l[3]});
    model_runner_float.destroy(s);
  }
  assert_memory_equal(losses[MODEL_TRAIN], losses[MODEL_LOSS], sizeof losses[0]);
  model_session *s = model_runner_double.create(&config, MODEL_HIDDEN, &ghost, batch, 1);
  model_session *with_loss = model_runner_double.create(&config, MODEL_LOSS, &ghost, batch, 1);
  double ce[18];
  model_runner_double.run(s, weights, NULL, NULL);
  model_runner_double.run(with_loss, weights, NULL, &(test_losses){.ce = ce});
  for (int row = 0; row < 18; ++row) {
    model_runner_double.logits(s, weights, row, 1, logits);
    double mass = 0;
    for (int j = 0; j < 23; ++j) mass += exp(logits[j]);
    const int32_t target = batch->targets[row];
    const double expected = target < 0 ? 0 : log(mass) - logits[target];
    assert_true(fabs(ce[row] - expected) < 1e-13);
  }
  model_runner_double.destroy(s), model_runner_double.destroy(with_loss);
  free(weights), free(gradients);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

static void the_first_loss_is_below_ln_v_plus_1(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  config.vocab_size = 1000, config.hidden_size = 48, config.intermediate_size = 96;
  config.final_logit_softcapping = 30, config.attn_logit_softcapping = 50;
  config.query_pre_attn_scalar = 6, config.rms_norm_eps = 1e-6;
  lap_parameters *parameters = lap_parameters_create(&config);
  float *start = lap_allocate(parameters->elements, sizeof *start);
  double *weights = lap_allocate(parameters->elements, sizeof *weights);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    test_batch *batch = test_batch_create(2, 40, config.vocab_size, 0, 210 + seed);
    lap_parameters_initialise(parameters, seed, 0, parameters->elements, start);
    for (int64_t i = 0; i < parameters->elements; ++i) weights[i] = (double)start[i];
    double loss[80];
    model_session *s = model_runner_float.create(&config, MODEL_LOSS, &ghost, batch, 2);
    model_runner_float.run(s, weights, NULL, &(test_losses){.loss = loss});
    int counted = 0;
    for (int i = 0; i < 80; ++i) counted += batch->targets[i] >= 0;
    const double mean = sum(loss, 80) / counted;
    assert_true(mean < log(1000) + 1 && mean > log(1000) - 1);
    model_runner_float.destroy(s);
    test_batch_destroy(batch);
  }
  free(start), free(weights);
  lap_parameters_destroy(parameters);
}

/* --- gradients --- */

typedef struct {
  model_session *session;
  const double *weights;
} evaluation;

static void evaluate_losses(void *context, double *y) {
  const evaluation *e = context;
  model_runner_double.run(e->session, e->weights, NULL, &(test_losses){.loss = y});
}

static void check_gradients(const lap_gemma2_config *config, const lap_objective *objective,
                            test_batch *batch) {
  lap_parameters *parameters = lap_parameters_create(config);
  double *weights = random_weights(parameters, 5);
  double *gradients = test_random(parameters->elements, 0, 0);
  const int64_t rows = batch->sequences * batch->length;
  double *ones = test_random(rows, 0, 0);
  for (int64_t i = 0; i < rows; ++i) ones[i] = 1;
  model_session *train = model_runner_double.create(config, MODEL_TRAIN, objective, batch, 2);
  model_runner_double.run(train, weights, gradients, NULL);
  evaluation e = {model_runner_double.create(config, MODEL_LOSS, objective, batch, 1), weights};
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const double error = test_gradient_error(evaluate_losses, &e, rows, ones, weights + p->offset,
                                             gradients + p->offset, p->elements, 4e-3);
    if (!(error <= 1e-9)) fail_msg("%s is off by %g", p->name, error);
    for (int64_t pad = p->elements; pad % LAP_SEGMENT; ++pad)
      assert_true(gradients[p->offset + pad] == 0);
  }
  model_runner_double.destroy(train), model_runner_double.destroy(e.session);
  free(weights), free(gradients), free(ones);
  lap_parameters_destroy(parameters);
}

static void every_weight_has_its_gradient(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 202);
  check_gradients(&config, &ghost, batch);
  test_batch_destroy(batch);

  config.num_hidden_layers = 4, config.num_key_value_heads = 1, config.hidden_size = 9;
  config.attn_logit_softcapping = config.final_logit_softcapping = 0;
  batch = test_batch_create(1, 5, config.vocab_size, 3, 203);
  check_gradients(&config, &(lap_objective){0.7, 2, LAP_TAIL_RENORMALISE, 0, 0}, batch);
  test_batch_destroy(batch);

  config.num_hidden_layers = 1, config.num_key_value_heads = 4, config.vocab_size = 2;
  batch = test_batch_create(1, 70, config.vocab_size, 0, 204);
  check_gradients(&config, &ghost, batch);
  test_batch_destroy(batch);
}

static void a_model_without_second_norms_has_its_gradients(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  config.pre_norms_only = true;
  test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 202);
  check_gradients(&config, &ghost, batch);
  test_batch_destroy(batch);
}

/* A chunk of the head is at most 1024 positions. */
static void gradients_hold_across_chunks_of_the_head(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  config.vocab_size = 5, config.hidden_size = 3, config.intermediate_size = 2;
  config.num_hidden_layers = 1, config.num_attention_heads = config.num_key_value_heads = 1;
  config.head_dim = 2;
  test_batch *batch = test_batch_create(41, 26, config.vocab_size, 2, 205);
  check_gradients(&config, &ghost, batch);
  test_batch_destroy(batch);
}

static void float_gradients_are_those_of_double(void **state) {
  (void)state;
  lap_gemma2_config config = test_small_model(3);
  config.num_hidden_layers = 4;
  /* Wide enough that no norm divides by almost nothing: that multiplies the rounding before it. */
  config.hidden_size = 65, config.intermediate_size = 101;
  lap_parameters *parameters = lap_parameters_create(&config);
  test_batch *batch = test_batch_create(3, 33, config.vocab_size, 6, 206);
  double *weights = random_weights(parameters, 6);
  double *found[2], loss[2][99];
  const model_runner *runners[] = {&model_runner_double, &model_runner_float};
  for (int b = 0; b < 2; ++b) {
    found[b] = test_random(parameters->elements, 0, 0);
    model_session *s = runners[b]->create(&config, MODEL_TRAIN, &ghost, batch, 2);
    runners[b]->run(s, weights, found[b], &(test_losses){.loss = loss[b]});
    runners[b]->destroy(s);
  }
  assert_true(test_distance(loss[1], loss[0], 99) <= 2e-5);
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const double distance = test_distance(found[1] + p->offset, found[0] + p->offset, p->elements);
    if (!(distance <= 2e-5)) fail_msg("%s is off by %g", p->name, distance);
  }
  free(weights), free(found[0]), free(found[1]);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

/* --- what a run stands on --- */

/* Sizes beyond one tile of a product, so that there is something to share out. */
static lap_gemma2_config wide_config(void) {
  lap_gemma2_config config = test_small_model(3);
  config.vocab_size = 601, config.hidden_size = 67, config.intermediate_size = 301;
  config.num_hidden_layers = 2;
  return config;
}

static void threads_do_not_change_a_bit(void **state) {
  (void)state;
  const lap_gemma2_config config = wide_config();
  lap_parameters *parameters = lap_parameters_create(&config);
  const size_t bytes = (size_t)parameters->elements * sizeof(double);
  test_batch *batch = test_batch_create(3, 130, config.vocab_size, 6, 207);
  double *weights = random_weights(parameters, 7), *first = NULL, losses[2][390];
  const int threads[] = {1, 2, 3, 5};
  for (int t = 0; t < 4; ++t) {
    double *gradients = test_random(parameters->elements, 0, 0);
    model_session *s = model_runner_float.create(&config, MODEL_TRAIN, &ghost, batch, threads[t]);
    model_runner_float.run(s, weights, gradients, &(test_losses){.loss = losses[t > 0]});
    model_runner_float.destroy(s);
    if (t == 0) {
      first = gradients;
      continue;
    }
    assert_memory_equal(first, gradients, bytes);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    free(gradients);
  }
  free(weights), free(first);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

static void micro_batches_add_up(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  double *weights = random_weights(parameters, 8);
  double *together = test_random(parameters->elements, 0, 0);
  double *apart[2] = {test_random(parameters->elements, 0, 0),
                      test_random(parameters->elements, 0, 0)};
  for (int b = 0; b < 2; ++b) {
    test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 220 + (uint64_t)b);
    model_session *s = model_runner_double.create(&config, MODEL_TRAIN, &ghost, batch, 2);
    model_runner_double.run(s, weights, together, NULL);
    model_runner_double.run(s, weights, apart[b], NULL);
    model_runner_double.destroy(s);
    test_batch_destroy(batch);
  }
  for (int64_t i = 0; i < parameters->elements; ++i) apart[0][i] += apart[1][i];
  assert_true(test_distance(together, apart[0], parameters->elements) < 1e-14);
  assert_true(test_distance(together, apart[1], parameters->elements) > 1e-3);
  free(weights), free(together), free(apart[0]), free(apart[1]);
  lap_parameters_destroy(parameters);
}

static void a_batch_is_the_sum_of_its_sequences(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  double *weights = random_weights(parameters, 9);
  double *together = test_random(parameters->elements, 0, 0);
  double *apart = test_random(parameters->elements, 0, 0);
  test_batch *batch = test_batch_create(3, 9, config.vocab_size, 6, 230);
  model_session *s = model_runner_double.create(&config, MODEL_TRAIN, &ghost, batch, 2);
  model_runner_double.run(s, weights, together, NULL);
  model_runner_double.destroy(s);
  test_batch one = *batch;
  one.sequences = 1;
  for (int sequence = 0; sequence < 3; ++sequence) {
    s = model_runner_double.create(&config, MODEL_TRAIN, &ghost, &one, 1);
    model_runner_double.run(s, weights, apart, NULL);
    model_runner_double.destroy(s);
    one.tokens += 9, one.document_start += 9, one.targets += 9, one.tail += 9, one.entropy += 9;
    one.ids += 9 * 6, one.probability += 9 * 6;
  }
  assert_true(test_distance(apart, together, parameters->elements) < 1e-13);
  free(weights), free(together), free(apart);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

/* A document neither knows of what came before it nor moves when it does; only rows of the other
 * document, and no rotation by absolute position, may tell. */
static void documents_do_not_see_each_other(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  double *weights = random_weights(parameters, 10), losses[2][12];
  test_batch *batch = test_batch_create(1, 12, config.vocab_size, 0, 240);
  for (int t = 0; t < 12; ++t) batch->document_start[t] = t < 5 ? 0 : 5, batch->targets[t] = t;
  for (int run = 0; run < 2; ++run) {
    model_session *s = model_runner_float.create(&config, MODEL_LOSS, &ghost, batch, 1);
    model_runner_float.run(s, weights, NULL, &(test_losses){.loss = losses[run]});
    model_runner_float.destroy(s);
    for (int t = 0; t < 5; ++t) batch->tokens[t] = (batch->tokens[t] + 1 + t) % 23;
  }
  assert_memory_equal(losses[0] + 5, losses[1] + 5, 7 * sizeof(double));
  for (int t = 0; t < 5; ++t) assert_true(losses[0][t] != losses[1][t]);
  free(weights);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

static void nothing_counted_is_exactly_nothing(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  test_batch *batch = test_batch_create(2, 9, config.vocab_size, 6, 208);
  for (int i = 0; i < 18; ++i) batch->targets[i] = -1;
  double *weights = random_weights(parameters, 11);
  double *gradients = test_random(parameters->elements, 0, 0), losses[4][18];
  model_session *s = model_runner_float.create(&config, MODEL_TRAIN, &ghost, batch, 2);
  model_runner_float.run(s, weights, gradients,
                         &(test_losses){losses[0], losses[1], losses[2], losses[3]});
  for (int i = 0; i < 4; ++i)
    for (int row = 0; row < 18; ++row) assert_true(losses[i][row] == 0);
  for (int64_t i = 0; i < parameters->elements; ++i) assert_true(gradients[i] == 0);
  model_runner_float.destroy(s);
  free(weights), free(gradients);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logits_are_those_of_nested_loops),
      cmocka_unit_test(losses_agree_between_modes),
      cmocka_unit_test(the_first_loss_is_below_ln_v_plus_1),
      cmocka_unit_test(every_weight_has_its_gradient),
      cmocka_unit_test(a_model_without_second_norms_has_its_gradients),
      cmocka_unit_test(gradients_hold_across_chunks_of_the_head),
      cmocka_unit_test(float_gradients_are_those_of_double),
      cmocka_unit_test(threads_do_not_change_a_bit),
      cmocka_unit_test(micro_batches_add_up),
      cmocka_unit_test(a_batch_is_the_sum_of_its_sequences),
      cmocka_unit_test(documents_do_not_see_each_other),
      cmocka_unit_test(nothing_counted_is_exactly_nothing),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
