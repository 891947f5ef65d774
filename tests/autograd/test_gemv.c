/* gemv: the bits of a product with one row, in both precisions, at odd sizes, with values that are
 * hard to sum and subnormal. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/gemm.h"
#include "autograd/kernel/gemv.h"
#include "autograd/kernel/matmul/kernels.h"
#include "core/memory.h"
#include "tests/autograd/numbers.h"

/* Of weights that are held in bfloat16: the bits of the same values in float32. */
static void check_held(int64_t n, int64_t k, float *w, const float *x) {
  uint16_t *held = lap_allocate(n * k, sizeof *held);
  float *found = lap_allocate(n, sizeof *found), *wanted = lap_allocate(n, sizeof *wanted);
  for (int64_t i = 0; i < n * k; ++i) {
    uint32_t bits;
    memcpy(&bits, &w[i], sizeof bits);
    held[i] = (uint16_t)(bits >> 16);
    bits &= 0xffff0000U;
    memcpy(&w[i], &bits, sizeof bits);
  }
  lap_gemv(n, k, w, NULL, x, wanted);
  lap_gemv(n, k, NULL, held, x, found);
  assert_memory_equal(found, wanted, (size_t)n * sizeof *found);
  free(held), free(found), free(wanted);
}

static void check(int64_t n, int64_t k, uint64_t stream) {
  float *w = lap_allocate(n * k, sizeof *w), *x = lap_allocate(k, sizeof *x);
  float *found = lap_allocate(n + 1, sizeof *found), *wanted = lap_allocate(n, sizeof *wanted);
  test_fill_hard(n * k, stream, w);
  test_fill_hard(k, stream + 1, x);
  for (int64_t j = 0; j <= n; ++j) found[j] = 77;
  lap_gemv(n, k, w, NULL, x, found);
  lap_gemm(&(lap_gemm_operands){.m = 1,
                                .n = n,
                                .k = k,
                                .a = x,
                                .lda = k,
                                .b = w,
                                .ldb = k,
                                .transpose_b = true,
                                .c = wanted,
                                .ldc = n});
  for (int64_t j = 0; j < n; ++j)
    if (memcmp(&found[j], &wanted[j], sizeof *found))
      fail_msg("n %d k %d: row %d is %a, expected %a", (int)n, (int)k, (int)j, (double)found[j],
               (double)wanted[j]);
  assert_true(found[n] == 77);
  check_held(n, k, w, x);
  free(w), free(x), free(found), free(wanted);
}

/* Of rows `ldb` apart, as keys and values lie: by rows of B, and chains of its columns. */
static void check_here(int64_t n, int64_t k, int64_t ldb, bool by_rows, int64_t first,
                       uint64_t stream) {
  const int64_t rows = by_rows ? n : k, count = rows * ldb;
  float *b = lap_allocate(count, sizeof *b), *x = lap_allocate(k, sizeof *x);
  float *found = lap_allocate(n + 1, sizeof *found), *wanted = lap_allocate(n + 1, sizeof *wanted);
  test_fill_hard(count, stream, b);
  test_fill_hard(k, stream + 1, x);
  test_fill_hard(n + 1, stream + 2, found);
  memcpy(wanted, found, (size_t)(n + 1) * sizeof *found);
  lap_gemm_operands p = {.m = 1,
                         .n = n,
                         .k = k,
                         .a = x,
                         .lda = k,
                         .b = b,
                         .ldb = ldb,
                         .transpose_b = by_rows,
                         .c = found,
                         .ldc = n,
                         .into = by_rows ? LAP_MATMUL_SET : LAP_MATMUL_CHAIN,
                         .first = first};
  lap_gemv_here(&p);
  p.c = wanted;
  lap_gemm_here(&p);
  if (memcmp(found, wanted, (size_t)(n + 1) * sizeof *found) != 0)
    fail_msg("n %d k %d ldb %d, by %s", (int)n, (int)k, (int)ldb, by_rows ? "rows" : "columns");
  free(b), free(x), free(found), free(wanted);
}

static void rows_may_lie_apart(void **state) {
  (void)state;
  const int64_t counts[] = {1, 15, 16, 31, 64, 65, 130, 256};
  uint64_t stream = 1000;
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i)
    for (size_t j = 0; j < sizeof counts / sizeof *counts; ++j)
      for (int64_t apart = 0; apart <= 7; apart += 7) {
        check_here(counts[i], counts[j], counts[j] + apart, true, 0, stream += 3);
        /* a chain does not leave its block */
        const bool fits = lap_gemm_holds() || counts[j] + 7 * apart <= LAP_MATMUL_BLOCK;
        check_here(counts[i], counts[j], counts[i] + apart, false, fits ? 7 * apart : 0,
                   stream += 3);
      }
}

static void it_has_the_bits_of_a_product(void **state) {
  (void)state;
  const int64_t rows[] = {1, 7, 8, 9, 63, 65, 200}, terms[] = {1, 31, 32, 33, 255, 256, 257, 700};
  uint64_t stream = 10;
  for (int threads = 1; threads <= 3; ++threads) {
    omp_set_num_threads(threads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
      for (size_t j = 0; j < sizeof terms / sizeof *terms; ++j)
        check(rows[i], terms[j], stream += 2);
  }
}

/* The mode in which subnormals are zero ends with the call. */
static void the_processors_mode_stays(void **state) {
  (void)state;
  volatile float tiny = 0x1p-120F;
  check(16, 512, 3);
  assert_true(tiny * 0x1p-20F > 0);
}

int main(void) {
  lap_status status;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_has_the_bits_of_a_product),
      cmocka_unit_test(rows_may_lie_apart),
      cmocka_unit_test(the_processors_mode_stays),
  };
  const lap_matmul_kernel *const *fastest = lap_matmul_kernels();
  while (!(*fastest)->runs_here()) ++fastest;
  int failed = 0; /* the fastest that the processor has, and the scalar */
  for (int i = 0; i < 2 * LAP_MATMUL_PRECISIONS; ++i) {
    const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, (lap_matmul_precision)(i / 2), NULL};
    if (lap_gemm_open(&choice, &status) != LAP_OK) return 1;
    if (lap_matmul_kernel_use(i % 2 ? "plain" : (*fastest)->name, &status) != LAP_OK) return 1;
    failed += cmocka_run_group_tests(tests, NULL, NULL);
  }
  return failed;
}
