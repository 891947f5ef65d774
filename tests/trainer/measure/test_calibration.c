/* calibration: by hand, and against a slow count of ranks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/philox.h"
#include "trainer/measure/calibration.h"

static void by_hand(void **state) {
  (void)state;
  /* Two bins: {.2 wrong, .4 right} and {.6 right, .8 wrong}, given out of order. */
  float confidence[] = {0.6F, -0.8F, 0.4F, -0.2F};
  assert_float_equal(lap_calibration_error(confidence, 4, 2), (0.4 + 0.4) / 4, 1e-6);
  float sure[] = {1, 1, 1};
  assert_float_equal(lap_calibration_error(sure, 3, 15), 0, 1e-12);
  assert_true(isnan(lap_calibration_error(sure, 0, 15)));
}

/* Of many equal ones, which the bins cut apart, it does not matter which were right. */
static void equal_ones_share_what_was_right(void **state) {
  (void)state;
  enum { N = 1000 };
  float confidence[N];
  for (int i = 0; i < N; ++i) confidence[i] = i < N / 4 ? 0.25F : -0.25F;
  assert_float_equal(lap_calibration_error(confidence, N, 15), 0, 1e-12);
  for (int i = 0; i < N; ++i) confidence[i] = i % 2 ? 0.25F : -0.25F;
  assert_float_equal(lap_calibration_error(confidence, N, 15), 0.25, 1e-12);
}

/* The bin of a position by how many are below it, without sorting; equal ones by parts. */
static void random_ones_as_a_slow_count_has_them(void **state) {
  (void)state;
  enum { N = 997, BINS = 15 };
  float confidence[N], copy[N];
  for (uint64_t i = 0; i < N; ++i) {
    const lap_random r = lap_philox(3, LAP_PURPOSE_BENCH, 0, i);
    /* Many equal ones. */
    const float p = (float)(1 + r.word[0] % 50) / 50;
    confidence[i] = copy[i] = r.word[1] % 100 < 60 ? p : -p;
  }
  double right[BINS] = {0}, claimed[BINS] = {0}, error = 0;
  for (int i = 0; i < N; ++i) {
    int below = 0, equal = 0, equal_right = 0, before = 0;
    for (int j = 0; j < N; ++j) {
      const float p = fabsf(copy[i]), q = fabsf(copy[j]);
      below += q < p;
      equal += q == p;
      equal_right += q == p && copy[j] > 0;
      before += q == p && j < i;
    }
    int bin = 0;
    while ((bin + 1) * N / BINS <= below + before) ++bin;
    right[bin] += (double)equal_right / equal;
    claimed[bin] += (double)fabsf(copy[i]);
  }
  for (int b = 0; b < BINS; ++b) error += fabs(right[b] - claimed[b]);
  assert_float_equal(lap_calibration_error(confidence, N, BINS), error / N, 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_hand),
      cmocka_unit_test(equal_ones_share_what_was_right),
      cmocka_unit_test(random_ones_as_a_slow_count_has_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
