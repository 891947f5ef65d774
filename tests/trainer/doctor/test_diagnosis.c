/* diagnosis: what is printed, and the first that stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/trainer/doctor/printed.h"

static void a_finding_is_a_line_and_what_to_do_another(void **state) {
  (void)state;
  lap_diagnosis *findings = lap_diagnosis_create();
  char *advice = strdup("start %d fewer"); /* is not a format, and need not live on */
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "ranks", "", "%d on %s", 3, "a node");
  lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "binding", advice, "%d %%", 50);
  lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "a longer subject", "x", "text");
  lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "files", "y", "none");
  free(advice);
  char *report = printed(findings);
  assert_string_equal(report,
                      "ok    ranks        3 on a node\n"
                      "slow  binding      50 %\n"
                      "                     -> start %d fewer\n"
                      "note  a longer subject text\n"
                      "                     -> x\n"
                      "STOP  files        none\n"
                      "                     -> y\n");
  free(report);
  lap_diagnosis_destroy(findings);
}

static void the_first_that_stops_is_kept(void **state) {
  (void)state;
  lap_diagnosis *findings = lap_diagnosis_create();
  assert_null(lap_diagnosis_stop(findings));
  lap_diagnosis_add(findings, LAP_SEVERITY_SLOW, "a", "b", "c");
  lap_diagnosis_add(findings, LAP_SEVERITY_NOTE, "a", "b", "c");
  lap_diagnosis_add(findings, LAP_SEVERITY_OK, "a", "b", "c");
  assert_null(lap_diagnosis_stop(findings));
  lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "files", "choose another", "%s is full", "disk");
  assert_string_equal(lap_diagnosis_stop(findings), "files: disk is full: choose another");
  lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "sharing", "mount it", "not seen");
  assert_string_equal(lap_diagnosis_stop(findings), "files: disk is full: choose another");
  lap_diagnosis_destroy(findings);
  findings = lap_diagnosis_create();
  lap_diagnosis_add(findings, LAP_SEVERITY_STOP, "sharing", "", "not seen");
  assert_string_equal(lap_diagnosis_stop(findings), "sharing: not seen");
  lap_diagnosis_destroy(findings);
}

static void many_and_long_findings_are_kept(void **state) {
  (void)state;
  enum { MANY = 100, LONG = 2000 };
  char text[LONG + 1];
  memset(text, 'x', LONG);
  text[LONG] = '\0';
  lap_diagnosis *findings = lap_diagnosis_create();
  char *report = printed(findings);
  assert_string_equal(report, "");
  free(report);
  for (int i = 0; i < MANY; ++i)
    lap_diagnosis_add(findings, LAP_SEVERITY_OK, "number", "", "%d %s", i, i == 7 ? text : "");
  report = printed(findings);
  const char *line = report;
  for (int i = 0; i < MANY; ++i) {
    char start[32];
    snprintf(start, sizeof start, "ok    number       %d ", i);
    assert_int_equal(strncmp(line, start, strlen(start)), 0);
    const char *end = strchr(line, '\n');
    assert_true(i != 7 || end - line > 500); /* cut, but not to nothing */
    line = end + 1;
  }
  assert_string_equal(line, "");
  free(report);
  lap_diagnosis_destroy(findings);
  lap_diagnosis_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_finding_is_a_line_and_what_to_do_another),
      cmocka_unit_test(the_first_that_stops_is_kept),
      cmocka_unit_test(many_and_long_findings_are_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
