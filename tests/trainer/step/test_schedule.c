/* schedule: the learning rate of every step against the closed formulas of its header, and the
 * number of steps against integer arithmetic. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/step/schedule.h"

static const double pi = 3.14159265358979323846;

static lap_config schedule_of(lap_schedule_kind kind, int64_t warmup, double final_ratio) {
  return (lap_config){
      .optimizer.learning_rate = 3e-3,
      .schedule = {.kind = kind, .warmup_steps = warmup, .final_ratio = final_ratio}};
}

static void assert_near(double found, double expected, const char *what, uint64_t step) {
  if (fabs(found - expected) > 1e-15 * 3e-3)
    fail_msg("%s, step %" PRIu64 ": %.17g, expected %.17g", what, step, found, expected);
}

/* --- the learning rate --- */

/* By the words of the header, from the number of steps that are left. */
static double expected_rate(lap_schedule_kind kind, int64_t warmup, double final_ratio,
                            int64_t step, int64_t total) {
  const double peak = 3e-3;
  if (step < warmup) return peak * (double)(step + 1) / (double)warmup;
  const double x = (double)(step - warmup) / (double)(total - warmup);
  switch (kind) {
    case LAP_SCHEDULE_COSINE:
      return peak * (final_ratio + (1 - final_ratio) * (1 + cos(pi * x)) / 2);
    case LAP_SCHEDULE_LINEAR:
      return peak * ((1 - x) + final_ratio * x);
    case LAP_SCHEDULE_CONSTANT:
      return peak;
    case LAP_SCHEDULE_WSD: {
      const int64_t decay = total / 10, left = total - 1 - step;
      if (left >= decay) return peak;
      return peak * (final_ratio + (1 - final_ratio) * (double)left / (double)decay);
    }
  }
  return NAN;
}

static void every_step_of_every_schedule_is_that_of_its_formula(void **state) {
  (void)state;
  static const char *const names[] = {"cosine", "linear", "constant", "wsd"};
  static const int64_t totals[] = {1, 2, 3, 9, 10, 11, 19, 20, 29, 100, 1000, 1009};
  static const double ratios[] = {0, 0.1, 0.5, 1};
  for (int kind = LAP_SCHEDULE_COSINE; kind <= LAP_SCHEDULE_WSD; ++kind)
    for (size_t t = 0; t < sizeof totals / sizeof *totals; ++t)
      for (size_t r = 0; r < sizeof ratios / sizeof *ratios; ++r) {
        const int64_t total = totals[t];
        const int64_t warmups[] = {0, 1, 2, total / 20, total / 2, total - 1, total};
        for (size_t w = 0; w < sizeof warmups / sizeof *warmups; ++w) {
          if (warmups[w] > total) continue;
          const lap_config config = schedule_of((lap_schedule_kind)kind, warmups[w], ratios[r]);
          for (int64_t step = 0; step < total; ++step)
            assert_near(lap_schedule_learning_rate(&config, (uint64_t)step, (uint64_t)total),
                        expected_rate((lap_schedule_kind)kind, warmups[w], ratios[r], step, total),
                        names[kind], (uint64_t)step);
        }
      }
}

/* Numbers worked out by hand, so that a mistake in the formulas above does not go unseen. */
static void landmarks_are_where_the_page_says(void **state) {
  (void)state;
  static const struct {
    lap_schedule_kind kind;
    int64_t warmup, total;
    uint64_t step;
    double of_peak; /* with final_ratio 0.1 */
  } landmarks[] = {
      {LAP_SCHEDULE_COSINE, 4, 24, 0, 0.25}, /* the first step learns already */
      {LAP_SCHEDULE_COSINE, 4, 24, 2, 0.75},
      {LAP_SCHEDULE_COSINE, 4, 24, 3, 1},     /* the last step of the warm-up is the peak */
      {LAP_SCHEDULE_COSINE, 4, 24, 4, 1},     /* and so is the one after it */
      {LAP_SCHEDULE_COSINE, 4, 24, 14, 0.55}, /* half of the way: between peak and final */
      {LAP_SCHEDULE_COSINE, 0, 12, 4, 0.775}, /* cos(pi / 3) = 1/2 */
      {LAP_SCHEDULE_LINEAR, 4, 24, 4, 1},
      {LAP_SCHEDULE_LINEAR, 4, 24, 14, 0.55},
      {LAP_SCHEDULE_LINEAR, 4, 24, 23, 0.145}, /* one of twenty steps short of final */
      {LAP_SCHEDULE_CONSTANT, 4, 24, 1, 0.5},
      {LAP_SCHEDULE_CONSTANT, 4, 24, 23, 1},
      {LAP_SCHEDULE_WSD, 4, 40, 35, 1}, /* the last tenth: steps 36 to 39 */
      {LAP_SCHEDULE_WSD, 4, 40, 36, 0.775},
      {LAP_SCHEDULE_WSD, 4, 40, 39, 0.1}, /* the last step has the final rate */
      {LAP_SCHEDULE_WSD, 4, 49, 44, 1},   /* a tenth of 49 steps is 4 */
      {LAP_SCHEDULE_WSD, 4, 49, 45, 0.775},
      {LAP_SCHEDULE_WSD, 0, 9, 8, 1},        /* too few steps for a decay */
      {LAP_SCHEDULE_WSD, 38, 40, 37, 1},     /* the warm-up comes first */
      {LAP_SCHEDULE_WSD, 38, 40, 38, 0.325}, /* and the decay is where it would be */
  };
  for (size_t i = 0; i < sizeof landmarks / sizeof *landmarks; ++i) {
    const lap_config config = schedule_of(landmarks[i].kind, landmarks[i].warmup, 0.1);
    assert_near(
        lap_schedule_learning_rate(&config, landmarks[i].step, (uint64_t)landmarks[i].total),
        3e-3 * landmarks[i].of_peak, "landmark", i);
  }
}

/* --- the number of steps --- */

static uint64_t steps_of(const lap_config *config, uint64_t windows) {
  uint64_t steps = 0;
  lap_status status = {0};
  if (lap_schedule_total_steps(config, windows, &steps, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return steps;
}

static void tokens_are_covered_by_the_fewest_steps(void **state) {
  (void)state;
  lap_config config = {.batch.sequences = 6, .data.sequence_length = 7};
  for (int64_t tokens = 1; tokens <= 300; ++tokens) {
    config.schedule.tokens = tokens;
    const uint64_t steps = steps_of(&config, 0);
    assert_true((int64_t)steps * 42 >= tokens && (int64_t)(steps - 1) * 42 < tokens);
  }
  /* 13e12 tokens in steps of 4 Mi: the paper's 27B run. */
  config.batch.sequences = 512;
  config.data.sequence_length = 8192;
  config.schedule.tokens = INT64_C(13000000000000);
  assert_int_equal(steps_of(&config, 0), 3099442);
}

static void epochs_are_covered_by_the_fewest_steps(void **state) {
  (void)state;
  lap_config config = {.batch.sequences = 8, .data.sequence_length = 7};
  for (uint64_t windows = 1; windows <= 100; ++windows)
    for (uint64_t quarters = 1; quarters <= 10; ++quarters) {
      config.schedule.epochs = (double)quarters / 4;
      const uint64_t steps = steps_of(&config, windows), samples = quarters * windows;
      assert_true(32 * steps >= samples && 32 * (steps - 1) < samples);
    }
}

static void steps_of_the_config_stand_whatever_the_data(void **state) {
  (void)state;
  lap_config config = {.batch.sequences = 8, .data.sequence_length = 7, .schedule.steps = 17};
  assert_int_equal(steps_of(&config, 0), 17);
  assert_int_equal(steps_of(&config, 1000000), 17);
}

static void no_steps_and_absurd_numbers_of_them_are_refused(void **state) {
  (void)state;
  uint64_t steps = 99;
  lap_status status = {0};
  lap_config config = {.batch.sequences = 8, .data.sequence_length = 7, .schedule.epochs = 3};
  assert_int_equal(lap_schedule_total_steps(&config, 0, &steps, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "0 steps"));
  assert_non_null(strstr(status.message, "0 windows of data, 8 sequences a step"));
  config.schedule.epochs = 1e15;
  assert_int_equal(lap_schedule_total_steps(&config, 8, &steps, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "1e+15 steps"));
  config.schedule.steps = INT64_C(1000000000001);
  assert_int_equal(lap_schedule_total_steps(&config, 8, &steps, &status), LAP_USAGE);
  assert_int_equal(steps, 99);
  config.schedule.steps = INT64_C(1000000000000);
  assert_int_equal(steps_of(&config, 8), UINT64_C(1000000000000));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_step_of_every_schedule_is_that_of_its_formula),
      cmocka_unit_test(landmarks_are_where_the_page_says),
      cmocka_unit_test(tokens_are_covered_by_the_fewest_steps),
      cmocka_unit_test(epochs_are_covered_by_the_fewest_steps),
      cmocka_unit_test(steps_of_the_config_stand_whatever_the_data),
      cmocka_unit_test(no_steps_and_absurd_numbers_of_them_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
