/* Reductions and matrix products of either build: close to the true value, in the order they
 * promise, and the same bits for any number of threads. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/gemm.h"
#include "autograd/kernel/vector.h"
#include "core/memory.h"
#include "tests/autograd/numbers.h"

static const double epsilon = sizeof(real) == 4 ? 0x1p-23 : 0x1p-52;

static real *random_reals(int64_t n, uint64_t stream, double scale) {
  real *x = lap_allocate(n, sizeof *x);
  for (int64_t i = 0; i < n; ++i) x[i] = (real)(scale * test_uniform(stream, (uint64_t)i));
  return x;
}

static const int64_t lengths[] = {0, 1, 3, 15, 16, 17, 31, 32, 33, 255, 1000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* The promise of vector.h, read again: element i to partial i mod 16; then 16 to 8 to 4 to 2 to 1,
 * each adding the upper half to the lower. */
static real sum_in_promised_order(const real partial[16]) {
  real eight[8], four[4];
  for (int i = 0; i < 8; ++i) eight[i] = partial[i] + partial[i + 8];
  for (int i = 0; i < 4; ++i) four[i] = eight[i] + eight[i + 4];
  const real even = four[0] + four[2], odd = four[1] + four[3];
  return even + odd;
}

static void dot_has_its_value_and_its_order(void **state) {
  (void)state;
  for (int l = 0; l < LENGTHS; ++l) {
    const int64_t n = lengths[l];
    real *x = random_reals(n, 1, 3), *y = random_reals(n, 2, 3), partial[16] = {0};
    long double exact = 0, size = 0;
    for (int64_t i = 0; i < n; ++i) {
      exact += (long double)x[i] * y[i], size += fabsl((long double)x[i] * y[i]);
      partial[i % 16] = lap_fma(x[i], y[i], partial[i % 16]);
    }
    const real found = lap_vector_dot(x, y, n);
    assert_true(fabsl(found - exact) <= (long double)((double)(n / 16 + 5) * epsilon) * size);
    assert_true(found == sum_in_promised_order(partial));
    free(x), free(y);
  }
}

static void sums_of_exp_have_their_value_and_their_order(void **state) {
  (void)state;
  for (int l = 0; l < LENGTHS; ++l) {
    const int64_t n = lengths[l];
    real *x = random_reals(n, 3, 8), partial[16] = {0}, halves[16] = {0};
    const real shift = 7.5;
    long double exact = 0, exact_halves = 0;
    for (int64_t i = 0; i < n; ++i) {
      exact += expl((long double)x[i] - shift),
          exact_halves += expl(0.5L * ((long double)x[i] - shift));
      partial[i % 16] += lap_exp(x[i] - shift);
      halves[i % 16] += lap_exp((x[i] - shift) * (real)0.5);
    }
    const long double bound = (long double)((double)(n / 16 + 40) * epsilon);
    const real half = lap_vector_sum_exp(x, n, shift, (real)0.5);
    assert_true(fabsl(half - exact_halves) <= bound * exact_halves);
    assert_true(half == sum_in_promised_order(halves));
    assert_true(lap_vector_sum_exp(x, n, shift, 1) == sum_in_promised_order(partial));
    real *y = random_reals(n, 3, 8);
    const real sum = lap_vector_exp(y, n, shift);
    assert_true(fabsl(sum - exact) <= bound * exact);
    assert_true(sum == sum_in_promised_order(partial));
    for (int64_t i = 0; i < n; ++i) assert_true(y[i] == lap_exp(x[i] - shift));
    free(x), free(y);
  }
}

static void max_finds_the_largest_wherever_it_is(void **state) {
  (void)state;
  assert_true(lap_vector_max(NULL, 0) == (real)-INFINITY);
  for (int l = 1; l < LENGTHS; ++l) {
    const int64_t n = lengths[l];
    real *x = random_reals(n, 4, 1);
    for (int64_t i = 0; i < n; ++i) {
      const real before = x[i];
      x[i] = 2;
      assert_true(lap_vector_max(x, n) == 2);
      x[i] = before;
    }
    if (n > 1) {
      x[0] = (real)NAN, x[n - 1] = 3;
      assert_true(lap_vector_max(x, n) == 3);
    }
    for (int64_t i = 0; i < n; ++i) x[i] = (real)-INFINITY;
    assert_true(lap_vector_max(x, n) == (real)-INFINITY);
    free(x);
  }
}

static void softcap_scales_and_bends(void **state) {
  (void)state;
  const int64_t n = 37;
  real *x = random_reals(n, 5, 20), *capped = random_reals(n, 5, 20),
       *scaled = random_reals(n, 5, 20);
  lap_vector_softcap(capped, n, (real)0.7, 5);
  lap_vector_softcap(scaled, n, (real)0.7, 0);
  for (int64_t i = 0; i < n; ++i) {
    const long double exact = 5 * tanhl((long double)(real)0.7 * x[i] / 5);
    assert_true(fabsl(capped[i] - exact) <= 8 * (long double)epsilon * 5);
    assert_true(scaled[i] == x[i] * (real)0.7);
  }
  free(x), free(capped), free(scaled);
}

/* --- matrix products --- */

typedef struct {
  lap_gemm_operands p;
  real *a, *b, *c;
} product;

/* Leading dimensions exceed the columns, so that mistaking one for the other shows. */
static product product_create(bool ta, bool tb, int64_t m, int64_t n, int64_t k,
                              lap_matmul_into into, int64_t slack) {
  product made = {
      .p = {.m = m, .n = n, .k = k, .transpose_a = ta, .transpose_b = tb, .into = into}};
  lap_gemm_operands *p = &made.p;
  p->lda = (ta ? m : k) + slack, p->ldb = (tb ? k : n) + slack, p->ldc = n + slack;
  p->a = made.a = random_reals((ta ? k : m) * p->lda, 6, 1);
  p->b = made.b = random_reals((tb ? n : k) * p->ldb, 7, 1);
  p->c = made.c = random_reals(m * p->ldc, 8, into == LAP_MATMUL_SET ? NAN : 1);
  return made;
}

static void product_free(product *made) { free(made->a), free(made->b), free(made->c); }

static void expect_product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, lap_matmul_into into,
                           int64_t slack) {
  product made = product_create(ta, tb, m, n, k, into, slack);
  const lap_gemm_operands *p = &made.p;
  lap_gemm(p);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double exact = into == LAP_MATMUL_SET ? 0 : test_uniform(8, (uint64_t)(i * p->ldc + j));
      double size = fabs(exact) + 1;
      for (int64_t l = 0; l < k; ++l) {
        const double left = ta ? p->a[l * p->lda + i] : p->a[i * p->lda + l];
        const double right = tb ? p->b[j * p->ldb + l] : p->b[l * p->ldb + j];
        exact += left * right, size += fabs(left * right);
      }
      const double error = fabs((double)p->c[i * p->ldc + j] - exact);
      if (!(error <= (double)(k + 4) * epsilon * size))
        fail_msg("[%d,%d,%d] transposes %d %d into %d: element %d,%d is off by %g", (int)m, (int)n,
                 (int)k, ta, tb, into, (int)i, (int)j, error);
    }
  for (int64_t i = 0; slack && i < m; ++i) { /* what lies between rows is not C's */
    const double beyond =
        into == LAP_MATMUL_SET ? NAN : test_uniform(8, (uint64_t)(i * p->ldc + n));
    const double found = (double)p->c[i * p->ldc + n];
    assert_true(isnan(beyond) ? isnan(found) : found == (double)(real)beyond);
  }
  product_free(&made);
}

static void products_are_sums_of_products_at_odd_sizes(void **state) {
  (void)state;
  const int64_t shapes[][3] = {{1, 1, 1},    {3, 17, 1},   {17, 3, 255}, {1, 300, 17},
                               {300, 1, 3},  {255, 17, 3}, {256, 3, 17}, {257, 17, 3},
                               {17, 255, 3}, {3, 256, 17}, {3, 257, 17}, {17, 17, 300},
                               {257, 300, 5}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; ++s)
    for (int ta = 0; ta < 2; ++ta)
      for (int tb = 0; tb < 2; ++tb)
        for (int into = LAP_MATMUL_SET; into <= LAP_MATMUL_ADD; ++into)
          expect_product(ta, tb, shapes[s][0], shapes[s][1], shapes[s][2], (lap_matmul_into)into,
                         into ? 3 : 0);
}

static void a_product_over_nothing_is_what_was_there(void **state) {
  (void)state;
  for (int ta = 0; ta < 2; ++ta)
    for (int tb = 0; tb < 2; ++tb)
      for (int slack = 0; slack < 2; ++slack) {
        expect_product(ta, tb, 17, 300, 0, LAP_MATMUL_SET, slack);
        expect_product(ta, tb, 17, 300, 0, LAP_MATMUL_ADD, slack);
      }
}

static void an_empty_product_touches_nothing(void **state) {
  (void)state;
  real c = 5;
  lap_gemm(&(lap_gemm_operands){
      .n = 3, .k = 2, .a = &c, .lda = 2, .b = &c, .ldb = 3, .c = &c, .ldc = 3});
  lap_gemm(&(lap_gemm_operands){
      .m = 3, .k = 2, .a = &c, .lda = 2, .b = &c, .ldb = 1, .c = &c, .ldc = 1});
  assert_true(c == 5);
}

static void products_have_the_same_bits_for_any_number_of_threads(void **state) {
  (void)state;
  const int threads[] = {1, 2, 5}, before = omp_get_max_threads();
  for (int ta = 0; ta < 2; ++ta)
    for (int tb = 0; tb < 2; ++tb) {
      product first = {0};
      for (int t = 0; t < 3; ++t) {
        product made = product_create(ta, tb, 600, 523, 67, LAP_MATMUL_ADD, 0);
        omp_set_num_threads(threads[t]);
        lap_gemm(&made.p);
        if (t == 0) {
          first = made;
          continue;
        }
        assert_memory_equal(first.c, made.c, (size_t)(made.p.m * made.p.ldc) * sizeof *made.c);
        product_free(&made);
      }
      product_free(&first);
    }
  omp_set_num_threads(before);
}

/* The same by either backend, where there are two: floats. */
/* In the first bytes of its own memory, over several parts. */
static void held_values_are_rounded_ones(void **state) {
  enum { COUNT = 1300 };
  real values[COUNT], rounded[COUNT];
  uint16_t held[COUNT];
  (void)state;
  for (int i = 0; i < COUNT; ++i) {
    values[i] = (real)ldexp(1 + (i * 37 % 1024) / 1024.0, i % 280 - 140);
    if (i % 2) values[i] = -values[i];
  }
  values[0] = NAN, values[COUNT - 1] = -INFINITY;
  memcpy(rounded, values, sizeof rounded);
  lap_gemm_round(rounded, COUNT);
  lap_gemm_hold(values, COUNT);
  memcpy(held, values, sizeof held);
  for (int i = 0; i < COUNT; ++i) {
    const float expected = (float)rounded[i];
    const uint32_t bits = (uint32_t)held[i] << 16;
    assert_memory_equal(&bits, &expected, sizeof bits);
  }
}

static void by_openblas(void **state) {
  lap_status status;
  assert_int_equal(
      lap_gemm_open(&(lap_gemm_choice){LAP_GEMM_OPENBLAS, LAP_MATMUL_FLOAT32, "auto"}, &status),
      LAP_OK);
  products_are_sums_of_products_at_odd_sizes(state);
  a_product_over_nothing_is_what_was_there(state);
  an_empty_product_touches_nothing(state);
  products_have_the_same_bits_for_any_number_of_threads(state);
  assert_int_equal(lap_gemm_open(&(lap_gemm_choice){.backend = LAP_GEMM_LAPIDARY}, &status),
                   LAP_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dot_has_its_value_and_its_order),
      cmocka_unit_test(sums_of_exp_have_their_value_and_their_order),
      cmocka_unit_test(max_finds_the_largest_wherever_it_is),
      cmocka_unit_test(softcap_scales_and_bends),
      cmocka_unit_test(products_are_sums_of_products_at_odd_sizes),
      cmocka_unit_test(a_product_over_nothing_is_what_was_there),
      cmocka_unit_test(an_empty_product_touches_nothing),
      cmocka_unit_test(products_have_the_same_bits_for_any_number_of_threads),
      cmocka_unit_test(held_values_are_rounded_ones),
      cmocka_unit_test(by_openblas),
  };
  return cmocka_run_group_tests(tests, test_open_blas, NULL);
}
