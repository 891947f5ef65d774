/* The float build, which trains, against the double build, which the other tests differentiate: op
 * by op, values and gradients differ by rounding only. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_rate.h"
#include "autograd/op/loss_row.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"

/* Of the largest value of a tensor. */
static const double tolerance = 2e-5;

typedef struct {
  double *output, *losses, *gradient[OP_INPUTS];
} results;

static results run(const op_runner *runner, const op_case *c, double *const inputs[],
                   const double *dy) {
  const op_shape shape = op_shape_of(c);
  const int64_t rows = c->batch->sequences * c->batch->length;
  results r = {test_random(shape.output, 0, NAN), test_random(4 * rows, 0, 0), {0}};
  for (int i = 0; i < shape.inputs; ++i)
    r.gradient[i] = test_random(shape.size[i], 0, shape.weight[i] ? 0 : NAN);
  const test_losses losses = {r.losses, r.losses + rows, r.losses + 2 * rows, r.losses + 3 * rows};
  runner->forward(c, inputs, r.output, NULL);
  runner->backward(c, inputs, dy, false, 2, r.gradient, c->kind == OP_HEAD ? &losses : NULL);
  return r;
}

static void results_free(results *r) {
  free(r->output), free(r->losses);
  for (int i = 0; i < OP_INPUTS; ++i) free(r->gradient[i]);
}

static void expect_close(const char *name, const char *what, const double *found,
                         const double *expected, int64_t n) {
  const double distance = test_distance(found, expected, n);
  if (!(distance <= tolerance)) fail_msg("%s: %s is off by %g", name, what, distance);
}

static void compare(const char *name, const op_case *c, double scale) {
  const op_shape shape = op_shape_of(c);
  double *inputs[OP_INPUTS] = {0}, *dy = test_random(shape.output, 300, 1);
  if (c->kind == OP_HEAD) dy[0] = 1;
  for (int i = 0; i < shape.inputs; ++i) {
    inputs[i] = test_random(shape.size[i], 301 + (uint64_t)i, scale);
    /* Both start from the same numbers: the tests are about what is made of them. */
    for (int64_t j = 0; j < shape.size[i]; ++j) inputs[i][j] = (double)(float)inputs[i][j];
  }
  results expected = run(&op_runner_double, c, inputs, dy);
  results found = run(&op_runner_float, c, inputs, dy);
  const char *gradients[] = {"d input 0", "d input 1", "d input 2"};
  expect_close(name, "output", found.output, expected.output, shape.output);
  for (int i = 0; i < shape.inputs; ++i)
    expect_close(name, gradients[i], found.gradient[i], expected.gradient[i], shape.size[i]);
  const int64_t rows = c->batch->sequences * c->batch->length;
  for (int i = 0; i < 4; ++i)
    expect_close(name, "losses", found.losses + i * rows, expected.losses + i * rows, rows);
  for (int i = 0; i < shape.inputs; ++i) free(inputs[i]);
  free(dy);
  results_free(&found), results_free(&expected);
}

static void elementwise_ops_differ_by_rounding(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(2, 17, 19, 0, 310);
  compare("embedding", &(op_case){.kind = OP_EMBEDDING, .batch = batch, .columns = 67}, 1);
  compare("residual", &(op_case){.kind = OP_RESIDUAL, .batch = batch, .columns = 67}, 1);
  const double scales[] = {0.01, 1, 4, 12};
  for (int i = 0; i < 4; ++i)
    compare("geglu", &(op_case){.kind = OP_GEGLU, .batch = batch, .columns = 67}, scales[i]);
  test_batch_destroy(batch);
}

static void rmsnorm_differs_by_rounding(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(2, 17, 19, 0, 311);
  const int64_t columns[] = {3, 17, 2304};
  const double scales[] = {1e-3, 1, 300};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      compare(
          "rmsnorm",
          &(op_case){.kind = OP_RMSNORM, .batch = batch, .columns = columns[i], .epsilon = 1e-6},
          scales[j]);
  test_batch_destroy(batch);
}

static void linear_differs_by_rounding(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(3, 17, 19, 0, 312);
  const int64_t sizes[][2] = {{1, 17}, {17, 300}, {1000, 67}};
  for (int i = 0; i < 3; ++i)
    compare("linear",
            &(op_case){
                .kind = OP_LINEAR, .batch = batch, .columns = sizes[i][0], .outputs = sizes[i][1]},
            1);
  test_batch_destroy(batch);
}

static void rope_differs_by_rounding(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, 1000, 19, 0, 313);
  compare("rope", &(op_case){.kind = OP_ROPE, .batch = batch, .heads = 2, .head_dim = 10}, 1);
  test_batch_destroy(batch);
}

static void attention_differs_by_rounding(void **state) {
  (void)state;
  const int64_t lengths[] = {3, 65, 130}, windows[] = {0, 7, 100};
  for (int l = 0; l < 3; ++l)
    for (int w = 0; w < 3; ++w)
      for (int cap = 0; cap < 2; ++cap) {
        test_batch *batch = test_batch_create(2, lengths[l], 19, 0, 314);
        compare("attention",
                &(op_case){.kind = OP_ATTENTION,
                           .batch = batch,
                           .heads = 4,
                           .kv_heads = 2,
                           .head_dim = 18,
                           .window = windows[w],
                           .softcap = cap ? 50 : 0,
                           .scale = 0.25},
                2);
        test_batch_destroy(batch);
      }
}

/* The softmax of one score is 1 whatever the score: not even a rounding error goes to q and k. */
static void attention_to_the_only_key_has_no_gradient(void **state) {
  (void)state;
  const op_runner *const runners[] = {&op_runner_float, &op_runner_double};
  for (int i = 0; i < 4; ++i) {
    test_batch *batch = test_batch_create(2, i < 2 ? 1 : 66, 19, 0, 317);
    const op_case c = {.kind = OP_ATTENTION,
                       .batch = batch,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 18,
                       .window = 1,
                       .softcap = 50,
                       .scale = 0.25};
    const op_shape shape = op_shape_of(&c);
    double *inputs[OP_INPUTS] = {0}, *dy = test_random(shape.output, 300, 1);
    for (int j = 0; j < shape.inputs; ++j)
      inputs[j] = test_random(shape.size[j], 301 + (uint64_t)j, 2);
    results found = run(runners[i % 2], &c, inputs, dy);
    assert_true(test_largest(found.gradient[0], shape.size[0]) == 0);
    assert_true(test_largest(found.gradient[1], shape.size[1]) == 0);
    assert_true(test_largest(found.gradient[2], shape.size[2]) > 1);
    for (int j = 0; j < shape.inputs; ++j) free(inputs[j]);
    free(dy);
    results_free(&found);
    test_batch_destroy(batch);
  }
}

/* A key with almost no weight: for query 1 its weight is the smallest normal number, which stays;
 * for query 2 it is half of that, which is subnormal and becomes 0. The key's value is so large
 * that either would show. */
static void attention_has_no_subnormal_weights(void **state) {
  (void)state;
  enum { DIM = 2, LENGTH = 3 };
  test_batch *batch = test_batch_create(1, LENGTH, 19, 0, 318);
  test_batch_one_document(batch);
  const op_case c = {
      .kind = OP_ATTENTION, .batch = batch, .heads = 1, .kv_heads = 1, .head_dim = DIM, .scale = 1};
  double q[] = {1, 0, 1, 0, 1, 0}, k[] = {-87.2, 0, 0, 0, 0, 0}, v[] = {1e38, 0, 1, 0, 1, 0};
  double *const inputs[OP_INPUTS] = {q, k, v}, output[LENGTH * DIM], d_o[] = {0, 0, 0, 0, 1e38, 0};
  double dq[LENGTH * DIM] = {0}, dk[LENGTH * DIM] = {0}, dv[LENGTH * DIM] = {0};
  double *gradients[] = {dq, dk, dv};
  const op_runner *const runners[] = {&op_runner_float, &op_runner_double};
  for (int i = 0; i < 2; ++i) {
    runners[i]->forward(&c, inputs, output, NULL);
    assert_true(output[2] > 2.3 && output[2] < 2.4);
    assert_true(output[4] == 1);
    runners[i]->backward(&c, inputs, d_o, false, 1, gradients, NULL);
    assert_true(dv[0] == 0 && (float)dv[2] == 0.5e38F && (float)dv[4] == 0.5e38F);
  }
  test_batch_destroy(batch);
}

/* What is not finite in one document, in every operand, changes no bit of the next: two tiles of
 * queries, a window that begins within both. */
static void attention_keeps_overflow_within_its_document(void **state) {
  (void)state;
  enum { LENGTH = 130, SECOND = 70, HEADS = 4, KV_HEADS = 2, DIM = 6 };
  test_batch *batch = test_batch_create(1, LENGTH, 19, 0, 320);
  for (int t = 0; t < LENGTH; ++t) batch->document_start[t] = t < SECOND ? 0 : SECOND;
  for (int i = 0; i < 4; ++i) {
    const op_runner *runner = i % 2 ? &op_runner_double : &op_runner_float;
    const op_case c = {.kind = OP_ATTENTION,
                       .batch = batch,
                       .heads = HEADS,
                       .kv_heads = KV_HEADS,
                       .head_dim = DIM,
                       .window = i < 2 ? 0 : 40,
                       .softcap = 50,
                       .scale = 0.4};
    const op_shape shape = op_shape_of(&c);
    double *inputs[OP_INPUTS] = {0}, *dy = test_random(shape.output, 300, 1);
    for (int j = 0; j < shape.inputs; ++j)
      inputs[j] = test_random(shape.size[j], 301 + (uint64_t)j, 2);
    results finite = run(runner, &c, inputs, dy);
    const int64_t row[] = {HEADS * DIM, KV_HEADS * DIM, KV_HEADS * DIM};
    for (int j = 0; j < shape.inputs; ++j) inputs[j][60 * row[j]] = inputs[j][5] = INFINITY;
    dy[61 * row[0]] = INFINITY;
    results found = run(runner, &c, inputs, dy);
    const int64_t from = SECOND * row[0];
    assert_memory_equal(found.output + from, finite.output + from,
                        (size_t)(shape.output - from) * sizeof *dy);
    for (int j = 0; j < shape.inputs; ++j)
      assert_memory_equal(found.gradient[j] + SECOND * row[j], finite.gradient[j] + SECOND * row[j],
                          (size_t)(shape.size[j] - SECOND * row[j]) * sizeof *dy);
    assert_false(isfinite(found.output[60 * row[0]]));
    for (int j = 0; j < shape.inputs; ++j) free(inputs[j]);
    free(dy);
    results_free(&finite);
    results_free(&found);
  }
  test_batch_destroy(batch);
}

/* Logits of four ids: two share nearly all mass, the others have e^-86 and e^-87 of it, halved. The
 * first of these is a normal number, the second is subnormal and becomes 0; the second column of x
 * is so large that either shows in the gradient of the weights. */
static void the_head_has_no_subnormal_gradients(void **state) {
  (void)state;
  enum { VOCAB = 4, COLUMNS = 2 };
  test_batch *batch = test_batch_create(1, 1, VOCAB, 0, 319);
  batch->targets[0] = 0;
  const op_case c = {
      .kind = OP_HEAD, .batch = batch, .columns = COLUMNS, .objective = {0, 1, 0, 0, 0}};
  double x[COLUMNS] = {1, 1e38}, w[VOCAB * COLUMNS] = {0, 0, 0, 0, -86, 0, -87, 0}, dy[] = {1};
  double dx[COLUMNS] = {0}, dw[VOCAB * COLUMNS] = {0};
  double *const inputs[OP_INPUTS] = {x, w}, *gradients[] = {dx, dw, NULL};
  double loss[4] = {0};
  const test_losses losses = {loss, loss + 1, loss + 2, loss + 3};
  const op_runner *const runners[] = {&op_runner_float, &op_runner_double};
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < VOCAB * COLUMNS; ++j) dw[j] = 0;
    runners[i]->backward(&c, inputs, dy, false, 1, gradients, &losses);
    assert_true(dw[5] > 2 && dw[5] < 3);
    assert_true(dw[7] == 0);
  }
  test_batch_destroy(batch);
}

/* A weight that is not finite shows in the loss, wherever it is: alone in a panel of ids, or all of
 * one. */
static void the_head_passes_over_no_nan(void **state) {
  (void)state;
  enum { IDS = 3 * LAP_ROW_PANEL };
  const int64_t begin[] = {0, LAP_ROW_PANEL, LAP_ROW_PANEL + 7, IDS - 1};
  const int64_t end[] = {LAP_ROW_PANEL, 2 * LAP_ROW_PANEL, LAP_ROW_PANEL + 8, IDS};
  test_batch *batch = test_batch_create(1, 1, IDS, 2, 324);
  batch->targets[0] = 2 * LAP_ROW_PANEL + 1;
  batch->ids[0] = 5, batch->ids[1] = 2 * LAP_ROW_PANEL + 1;
  for (int i = 0; i < 4; ++i) {
    const op_case c = {
        .kind = OP_HEAD, .batch = batch, .columns = 1, .objective = {0.5, 1, LAP_TAIL_GHOST, 0, 0}};
    double x[] = {1}, dy[] = {1}, dx[] = {0}, loss[4] = {0};
    double *w = test_random(IDS, 325, 1), *dw = test_random(IDS, 0, 0);
    double *const inputs[OP_INPUTS] = {x, w}, *gradients[] = {dx, dw, NULL};
    const test_losses losses = {loss, loss + 1, loss + 2, loss + 3};
    for (int64_t j = begin[i]; j < end[i]; ++j) w[j] = NAN;
    op_runner_float.backward(&c, inputs, dy, false, 1, gradients, &losses);
    assert_true(isnan(loss[0]) && isnan(dx[0]));
    free(w), free(dw);
  }
  test_batch_destroy(batch);
}

static void the_head_differs_by_rounding(void **state) {
  (void)state;
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_NONE; ++tail)
    for (int cap = 0; cap < 2; ++cap) {
      const bool renormalises = tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH;
      test_batch *batch = test_batch_create(2, 17, 2 * LAP_ROW_PANEL + 1, 64, 315);
      compare("head",
              &(op_case){.kind = OP_HEAD,
                         .batch = batch,
                         .columns = 33,
                         .softcap = cap ? 30 : 0,
                         .objective = {0.7, renormalises ? 2 : 1, (lap_tail)tail, 0, 0}},
              1);
      test_batch_destroy(batch);
    }
}

/* Each op by itself, with more threads than work and with fewer. */
static void threads_do_not_change_a_bit_of_any_op(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(2, 70, 523, 6, 316);
  const op_case cases[] = {
      {.kind = OP_EMBEDDING, .batch = batch, .columns = 130},
      {.kind = OP_RMSNORM, .batch = batch, .columns = 130, .epsilon = 1e-6},
      {.kind = OP_LINEAR, .batch = batch, .columns = 300, .outputs = 270},
      {.kind = OP_ROPE, .batch = batch, .heads = 3, .head_dim = 6},
      {.kind = OP_ATTENTION,
       .batch = batch,
       .heads = 4,
       .kv_heads = 2,
       .head_dim = 6,
       .window = 9,
       .softcap = 5,
       .scale = 0.5},
      {.kind = OP_GEGLU, .batch = batch, .columns = 130},
      {.kind = OP_RESIDUAL, .batch = batch, .columns = 130},
      {.kind = OP_HEAD,
       .batch = batch,
       .columns = 30,
       .softcap = 30,
       .objective = {0.7, 1, LAP_TAIL_GHOST, 0, 0}},
  };
  const int threads[] = {1, 2, 5};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
    const op_shape shape = op_shape_of(&cases[k]);
    double *inputs[OP_INPUTS] = {0}, *found[3][OP_INPUTS], *dy = test_random(shape.output, 320, 1);
    for (int i = 0; i < shape.inputs; ++i)
      inputs[i] = test_random(shape.size[i], 321 + (uint64_t)i, 1);
    for (int t = 0; t < 3; ++t) {
      for (int i = 0; i < shape.inputs; ++i)
        found[t][i] = test_random(shape.size[i], 0, shape.weight[i] ? 0 : NAN);
      op_runner_float.backward(&cases[k], inputs, dy, false, threads[t], found[t], NULL);
      for (int i = 0; i < shape.inputs; ++i)
        assert_memory_equal(found[0][i], found[t][i], (size_t)shape.size[i] * sizeof(double));
    }
    for (int i = 0; i < shape.inputs; ++i) {
      for (int t = 0; t < 3; ++t) free(found[t][i]);
      free(inputs[i]);
    }
    free(dy);
  }
  test_batch_destroy(batch);
}

/* A product of 2048^3 takes longer than this on any processor. */
static void a_rate_takes_about_the_time_that_it_is_given(void **state) {
  (void)state;
  const clock_t before = clock();
  const double rate = lap_gemm_rate(1, 1e-3);
  assert_true(rate > 1e-3 && rate < 1e4);
  assert_true(clock() - before < CLOCKS_PER_SEC / 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_rate_takes_about_the_time_that_it_is_given),
      cmocka_unit_test(elementwise_ops_differ_by_rounding),
      cmocka_unit_test(rmsnorm_differs_by_rounding),
      cmocka_unit_test(linear_differs_by_rounding),
      cmocka_unit_test(rope_differs_by_rounding),
      cmocka_unit_test(attention_differs_by_rounding),
      cmocka_unit_test(attention_to_the_only_key_has_no_gradient),
      cmocka_unit_test(attention_has_no_subnormal_weights),
      cmocka_unit_test(attention_keeps_overflow_within_its_document),
      cmocka_unit_test(the_head_has_no_subnormal_gradients),
      cmocka_unit_test(the_head_passes_over_no_nan),
      cmocka_unit_test(the_head_differs_by_rounding),
      cmocka_unit_test(threads_do_not_change_a_bit_of_any_op),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
