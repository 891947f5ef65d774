/* exp, tanh, log, sin, cos and power of our own against long double: at most 2 units in the last
 * place, tanh 3. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"
#include "tests/autograd/numbers.h"

/* Distance in units of the last place of `expected`, as a number with `digits` binary digits. */
static double ulps(long double found, long double expected, int digits, int lowest) {
  if (found == expected) return 0;
  int exponent;
  frexpl(expected, &exponent);
  if (exponent < lowest) exponent = lowest;
  return (double)(fabsl(found - expected) / ldexpl(1, exponent - digits));
}

static double float_ulps(float found, long double expected) {
  return ulps(found, expected, FLT_MANT_DIG, FLT_MIN_EXP);
}

static double double_ulps(double found, long double expected) {
  return ulps(found, expected, DBL_MANT_DIG, DBL_MIN_EXP);
}

static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void expect_float(float (*f)(float), long double (*exact)(long double), float x,
                         double *worst, float *where) {
  const double error = float_ulps(f(x), exact((long double)x));
  if (!(error <= *worst)) *worst = isnan(error) ? INFINITY : error, *where = x;
}

/* Every `step`-th float from `low` to `high`, both of one sign, by their bits. */
static void sweep(float (*f)(float), long double (*exact)(long double), float low, float high,
                  uint32_t step, double *worst, float *where) {
  uint32_t begin, end;
  memcpy(&begin, &low, sizeof begin);
  memcpy(&end, &high, sizeof end);
  for (uint64_t bits = begin; bits <= end; bits += step)
    expect_float(f, exact, float_of((uint32_t)bits), worst, where);
  expect_float(f, exact, high, worst, where);
}

static float exp_of(float x) { return lap_exp(x); }
static float tanh_of(float x) { return lap_tanh(x); }

static void float_exp_is_within_2_ulp(void **state) {
  (void)state;
  double worst = 0;
  float where = 0;
  /* A prime step: all of the range, no pattern of the low bits. */
  sweep(exp_of, expl, 0.0f, 88.3f, 1009, &worst, &where);
  sweep(exp_of, expl, -0.0f, -87.3f, 1009, &worst, &where);
  sweep(exp_of, expl, 0.25f, 0.5f, 7, &worst, &where); /* where r is largest and n changes */
  print_message("exp of a float: at most %.3f ulp, at %.9g\n", worst, where);
  if (worst > 2) fail_msg("exp(%.9g) is off by %g ulp", where, worst);
}

static void float_exp_at_its_edges(void **state) {
  (void)state;
  assert_true(lap_exp(0.0f) == 1 && lap_exp(-0.0f) == 1);
  assert_true(lap_exp(-INFINITY) == 0);
  assert_true(lap_exp(-FLT_MAX) == 0 && lap_exp(-87.31f) == 0 && lap_exp(-100.0f) == 0);
  assert_true(lap_exp(-87.3f) > 0);
  assert_true(isnan(lap_exp(NAN)));
  const float highest = lap_exp(88.3f);
  assert_true(isfinite(highest) && lap_exp(88.4f) == highest && lap_exp(INFINITY) == highest);
  assert_true(lap_exp(FLT_MIN) == 1 && lap_exp(float_of(1)) == 1);
}

static void float_tanh_is_within_3_ulp(void **state) {
  (void)state;
  double worst = 0;
  float where = 0;
  sweep(tanh_of, tanhl, FLT_MIN, 1e-3f, 9973, &worst, &where);
  sweep(tanh_of, tanhl, 1e-3f, 20.0f, 101, &worst, &where);
  sweep(tanh_of, tanhl, -1e-3f, -20.0f, 101, &worst, &where);
  sweep(tanh_of, tanhl, 0.062f, 0.0625f, 5, &worst, &where); /* where it is worst */
  sweep(tanh_of, tanhl, 0.17f, 0.18f, 7, &worst, &where);    /* where n becomes 1 */
  sweep(tanh_of, tanhl, 8.9f, 9.1f, 11, &worst, &where);      /* where it becomes 1 */
  print_message("tanh of a float: at most %.3f ulp, at %.9g\n", worst, where);
  if (worst > 3) fail_msg("tanh(%.9g) is off by %g ulp", where, worst);
}

static void float_tanh_at_its_edges(void **state) {
  (void)state;
  assert_true(lap_tanh(0.0f) == 0 && lap_tanh(-0.0f) == 0);
  assert_true(lap_tanh(INFINITY) == 1 && lap_tanh(-INFINITY) == -1);
  assert_true(lap_tanh(FLT_MAX) == 1 && lap_tanh(-FLT_MAX) == -1);
  assert_true(isnan(lap_tanh(NAN)));
  for (int i = 1; i < 2000; ++i) {
    const float x = 0.01f * (float)i;
    assert_true(lap_tanh(-x) == -lap_tanh(x));
    assert_true(lap_tanh(x) <= 1);
  }
}

/* --- doubles --- */

static void scalar_exp_is_within_2_ulp(void **state) {
  (void)state;
  double worst = 0, where = 0;
  for (int i = 0; i < 400000; ++i) {
    const double scale = i % 3 == 0 ? 709.7 : i % 3 == 1 ? 1 : 1e-3;
    const double x = scale * test_uniform(1, (uint64_t)i);
    const double error = double_ulps(lap_scalar_exp(x), expl(x));
    if (!(error <= worst)) worst = error, where = x;
  }
  for (double x = -745.1; x < -700; x += 0.00173) { /* down to the smallest subnormal */
    const double error = double_ulps(lap_scalar_exp(x), expl(x));
    if (!(error <= worst)) worst = error, where = x;
  }
  print_message("exp of a double: at most %.3f ulp, at %.17g\n", worst, where);
  if (!(worst <= 2)) fail_msg("exp(%.17g) is off by %g ulp", where, worst);
  assert_true(lap_scalar_exp(0) == 1 && lap_scalar_exp(-0.0) == 1);
  assert_true(lap_scalar_exp(-INFINITY) == 0 && lap_scalar_exp(INFINITY) == INFINITY);
  assert_true(lap_scalar_exp(-1e300) == 0 && lap_scalar_exp(1e300) == INFINITY);
  assert_true(isfinite(lap_scalar_exp(709.78)) && lap_scalar_exp(709.79) == INFINITY);
  assert_true(isnan(lap_scalar_exp(NAN)));
}

static void scalar_log_is_within_2_ulp(void **state) {
  (void)state;
  double worst = 0, where = 0;
  for (int i = 0; i < 600000; ++i) {
    const double u = test_uniform(2, (uint64_t)i);
    const double x = i % 4 == 0   ? ldexp(1.5 + 0.5 * u, i % 2040 - 1070)
                     : i % 4 == 1 ? 1 + 0.3 * u
                     : i % 4 == 2 ? 1 + 1e-5 * u
                                  : 0.5 + 0.5 * fabs(u);
    if (!(x > 0)) continue;
    const double error = double_ulps(lap_scalar_log(x), logl(x));
    if (!(error <= worst)) worst = error, where = x;
  }
  print_message("log of a double: at most %.3f ulp, at %.17g\n", worst, where);
  if (!(worst <= 2)) fail_msg("log(%.17g) is off by %g ulp", where, worst);
  assert_true(lap_scalar_log(1) == 0);
  assert_true(lap_scalar_log(0) == -INFINITY && lap_scalar_log(-0.0) == -INFINITY);
  assert_true(lap_scalar_log(INFINITY) == INFINITY);
  assert_true(isnan(lap_scalar_log(-1)) && isnan(lap_scalar_log(-INFINITY)));
  assert_true(isnan(lap_scalar_log(NAN)));
  assert_true(double_ulps(lap_scalar_log(0x1p-1074), logl(0x1p-1074L)) <= 2);
  assert_true(double_ulps(lap_scalar_log(DBL_MAX), logl(DBL_MAX)) <= 2);
}

static void sincos_error(double x, double *worst, double *where) {
  double s, c;
  lap_scalar_sincos(x, &s, &c);
  const double error = fmax(double_ulps(s, sinl(x)), double_ulps(c, cosl(x)));
  if (!(error <= *worst)) *worst = isnan(error) ? INFINITY : error, *where = x;
}

static void sine_and_cosine_are_within_2_ulp(void **state) {
  (void)state;
  double worst = 0, where = 0;
  for (int i = 0; i < 400000; ++i) {
    const double scale = i % 3 == 0 ? 0x1p20 : i % 3 == 1 ? 8 : 1e-3;
    sincos_error(scale * test_uniform(3, (uint64_t)i), &worst, &where);
  }
  for (int64_t n = 0; n <= 1 << 20; n += 7) sincos_error((double)n, &worst, &where);
  print_message("sin and cos of a double: at most %.3f ulp, at %.17g\n", worst, where);
  if (!(worst <= 2)) fail_msg("sincos(%.17g) is off by %g ulp", where, worst);
  double s, c;
  lap_scalar_sincos(0, &s, &c);
  assert_true(s == 0 && c == 1);
}

/* sinl has 64 bits of digits left, fewer near multiples of pi/2 than the error there asks for: so
 * these by what is known of them. x is the double nearest to n pi/2, and the sine of what is left
 * is itself. */
static void sine_near_multiples_of_pi_keeps_its_digits(void **state) {
  (void)state;
  double s, c;
  lap_scalar_sincos(0x1.921fb54442d18p1, &s, &c); /* pi - 1.2246467991473532e-16 */
  assert_true(double_ulps(s, 1.2246467991473531772e-16L) <= 2 && c == -1);
  lap_scalar_sincos(0x1.921fb54442d18p0, &s, &c);
  assert_true(double_ulps(c, 6.123233995736765886e-17L) <= 2 && s == 1);
  lap_scalar_sincos(0x1.921fb54442d18p11, &s, &c); /* 1024 times as far from 1024 pi */
  assert_true(double_ulps(s, -1024 * 1.2246467991473531772e-16L) <= 2 && c == 1);
}

static void power_is_exact_where_the_result_is(void **state) {
  (void)state;
  assert_true(lap_scalar_power(0.9, 0) == 1 && lap_scalar_power(0, 0) == 1);
  assert_true(lap_scalar_power(0.9, 1) == 0.9);
  assert_true(lap_scalar_power(3, 30) == 205891132094649.0);
  assert_true(lap_scalar_power(-2, 63) == -0x1p63);
  assert_true(lap_scalar_power(0.5, 1074) == 0x1p-1074 && lap_scalar_power(0.5, 1076) == 0);
  assert_true(lap_scalar_power(2, 1023) == 0x1p1023 && lap_scalar_power(2, 1024) == INFINITY);
  assert_true(lap_scalar_power(0.95, 1000000000ul) == 0);
}

static void power_is_within_2_ulp(void **state) {
  (void)state;
  const double bases[] = {0.9, 0.95, 0.99, 0.999, 1.001, 1.7, -1.1};
  double worst = 0;
  for (int b = 0; b < 7; ++b)
    for (unsigned long n = 1; n < 5000; n += 1 + n / 100) {
      long double exact = 1; /* one by one: powl is no better than this is */
      for (unsigned long i = 0; i < n; ++i) exact *= bases[b];
      if (fabsl(exact) > 1e300L || fabsl(exact) < 1e-300L) continue;
      const double error = double_ulps(lap_scalar_power(bases[b], n), exact);
      if (error > worst) worst = error;
    }
  print_message("power of a double: at most %.3f ulp\n", worst);
  assert_true(worst <= 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(float_exp_is_within_2_ulp),
      cmocka_unit_test(float_exp_at_its_edges),
      cmocka_unit_test(float_tanh_is_within_3_ulp),
      cmocka_unit_test(float_tanh_at_its_edges),
      cmocka_unit_test(scalar_exp_is_within_2_ulp),
      cmocka_unit_test(scalar_log_is_within_2_ulp),
      cmocka_unit_test(sine_and_cosine_are_within_2_ulp),
      cmocka_unit_test(sine_near_multiples_of_pi_keeps_its_digits),
      cmocka_unit_test(power_is_exact_where_the_result_is),
      cmocka_unit_test(power_is_within_2_ulp),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
