/* time_limit: what scontrol says, in seconds. tests/system/test_preemption.py has the rest. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/clock.h"
#include "trainer/run/time_limit.h"

static double now_of(const char *text) {
  struct tm parts = {.tm_isdst = -1};
  assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &parts));
  return difftime(mktime(&parts), 0);
}

static void the_end_of_a_job_is_read(void **state) {
  (void)state;
  static const char job[] =
      "JobId=7 JobName=lapidary UserId=root(0) RunTime=00:00:05 TimeLimit=00:05:00 "
      "SubmitTime=2026-11-27T10:00:00 EligibleTime=2026-11-27T10:00:00 "
      "StartTime=2026-11-27T10:00:00 EndTime=2026-11-27T10:05:00 Deadline=N/A";
  const double now = now_of("2026-11-27T10:00:05");
  assert_true(lap_time_limit_parse(job, now) == 295);
  assert_true(lap_time_limit_parse(job, now + 294) == 1);
  assert_true(lap_time_limit_parse(job, now + 1000) == -1);
}

static void what_has_no_end_is_no_limit(void **state) {
  (void)state;
  const double now = now_of("2026-11-27T10:00:05");
  for (const char *const *text =
           (const char *const[]){"", "JobId=7 EndTime=Unknown Deadline=N/A", "EndTime",
                                 "JobId=7 EndTime=", "JobId=7 EndTime=2026-11-27 X=1", NULL};
       *text; ++text)
    assert_true(lap_time_limit_parse(*text, now) == -1);
}

static void an_end_is_over_at_its_moment(void **state) {
  (void)state;
  const double now = lap_clock_seconds();
  assert_true(lap_time_limit_is_over(&(lap_time_limit){now - 1}));
  assert_false(lap_time_limit_is_over(&(lap_time_limit){now + 1000}));
  assert_false(lap_time_limit_is_over(&(lap_time_limit){INFINITY}));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_end_of_a_job_is_read),
      cmocka_unit_test(what_has_no_end_is_no_limit),
      cmocka_unit_test(an_end_is_over_at_its_moment),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
