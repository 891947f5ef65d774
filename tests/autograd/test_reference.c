/* Attention, rmsnorm and the head with its losses against plain loops over the formulas of
 * docs/design.md#model and docs/design.md#objective (reference.h): values and gradients, double to
 * rounding and float to its own precision. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"
#include "tests/autograd/reference.h"

static double *zeros(int64_t n) { return test_random(n, 0, 0); }
static double *blanks(int64_t n) { return test_random(n, 0, NAN); }

static void expect_close(const char *name, const char *what, const double *found,
                         const double *expected, int64_t n, double tolerance) {
  const double distance = test_distance(found, expected, n);
  if (!(distance <= tolerance)) fail_msg("%s: %s is off by %g", name, what, distance);
}

/* --- attention --- */

static void compare_attention(int64_t sequences, int64_t length,
                              const reference_attention_shape *shape, bool documents) {
  test_batch *batch = test_batch_create(sequences, length, 5, 0, 7 + (uint64_t)length);
  if (!documents) test_batch_one_document(batch);
  const op_case c = {.kind = OP_ATTENTION,
                     .batch = batch,
                     .heads = shape->heads,
                     .kv_heads = shape->kv_heads,
                     .head_dim = shape->head_dim,
                     .window = shape->window,
                     .softcap = shape->softcap,
                     .scale = shape->scale};
  const op_shape sizes = op_shape_of(&c);
  char name[128];
  snprintf(name, sizeof name, "B %d T %d heads %d over %d window %d cap %g%s", (int)sequences,
           (int)length, (int)shape->heads, (int)shape->kv_heads, (int)shape->window, shape->softcap,
           documents ? " documents" : "");
  double *inputs[OP_INPUTS], *found[OP_INPUTS], *expected[OP_INPUTS];
  for (int i = 0; i < 3; ++i) {
    inputs[i] = test_random(sizes.size[i], 80 + (uint64_t)i, 2);
    found[i] = blanks(sizes.size[i]);
    expected[i] = blanks(sizes.size[i]);
  }
  double *d_o = test_random(sizes.output, 90, 1);
  double *o = blanks(sizes.output), *expected_o = blanks(sizes.output);
  op_runner_double.forward(&c, inputs, o, NULL);
  op_runner_double.backward(&c, inputs, d_o, false, 2, found, NULL);
  reference_attention(shape, batch, inputs[0], inputs[1], inputs[2], expected_o);
  reference_attention_gradient(shape, batch, inputs[0], inputs[1], inputs[2], d_o, expected[0],
                               expected[1], expected[2]);
  expect_close(name, "o", o, expected_o, sizes.output, 1e-13);
  const char *what[] = {"dq", "dk", "dv"};
  for (int i = 0; i < 3; ++i) {
    /* One visible key everywhere: dq and dk are 0 up to rounding. */
    const bool nothing = test_largest(expected[i], sizes.size[i]) < 1e-12;
    if (nothing)
      assert_true(test_largest(found[i], sizes.size[i]) < 1e-12);
    else
      expect_close(name, what[i], found[i], expected[i], sizes.size[i], 1e-12);
    free(inputs[i]), free(found[i]), free(expected[i]);
  }
  free(d_o), free(o), free(expected_o);
  test_batch_destroy(batch);
}

static void attention_is_its_formula(void **state) {
  (void)state;
  const int64_t lengths[] = {1, 3, 17, 63, 64, 65, 130};
  for (int l = 0; l < 7; ++l) {
    const int64_t length = lengths[l], windows[] = {0, 1, 3, length - 1, length, length + 1};
    for (int w = 0; w < 6; ++w) {
      if (w > 0 && windows[w] == 0) continue;
      for (int documents = 0; documents < 2; ++documents)
        compare_attention(1 + w % 2, length,
                          &(reference_attention_shape){2, 1, 3, windows[w], w % 2 ? 0 : 2, 0.7},
                          documents);
    }
  }
}

static void attention_groups_its_heads(void **state) {
  (void)state;
  const int64_t heads[][2] = {{1, 1}, {4, 4}, {4, 2}, {4, 1}, {6, 2}};
  for (int i = 0; i < 5; ++i)
    for (int64_t sequences = 1; sequences <= 3; ++sequences)
      compare_attention(sequences, 17,
                        &(reference_attention_shape){heads[i][0], heads[i][1], 5, 4, 3, 0.5}, true);
}

/* --- rmsnorm --- */

static void rmsnorm_is_its_formula(void **state) {
  (void)state;
  const int64_t columns[] = {1, 3, 16, 17, 130};
  for (int i = 0; i < 5; ++i) {
    test_batch *batch = test_batch_create(2, 5, 5, 0, 1);
    const op_case c = {.kind = OP_RMSNORM, .batch = batch, .columns = columns[i], .epsilon = 1e-6};
    const int64_t n = 10 * columns[i];
    double *inputs[OP_INPUTS] = {test_random(n, 81, 3), test_random(columns[i], 82, 1)};
    double *found[OP_INPUTS] = {blanks(n), zeros(columns[i])};
    double *y = blanks(n), *expected_y = blanks(n), *dy = test_random(n, 83, 1);
    double *dx = blanks(n), *dw = blanks(columns[i]);
    for (int64_t j = 0; j < columns[i]; ++j) inputs[0][j] *= 1e-4; /* here epsilon counts */
    op_runner_double.forward(&c, inputs, y, NULL);
    op_runner_double.backward(&c, inputs, dy, false, 2, found, NULL);
    reference_rmsnorm(10, columns[i], 1e-6, inputs[0], inputs[1], expected_y, dy, dx, dw);
    expect_close("rmsnorm", "y", y, expected_y, n, 1e-14);
    expect_close("rmsnorm", "dx", found[0], dx, n, 1e-12);
    expect_close("rmsnorm", "dw", found[1], dw, columns[i], 1e-13);
    free(inputs[0]), free(inputs[1]), free(found[0]), free(found[1]);
    free(y), free(expected_y), free(dy), free(dx), free(dw);
    test_batch_destroy(batch);
  }
}

/* --- the head --- */

typedef struct {
  double *x, *w;   /* inputs */
  double *dx, *dw; /* gradients */
  double *losses;  /* [4, rows]: loss, ce, kd, kl */
  int64_t rows, hidden, vocab;
} head_state;

static head_state head_create(int64_t rows, int64_t hidden, int64_t vocab) {
  return (head_state){test_random(rows * hidden, 84, 1.5),
                      test_random(vocab * hidden, 85, 1.5),
                      blanks(rows * hidden),
                      zeros(vocab * hidden),
                      blanks(4 * rows),
                      rows,
                      hidden,
                      vocab};
}

static void head_free(head_state *h) {
  free(h->x), free(h->w), free(h->dx), free(h->dw), free(h->losses);
}

static void run_head(const op_runner *runner, const op_case *c, head_state *h) {
  const double one = 1;
  double *inputs[OP_INPUTS] = {h->x, h->w}, *gradients[OP_INPUTS] = {h->dx, h->dw};
  const test_losses losses = {h->losses, h->losses + h->rows, h->losses + 2 * h->rows,
                              h->losses + 3 * h->rows};
  runner->backward(c, inputs, &one, false, 2, gradients, &losses);
}

static void reference_head(const op_case *c, head_state *h) {
  const test_batch *b = c->batch;
  double *u = blanks(h->vocab), *du = blanks(h->vocab);
  for (int64_t r = 0; r < h->rows; ++r) {
    for (int64_t j = 0; j < h->vocab; ++j) {
      long double sum = 0;
      for (int64_t d = 0; d < h->hidden; ++d)
        sum += (long double)h->x[r * h->hidden + d] * h->w[j * h->hidden + d];
      u[j] = (double)sum;
    }
    reference_losses row = {0};
    for (int64_t j = 0; j < h->vocab; ++j) du[j] = 0;
    if (b->targets[r] >= 0)
      row = reference_row(u, h->vocab, b->targets[r], b->k, b->ids + r * b->k,
                          b->probability + r * b->k, b->tail[r], &c->objective, c->softcap, du);
    h->losses[r] = row.loss, h->losses[h->rows + r] = row.ce;
    h->losses[2 * h->rows + r] = row.kd, h->losses[3 * h->rows + r] = row.kl;
    for (int64_t d = 0; d < h->hidden; ++d) {
      h->dx[r * h->hidden + d] = 0;
      for (int64_t j = 0; j < h->vocab; ++j) {
        h->dx[r * h->hidden + d] += du[j] * h->w[j * h->hidden + d];
        h->dw[j * h->hidden + d] += du[j] * h->x[r * h->hidden + d];
      }
    }
  }
  free(u), free(du);
}

/* Value for value in both builds. `weights` makes the logits' size; NULL: as head_create has it. */
static void compare_head(const char *name, const op_case *c, const double *x, const double *w) {
  const int64_t rows = c->batch->sequences * c->batch->length, vocab = c->batch->vocab;
  const struct {
    const op_runner *runner;
    double tolerance;
  } builds[] = {{&op_runner_double, 2e-13}, {&op_runner_float, 2e-5}};
  const char *what[] = {"loss", "ce", "kd", "kl"};
  head_state expected = head_create(rows, c->columns, vocab);
  for (int64_t i = 0; x && i < rows * c->columns; ++i) expected.x[i] = x[i];
  for (int64_t i = 0; w && i < vocab * c->columns; ++i) expected.w[i] = w[i];
  reference_head(c, &expected);
  for (int b = 0; b < 2; ++b) {
    head_state found = head_create(rows, c->columns, vocab);
    for (int64_t i = 0; x && i < rows * c->columns; ++i) found.x[i] = x[i];
    for (int64_t i = 0; w && i < vocab * c->columns; ++i) found.w[i] = w[i];
    run_head(builds[b].runner, c, &found);
    for (int i = 0; i < 4; ++i)
      expect_close(name, what[i], found.losses + i * rows, expected.losses + i * rows, rows,
                   builds[b].tolerance);
    expect_close(name, "dx", found.dx, expected.dx, rows * c->columns, builds[b].tolerance);
    expect_close(name, "dw", found.dw, expected.dw, vocab * c->columns, builds[b].tolerance);
    head_free(&found);
  }
  head_free(&expected);
}

static void compare_rules(const char *name, const test_batch *batch, int64_t hidden, double softcap,
                          const double *x, const double *w) {
  const double weights[] = {0, 0.3, 1}, temperatures[] = {1, 0.5, 3};
  const int64_t heads[] = {1, 4, 40};
  for (int tail = LAP_TAIL_GHOST; tail <= LAP_TAIL_DECOUPLED; ++tail)
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) {
        const bool renormalises = tail == LAP_TAIL_RENORMALISE || tail == LAP_TAIL_RENORMALISE_BOTH;
        const bool decoupled = tail == LAP_TAIL_DECOUPLED;
        if (j > 0 && !renormalises && !decoupled) continue;
        const op_case c = {
            .kind = OP_HEAD,
            .batch = batch,
            .columns = hidden,
            .softcap = softcap,
            .objective = {weights[i], decoupled ? 1 : temperatures[j], (lap_tail)tail,
                          decoupled ? heads[j] : 0, decoupled ? temperatures[j] : 0}};
        char text[160];
        snprintf(text, sizeof text, "%s: cap %g weight %g temperature %g tail %d", name, softcap,
                 weights[i], temperatures[j], tail);
        compare_head(text, &c, x, w);
      }
}

static void the_head_is_its_formula_under_every_rule(void **state) {
  (void)state;
  const int64_t ks[] = {0, 1, 6, 23};
  for (int i = 0; i < 4; ++i)
    for (int cap = 0; cap < 2; ++cap) {
      test_batch *batch = test_batch_create(2, 17, 23, ks[i], 100);
      char name[32];
      snprintf(name, sizeof name, "k %d of 23", (int)ks[i]);
      compare_rules(name, batch, 3, cap ? 4 : 0, NULL, NULL);
      test_batch_destroy(batch);
    }
}

static void without_tail_mass_the_rest_asks_for_nothing(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, 17, 23, 6, 101);
  for (int64_t row = 0; row < 17; ++row) batch->tail[row] = 0;
  test_batch_set_entropy(batch);
  compare_rules("r = 0", batch, 3, 0, NULL, NULL);
  test_batch_destroy(batch);
}

/* The powers t^(1/tau) are smaller than any float, and later than any double; what counts is how
 * they compare. Logits of 0 leave nothing but the teacher to be seen. */
static void a_low_temperature_leaves_the_most_probable(void **state) {
  (void)state;
  const double temperatures[] = {0.05, 0.02, 0.001};
  for (int i = 0; i < 3; ++i)
    for (int tail = LAP_TAIL_RENORMALISE; tail <= LAP_TAIL_RENORMALISE_BOTH; ++tail) {
      test_batch *batch = test_batch_create(1, 17, 23, 6, 107);
      for (int64_t slot = 0; slot < 17 * 6; ++slot)
        batch->probability[slot] = (double)(float)batch->probability[slot];
      test_batch_set_entropy(batch);
      const double x[17 * 3] = {0};
      const op_case c = {.kind = OP_HEAD,
                         .batch = batch,
                         .columns = 3,
                         .objective = {1, temperatures[i], (lap_tail)tail, 0, 0}};
      char name[64];
      snprintf(name, sizeof name, "temperature %g tail %d", temperatures[i], tail);
      compare_head(name, &c, x, NULL);
      test_batch_destroy(batch);
    }
}

/* K = V: there is no rest that stored tail mass could be of. */
static void a_teacher_that_kept_everything_has_no_tail(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, 17, 23, 23, 106);
  test_batch_set_entropy(batch);
  for (int64_t row = 0; row < 17; ++row) batch->tail[row] = 0.01;
  compare_rules("K = V, r > 0", batch, 3, 4, NULL, NULL);
  test_batch_destroy(batch);
}

static void tail_mass_alone_is_a_teacher_too(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, 17, 23, 6, 102);
  for (int64_t row = 0; row < 17; ++row) {
    batch->tail[row] = 1;
    for (int64_t i = 0; i < 6; ++i) {
      if (row % 2) batch->ids[row * 6 + i] = -1; /* every slot unused */
      batch->probability[row * 6 + i] = batch->ids[row * 6 + i] < 0 ? NAN : 0;
    }
  }
  test_batch_set_entropy(batch);
  compare_rules("a = 0", batch, 3, 4, NULL, NULL);
  test_batch_destroy(batch);
}

/* One kept id stands `gap` above all others, or as far below: 1 - P is e^-gap, or P is. */
static void compare_peaked(double gap, double softcap) {
  enum { ROWS = 6, VOCAB = 11, K = 3 };
  test_batch *batch = test_batch_create(1, ROWS, VOCAB, K, 103);
  double *x = zeros(ROWS * VOCAB), *w = zeros(VOCAB * VOCAB);
  for (int64_t j = 0; j < VOCAB; ++j) w[j * VOCAB + j] = 1; /* logits are x itself */
  for (int64_t row = 0; row < ROWS; ++row) {
    for (int64_t j = 0; j < VOCAB; ++j) x[row * VOCAB + j] = test_uniform(104, (uint64_t)(row + j));
    for (int64_t i = 0; i < K; ++i) batch->ids[row * K + i] = (int32_t)((row + 4 * i) % VOCAB);
    x[row * VOCAB + batch->ids[row * K]] += row % 2 ? gap : -gap;
    for (int64_t i = 0; i < K; ++i)
      batch->probability[row * K + i] = i ? 0.01 : 0.75 + 0.01 * (double)row;
    batch->tail[row] = 0.2;
    batch->targets[row] = row < 3 ? batch->ids[row * K + row] : (int32_t)((row + 2) % VOCAB);
    if (softcap > 0) /* u, so that the capped logit is what was asked for */
      for (int64_t j = 0; j < VOCAB; ++j)
        x[row * VOCAB + j] = softcap * atanh(x[row * VOCAB + j] / softcap);
  }
  test_batch_set_entropy(batch);
  char name[32];
  snprintf(name, sizeof name, "gap %g", gap);
  compare_rules(name, batch, VOCAB, softcap, x, w);
  free(x), free(w);
  test_batch_destroy(batch);
}

static void a_student_that_is_sure_keeps_its_digits(void **state) {
  (void)state;
  compare_peaked(20, 30);
  compare_peaked(28, 30);
  compare_peaked(40, 0);
  compare_peaked(60, 0);
  compare_peaked(80, 0);
}

static void uncounted_positions_give_exactly_nothing(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, 5, 23, 6, 105);
  for (int i = 0; i < 5; ++i) batch->targets[i] = i == 2 ? 4 : -1;
  const op_case c = {.kind = OP_HEAD,
                     .batch = batch,
                     .columns = 3,
                     .softcap = 4,
                     .objective = {0.5, 1, LAP_TAIL_GHOST, 0, 0}};
  head_state h = head_create(5, 3, 23);
  h.x[0] = 1e30; /* whatever an uncounted position holds */
  run_head(&op_runner_double, &c, &h);
  for (int r = 0; r < 5; ++r) {
    const bool counted = r == 2;
    for (int i = 0; i < 4; ++i) assert_true((h.losses[i * 5 + r] != 0) == counted);
    assert_true((test_largest(h.dx + 3 * r, 3) != 0) == counted);
  }
  head_free(&h);
  test_batch_destroy(batch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attention_is_its_formula),
      cmocka_unit_test(attention_groups_its_heads),
      cmocka_unit_test(rmsnorm_is_its_formula),
      cmocka_unit_test(the_head_is_its_formula_under_every_rule),
      cmocka_unit_test(without_tail_mass_the_rest_asks_for_nothing),
      cmocka_unit_test(a_low_temperature_leaves_the_most_probable),
      cmocka_unit_test(a_teacher_that_kept_everything_has_no_tail),
      cmocka_unit_test(tail_mass_alone_is_a_teacher_too),
      cmocka_unit_test(a_student_that_is_sure_keeps_its_digits),
      cmocka_unit_test(uncounted_positions_give_exactly_nothing),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
