/* spikes: what stands out, what does not, and what a resumed run remembers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/philox.h"
#include "tests/scratch.h"
#include "trainer/run/spikes.h"

/* About normal, deviation 1: the sum of twelve uniform numbers. */
static double noise(uint64_t step) {
  double sum = -6;
  for (uint64_t i = 0; i < 12; ++i) sum += lap_uniform(lap_philox(5, LAP_PURPOSE_BENCH, step, i));
  return sum;
}

static void a_loss_far_above_the_others_is_a_spike(void **state) {
  (void)state;
  lap_spikes spikes = {0};
  for (uint64_t step = 0; step < 200; ++step)
    assert_true(lap_spikes_observe(&spikes, 3 + 0.1 * noise(step)) == 0);
  assert_true(fabs(spikes.mean - 3) < 0.05 && fabs(spikes.deviation - 0.1) < 0.03);
  const double sigmas = lap_spikes_observe(&spikes, 4);
  assert_true(fabs(sigmas - (4 - spikes.mean) / spikes.deviation) < 1e-12 && sigmas > 6);
  /* Spikes do not hide each other. */
  for (int i = 0; i < 8; ++i) assert_true(lap_spikes_observe(&spikes, 20) > 6);
  assert_true(lap_spikes_observe(&spikes, 3) == 0);
  assert_true(lap_spikes_observe(&spikes, 1) == 0); /* below is no spike */
}

static void the_limit_is_six_deviations_of_the_steps_before(void **state) {
  (void)state;
  lap_spikes once = {0};
  for (int i = 0; i < LAP_SPIKE_STEPS; ++i) lap_spikes_observe(&once, i % 2 ? 1 : 3);
  /* The mean is 2, the deviation sqrt(128 / 127). */
  const double limit = 2 + 6 * sqrt(128.0 / 127);
  lap_spikes below = once, above = once;
  assert_true(lap_spikes_observe(&below, limit * (1 - 1e-12)) == 0);
  assert_true(lap_spikes_observe(&above, limit * (1 + 1e-12)) > 6 - 1e-9);
}

static void a_run_that_learns_or_that_has_just_begun_has_none(void **state) {
  (void)state;
  lap_spikes spikes = {0};
  for (uint64_t step = 0; step < 100000; ++step) {
    const double fall = 7 * exp(-(double)step / 3000);
    assert_true(lap_spikes_observe(&spikes, 3 + fall + 0.2 * noise(step)) == 0);
  }
  lap_spikes young = {0};
  for (int i = 0; i < LAP_SPIKE_FEWEST - 1; ++i) lap_spikes_observe(&young, 3 + 0.01 * (i % 3));
  assert_true(lap_spikes_observe(&young, 100) == 0);
}

static void a_loss_that_stays_high_soon_counts_as_usual(void **state) {
  (void)state;
  lap_spikes spikes = {0};
  int reported = 0;
  for (uint64_t step = 0; step < 128; ++step) lap_spikes_observe(&spikes, 3 + 0.1 * noise(step));
  for (uint64_t step = 0; step < 128; ++step)
    reported += lap_spikes_observe(&spikes, 5 + 0.1 * noise(step)) > 0;
  assert_in_range(reported, 1, 40);
}

static void what_is_not_finite_is_not_looked_at(void **state) {
  (void)state;
  lap_spikes spikes = {0}, before;
  for (int i = 0; i < 100; ++i) lap_spikes_observe(&spikes, 3 + 0.01 * (i % 3));
  memcpy(&before, &spikes, sizeof before);
  assert_true(lap_spikes_observe(&spikes, NAN) == 0);
  assert_true(lap_spikes_observe(&spikes, INFINITY) == 0);
  assert_memory_equal(&spikes, &before, sizeof before);
  lap_spikes flat = {0};
  for (int i = 0; i < 100; ++i) lap_spikes_observe(&flat, 3);
  assert_true(lap_spikes_observe(&flat, 4) == 0); /* without a deviation nothing can be said */
}

static void a_resumed_run_goes_on_with_the_losses_that_it_finds(void **state) {
  (void)state;
  char *directory = scratch_create(), *path = lap_format("%s/metrics.jsonl", directory);
  lap_status status = {0};
  lap_spikes whole = {0}, resumed = {0}, none = {0};
  FILE *file = fopen(path, "w");
  for (int i = 0; i < 150; ++i) {
    const double loss = 3 + 0.25 * (i % 4); /* exact in few digits */
    lap_spikes_observe(&whole, loss);
    fprintf(file, "{\"step\": %d, \"loss\": %g, \"skipped\": 0}\n", i + 1, loss);
    if (i % 50 == 0) fprintf(file, "{\"step\": %d, \"eval\": {\"loss\": 9}, \"loss\": 9}\n", i + 1);
    if (i % 40 == 0) fprintf(file, "{\"step\": %d, \"loss\": null}\n", i + 1);
  }
  fclose(file);
  assert_int_equal(lap_spikes_restore(&resumed, path, &status), LAP_OK);
  assert_memory_equal(&resumed, &whole, sizeof whole);
  free(path);
  path = lap_format("%s/none.jsonl", directory);
  assert_int_equal(lap_spikes_restore(&none, path, &status), LAP_OK);
  assert_int_equal(none.count, 0);
  free(path);
  scratch_remove(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_loss_far_above_the_others_is_a_spike),
      cmocka_unit_test(the_limit_is_six_deviations_of_the_steps_before),
      cmocka_unit_test(a_run_that_learns_or_that_has_just_begun_has_none),
      cmocka_unit_test(a_loss_that_stays_high_soon_counts_as_usual),
      cmocka_unit_test(what_is_not_finite_is_not_looked_at),
      cmocka_unit_test(a_resumed_run_goes_on_with_the_losses_that_it_finds),
  };
  return cmocka_run_group_tests_name("spikes", tests, NULL, NULL);
}
