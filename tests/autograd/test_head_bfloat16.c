/* The head in bfloat16: where a micro-batch takes several chunks of positions, what the chunks
 * share is laid out once; the bits are those of the chunks by themselves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/op/ops.h"
#include "tests/autograd/numbers.h"
#include "tests/autograd/op_runner.h"

enum { LENGTH = 256, SEQUENCES = 8, VOCABULARY = 70, HIDDEN = 40 };

typedef struct {
  double *dx, *dw, *loss;
} results;

static results run(const test_batch *batch, int shards, double *x, double *w, double *dw) {
  const op_case head = {.kind = OP_HEAD,
                        .batch = batch,
                        .columns = HIDDEN,
                        .softcap = 4,
                        .objective = {0.6, 1, LAP_TAIL_GHOST, 0, 0},
                        .shards = shards};
  const int64_t rows = batch->sequences * batch->length;
  results made = {test_random(rows * HIDDEN, 0, NAN), dw, test_random(rows, 0, 0)};
  const int64_t part = (int64_t)VOCABULARY / (shards ? shards : 1) * HIDDEN;
  double *const inputs[OP_INPUTS] = {x, w, shards ? w + part : NULL};
  double *const gradients[OP_INPUTS] = {made.dx, dw, shards ? dw + part : NULL};
  const double one = 1;
  op_runner_float.backward(&head, inputs, &one, false, 2, gradients,
                           &(test_losses){.loss = made.loss});
  return made;
}

/* `count` of the batch's sequences, from `first` on; the arrays stay the batch's. */
static test_batch sequences_of(const test_batch *all, int64_t first, int64_t count) {
  test_batch part = *all;
  const int64_t row = first * all->length;
  part.sequences = count;
  part.tokens += row, part.targets += row, part.document_start += row;
  part.ids += row * all->k, part.probability += row * all->k;
  part.tail += row, part.entropy += row;
  return part;
}

static void chunks_share_what_is_laid_out(void **state) {
  (void)state;
  enum { CHUNK = 1024 / LENGTH };
  for (int shards = 0; shards <= 2; shards += 2) {
    test_batch *batch = test_batch_create(SEQUENCES, LENGTH, VOCABULARY, 3, 71);
    const int64_t rows = (int64_t)SEQUENCES * LENGTH, weights = (int64_t)VOCABULARY * HIDDEN;
    double *x = test_random(rows * HIDDEN, 72, 1), *w = test_random(weights, 73, 1);
    const results whole = run(batch, shards, x, w, test_random(weights, 0, 0));
    double *dw = test_random(weights, 0, 0);
    for (int64_t s = 0; s < SEQUENCES; s += CHUNK) {
      const test_batch part = sequences_of(batch, s, CHUNK);
      const int64_t row = s * LENGTH, count = (int64_t)CHUNK * LENGTH;
      const results one = run(&part, shards, x + row * HIDDEN, w, dw);
      assert_memory_equal(one.dx, whole.dx + row * HIDDEN, (size_t)(count * HIDDEN) * sizeof *x);
      assert_memory_equal(one.loss, whole.loss + row, (size_t)count * sizeof *x);
      free(one.dx), free(one.loss);
    }
    assert_memory_equal(dw, whole.dw, (size_t)weights * sizeof *dw);
    free(whole.dx), free(whole.dw), free(whole.loss), free(dw), free(x), free(w);
    test_batch_destroy(batch);
  }
}

int main(void) {
  lap_status status;
  const lap_gemm_choice bfloat16 = {LAP_GEMM_LAPIDARY, LAP_MATMUL_BFLOAT16, NULL};
  if (lap_gemm_open(&bfloat16, &status) != LAP_OK) return 1;
  const struct CMUnitTest tests[] = {cmocka_unit_test(chunks_share_what_is_laid_out)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
