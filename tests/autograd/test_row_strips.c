/* row_strips: the bits of a product, in both precisions and both forms of the weights, at odd
 * sizes; and rows come back as they were. */
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
#include "autograd/kernel/matmul/kernels.h"
#include "autograd/kernel/row_strips.h"
#include "core/memory.h"
#include "tests/autograd/numbers.h"

enum { MOST_ROWS_OF_X = 7 };

static void *copy_of(const void *data, int64_t count, size_t size) {
  void *copy = lap_allocate(count, size);
  memcpy(copy, data, (size_t)count * size);
  return copy;
}

/* What bfloat16 holds of w, which may be subnormal. */
static uint16_t *held_of(const float *w, int64_t count) {
  uint16_t *held = lap_allocate(count, sizeof *held);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, &w[i], sizeof bits);
    held[i] = (uint16_t)(bits >> 16);
  }
  return held;
}

static void compare_rows(const lap_row_strips *w, const void *wanted, size_t size, int64_t row,
                         int64_t count) {
  const int64_t elements = count * w->k;
  void *found = lap_allocate(elements + 1, size);
  memset(found, 0x5a, (size_t)(elements + 1) * size);
  lap_row_strips_read(w, row, count, w->values ? found : NULL, w->values ? NULL : found);
  assert_memory_equal(found, (const char *)wanted + (size_t)(row * w->k) * size,
                      (size_t)elements * size);
  assert_int_equal(((char *)found)[(size_t)elements * size], 0x5a);
  free(found);
}

static void compare_terms(const lap_row_strips *w, const void *wanted, size_t size, int64_t row,
                          int64_t count, int64_t first, int64_t terms) {
  char *found = lap_allocate(terms * count + 1, size);
  memset(found, 0x5a, (size_t)(terms * count + 1) * size);
  lap_row_strips_by_terms(w, row, count, first, terms, w->values ? (void *)found : NULL,
                          w->values ? NULL : (void *)found);
  for (int64_t t = 0; t < terms; ++t)
    for (int64_t r = 0; r < count; ++r)
      assert_memory_equal(found + (size_t)(t * count + r) * size,
                          (const char *)wanted + (size_t)((row + r) * w->k + first + t) * size,
                          size);
  assert_int_equal(found[(size_t)(terms * count) * size], 0x5a);
  free(found);
}

static void check_rows(const lap_row_strips *w, const void *wanted, size_t size) {
  compare_rows(w, wanted, size, 0, w->n);
  compare_rows(w, wanted, size, w->n - 1, 1);
  compare_rows(w, wanted, size, w->n / 3, 1);
  compare_rows(w, wanted, size, w->n / 2, w->n - w->n / 2);
  compare_rows(w, wanted, size, w->n / 4, w->n / 4);
  const int64_t even = w->k / 4 * 2, row = w->n / 64 * 32;
  compare_terms(w, wanted, size, 0, w->n, 0, w->k);
  compare_terms(w, wanted, size, row, w->n - row, even, w->k - even);
}

/* w as it is held, or as floats. */
static void check_form(int64_t n, int64_t k, float *w, uint16_t *held, int64_t m, const float *x) {
  if (!lap_row_strips_usable(held != NULL)) return;
  float *found = lap_allocate(m * n + 1, sizeof *found), *wanted = lap_allocate(m * n, sizeof *w);
  lap_gemm(&(lap_gemm_operands){.m = m,
                                .n = n,
                                .k = k,
                                .a = x,
                                .lda = k,
                                .b = w,
                                .b_bfloat16 = held,
                                .ldb = k,
                                .transpose_b = true,
                                .c = wanted,
                                .ldc = n});
  const size_t size = held ? sizeof *held : sizeof *w;
  void *matrix = held ? (void *)held : w, *before = copy_of(matrix, n * k, size);
  float *rounded = copy_of(x, m * k, sizeof *x);
  if (lap_gemm_holds()) lap_gemm_round(rounded, m * k);
  const lap_row_strips strips = {n, k, w, held};
  lap_row_strips_make(&strips);
  check_rows(&strips, before, size);
  for (int64_t i = 0; i <= m * n; ++i) found[i] = 77;
  lap_row_strips_multiply(&strips, m, rounded, found);
  for (int64_t i = 0; i < m * n; ++i)
    if (memcmp(&found[i], &wanted[i], sizeof *found))
      fail_msg("m %d n %d k %d %s: element %d is %a, expected %a", (int)m, (int)n, (int)k,
               held ? "held" : "", (int)i, (double)found[i], (double)wanted[i]);
  assert_true(found[m * n] == 77);
  memcpy(matrix, before, (size_t)(n * k) * size);
  free(rounded), free(before), free(found), free(wanted);
}

static void check(int64_t n, int64_t k, int64_t m, uint64_t stream) {
  float *w = lap_allocate(n * k, sizeof *w), *x = lap_allocate(m * k, sizeof *x);
  test_fill_hard(n * k, stream, w);
  test_fill_hard(m * k, stream + 1, x);
  uint16_t *held = held_of(w, n * k);
  check_form(n, k, w, NULL, m, x);
  check_form(n, k, NULL, held, m, x);
  free(w), free(x), free(held);
}

static void it_has_the_bits_of_a_product(void **state) {
  (void)state;
  const int64_t rows[] = {1, 31, 32, 33, 64, 129, 200};
  const int64_t terms[] = {1, 2, 31, 32, 34, 255, 256, 258, 700};
  uint64_t stream = 10;
  for (int threads = 1; threads <= 3; ++threads) {
    omp_set_num_threads(threads);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i)
      for (size_t j = 0; j < sizeof terms / sizeof *terms; ++j)
        check(rows[i], terms[j], 1 + (int64_t)(i + j + (size_t)threads) % MOST_ROWS_OF_X,
              stream += 2);
  }
}

/* Of more terms than one row or several of x meet at a time. */
static void rows_may_be_long(void **state) {
  (void)state;
  check(40, 4096 + 514, 1, 1000);
  check(64, 2 * 4096 + 2, 3, 1002);
  check(70, 4096 + 34, 5, 1004);
}

/* The mode in which subnormals are zero ends with the call. */
static void the_processors_mode_stays(void **state) {
  (void)state;
  volatile float tiny = 0x1p-120F;
  check(64, 512, 1, 3);
  assert_true(tiny * 0x1p-20F > 0);
}

static void values_in_bfloat16_and_openblas_are_left_to_lap_gemm(void **state) {
  (void)state;
  lap_status status;
  const lap_gemm_choice before = {LAP_GEMM_LAPIDARY, lap_gemm_precision_here(), NULL};
  assert_int_equal(lap_row_strips_usable(false), before.precision == LAP_MATMUL_FLOAT32);
  const lap_gemm_choice openblas = {LAP_GEMM_OPENBLAS, LAP_MATMUL_FLOAT32, "auto"};
  assert_int_equal(lap_gemm_open(&openblas, &status), LAP_OK);
  assert_false(lap_row_strips_usable(false));
  assert_false(lap_row_strips_usable(true));
  assert_int_equal(lap_gemm_open(&before, &status), LAP_OK);
}

int main(void) {
  lap_status status;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_has_the_bits_of_a_product),
      cmocka_unit_test(rows_may_be_long),
      cmocka_unit_test(the_processors_mode_stays),
      cmocka_unit_test(values_in_bfloat16_and_openblas_are_left_to_lap_gemm),
  };
  const lap_matmul_kernel *const *fastest = lap_matmul_kernels();
  while (!(*fastest)->runs_here()) ++fastest;
  int failed = 0; /* against the fastest that the processor has, and the plain one */
  for (int i = 0; i < 2 * LAP_MATMUL_PRECISIONS; ++i) {
    const lap_gemm_choice choice = {LAP_GEMM_LAPIDARY, (lap_matmul_precision)(i / 2), NULL};
    if (lap_gemm_open(&choice, &status) != LAP_OK) return 1;
    if (lap_matmul_kernel_use(i % 2 ? "plain" : (*fastest)->name, &status) != LAP_OK) return 1;
    failed += cmocka_run_group_tests(tests, NULL, NULL);
  }
  return failed;
}
