/* near: runs that may have been meant, where --resume auto finds nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "tests/scratch.h"
#include "trainer/run/directory.h"

static char *directory, *before;

static int make_runs(void **state) {
  (void)state;
  static const char *const made[] = {"runs/student/checkpoints/step-00000010",
                                     "runs/other/checkpoints/step-00000020",
                                     "runs/student-2/checkpoints/step-00000010",
                                     "runs/empty/checkpoints",
                                     "runs/.hidden/checkpoints/step-00000010",
                                     "alone/x",
                                     "many/a/checkpoints/step-1",
                                     "many/b/checkpoints/step-1",
                                     "many/c/checkpoints/step-1",
                                     "many/d/checkpoints/step-1",
                                     "many/e/checkpoints/step-1"};
  lap_status status = {0};
  directory = scratch_create();
  before = getcwd(NULL, 0);
  if (chdir(directory) != 0) return 1;
  for (size_t i = 0; i < sizeof made / sizeof *made; ++i)
    if (lap_file_make_directories(made[i], &status) != LAP_OK) return 1;
  return 0;
}

static int remove_runs(void **state) {
  (void)state;
  if (chdir(before) != 0) return 1;
  free(before);
  scratch_remove(directory);
  return 0;
}

static void runs_near_are_named(void **state) {
  (void)state;
  static const struct {
    const char *run_dir, *near;
  } cases[] = {
      {"runs/studnet", "runs/student, runs/other, runs/student-2"},
      {"runs/othre", "runs/other, runs/student, runs/student-2"},
      {"runs/empty", "runs/other, runs/student, runs/student-2"},
      {"runs/student", "runs/student-2, runs/other"}, /* itself is not near it */
      {"runs", "runs/other, runs/student, runs/student-2"},
      {"runs/", "runs/other, runs/student, runs/student-2"},
      {"runs/other/checkpoints", "runs/other"},
      {"many/x", "many/a, many/b, many/c, many/d, ..."},
      {"alone/x", ""},
      {"nowhere/x", ""},
      {"x", ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *near = lap_run_directory_near(cases[i].run_dir);
    if (strcmp(near, cases[i].near) != 0)
      fail_msg("%s: '%s' is not '%s'", cases[i].run_dir, near, cases[i].near);
    free(near);
  }
  assert_int_equal(chdir("runs"), 0);
  char *near = lap_run_directory_near("studnet");
  assert_string_equal(near, "student, other, student-2");
  free(near);
  assert_int_equal(chdir(".."), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(runs_near_are_named)};
  return cmocka_run_group_tests(tests, make_runs, remove_runs);
}
