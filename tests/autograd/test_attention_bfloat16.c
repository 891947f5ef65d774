/* Attention in bfloat16: a number that float32 holds may be infinite as an operand. Where it is in
 * one document it reaches no other, by whatever kernel. */
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
#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"

/* Two tiles of queries and a part; the second document begins within the last, and within a strip
 * of keys of every kernel. */
enum { LENGTH = 70, SECOND = 67, HEADS = 4, KV_HEADS = 2, DIM = 6, WIDE = HEADS * DIM };

static const int64_t row[OP_INPUTS] = {WIDE, KV_HEADS *DIM, KV_HEADS *DIM};

typedef struct {
  double *output, *gradient[OP_INPUTS];
} results;

static results run(const test_batch *batch, double *const inputs[], const double *d_o) {
  const op_case c = {.kind = OP_ATTENTION,
                     .batch = batch,
                     .heads = HEADS,
                     .kv_heads = KV_HEADS,
                     .head_dim = DIM,
                     .softcap = 50,
                     .scale = 0.4};
  results r = {.output = test_random((int64_t)LENGTH * WIDE, 0, NAN)};
  for (int j = 0; j < OP_INPUTS; ++j) r.gradient[j] = test_random(LENGTH * row[j], 0, NAN);
  op_runner_float.forward(&c, inputs, r.output, NULL);
  op_runner_float.backward(&c, inputs, d_o, false, 2, r.gradient, NULL);
  return r;
}

static void results_free(results *r) {
  free(r->output);
  for (int j = 0; j < OP_INPUTS; ++j) free(r->gradient[j]);
}

static void assert_same_second_document(const results *found, const results *expected) {
  assert_memory_equal(found->output + SECOND * WIDE, expected->output + SECOND * WIDE,
                      (LENGTH - SECOND) * WIDE * sizeof(double));
  for (int j = 0; j < OP_INPUTS; ++j)
    assert_memory_equal(found->gradient[j] + SECOND * row[j],
                        expected->gradient[j] + SECOND * row[j],
                        (size_t)((LENGTH - SECOND) * row[j]) * sizeof(double));
}

static void what_rounds_to_infinity_stays_within_its_document(void **state) {
  (void)state;
  test_batch *batch = test_batch_create(1, LENGTH, 19, 0, 320);
  for (int t = 0; t < LENGTH; ++t) batch->document_start[t] = t < SECOND ? 0 : SECOND;
  for (const lap_matmul_kernel *const *kernel = lap_matmul_kernels(); *kernel; ++kernel) {
    lap_status status;
    if (!(*kernel)->runs_here()) continue;
    assert_int_equal(lap_matmul_kernel_use((*kernel)->name, &status), LAP_OK);
    double *inputs[OP_INPUTS], *d_o = test_random((int64_t)LENGTH * WIDE, 300, 1);
    for (int j = 0; j < OP_INPUTS; ++j)
      inputs[j] = test_random(LENGTH * row[j], 301 + (uint64_t)j, 2);
    results small = run(batch, inputs, d_o);
    for (int operand = 0; operand <= OP_INPUTS; ++operand) {
      double *one = operand < OP_INPUTS ? &inputs[operand][66 * row[operand]] : &d_o[66 * WIDE];
      const double before = *one;
      *one = 0x1.ffp127; /* finite in float32 */
      results large = run(batch, inputs, d_o);
      assert_same_second_document(&large, &small);
      *one = before;
      results_free(&large);
    }
    results_free(&small);
    for (int j = 0; j < OP_INPUTS; ++j) free(inputs[j]);
    free(d_o);
  }
  test_batch_destroy(batch);
}

int main(void) {
  lap_status status;
  const lap_gemm_choice bfloat16 = {LAP_GEMM_LAPIDARY, LAP_MATMUL_BFLOAT16, NULL};
  if (lap_gemm_open(&bfloat16, &status) != LAP_OK) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_rounds_to_infinity_stays_within_its_document)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
