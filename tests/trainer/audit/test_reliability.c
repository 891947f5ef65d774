/* reliability: teachers that are right as often as they say have the floor, others have more, and
 * the interval covers the error of as many samples as it should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "core/memory.h"
#include "core/philox.h"
#include "trainer/audit/reliability.h"

enum { DOCUMENTS = 100, EACH = 60, COUNT = DOCUMENTS * EACH };

static double uniform(uint64_t sample, uint64_t index) {
  return lap_uniform(lap_philox(sample, LAP_PURPOSE_BENCH, 9, index));
}

/* Positions of which the token came with probability p - `over`, p from over to 1; documents of
 * `spread` are right more or less often than that, all of a document alike. */
static lap_reliability sample_of(uint64_t sample, double over, double spread) {
  lap_claim *positions = lap_allocate(COUNT, sizeof *positions);
  for (uint32_t i = 0; i < COUNT; ++i) {
    const double middle = over + (1 - over) * (0.2 + 0.6 * uniform(sample, 3 * (uint64_t)i));
    const double shift = spread * (2 * uniform(sample, 3 * (uint64_t)(i / EACH) + 1) - 1);
    positions[i] =
        (lap_claim){.probability = (float)middle,
                    .right = uniform(sample, 3 * (uint64_t)i + 2) < middle - over + shift,
                    .document = i / EACH};
  }
  const lap_reliability found = lap_reliability_of(positions, COUNT, DOCUMENTS);
  free(positions);
  return found;
}

static void a_calibrated_teacher_has_the_floor(void **state) {
  (void)state;
  enum { SAMPLES = 100 };
  double ratio = 0;
  for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
    const lap_reliability found = sample_of(sample, 0, 0);
    assert_int_equal(found.documents, DOCUMENTS);
    ratio += found.error / found.floor / SAMPLES;
  }
  assert_true(fabs(ratio - 1) < 0.06); /* three standard errors */
}

static void the_interval_covers_what_documents_vary_by(void **state) {
  (void)state;
  enum { SAMPLES = 400 };
  int covered = 0, narrow = 0;
  for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
    const lap_reliability found = sample_of(sample, 0.15, 0.15);
    const double alone = 1.96 * sqrt(0.25 / COUNT); /* as if every position were by itself */
    covered += found.low <= 0.15 && 0.15 <= found.high;
    narrow += fabs(found.error - 0.15) <= alone;
  }
  assert_true(covered >= 0.92 * SAMPLES && covered <= 0.98 * SAMPLES);
  assert_true(narrow < 0.9 * SAMPLES);
}

/* A teacher with one probability for all, as often right as it says, is calibrated, and perfect
 * ones like it have the floor; one that is wrong by 0.1 is wrong by that. */
static void equal_probabilities_are_no_error(void **state) {
  (void)state;
  enum { SAMPLES = 200 };
  double ratio = 0;
  lap_claim positions[COUNT];
  for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
    for (uint32_t i = 0; i < COUNT; ++i)
      positions[i] = (lap_claim){0.75F, uniform(sample, i) < 0.75, i % DOCUMENTS};
    const lap_reliability found = lap_reliability_of(positions, COUNT, DOCUMENTS);
    ratio += found.error / found.floor / SAMPLES;
  }
  assert_true(fabs(ratio - 1) < 0.16); /* three standard errors */
  for (uint32_t i = 0; i < COUNT; ++i)
    positions[i] = (lap_claim){0.75F, i % 20 < 13, i % DOCUMENTS};
  const lap_reliability found = lap_reliability_of(positions, COUNT, DOCUMENTS);
  assert_true(fabs(found.error - 0.1) < 1e-12 && found.low < 0.1 && found.high > 0.1);
}

static void nothing_and_one_document_have_no_interval(void **state) {
  (void)state;
  lap_claim one = {.probability = 0.75F, .right = true};
  lap_reliability found = lap_reliability_of(&one, 0, 1);
  assert_true(isnan(found.error) && found.count == 0 && found.documents == 0);
  found = lap_reliability_of(&one, 1, 1);
  assert_true(found.error == 0.25 && found.documents == 1 && isnan(found.low) && isnan(found.high));
}

/* Three ids of which two share a bin: of all that may come, weighted by how often it does. */
static void all_predictions_of_a_position_count(void **state) {
  (void)state;
  const float p[] = {0.9F, 0.06F, 0.04F};
  const int32_t ids[] = {7, 3, 5}, unused[] = {7, -1, 5};
  lap_full_calibration full = {0};
  assert_true(isnan(lap_full_calibration_error(&full)));
  for (int i = 0; i < 100; ++i)
    lap_full_calibration_add(&full, p, ids, 3, i < 90 ? 7 : i < 94 ? 3 : 5);
  assert_true(lap_full_calibration_error(&full) < 1e-6); /* two errors of a bin cancel */
  const double floor = 2 * sqrt(2 / M_PI * 0.09 / 100);
  assert_true(fabs(lap_full_calibration_floor(&full) - floor) < 1e-6);
  full = (lap_full_calibration){0};
  lap_full_calibration_add(&full, p, ids, 3, 5);
  assert_true(fabs(lap_full_calibration_error(&full) - 1.8) < 1e-6);
  full = (lap_full_calibration){0};
  lap_full_calibration_add(&full, p, unused, 3, 3);
  assert_true(fabs(lap_full_calibration_error(&full) - 0.94) < 1e-6);
  const float sure = 1.0005F; /* as a row may have it */
  full = (lap_full_calibration){0};
  lap_full_calibration_add(&full, &sure, ids, 1, 7);
  assert_true(lap_full_calibration_error(&full) < 1e-3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_calibrated_teacher_has_the_floor),
      cmocka_unit_test(equal_probabilities_are_no_error),
      cmocka_unit_test(the_interval_covers_what_documents_vary_by),
      cmocka_unit_test(all_predictions_of_a_position_count),
      cmocka_unit_test(nothing_and_one_document_have_no_interval),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
