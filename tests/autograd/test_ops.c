/* Every op of the double build: its gradient against finite differences, at odd sizes; a gradient
 * that is overwritten may hold anything before, and one that accumulates keeps what was there. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/op/loss_row.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"

typedef struct {
  const op_case *op;
  double **inputs;
} evaluation;

static void evaluate_output(void *context, double *y) {
  const evaluation *e = context;
  op_runner_double.forward(e->op, e->inputs, y, NULL);
}

/* The head's losses by position: more digits than their sum. */
static void evaluate_losses(void *context, double *y) {
  const evaluation *e = context;
  op_runner_double.forward(e->op, e->inputs, NULL, &(test_losses){.loss = y});
}

static void check_mode(const char *name, const op_case *c, double *inputs[], const double *dy,
                       double *exact[], bool accumulate) {
  const op_shape shape = op_shape_of(c);
  double *found[OP_INPUTS] = {0}, *start[OP_INPUTS] = {0};
  for (int i = 0; i < shape.inputs; ++i) {
    const int adds = accumulate || shape.weight[i];
    start[i] = test_random(shape.size[i], 70 + (uint64_t)i, adds ? 1 : 0);
    found[i] = test_random(shape.size[i], 70 + (uint64_t)i, adds ? 1 : NAN);
  }
  op_runner_double.backward(c, inputs, dy, accumulate, 2, found, NULL);
  for (int i = 0; i < shape.inputs; ++i) {
    for (int64_t j = 0; j < shape.size[i]; ++j) found[i][j] -= start[i][j];
    const double scale = test_largest(exact[i], shape.size[i]);
    double worst = 0;
    for (int64_t j = 0; j < shape.size[i]; ++j) {
      const double error = fabs(found[i][j] - exact[i][j]) / (1 + scale);
      if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    }
    if (!(worst <= 1e-13))
      fail_msg("%s: d input %d %s is off by %g", name, i,
               accumulate ? "accumulated" : "overwritten", worst);
    free(found[i]), free(start[i]);
  }
}

/* `scale` of the inputs: large enough that soft-caps and softmax bend, small enough for h. */
static void check(const char *name, const op_case *c, double scale, double h) {
  const op_shape shape = op_shape_of(c);
  const bool head = c->kind == OP_HEAD;
  const int64_t outputs = head ? c->batch->sequences * c->batch->length : shape.output;
  double *inputs[OP_INPUTS] = {0}, *exact[OP_INPUTS] = {0};
  double *weight = test_random(outputs, 50, 1), *dy = test_random(shape.output, 50, 1);
  for (int64_t i = 0; head && i < outputs; ++i) weight[i] = 1;
  if (head) dy[0] = 1;
  for (int i = 0; i < shape.inputs; ++i) {
    inputs[i] = test_random(shape.size[i], 60 + (uint64_t)i, scale);
    exact[i] = test_random(shape.size[i], 0, shape.weight[i] ? 0 : NAN);
  }
  op_runner_double.backward(c, inputs, dy, false, 2, exact, NULL);
  evaluation e = {c, inputs};
  for (int i = 0; i < shape.inputs; ++i) {
    const double error = test_gradient_error(head ? evaluate_losses : evaluate_output, &e, outputs,
                                             weight, inputs[i], exact[i], shape.size[i], h);
    if (!(error <= 1e-9)) fail_msg("%s: d input %d is off by %g", name, i, error);
  }
  check_mode(name, c, inputs, dy, exact, false);
  if (c->kind != OP_ROPE && !c->share) check_mode(name, c, inputs, dy, exact, true);
  for (int i = 0; i < shape.inputs; ++i) free(inputs[i]), free(exact[i]);
  free(weight), free(dy);
}

/* Sizes that are no multiple of anything: 1, less than, and more than a block of each kernel. */
static const struct {
  int64_t sequences, length, columns;
} odd_sizes[] = {{1, 1, 1}, {1, 3, 17}, {3, 17, 3}, {2, 5, 67}, {3, 1, 130}, {1, 17, 16}};
enum { ODD_SIZES = sizeof odd_sizes / sizeof *odd_sizes };

static void check_at_odd_sizes(op_case c, int64_t outputs, double scale, double h) {
  for (int i = 0; i < ODD_SIZES; ++i) {
    test_batch *batch =
        test_batch_create(odd_sizes[i].sequences, odd_sizes[i].length, 7, 0, 10 + (uint64_t)i);
    c.batch = batch;
    c.columns = odd_sizes[i].columns;
    c.outputs = outputs;
    char name[64];
    snprintf(name, sizeof name, "B %d T %d columns %d outputs %d", (int)batch->sequences,
             (int)batch->length, (int)c.columns, (int)outputs);
    check(name, &c, scale, h);
    test_batch_destroy(batch);
  }
}

static void embedding_has_its_gradient(void **state) {
  (void)state;
  check_at_odd_sizes((op_case){.kind = OP_EMBEDDING}, 0, 1, 1e-2);
}

static void rmsnorm_has_its_gradient(void **state) {
  (void)state;
  /* A large epsilon, so that one column alone is more than its sign. */
  check_at_odd_sizes((op_case){.kind = OP_RMSNORM, .epsilon = 0.25}, 0, 2, 4e-3);
}

static void linear_has_its_gradient(void **state) {
  (void)state;
  const int64_t outputs[] = {1, 3, 17, 67, 300};
  for (int i = 0; i < 5; ++i) check_at_odd_sizes((op_case){.kind = OP_LINEAR}, outputs[i], 1, 1e-2);
}

static void geglu_has_its_gradient(void **state) {
  (void)state;
  check_at_odd_sizes((op_case){.kind = OP_GEGLU}, 0, 3, 4e-3);
}

static void residual_has_its_gradient_shared_or_not(void **state) {
  (void)state;
  check_at_odd_sizes((op_case){.kind = OP_RESIDUAL}, 0, 1, 1e-2);
  check_at_odd_sizes((op_case){.kind = OP_RESIDUAL, .share = true}, 0, 1, 1e-2);
}

static void rope_has_its_gradient(void **state) {
  (void)state;
  const struct {
    int64_t sequences, length, heads, head_dim;
  } cases[] = {{1, 1, 1, 2}, {2, 3, 3, 6}, {3, 17, 1, 10}, {1, 130, 2, 4}};
  for (int i = 0; i < 4; ++i) {
    test_batch *batch = test_batch_create(cases[i].sequences, cases[i].length, 7, 0, 20);
    const op_case c = {
        .kind = OP_ROPE, .batch = batch, .heads = cases[i].heads, .head_dim = cases[i].head_dim};
    check("rope", &c, 1, 1e-2);
    test_batch_destroy(batch);
  }
}

static void check_attention(int64_t sequences, int64_t length, int64_t heads, int64_t kv_heads,
                            int64_t head_dim, int64_t window, double softcap, bool documents) {
  test_batch *batch = test_batch_create(sequences, length, 7, 0, 30 + (uint64_t)length);
  if (!documents) test_batch_one_document(batch);
  const op_case c = {.kind = OP_ATTENTION,
                     .batch = batch,
                     .heads = heads,
                     .kv_heads = kv_heads,
                     .head_dim = head_dim,
                     .window = window,
                     .softcap = softcap,
                     .scale = 0.9};
  char name[128];
  snprintf(name, sizeof name, "B %d T %d heads %d over %d of %d window %d cap %g%s", (int)sequences,
           (int)length, (int)heads, (int)kv_heads, (int)head_dim, (int)window, softcap,
           documents ? " documents" : "");
  check(name, &c, 1.2, 4e-3);
  test_batch_destroy(batch);
}

static void attention_has_its_gradient_at_every_edge_of_the_window(void **state) {
  (void)state;
  const int64_t length = 17, windows[] = {0, 1, 3, length - 1, length, length + 1};
  for (int w = 0; w < 6; ++w)
    for (int documents = 0; documents < 2; ++documents)
      for (int cap = 0; cap < 2; ++cap)
        check_attention(1, length, 2, 1, 3, windows[w], cap ? 2 : 0, documents);
}

static void attention_has_its_gradient_for_every_grouping(void **state) {
  (void)state;
  const int64_t heads[][2] = {{1, 1}, {4, 4}, {4, 2}, {4, 1}, {6, 3}};
  for (int i = 0; i < 5; ++i)
    for (int64_t sequences = 1; sequences <= 3; ++sequences)
      check_attention(sequences, 5, heads[i][0], heads[i][1], 2, 3, 5, sequences > 1);
}

static void attention_has_its_gradient_across_tiles_of_queries(void **state) {
  (void)state;
  const int64_t lengths[] = {1, 3, 63, 64, 65, 130};
  for (int i = 0; i < 6; ++i) {
    check_attention(1, lengths[i], 2, 1, 3, 0, 3, false);
    check_attention(1, lengths[i], 1, 1, 3, 7, 0, true);
    check_attention(2, lengths[i], 2, 2, 1, 66, 3, true);
  }
}

static void check_head_in(int shards, int64_t sequences, int64_t length, int64_t vocab, int64_t k,
                          int64_t columns, double softcap, lap_objective objective) {
  test_batch *batch = test_batch_create(sequences, length, vocab, k, 40 + (uint64_t)k);
  const op_case c = {.kind = OP_HEAD,
                     .batch = batch,
                     .columns = columns,
                     .softcap = softcap,
                     .objective = objective,
                     .shards = shards};
  char name[128];
  snprintf(name, sizeof name, "BT %d V %d k %d cap %g weight %g temperature %g tail %d",
           (int)(sequences * length), (int)vocab, (int)k, softcap, objective.distill_weight,
           objective.temperature, (int)objective.tail);
  check(name, &c, 1.5, 4e-3);
  test_batch_destroy(batch);
}

static void check_head(int64_t sequences, int64_t length, int64_t vocab, int64_t k, int64_t columns,
                       double softcap, lap_objective objective) {
  check_head_in(0, sequences, length, vocab, k, columns, softcap, objective);
}

static void head_has_its_gradient_for_every_rule(void **state) {
  (void)state;
  const double weights[] = {0, 0.3, 1}, caps[] = {0, 4};
  const int64_t ks[] = {1, 6, 19};
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_NONE; ++tail)
    for (int w = 0; w < 3; ++w)
      for (int cap = 0; cap < 2; ++cap)
        for (int k = 0; k < 3; ++k) {
          check_head(1, 5, 19, ks[k], 3, caps[cap],
                     (lap_objective){weights[w], 1, (lap_tail)tail, 0, 0});
          const bool renormalises =
              tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH;
          if (renormalises)
            check_head(1, 5, 19, ks[k], 3, caps[cap],
                       (lap_objective){weights[w], 2.5, (lap_tail)tail, 0, 0});
        }
}

static void head_has_its_gradient_for_a_tail_taken_apart(void **state) {
  (void)state;
  const double weights[] = {0, 0.3, 1}, tail_weights[] = {0, 0.2, 1.5};
  const int64_t ks[] = {1, 6, 18}, heads[] = {1, 4, 40};
  for (int w = 0; w < 3; ++w)
    for (int b = 0; b < 3; ++b)
      for (int k = 0; k < 3; ++k)
        for (int h = 0; h < 3; ++h)
          for (int shards = 0; shards <= (w == 1 && k == 1 ? 2 : 0); shards += 2)
            check_head_in(
                shards, 1, 5, 18, ks[k], 3, (w + h) % 2 ? 4 : 0,
                (lap_objective){weights[w], 1, LAP_TAIL_DECOUPLED, heads[h], tail_weights[b]});
}

static void head_has_its_gradient_without_a_teacher_and_at_odd_sizes(void **state) {
  (void)state;
  const lap_objective ghost = {0.7, 1, LAP_TAIL_GHOST, 0, 0};
  check_head(1, 1, 2, 0, 1, 0, ghost);
  check_head(1, 1, 3, 1, 1, 2, ghost);
  check_head(3, 17, 67, 0, 17, 5, ghost);
  check_head(2, 3, 300, 64, 3, 5, ghost);
  check_head(1, 3, 257, 5, 17, 0, ghost);
}

/* Ids come by LAP_ROW_PANEL: whole panels, and a last one of a few. */
static void head_has_its_gradient_across_panels(void **state) {
  (void)state;
  enum { IDS = 2 * LAP_ROW_PANEL + 3 };
  check_head(1, 3, IDS, 6, 2, 4, (lap_objective){0.6, 1, LAP_TAIL_GHOST, 0, 0});
  check_head(1, 2, IDS, 40, 2, 0, (lap_objective){0.6, 2.5, LAP_TAIL_RENORMALISE, 0, 0});
  check_head(1, 2, LAP_ROW_PANEL, 0, 2, 0, (lap_objective){0, 1, LAP_TAIL_GHOST, 0, 0});
  check_head_in(2, 1, 2, 2 * (LAP_ROW_PANEL + 1), 6, 2, 4,
                (lap_objective){0.6, 1, LAP_TAIL_GHOST, 0, 0});
}

/* Smoothing: one row over all ids for every position is that row repeated. */
static void head_has_its_gradient_with_one_row_for_all_positions(void **state) {
  (void)state;
  enum { POSITIONS = 10, VOCAB = 18, HIDDEN = 3 };
  test_batch *batch = test_batch_create(2, POSITIONS / 2, VOCAB, VOCAB, 47);
  for (int64_t i = VOCAB; i < POSITIONS * VOCAB; ++i) batch->probability[i] = NAN;
  batch->one_row = true;
  for (int shards = 0; shards <= 2; shards += 2) {
    const op_case c = {.kind = OP_HEAD,
                       .batch = batch,
                       .columns = HIDDEN,
                       .softcap = 4,
                       .objective = {0.1, 1, LAP_TAIL_GHOST, 0, 0},
                       .shards = shards};
    check(shards ? "one row, two shards" : "one row", &c, 1.5, 4e-3);
  }
  const op_case c = {.kind = OP_HEAD,
                     .batch = batch,
                     .columns = HIDDEN,
                     .softcap = 4,
                     .objective = {0.1, 1, LAP_TAIL_GHOST, 0, 0}};
  double shared[POSITIONS], repeated[POSITIONS], *inputs[OP_INPUTS] = {0};
  inputs[0] = test_random((int64_t)POSITIONS * HIDDEN, 60, 1.5);
  inputs[1] = test_random((int64_t)VOCAB * HIDDEN, 61, 1.5);
  op_runner_double.forward(&c, inputs, NULL, &(test_losses){.loss = shared});
  for (int64_t i = VOCAB; i < POSITIONS * VOCAB; ++i) {
    batch->ids[i] = batch->ids[i % VOCAB];
    batch->probability[i] = batch->probability[i % VOCAB];
  }
  batch->one_row = false;
  op_runner_double.forward(&c, inputs, NULL, &(test_losses){.loss = repeated});
  assert_memory_equal(shared, repeated, sizeof shared);
  free(inputs[0]), free(inputs[1]);
  test_batch_destroy(batch);
}

/* A chunk of the head is at most 1024 positions. */
static void head_has_its_gradient_across_chunks(void **state) {
  (void)state;
  check_head(1, 1025, 5, 2, 2, 4, (lap_objective){0.6, 1, LAP_TAIL_GHOST, 0, 0});
}

/* --- in two shards --- */

static void check_two_shards(op_case c, int64_t outputs) {
  for (int i = 0; i < ODD_SIZES; ++i) {
    test_batch *batch =
        test_batch_create(odd_sizes[i].sequences, odd_sizes[i].length, 8, 0, 45 + (uint64_t)i);
    c.batch = batch, c.columns = odd_sizes[i].columns, c.outputs = outputs, c.shards = 2;
    char name[64];
    snprintf(name, sizeof name, "two shards: kind %d, size %d, outputs %d", (int)c.kind, i,
             (int)outputs);
    check(name, &c, 1, 1e-2);
    test_batch_destroy(batch);
  }
}

static void projections_and_embedding_in_shards_have_their_gradients(void **state) {
  (void)state;
  const int64_t outputs[] = {1, 17, 300};
  check_two_shards((op_case){.kind = OP_EMBEDDING}, 0);
  for (int i = 0; i < 3; ++i) {
    check_two_shards((op_case){.kind = OP_LINEAR}, outputs[i]);
    check_two_shards((op_case){.kind = OP_LINEAR_SUM}, outputs[i]);
  }
}

static void head_in_shards_has_its_gradient_for_every_rule(void **state) {
  (void)state;
  const double weights[] = {0, 0.3, 1};
  const int64_t ks[] = {0, 1, 6, 18};
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_NONE; ++tail)
    for (int w = 0; w < 3; ++w)
      for (int k = 0; k < 4; ++k) {
        check_head_in(2, 1, 5, 18, ks[k], 3, k % 2 ? 4 : 0,
                      (lap_objective){weights[w], 1, (lap_tail)tail, 0, 0});
        if (tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH)
          check_head_in(2, 1, 5, 18, ks[k], 3, 4,
                        (lap_objective){weights[w], 2.5, (lap_tail)tail, 0, 0});
      }
  check_head_in(2, 1, 1025, 6, 2, 2, 4, (lap_objective){0.6, 1, LAP_TAIL_GHOST, 0, 0});
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(embedding_has_its_gradient),
      cmocka_unit_test(rmsnorm_has_its_gradient),
      cmocka_unit_test(linear_has_its_gradient),
      cmocka_unit_test(geglu_has_its_gradient),
      cmocka_unit_test(residual_has_its_gradient_shared_or_not),
      cmocka_unit_test(rope_has_its_gradient),
      cmocka_unit_test(attention_has_its_gradient_at_every_edge_of_the_window),
      cmocka_unit_test(attention_has_its_gradient_for_every_grouping),
      cmocka_unit_test(attention_has_its_gradient_across_tiles_of_queries),
      cmocka_unit_test(head_has_its_gradient_for_every_rule),
      cmocka_unit_test(head_has_its_gradient_for_a_tail_taken_apart),
      cmocka_unit_test(head_has_its_gradient_without_a_teacher_and_at_odd_sizes),
      cmocka_unit_test(head_has_its_gradient_across_panels),
      cmocka_unit_test(head_has_its_gradient_with_one_row_for_all_positions),
      cmocka_unit_test(head_has_its_gradient_across_chunks),
      cmocka_unit_test(projections_and_embedding_in_shards_have_their_gradients),
      cmocka_unit_test(head_in_shards_has_its_gradient_for_every_rule),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
