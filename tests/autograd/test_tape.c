/* The tape: plans in which nothing is overwritten before its last use, gradients that add up
 * however values are shared, and no memory of the run before. */
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "autograd/tape/record.h"
#include "core/memory.h"
#include "core/philox.h"
#include "tests/autograd/model_runner.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/shadow.h"

enum { SEQUENCES = 2, LENGTH = 5, ROWS = SEQUENCES * LENGTH, VOCAB = 11, HIDDEN = 4 };
enum { HEADS = 2, HEAD_DIM = HIDDEN / HEADS, THREADS = 2 };

static const lap_op_extent extent = {SEQUENCES, LENGTH, 0, THREADS, false, false};

/* A network under construction: parameters get the next free offset in the weights. */
typedef struct {
  lap_tape *tape;
  int64_t weights;
  lap_value embedding;
  real cosine[LENGTH * HEAD_DIM / 2], sine[LENGTH * HEAD_DIM / 2];
} network;

static lap_value parameter(network *n, int64_t rows, int64_t columns) {
  const lap_value value = lap_tape_parameter(n->tape, rows, columns, 0, n->weights);
  n->weights += rows * columns;
  return value;
}

static lap_value begin(network *n) {
  *n = (network){.tape = lap_tape_create()};
  lap_rope_table(LENGTH, HEAD_DIM, 100, n->cosine, n->sine);
  n->embedding = parameter(n, VOCAB, HIDDEN);
  const lap_shard_weights weights = {{n->embedding}, 1};
  return lap_record_embedding(n->tape, &weights, ROWS,
                              &(lap_embedding_attributes){1.5, lap_whole_model()});
}

static lap_value linear(network *n, lap_value x) {
  const lap_shard_weights weights = {{parameter(n, HIDDEN, HIDDEN)}, 1};
  return lap_record_column_linear(n->tape, x, &weights);
}

static lap_value normalised(network *n, lap_value x) {
  return lap_record_rmsnorm(n->tape, x, parameter(n, 1, HIDDEN), 0.1);
}

static lap_value rotated(network *n, lap_value x) {
  return lap_record_rope(n->tape, linear(n, x),
                         &(lap_rope_attributes){HEADS, HEAD_DIM, n->cosine, n->sine});
}

static lap_value attention(network *n, lap_value q, lap_value k, lap_value v) {
  return lap_record_attention(n->tape, q, k, v,
                              &(lap_attention_attributes){HEADS, HEADS, HEAD_DIM, 3, 0.7, 4});
}

/* Through two shards and back: a projection cut by outputs, one cut by inputs. */
static lap_value sharded(network *n, lap_value x) {
  const lap_shard_weights out = {{parameter(n, HIDDEN, HIDDEN), parameter(n, HIDDEN, HIDDEN)}, 2};
  const lap_shard_weights in = {{parameter(n, HIDDEN, HIDDEN), parameter(n, HIDDEN, HIDDEN)}, 2};
  const lap_value apart = lap_record_copy_to_shards(n->tape, normalised(n, x), 2);
  return lap_record_row_linear(
      n->tape,
      lap_record_geglu(n->tape, lap_record_column_linear(n->tape, apart, &out),
                       lap_record_column_linear(n->tape, apart, &in)),
      &in);
}

static void finish(network *n, lap_value x) {
  const lap_lm_head_loss_attributes head = {5, {0, 1, LAP_TAIL_NONE, 0, 0}, lap_whole_model()};
  const lap_shard_weights weights = {{n->embedding}, 1};
  lap_record_lm_head_loss(n->tape, x, &weights, &head);
}

/* --- running one --- */

typedef struct {
  const network *network;
  const test_batch *batch;
  double *weights, *gradients;
} run_context;

/* Of two shards that are both here. */
static void sum_of_two(void *context, real *parts, int64_t elements, real *out) {
  (void)context;
  for (int64_t i = 0; i < elements; ++i) out[i] = parts[i] + parts[elements + i];
  for (int64_t i = 0; i < 2 * elements; ++i) parts[i] = NAN;
}

static void run(void *context, double *y) {
  const run_context *c = context;
  const lap_batch batch = {.sequences = SEQUENCES,
                           .length = LENGTH,
                           .tokens = c->batch->tokens,
                           .document_start = c->batch->document_start,
                           .targets = c->batch->targets};
  double other[3 * ROWS];
  const lap_losses losses = {y, other, other + ROWS, other + 2 * ROWS};
  double *thrown_away = lap_allocate(c->network->weights, sizeof *thrown_away);
  for (int64_t i = 0; i < c->network->tape->arena_size; ++i) c->network->tape->arena[i] = NAN;
  const lap_shard_group group = {.sum = sum_of_two};
  const real *weights[] = {c->weights};
  real *gradients[] = {c->gradients ? c->gradients : thrown_away};
  lap_tape_run(c->network->tape, &(lap_tape_pass){.weights = weights,
                                                  .gradients = gradients,
                                                  .batch = &batch,
                                                  .losses = &losses,
                                                  .group = &group});
  free(thrown_away);
}

/* Plans, checks the plan, and checks every gradient; the network is destroyed. */
static void check(const char *name, network *n) {
  lap_tape_plan(n->tape, LAP_TRAINING, &extent);
  char *problem = shadow_check(n->tape, LAP_TRAINING, &extent);
  if (problem) fail_msg("%s: %s", name, problem);
  test_batch *batch = test_batch_create(SEQUENCES, LENGTH, VOCAB, 0, 400);
  double *weights = test_random(n->weights, 401, 0.8);
  double *gradients = test_random(n->weights, 0, 0), losses[ROWS], ones[ROWS];
  for (int i = 0; i < ROWS; ++i) ones[i] = 1;
  const int before = omp_get_max_threads();
  omp_set_num_threads(THREADS);
  run(&(run_context){n, batch, weights, gradients}, losses);
  omp_set_num_threads(1); /* many small runs */
  run_context c = {n, batch, weights, NULL};
  const double error =
      test_gradient_error(run, &c, ROWS, ones, weights, gradients, n->weights, 4e-3);
  omp_set_num_threads(before);
  if (!(error <= 1e-9)) fail_msg("%s: gradients are off by %g", name, error);
  free(weights), free(gradients);
  test_batch_destroy(batch);
  lap_tape_destroy(n->tape);
}

static void gradients_of_three_consumers_add_up(void **state) {
  (void)state;
  network n;
  const lap_value x = begin(&n);
  const lap_value a = linear(&n, x), b = linear(&n, x), c = linear(&n, x);
  finish(&n, lap_record_residual(n.tape, lap_record_residual(n.tape, a, b), c));
  check("three linears", &n);
}

static void a_gradient_passed_through_is_not_overwritten(void **state) {
  (void)state;
  network n;
  lap_value x = begin(&n); /* residuals over residuals, as in a transformer */
  for (int i = 0; i < 3; ++i) x = lap_record_residual(n.tape, x, linear(&n, normalised(&n, x)));
  finish(&n, x);
  check("chain", &n);

  x = begin(&n); /* x is used after its residual: the shared gradient is not the first */
  lap_value y = lap_record_residual(n.tape, x, linear(&n, x));
  y = lap_record_residual(n.tape, y, linear(&n, x));
  finish(&n, lap_record_residual(n.tape, x, y));
  check("x again", &n);

  x = begin(&n); /* both inputs of a residual are residuals over the same */
  const lap_value left = lap_record_residual(n.tape, x, linear(&n, x));
  const lap_value right = lap_record_residual(n.tape, x, linear(&n, left));
  finish(&n, lap_record_residual(n.tape, left, right));
  check("diamond", &n);

  x = begin(&n); /* the second input passes a copy */
  y = linear(&n, x);
  finish(&n, lap_record_residual(n.tape, lap_record_residual(n.tape, y, x),
                                 lap_record_geglu(n.tape, y, linear(&n, x))));
  check("second input", &n);
}

/* --- random networks --- */

typedef struct {
  uint64_t seed, drawn;
} dice;

static int throw_dice(dice *d, int sides) {
  const lap_random random = lap_philox(d->seed, LAP_PURPOSE_BENCH, 9, d->drawn++);
  return (int)(random.word[0] % (uint32_t)sides);
}

enum { NODES = 14 };

/* A value is drawn from what there is; drawn twice for one op, the second is a new one. */
static lap_value other_than(network *n, lap_value a, lap_value b) {
  return a == b ? linear(n, b) : b;
}

/* In blocks of a few nodes, that use each other's values. */
static void record_random_network(network *n, uint64_t seed, lap_recompute recompute) {
  dice d = {seed, 0};
  lap_value node[NODES];
  node[0] = begin(n);
  for (int i = 1, block = 1; i < NODES; ++i) {
    if (throw_dice(&d, 4) == 0) lap_tape_block(n->tape, block++, recompute);
    const lap_value a = node[throw_dice(&d, i)];
    const int kind = throw_dice(&d, 7);
    const lap_value b = kind < 2 || kind == 6 ? a : other_than(n, a, node[throw_dice(&d, i)]);
    switch (kind) {
      case 0:
        node[i] = linear(n, a);
        break;
      case 1:
        node[i] = normalised(n, a);
        break;
      case 2:
        node[i] = lap_record_geglu(n->tape, a, b);
        break;
      case 3:
        node[i] = attention(n, rotated(n, a), rotated(n, a), b);
        break;
      case 6:
        node[i] = sharded(n, a);
        break;
      default:
        node[i] = lap_record_residual(n->tape, a, b);
    }
  }
  lap_value sum = node[NODES - 1]; /* every value without a consumer goes into the loss */
  for (int i = 0; i < NODES - 1; ++i)
    if (n->tape->values[node[i]].consumers == 0) sum = lap_record_residual(n->tape, sum, node[i]);
  lap_tape_block(n->tape, NODES, LAP_RECOMPUTE_NONE);
  finish(n, normalised(n, sum));
}

static void random_networks_have_their_gradients(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    network n;
    char name[64];
    const lap_recompute recompute = (lap_recompute)(seed % 3);
    snprintf(name, sizeof name, "network %d, recompute %d", (int)seed, (int)recompute);
    record_random_network(&n, seed, recompute);
    check(name, &n);
  }
}

/* --- the model's plan --- */

static const lap_objective objective = {0.7, 1, LAP_TAIL_GHOST, 0, 0};

static lap_gemma2 *record_model(const lap_gemma2_config *config, lap_gemma2_mode mode,
                                int64_t teacher_k, bool allocate) {
  return lap_gemma2_record(config, &(lap_gemma2_recording){.mode = mode,
                                                           .objective = &objective,
                                                           .sequences = 3,
                                                           .length = 17,
                                                           .teacher_k = teacher_k,
                                                           .threads = THREADS,
                                                           .allocate = allocate});
}

/* A plan alone. */
static lap_gemma2 *plan_of(int64_t layers, lap_gemma2_mode mode, lap_shard_range shards,
                           lap_recompute recompute) {
  lap_gemma2_config config = test_small_model(layers);
  config.vocab_size = 24, config.intermediate_size = 12;
  return lap_gemma2_record(&config, &(lap_gemma2_recording){.mode = mode,
                                                            .objective = &objective,
                                                            .sequences = 3,
                                                            .length = 17,
                                                            .teacher_k = 6,
                                                            .threads = THREADS,
                                                            .shards = shards,
                                                            .recompute = recompute});
}

static const lap_shard_range ranges[] = {{1, 0, 1}, {2, 0, 2}, {2, 1, 1}};

static void the_models_plan_overwrites_nothing_too_early(void **state) {
  (void)state;
  const lap_op_extent sizes = {3, 17, 6, THREADS, false, false};
  for (int mode = LAP_GEMMA2_TRAIN; mode <= LAP_GEMMA2_HIDDEN; ++mode)
    for (int r = 0; r < 3; ++r)
      for (int recompute = LAP_RECOMPUTE_NONE; recompute <= LAP_RECOMPUTE_ATTENTION; ++recompute) {
        lap_gemma2 *model = plan_of(5, (lap_gemma2_mode)mode, ranges[r], (lap_recompute)recompute);
        char *problem = shadow_check(model->tape,
                                     mode == LAP_GEMMA2_TRAIN ? LAP_TRAINING : LAP_FORWARD, &sizes);
        if (problem) fail_msg("mode %d, recompute %d: %s", mode, recompute, problem);
        lap_gemma2_destroy(model);
      }
}

/* Of layer 1, in order; "rmsnorm column_linear ...". */
static char *recomputed(const lap_tape *tape) {
  char *names = lap_copy_string("");
  for (int s = 0; s < tape->step_count; ++s) {
    const tape_op *recorded = &tape->ops[tape->steps[s].op];
    if (tape->steps[s].kind != LAP_STEP_RECOMPUTE || recorded->block != 2) continue;
    char *longer = lap_format("%s%s%s", names, *names ? " " : "", recorded->op->name);
    free(names);
    names = longer;
  }
  return names;
}

/* The last norm's output is not read by any op of the layer; the layer's output is kept by the next
 * layer: neither is recomputed. */
static void only_values_that_backward_needs_are_recomputed(void **state) {
  (void)state;
  const struct {
    lap_recompute recompute;
    lap_shard_range shards;
    const char *names;
  } cases[] = {
      {LAP_RECOMPUTE_NONE, {1, 0, 1}, ""},
      {LAP_RECOMPUTE_ATTENTION, {1, 0, 1}, "rmsnorm attention rmsnorm geglu"},
      {LAP_RECOMPUTE_ATTENTION,
       {2, 0, 1},
       "rmsnorm copy_to_shards attention rmsnorm copy_to_shards geglu"},
      {LAP_RECOMPUTE_BLOCK,
       {1, 0, 1},
       "rmsnorm column_linear column_linear column_linear rope rope attention column_linear "
       "rmsnorm residual "
       "rmsnorm column_linear column_linear geglu column_linear"},
      {LAP_RECOMPUTE_BLOCK,
       {2, 0, 2},
       "rmsnorm copy_to_shards column_linear column_linear column_linear rope rope attention "
       "row_linear rmsnorm residual "
       "rmsnorm copy_to_shards column_linear column_linear geglu row_linear"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_gemma2 *model = plan_of(3, LAP_GEMMA2_TRAIN, cases[i].shards, cases[i].recompute);
    char *names = recomputed(model->tape);
    assert_string_equal(names, cases[i].names);
    free(names);
    lap_gemma2_destroy(model);
    model = plan_of(3, LAP_GEMMA2_LOSS, cases[i].shards, cases[i].recompute);
    names = recomputed(model->tape);
    assert_string_equal(names, "");
    free(names);
    lap_gemma2_destroy(model);
  }
}

/* One more layer costs the memory of its input, and of one number a position that its last norm
 * saves. */
static void a_block_keeps_its_input_alone(void **state) {
  (void)state;
  int64_t bytes[2];
  for (int i = 0; i < 2; ++i) {
    lap_gemma2 *model =
        plan_of(6 + 3 * i, LAP_GEMMA2_TRAIN, lap_whole_model(), LAP_RECOMPUTE_BLOCK);
    bytes[i] = lap_tape_bytes(model->tape);
    lap_gemma2_destroy(model);
  }
  enum { RAGGED = 3 * 17, LINE = LAP_ALIGNMENT };
  const int64_t input = RAGGED * 7 * (int64_t)sizeof(real), saved = RAGGED * (int64_t)sizeof(real);
  assert_true(bytes[1] - bytes[0] <= 3 * (input + saved + 2 * LINE));
  assert_true(bytes[1] - bytes[0] >= 3 * input);
}

static int64_t bytes_of(int64_t layers, lap_gemma2_mode mode, bool allocate) {
  const lap_gemma2_config config = test_small_model(layers);
  lap_gemma2 *model = record_model(&config, mode, 6, allocate);
  const int64_t bytes = lap_tape_bytes(model->tape);
  lap_gemma2_destroy(model);
  return bytes;
}

static void a_plan_without_memory_is_the_plan(void **state) {
  (void)state;
  for (int mode = LAP_GEMMA2_TRAIN; mode <= LAP_GEMMA2_HIDDEN; ++mode)
    assert_int_equal(bytes_of(4, (lap_gemma2_mode)mode, false),
                     bytes_of(4, (lap_gemma2_mode)mode, true));
}

static void memory_forward_does_not_grow_with_depth(void **state) {
  (void)state;
  assert_int_equal(bytes_of(3, LAP_GEMMA2_HIDDEN, false), bytes_of(9, LAP_GEMMA2_HIDDEN, false));
  assert_int_equal(bytes_of(3, LAP_GEMMA2_LOSS, false), bytes_of(9, LAP_GEMMA2_LOSS, false));
  const int64_t layers3 = bytes_of(3, LAP_GEMMA2_TRAIN, false);
  const int64_t layers6 = bytes_of(6, LAP_GEMMA2_TRAIN, false);
  const int64_t layers9 = bytes_of(9, LAP_GEMMA2_TRAIN, false);
  assert_true(layers3 < layers6);
  assert_int_equal(layers9 - layers6, layers6 - layers3);
}

/* Training keeps the logits of all 51 positions in the head's scratch, a forward pass does not. */
static void logits_are_the_scratch_of_the_head(void **state) {
  (void)state;
  const lap_gemma2_config config = test_small_model(2);
  int64_t bytes[2];
  for (int mode = LAP_GEMMA2_TRAIN; mode <= LAP_GEMMA2_LOSS; ++mode) {
    lap_gemma2 *model = record_model(&config, (lap_gemma2_mode)mode, 6, false);
    bytes[mode] = lap_tape_scratch_bytes(model->tape, &lap_op_lm_head_loss);
    assert_true(bytes[mode] < lap_tape_bytes(model->tape));
    assert_int_equal(lap_tape_scratch_bytes(model->tape, &lap_op_residual), 0);
    lap_gemma2_destroy(model);
  }
  const int64_t logits = INT64_C(3) * 17 * config.vocab_size * (int64_t)sizeof(real);
  assert_in_range(bytes[0] - bytes[1], logits, logits + LAP_ALIGNMENT);
}

/* --- replay --- */

static void poisoned_memory_changes_no_bit(const model_runner *runner, model_mode mode) {
  const lap_gemma2_config config = test_small_model(3);
  lap_parameters *parameters = lap_parameters_create(&config);
  test_batch *batch = test_batch_create(3, 17, config.vocab_size, 6, 410);
  double *weights = test_random(parameters->elements, 411, 0.5);
  const size_t bytes = (size_t)parameters->elements * sizeof(double);
  double *gradients[3], loss[3][51], logits[3][23 * 51];
  memset(loss, 0, sizeof loss), memset(logits, 0, sizeof logits);
  model_session *s = runner->create(&config, mode, &objective, batch, THREADS);
  for (int i = 0; i < 3; ++i) { /* fresh, as the run before left it, and poisoned */
    gradients[i] = test_random(parameters->elements, 0, 0);
    if (i == 2) runner->poison(s);
    runner->run(s, weights, mode == MODEL_TRAIN ? gradients[i] : NULL,
                &(test_losses){.loss = loss[i]});
    if (mode == MODEL_HIDDEN) {
      runner->logits(s, weights, 0, 51, logits[i]);
      memset(loss[i], 0, sizeof loss[i]); /* nobody wrote them */
    }
  }
  for (int i = 1; i < 3; ++i) {
    assert_memory_equal(gradients[0], gradients[i], bytes);
    assert_memory_equal(loss[0], loss[i], sizeof loss[0]);
    assert_memory_equal(logits[0], logits[i], sizeof logits[0]);
    assert_true(isfinite(test_largest(loss[i], 51)) && isfinite(test_largest(logits[i], 23 * 51)));
  }
  runner->destroy(s);
  for (int i = 0; i < 3; ++i) free(gradients[i]);
  free(weights);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

static void no_run_sees_what_the_last_one_left(void **state) {
  (void)state;
  for (int mode = MODEL_TRAIN; mode <= MODEL_HIDDEN; ++mode) {
    poisoned_memory_changes_no_bit(&model_runner_double, (model_mode)mode);
    poisoned_memory_changes_no_bit(&model_runner_float, (model_mode)mode);
  }
}

/* Of one run, from shapes and documents alone. */
static double planned_flops(const lap_gemma2_config *config, lap_gemma2_mode mode,
                            lap_recompute recompute, const int32_t *document_start) {
  lap_gemma2 *model = lap_gemma2_record(config, &(lap_gemma2_recording){.mode = mode,
                                                                        .objective = &objective,
                                                                        .sequences = 3,
                                                                        .length = 17,
                                                                        .threads = THREADS,
                                                                        .recompute = recompute});
  const lap_batch shape = {.sequences = 3, .length = 17, .document_start = document_start};
  double forward;
  const double flops = lap_tape_flops_of(model->tape, &shape, &forward);
  assert_true(forward * (mode == LAP_GEMMA2_TRAIN ? 3 : 1) == flops);
  lap_gemma2_destroy(model);
  return flops;
}

/* Counted from the definition: 2 m n k for each product, 4 D for each visible score of each head.
 */
static void flops_are_those_of_the_products(void **state) {
  (void)state;
  const lap_gemma2_config c = test_small_model(2);
  test_batch *batch = test_batch_create(3, 17, c.vocab_size, 0, 412);
  const double rows = 51, q = 24, kv = 12;
  const double linear = 2 * rows * 7 * (q + kv + kv + q + 11 * 3), head = 2 * rows * 7 * 23;
  double visible[2] = {0}; /* sliding, full */
  for (int row = 0; row < 51; ++row)
    for (int j = batch->document_start[row]; j <= row % 17; ++j) {
      visible[1] += 1;
      visible[0] += j > row % 17 - 3;
    }
  const double forward = 2 * linear + head + 4 * 6 * 4 * (visible[0] + visible[1]);
  lap_parameters *parameters = lap_parameters_create(&c);
  double *weights = test_random(parameters->elements, 413, 0.5);
  double *gradients = test_random(parameters->elements, 0, 0), losses[4 * 51] = {0};
  const lap_batch micro = {.sequences = 3,
                           .length = 17,
                           .tokens = batch->tokens,
                           .document_start = batch->document_start,
                           .targets = batch->targets};
  const lap_losses out = {losses, losses + 51, losses + 102, losses + 153};
  const lap_gemma2_mode modes[] = {LAP_GEMMA2_TRAIN, LAP_GEMMA2_LOSS};
  for (int i = 0; i < 2; ++i) {
    lap_gemma2 *model = record_model(&c, modes[i], 0, true);
    for (lap_recompute recompute = 0; recompute < 3; ++recompute)
      assert_true(planned_flops(&c, modes[i], recompute, batch->document_start) ==
                  (i == 0 ? 3 : 1) * forward);
    for (int runs = 1; runs <= 2; ++runs) {
      lap_gemma2_run(model, weights, i == 0 ? gradients : NULL, &micro, &out);
      assert_true(fabs(lap_tape_flops(model->tape) - runs * (i == 0 ? 3 : 1) * forward) < 0.5);
    }
    lap_tape_profile_row profile[16];
    const int kinds = lap_tape_profile(model->tape, profile, 16);
    double sum = 0;
    for (int kind = 0; kind < kinds; ++kind) {
      const lap_tape_profile_row *row = &profile[kind];
      sum += row->flops;
      assert_true(row->moved > 0);
      /* Of attention hidden scores too, and forward's scores again. */
      const bool more = row->op == &lap_op_attention;
      assert_true(more ? row->computed_flops > row->flops : row->computed_flops == row->flops);
    }
    assert_int_equal(kinds, 8);
    assert_true(sum == lap_tape_flops(model->tape));
    lap_tape_profile_reset(model->tape);
    assert_true(lap_tape_flops(model->tape) == 0);
    lap_tape_profile(model->tape, profile, 16);
    assert_true(profile[0].moved == 0);
    lap_gemma2_destroy(model);
  }
  free(weights), free(gradients);
  test_batch_destroy(batch);
  lap_parameters_destroy(parameters);
}

/* --- bugs assert --- */

static void expect_abort(void (*record)(network *n, lap_value x)) {
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    const int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    network n;
    record(&n, begin(&n));
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void one_value_twice(network *n, lap_value x) { lap_record_residual(n->tape, x, x); }

static void read_after_rotation(network *n, lap_value x) {
  const lap_value y = linear(n, x);
  lap_record_rope(n->tape, y, &(lap_rope_attributes){HEADS, HEAD_DIM, n->cosine, n->sine});
  normalised(n, y);
}

static void rotation_after_read(network *n, lap_value x) {
  const lap_value y = linear(n, x);
  normalised(n, y);
  lap_record_rope(n->tape, y, &(lap_rope_attributes){HEADS, HEAD_DIM, n->cosine, n->sine});
}

static void rotation_of_a_weight(network *n, lap_value x) {
  (void)x;
  lap_record_rope(n->tape, parameter(n, ROWS, HIDDEN),
                  &(lap_rope_attributes){HEADS, HEAD_DIM, n->cosine, n->sine});
}

static void a_value_for_nobody(network *n, lap_value x) {
  linear(n, x);
  finish(n, x);
  lap_tape_layout(n->tape, LAP_TRAINING, &extent);
}

static void recordings_that_could_not_be_right_abort(void **state) {
  (void)state;
  expect_abort(one_value_twice);
  expect_abort(read_after_rotation);
  expect_abort(rotation_after_read);
  expect_abort(rotation_of_a_weight);
  expect_abort(a_value_for_nobody);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_of_three_consumers_add_up),
      cmocka_unit_test(a_gradient_passed_through_is_not_overwritten),
      cmocka_unit_test(random_networks_have_their_gradients),
      cmocka_unit_test(the_models_plan_overwrites_nothing_too_early),
      cmocka_unit_test(only_values_that_backward_needs_are_recomputed),
      cmocka_unit_test(a_block_keeps_its_input_alone),
      cmocka_unit_test(a_plan_without_memory_is_the_plan),
      cmocka_unit_test(memory_forward_does_not_grow_with_depth),
      cmocka_unit_test(logits_are_the_scratch_of_the_head),
      cmocka_unit_test(no_run_sees_what_the_last_one_left),
      cmocka_unit_test(flops_are_those_of_the_products),
      cmocka_unit_test(recordings_that_could_not_be_right_abort),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
