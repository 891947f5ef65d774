/* mean: probabilities are averaged, against double; the logs of the mean are its logits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "teacher/mean.h"

enum { VOCAB = 70, ROWS = 3 };

static float logit(int row, int i) { return (float)((i * 37 + row * 11) % 23) * .7F - 4; }

static void softmax(int row, double probability[VOCAB]) {
  double sum = 0;
  for (int i = 0; i < VOCAB; ++i) sum += probability[i] = exp((double)logit(row, i));
  for (int i = 0; i < VOCAB; ++i) probability[i] /= sum;
}

static void probabilities_are_averaged(void **state) {
  (void)state;
  float mean[VOCAB] = {0};
  double expected[VOCAB] = {0};
  for (int row = 0; row < ROWS; ++row) {
    float logits[VOCAB];
    double one[VOCAB];
    for (int i = 0; i < VOCAB; ++i) logits[i] = logit(row, i);
    lap_mean_add(logits, VOCAB, 1.F / ROWS, mean);
    softmax(row, one);
    for (int i = 0; i < VOCAB; ++i) expected[i] += one[i] / ROWS;
  }
  for (int i = 0; i < VOCAB; ++i)
    assert_true(fabs((double)mean[i] - expected[i]) <= 1e-6 * expected[i]);
  lap_mean_to_logits(mean, VOCAB);
  for (int i = 0; i < VOCAB; ++i) assert_true(fabs((double)mean[i] - log(expected[i])) <= 2e-6);
}

static void what_is_impossible_stays_so_and_nan_stays_nan(void **state) {
  (void)state;
  float logits[VOCAB] = {0}, mean[VOCAB] = {0};
  logits[3] = -INFINITY;
  lap_mean_add(logits, VOCAB, 1, mean);
  lap_mean_to_logits(mean, VOCAB);
  assert_true(mean[3] == -INFINITY);
  assert_true(fabs((double)mean[4] + log(VOCAB - 1)) < 1e-6);
  memset(mean, 0, sizeof mean);
  logits[5] = NAN;
  lap_mean_add(logits, VOCAB, 1, mean);
  lap_mean_to_logits(mean, VOCAB);
  assert_true(isnan(mean[0]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(probabilities_are_averaged),
      cmocka_unit_test(what_is_impossible_stays_so_and_nan_stays_nan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
