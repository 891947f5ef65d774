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

/* Of magnitudes far apart; some are subnormal, and so are products of others; some are 0 or -0. */
static void fill(int64_t count, uint64_t stream, float *x) {
  for (int64_t i = 0; i < count; ++i) {
    const double u = test_uniform(stream, (uint64_t)i);
    static const double scale[] = {1, 1, 1e3, 1e-3, 0x1p-63, 0x1p-130, 0, -0.0};
    x[i] = (float)(u * scale[(i + (int64_t)stream) % 8 * (i % 3 == 0)]);
  }
}

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
  fill(n * k, stream, w);
  fill(k, stream + 1, x);
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
