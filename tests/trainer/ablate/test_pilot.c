/* pilot: the standard deviation of paired differences leaves it, and nothing that does not fit is
 * taken. */
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
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/ablate/pilot.h"

static void write_text(const char *folder, const char *name, const char *text) {
  lap_status status;
  assert_int_equal(lap_file_write(scratch_path(folder, name), text, strlen(text), &status), LAP_OK);
}

/* Arms a and b of `seeds` seeds from 101 on; the difference of seed i is i % 2 ? .03 : .01. */
static void write_pilot(const char *folder, int seeds) {
  char *runs[2] = {lap_copy_string(""), lap_copy_string("")}, *list = lap_copy_string("");
  for (int i = 0; i < seeds; ++i) {
    for (int arm = 0; arm < 2; ++arm) {
      char name[64], text[64];
      const double loss = 4 + i + (arm ? 0 : i % 2 ? .03 : .01);
      snprintf(name, sizeof name, "runs/%c/seed-%d/eval/dev.json", 'a' + arm, 101 + i);
      snprintf(text, sizeof text, "{\"loss\": %.17g}", loss);
      write_text(folder, name, text);
      char *longer = lap_format("%s%s{\"seed\": %d, \"directory\": \"runs/%c/seed-%d\"}", runs[arm],
                                i ? ", " : "", 101 + i, 'a' + arm, 101 + i);
      free(runs[arm]);
      runs[arm] = longer;
    }
    char *longer = lap_format("%s%s%d", list, i ? ", " : "", 101 + i);
    free(list);
    list = longer;
  }
  char *plan = lap_format(
      "{\"seeds\": [%s], \"arms\": [{\"name\": \"a\", \"runs\": [%s]}, {\"name\": \"b\", \"runs\": "
      "[%s]}], \"compare\": [{\"arm\": \"a\", \"baseline\": \"b\"}], \"sets\": [{\"name\": "
      "\"dev\", \"documents\": 33}]}",
      list, runs[0], runs[1]);
  write_text(folder, "plan.json", plan);
  free(plan);
  free(list);
  free(runs[0]);
  free(runs[1]);
}

static void the_deviation_of_differences_leaves_it(void **state) {
  (void)state;
  char *folder = scratch_create();
  int64_t seeds[] = {1, 2, 3, 4, 5};
  lap_suite suite = {.pilot = folder, .seeds = seeds, .seed_count = 5, .confidence = .95};
  lap_status status;
  json_t *object;
  write_pilot(folder, 8);
  assert_int_equal(lap_pilot_read(&suite, &object, &status), LAP_OK);
  /* Eight values .02 +- .01: variance .0001 * 8 / 7. */
  assert_float_equal(json_number_value(json_object_get(object, "standard_deviation")), .0106904,
                     1e-6);
  /* SciPy: chi2.ppf(.2, 7), and the noncentral t of 4 degrees with power .8. */
  assert_float_equal(json_number_value(json_object_get(object, "upper_80")), .0144670, 1e-6);
  assert_float_equal(json_number_value(json_object_get(object, "effect")), .0243335, 1e-4);
  assert_int_equal(json_integer_value(json_object_get(object, "seeds")), 8);
  assert_int_equal(json_integer_value(json_object_get(object, "documents")), 33);
  json_decref(object);
  /* As one of three comparisons, at 1 - .05 / 3. */
  suite.compare_count = 3;
  assert_int_equal(lap_pilot_read(&suite, &object, &status), LAP_OK);
  assert_float_equal(json_number_value(json_object_get(object, "effect")), .0331534, 1e-4);
  json_decref(object);
  const lap_suite without = {.seeds = seeds, .seed_count = 2};
  assert_int_equal(lap_pilot_read(&without, &object, &status), LAP_OK);
  assert_true(json_is_null(object));
  scratch_remove(folder);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  char *folder = scratch_create();
  int64_t seeds[] = {1, 104};
  lap_suite suite = {.pilot = folder, .seeds = seeds, .seed_count = 1};
  lap_status status;
  json_t *object;
  lap_code code = lap_pilot_read(&suite, &object, &status);
  assert_refusal(code, LAP_DATA, &status, "plan.json", "cannot be opened");
  write_pilot(folder, 7);
  code = lap_pilot_read(&suite, &object, &status);
  assert_refusal(code, LAP_USAGE, &status, folder, "has 7 seeds; at least 8");
  write_pilot(folder, 8);
  suite.seed_count = 2;
  code = lap_pilot_read(&suite, &object, &status);
  assert_refusal(code, LAP_USAGE, &status, folder, "has seed 104 of the suite itself");
  suite.seed_count = 1;
  assert_int_equal(remove(scratch_path(folder, "runs/b/seed-103/eval/dev.json")), 0);
  code = lap_pilot_read(&suite, &object, &status);
  assert_refusal(code, LAP_DATA, &status, "seed-103", "cannot be opened");
  assert_null(object);
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_deviation_of_differences_leaves_it),
      cmocka_unit_test(what_does_not_fit_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
