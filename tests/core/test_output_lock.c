/* directory_lock: what a command writes has one writer, and is locked before it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "tests/scratch.h"

/* The message to the second process names the first one and its rank, and says what to do. */
static void assert_second_is_refused(const char *out, bool is_directory) {
  lap_directory_lock *lock, *second;
  lap_status status = {0};
  setenv("SLURM_PROCID", "3", 1);
  const lap_code code = lap_output_lock_take(out, is_directory, &lock, &status);
  unsetenv("SLURM_PROCID");
  if (code != LAP_OK) fail_msg("%s: %s", out, status.message);
  assert_int_equal(lap_output_lock_take(out, is_directory, &second, &status), LAP_USAGE);
  assert_null(second);
  assert_int_equal(strncmp(status.message, out, strlen(out)), 0);
  assert_non_null(strstr(status.message, "another process is writing it (process "));
  assert_non_null(strstr(status.message, ", rank 3); start the command once, or give each"));
  lap_directory_lock_release(lock);
  assert_int_equal(lap_output_lock_take(out, is_directory, &lock, &status), LAP_OK);
  lap_directory_lock_release(lock);
}

static void an_output_is_locked_before_it_is_there(void **state) {
  (void)state;
  char *directory = scratch_create();
  char *folder = strdup(scratch_path(directory, "deep/er/out"));
  char *file = strdup(scratch_path(directory, "deep/model"));
  char *slash = strdup(scratch_path(directory, "deep/hf/"));
  assert_second_is_refused(folder, true);
  assert_second_is_refused(file, false);
  assert_second_is_refused(slash, false);
  assert_int_equal(scratch_count(folder), 0);
  assert_int_equal(scratch_count(scratch_path(directory, "deep")), 1); /* er */
  lap_directory_lock *one, *other;
  lap_status status = {0};
  assert_int_equal(lap_output_lock_take(file, false, &one, &status), LAP_OK);
  assert_int_equal(lap_output_lock_take(slash, false, &other, &status), LAP_OK);
  lap_directory_lock_release(one);
  lap_directory_lock_release(other);
  assert_int_equal(lap_file_remove_tree(scratch_path(directory, "deep"), &status), LAP_OK);
  scratch_remove(directory);
  free(folder);
  free(file);
  free(slash);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_output_is_locked_before_it_is_there)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
