/* The descriptions of ops: every op of the table has one, ops send between shards what their
 * descriptions say, and an op without a description is refused. */
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/gemma2/model.h"
#include "autograd/op/folded_shards.h"
#include "autograd/tape/tape.h"
#include "autograd/tape/walk.h"
#include "core/memory.h"
#include "tests/autograd/batch.h"
#include "tests/autograd/numbers.h"

static void every_op_is_described(void **state) {
  (void)state;
  for (int i = 0; i < LAP_OPS; ++i) {
    const char *missing = lap_op_missing(lap_op_table[i]);
    if (missing) fail_msg("%s has no %s", lap_op_table[i]->name, missing);
    for (int j = 0; j < i; ++j)
      assert_string_not_equal(lap_op_table[i]->name, lap_op_table[j]->name);
  }
}

static void what_is_missing_is_named(void **state) {
  (void)state;
  lap_op op = lap_op_residual;
  assert_null(lap_op_missing(&op));
  op.cost = NULL;
  assert_string_equal(lap_op_missing(&op), "cost");
  op.work = LAP_WORK_UNKNOWN;
  assert_string_equal(lap_op_missing(&op), "work");
  op.backward = NULL;
  assert_string_equal(lap_op_missing(&op), "backward");
  op.forward = NULL;
  assert_string_equal(lap_op_missing(&op), "forward");
  op.name = NULL;
  assert_string_equal(lap_op_missing(&op), "name");
}

/* --- an op of our own --- */

static const lap_shard_group *given;

static void look_at_the_group(const lap_op_call *call) { given = call->group; }

static int no_calls(const lap_op_call *call, const lap_op_extent *extent, bool backward,
                    lap_shard_call *list) {
  (void)call, (void)extent, (void)backward, (void)list;
  return 0;
}

/* Records it alone and runs it forward beside a group. */
static void run_alone(const lap_op *op) {
  static const lap_op_extent extent = {1, 1, 0, 8, false, false};
  const int shards = 2;
  const lap_shard_group group = lap_folded_shards(&shards);
  const real weight = 1, *weights[] = {&weight};
  const lap_batch batch = {.sequences = 1, .length = 1};
  lap_tape *tape = lap_tape_create();
  const lap_value inputs[LAP_MAX_INPUTS] = {lap_tape_parameter(tape, 1, 1, 0, 0), LAP_NO_VALUE};
  lap_tape_record(tape, op, NULL, 0, inputs, 1, 1);
  lap_tape_plan(tape, LAP_FORWARD, &extent);
  lap_tape_run(tape, &(lap_tape_pass){.weights = weights, .batch = &batch, .group = &group});
  lap_tape_destroy(tape);
}

static void only_ops_that_say_so_meet_other_shards(void **state) {
  (void)state;
  lap_op op = lap_op_residual;
  op.forward = look_at_the_group;
  run_alone(&op);
  assert_null(given);
  op.shard_calls = no_calls;
  run_alone(&op);
  assert_non_null(given);
}

static void an_op_without_a_cost_is_refused(void **state) {
  (void)state;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
    lap_op op = lap_op_residual;
    op.forward = look_at_the_group;
    op.cost = NULL;
    run_alone(&op);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* --- a model in two shards that are both here --- */

enum { SEQUENCES = 2, LENGTH = 75, ROWS = SEQUENCES * LENGTH, TEACHER_K = 6, SHARDS = 2 };
enum { MOST_CALLS = 512 };

static lap_gemma2 *record(lap_gemma2_mode mode, lap_recompute recompute, int64_t vocab) {
  static const lap_objective objective = {0.7, 1, LAP_TAIL_GHOST, 0, 0};
  lap_gemma2_config config = test_small_model(3);
  config.vocab_size = vocab, config.intermediate_size = 12;
  return lap_gemma2_record(&config, &(lap_gemma2_recording){.mode = mode,
                                                            .objective = &objective,
                                                            .sequences = SEQUENCES,
                                                            .length = LENGTH,
                                                            .teacher_k = TEACHER_K,
                                                            .threads = 8,
                                                            .shards = {SHARDS, 0, SHARDS},
                                                            .recompute = recompute,
                                                            .allocate = true});
}

/* Calls of the group, in order. */
typedef struct {
  lap_shard_group behind;
  lap_shard_call call[MOST_CALLS];
  int count;
} call_log;

static void add_call(call_log *log, lap_shard_call_kind kind, int64_t elements) {
  assert_in_range(log->count, 0, MOST_CALLS - 1);
  log->call[log->count++] = (lap_shard_call){kind, elements, 1};
}

static void sum(void *context, real *parts, int64_t elements, real *out) {
  call_log *log = context;
  add_call(log, LAP_SHARD_CALL_SUM, elements);
  log->behind.sum(log->behind.context, parts, elements, out);
}

static void sum_double(void *context, double *parts, int64_t elements, double *out) {
  call_log *log = context;
  add_call(log, LAP_SHARD_CALL_SUM_DOUBLE, elements);
  log->behind.sum_double(log->behind.context, parts, elements, out);
}

static void largest(void *context, real *values, int64_t count) {
  call_log *log = context;
  add_call(log, LAP_SHARD_CALL_LARGEST, count);
  log->behind.largest(log->behind.context, values, count);
}

static void run_model(lap_gemma2 *model, call_log *log) {
  static const int shards = SHARDS;
  test_batch *b = test_batch_create(SEQUENCES, LENGTH, model->config.vocab_size, TEACHER_K, 420);
  real probability[ROWS * TEACHER_K], tail[ROWS];
  for (int i = 0; i < ROWS * TEACHER_K; ++i) probability[i] = (real)b->probability[i];
  for (int i = 0; i < ROWS; ++i) tail[i] = (real)b->tail[i];
  const lap_batch batch = {.sequences = SEQUENCES,
                           .length = LENGTH,
                           .tokens = b->tokens,
                           .document_start = b->document_start,
                           .targets = b->targets,
                           .k = TEACHER_K,
                           .teacher_ids = b->ids,
                           .teacher_probability = probability,
                           .teacher_tail = tail,
                           .teacher_entropy = b->entropy};
  const int64_t elements = model->parameters->elements;
  real *weights = lap_allocate_aligned(elements, sizeof *weights);
  real *gradients = lap_allocate_aligned(elements, sizeof *gradients);
  for (int64_t i = 0; i < elements; ++i)
    weights[i] = (real)test_uniform(421, (uint64_t)i), gradients[i] = 0;
  for (int i = 0; i < model->parameters->bucket_count; ++i) {
    model->weights[i] = weights + model->parameters->bucket[i].begin;
    model->gradients[i] = gradients + model->parameters->bucket[i].begin;
  }
  double losses[4 * ROWS];
  const lap_losses out = {losses, losses + ROWS, losses + 2 * ROWS, losses + 3 * ROWS};
  const lap_shard_group group = {log, sum, sum_double, largest};
  *log = (call_log){.behind = lap_folded_shards(&shards)};
  lap_gemma2_replay(model, &(lap_gemma2_pass){.weights = model->weights,
                                              .gradients = model->gradients,
                                              .batch = &batch,
                                              .losses = &out,
                                              .group = &group});
  lap_release_aligned(weights);
  lap_release_aligned(gradients);
  test_batch_destroy(b);
}

/* The log of a run, and how far the walk over its steps has come. */
typedef struct {
  const call_log *log;
  int next;
  bool seen[LAP_OPS];
} comparison;

/* The next calls of the log are those that the step describes, in any order. */
static void compare(void *context, const lap_tape_visit *step) {
  comparison *c = context;
  for (int i = 0; i < LAP_OPS; ++i) c->seen[i] |= lap_op_table[i] == step->op;
  if (!step->op->shard_calls) return;
  lap_shard_call described[LAP_MAX_SHARD_CALLS];
  const int count =
      step->op->shard_calls(step->shapes, step->extent, step->kind == LAP_STEP_BACKWARD, described);
  assert_in_range(count, 0, LAP_MAX_SHARD_CALLS);
  int64_t left = 0;
  for (int i = 0; i < count; ++i) left += described[i].times;
  for (; left > 0; --left, ++c->next) {
    assert_true(c->next < c->log->count);
    const lap_shard_call *made = &c->log->call[c->next];
    int i = 0;
    while (i < count && (described[i].kind != made->kind ||
                         described[i].elements != made->elements || described[i].times == 0))
      ++i;
    if (i == count)
      fail_msg("%s does not describe its call of %" PRId64 " elements", step->op->name,
               made->elements);
    described[i].times -= 1;
  }
}

static void check_calls(lap_gemma2_mode mode, lap_recompute recompute, int64_t vocab) {
  lap_gemma2 *model = record(mode, recompute, vocab);
  call_log log;
  run_model(model, &log);
  comparison c = {.log = &log};
  lap_tape_walk(model->tape, compare, &c);
  assert_int_equal(c.next, log.count); /* and no call was left out */
  for (int i = 0; i < LAP_OPS; ++i)
    if (lap_op_table[i]->shard_calls && !c.seen[i])
      fail_msg("%s is not in the model of this test", lap_op_table[i]->name);
  lap_gemma2_destroy(model);
}

static void ops_send_what_they_describe(void **state) {
  (void)state;
  for (lap_recompute recompute = 0; recompute < 3; ++recompute)
    check_calls(LAP_GEMMA2_TRAIN, recompute, 24);
  check_calls(LAP_GEMMA2_LOSS, LAP_RECOMPUTE_NONE, 24);
  /* With a large vocabulary the head takes 64 positions at a time: of 150 twice, and the rest. */
  check_calls(LAP_GEMMA2_TRAIN, LAP_RECOMPUTE_NONE, 65536);
}

/* --- work --- */

typedef struct {
  double flops[2], units[2];
  const lap_op *op;
  int steps;
} work_sum;

static void add_product(void *context, const lap_product_work *work) {
  *(double *)context += 2 * work->times * (double)(work->m * work->n * work->k);
}

static void add_units(void *context, lap_unit unit, double count) {
  (void)unit;
  *(double *)context += count;
}

static void add_work(void *context, const lap_tape_visit *step) {
  work_sum *s = context;
  const bool backward = step->kind == LAP_STEP_BACKWARD;
  if (step->op != s->op || step->kind == LAP_STEP_RECOMPUTE) return;
  ++s->steps;
  step->op->cost(step->shapes, step->extent, backward,
                 &(lap_cost_sink){.context = &s->flops[backward], .product = add_product});
  step->op->cost(step->shapes, step->extent, backward,
                 &(lap_cost_sink){.context = &s->units[backward], .units = add_units});
}

static work_sum work_of(const lap_gemma2 *model, const lap_op *op) {
  work_sum s = {.op = op};
  lap_tape_walk(model->tape, add_work, &s);
  return s;
}

/* Every op does some work, but for copy_to_shards, whose work is the group's. A linear has twice
 * the products backward; attention 2.5 times, because it recomputes its scores. Useful FLOPs are
 * those of the products, but for attention, whose products meet scores that nobody sees. */
static void work_is_that_of_the_model(void **state) {
  (void)state;
  lap_gemma2 *model = record(LAP_GEMMA2_TRAIN, LAP_RECOMPUTE_BLOCK, 24);
  double useful = 0;
  for (int i = 0; i < LAP_OPS; ++i) {
    const lap_op *op = lap_op_table[i];
    const work_sum s = work_of(model, op);
    const double flops = s.flops[0] + s.flops[1], units = s.units[0] + s.units[1];
    if (s.steps == 0) continue;
    if (op != &lap_op_copy_to_shards && flops + units == 0) fail_msg("%s does nothing", op->name);
    if (op->work == LAP_WORK_LINEAR) assert_true(s.flops[1] == 2 * s.flops[0]);
    if (op->work == LAP_WORK_ATTENTION) assert_true(s.flops[1] == 2.5 * s.flops[0]);
    const double of_scores = 4.0 * (double)model->config.head_dim; /* twice as many backward */
    useful += op->work == LAP_WORK_ATTENTION ? 3 * of_scores * s.units[0] : flops;
  }
  int32_t document_start[ROWS] = {0};
  const lap_batch batch = {
      .sequences = SEQUENCES, .length = LENGTH, .document_start = document_start};
  double forward;
  assert_true(lap_tape_flops_of(model->tape, &batch, &forward) == useful);
  lap_gemma2_destroy(model);
}

/* --- compulsory traffic --- */

static double moved(const lap_op *op, const lap_op_call *call, bool backward) {
  static const lap_op_extent extent = {2, 8, 0, 1, false, false}; /* 16 positions */
  return lap_op_moved(op, call, &extent, backward) / (double)sizeof(real);
}

static lap_operand shape(int64_t rows, int64_t columns) {
  return (lap_operand){.rows = rows, .columns = columns};
}

/* Whose gradient is added to. */
static lap_operand weight(int64_t rows, int64_t columns) {
  return (lap_operand){.rows = rows, .columns = columns, .accumulate = true};
}

static void operands_are_read_once_and_results_written_once(void **state) {
  (void)state;
  enum { R = 16, IN = 6, OUT = 10 };
  lap_op_call linear = {.input = {shape(R, IN), weight(OUT, IN)}, .output = shape(R, OUT)};
  assert_true(moved(&lap_op_column_linear, &linear, false) == R * IN + OUT * IN + R * OUT);
  /* Read: dy, x, w, dw. Written: dx, dw. */
  const double backward = R * OUT + R * IN + OUT * IN + OUT * IN + R * IN + OUT * IN;
  assert_true(moved(&lap_op_column_linear, &linear, true) == backward);
  linear.input[0].accumulate = true; /* dx is read as well */
  assert_true(moved(&lap_op_column_linear, &linear, true) == backward + R * IN);
  const lap_op_call sum = {.input = {shape(R, IN), shape(R, IN)}, .output = shape(R, IN)};
  assert_true(moved(&lap_op_residual, &sum, false) == 3 * R * IN);
  assert_true(moved(&lap_op_residual, &sum, true) == 2 * R * IN); /* dx is dz, dy a copy */
}

static void weights_in_bfloat16_take_two_bytes(void **state) {
  (void)state;
  enum { R = 16, IN = 6, OUT = 10 };
  static const lap_op_extent extent = {2, 8, 0, 1, true, false};
  lap_op_call linear = {.input = {shape(R, IN), weight(OUT, IN)}, .output = shape(R, OUT)};
  linear.input[1].is_weight = true;
  const double saved = OUT * IN * (sizeof(real) - sizeof(uint16_t)); /* read once, each way */
  for (int backward = 0; backward < 2; ++backward)
    assert_true(lap_op_moved(&lap_op_column_linear, &linear, &extent, backward) ==
                moved(&lap_op_column_linear, &linear, backward) * (double)sizeof(real) - saved);
}

static void special_operands_move_what_they_need(void **state) {
  (void)state;
  enum { R = 16, H = 6, SMALL = 5, LARGE = 1000, HEADS = 2, KV = 1, DIM = 4 };
  /* Rows of the table that are read; of a small one, no more than it has. */
  for (int shards = 1; shards <= 2; ++shards) {
    lap_op_call table = {.output = shape(R, H)};
    for (int s = 0; s < shards; ++s) table.input[s] = weight(LARGE, H);
    assert_true(moved(&lap_op_embedding, &table, false) == 2 * R * H);
    assert_true(moved(&lap_op_embedding, &table, true) == 3 * R * H);
    for (int s = 0; s < shards; ++s) table.input[s].rows = SMALL;
    assert_true(moved(&lap_op_embedding, &table, false) == R * H + shards * SMALL * H);
  }
  const lap_attention_attributes heads = {.heads = HEADS, .kv_heads = KV, .head_dim = DIM};
  const lap_op_call attention = {
      .attributes = &heads,
      .input = {shape(R, HEADS * DIM), shape(R, KV * DIM), shape(R, KV * DIM)},
      .output = shape(R, HEADS * DIM)};
  const double operands = 2 * R * HEADS * DIM + 2 * R * KV * DIM, saved = 2 * HEADS * R;
  assert_true(moved(&lap_op_attention, &attention, false) == operands + saved);
  assert_true(moved(&lap_op_attention, &attention, true) ==
              operands + saved + R * HEADS * DIM + 2 * R * KV * DIM);
  /* The head's logits need no memory; it makes the losses' gradients itself. */
  const lap_op_call head = {.input = {shape(R, H), weight(LARGE, H)}, .output = shape(1, 1)};
  assert_true(moved(&lap_op_lm_head_loss, &head, true) == 2 * R * H + 3 * LARGE * H);
  const lap_op_call copy = {.input = {shape(R, H)}, .output = shape(R, H)};
  assert_true(moved(&lap_op_copy_to_shards, &copy, false) == 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_op_is_described),
      cmocka_unit_test(what_is_missing_is_named),
      cmocka_unit_test(only_ops_that_say_so_meet_other_shards),
      cmocka_unit_test(an_op_without_a_cost_is_refused),
      cmocka_unit_test(ops_send_what_they_describe),
      cmocka_unit_test(work_is_that_of_the_model),
      cmocka_unit_test(operands_are_read_once_and_results_written_once),
      cmocka_unit_test(weights_in_bfloat16_take_two_bytes),
      cmocka_unit_test(special_operands_move_what_they_need),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
