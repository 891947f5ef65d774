/* Ops whose weights are held in bfloat16, in training: outputs, losses and gradients have the bits
 * that weights in float32 give, by every kernel of this processor. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/op/ops.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"

enum { HIDDEN = 40, OUTPUTS = 70, VOCABULARY = 1100 };

typedef struct {
  op_case op;
  op_shape shape;
  double *input[OP_INPUTS], *d_output;
} fixture;

/* Weights that have to be rounded, a few of them subnormal. */
static fixture create(const op_case *c) {
  fixture f = {.op = *c, .shape = op_shape_of(c)};
  for (int i = 0; i < f.shape.inputs; ++i) {
    f.input[i] = test_random(f.shape.size[i], 10 + (uint64_t)i, 1);
    for (int64_t e = 7; e < f.shape.size[i] && f.shape.weight[i]; e += 50)
      f.input[i][e] = e % 100 == 7 ? 0x1.23p-127 : -0x1.fep-127;
  }
  f.d_output = test_random(f.shape.output, 20, 1);
  return f;
}

static void destroy(fixture *f) {
  for (int i = 0; i < f->shape.inputs; ++i) free(f->input[i]);
  free(f->d_output);
}

typedef struct {
  double *output, *loss, *gradient[OP_INPUTS];
} results;

static results run(const fixture *f, bool holds) {
  op_case c = f->op;
  c.holds = holds;
  const int64_t rows = c.batch->sequences * c.batch->length;
  results made = {test_random(f->shape.output, 0, 0), test_random(rows, 0, 0), {NULL}};
  const test_losses losses = {.loss = made.loss};
  for (int i = 0; i < f->shape.inputs; ++i)
    made.gradient[i] = test_random(f->shape.size[i], 30, f->shape.weight[i] ? 1 : NAN);
  op_runner_float.forward(&c, f->input, made.output, &losses);
  op_runner_float.backward(&c, f->input, f->d_output, false, 2, made.gradient, &losses);
  return made;
}

static void release(const fixture *f, results *made) {
  free(made->output), free(made->loss);
  for (int i = 0; i < f->shape.inputs; ++i) free(made->gradient[i]);
}

static void assert_same(const double *a, const double *b, int64_t count) {
  assert_memory_equal(a, b, (size_t)count * sizeof *a);
}

static void check(const op_case *c) {
  fixture f = create(c);
  results whole = run(&f, false), held = run(&f, true);
  assert_same(whole.output, held.output, f.shape.output);
  assert_same(whole.loss, held.loss, c->batch->sequences * c->batch->length);
  for (int i = 0; i < f.shape.inputs; ++i)
    assert_same(whole.gradient[i], held.gradient[i], f.shape.size[i]);
  release(&f, &whole), release(&f, &held);
  destroy(&f);
}

/* Of one shard, and of two. */
static void check_ops(const test_batch *batch) {
  const lap_objective objective = {0.6, 1, LAP_TAIL_GHOST, 0, 0};
  for (int shards = 0; shards <= 2; shards += 2) {
    check(&(op_case){.kind = OP_EMBEDDING, .batch = batch, .columns = HIDDEN, .shards = shards});
    check(&(op_case){.kind = OP_LINEAR,
                     .batch = batch,
                     .columns = HIDDEN,
                     .outputs = OUTPUTS,
                     .shards = shards});
    check(&(op_case){.kind = OP_HEAD,
                     .batch = batch,
                     .columns = HIDDEN,
                     .softcap = 4,
                     .objective = objective,
                     .shards = shards});
  }
  check(&(op_case){.kind = OP_RMSNORM, .batch = batch, .columns = HIDDEN, .epsilon = 1e-6});
  check(&(op_case){
      .kind = OP_LINEAR_SUM, .batch = batch, .columns = HIDDEN, .outputs = OUTPUTS, .shards = 2});
}

/* The head in one chunk of positions, and in several, which share what is laid out. */
static void held_weights_give_the_same_bits(void **state) {
  (void)state;
  test_batch *small = test_batch_create(2, 50, VOCABULARY, 3, 71);
  test_batch *large = test_batch_create(5, 256, VOCABULARY, 3, 72);
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    lap_status status;
    if (!(*kernel)->runs_here()) continue;
    assert_int_equal(lap_matmul_kernel_use((*kernel)->name, &status), LAP_OK);
    check_ops(small);
    if (*kernel != &lap_matmul_plain) check_ops(large);
  }
  test_batch_destroy(small);
  test_batch_destroy(large);
}

int main(void) {
  lap_status status;
  const lap_gemm_choice bfloat16 = {LAP_GEMM_LAPIDARY, LAP_MATMUL_BFLOAT16, NULL};
  if (lap_gemm_open(&bfloat16, &status) != LAP_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(held_weights_give_the_same_bits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
