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
  lap_judged *positions = lap_allocate(COUNT, sizeof *positions);
  for (uint32_t i = 0; i < COUNT; ++i) {
    const double middle = over + (1 - over) * (0.2 + 0.6 * uniform(sample, 3 * (uint64_t)i));
    const double shift = spread * (2 * uniform(sample, 3 * (uint64_t)(i / EACH) + 1) - 1);
    positions[i] =
        (lap_judged){.probability = (float)middle,
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

static void nothing_and_one_document_have_no_interval(void **state) {
  (void)state;
  lap_judged one = {.probability = 0.75F, .right = true};
  lap_reliability found = lap_reliability_of(&one, 0, 1);
  assert_true(isnan(found.error) && found.count == 0 && found.documents == 0);
  found = lap_reliability_of(&one, 1, 1);
  assert_true(found.error == 0.25 && found.documents == 1 && isnan(found.low) && isnan(found.high));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_calibrated_teacher_has_the_floor),
      cmocka_unit_test(the_interval_covers_what_documents_vary_by),
      cmocka_unit_test(nothing_and_one_document_have_no_interval),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
