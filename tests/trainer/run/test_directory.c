/* directory: made once, refused when it would be overwritten, and remembered in run.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/run/directory.h"

static char *directory;

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void make_inside(const char *run, const char *name) {
  char *path = lap_run_directory_path(run, name);
  lap_status status = {0};
  assert_int_equal(lap_file_make_directories(path, &status), LAP_OK);
  free(path);
}

static void a_run_with_checkpoints_needs_resume(void **state) {
  (void)state;
  char *run = lap_format("%s/deep/run", directory);
  lap_status status = {0};
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_OK);
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_OK);
  make_inside(run,
              "checkpoints/step-00000005.writing-host-123-0"); /* a killed write does not count */
  make_inside(run, "checkpoints/step-00000005.deleted-host-123-1");
  char *hint = lap_run_directory_path(run, "checkpoints/latest");
  assert_int_equal(symlink("step-00000005.writing-host-123-0", hint), 0);
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_OK);
  make_inside(run, "checkpoints/step-00000005");
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_USAGE);
  assert_non_null(strstr(status.message, "--resume auto"));
  assert_int_equal(lap_run_directory_create(run, true, &status), LAP_OK);
  free(hint);
  free(run);
}

/* Checkpoints that were moved to another disk, which may be away. */
static void checkpoints_behind_links_count(void **state) {
  (void)state;
  lap_status status = {0};
  char *there = lap_format("%s/there", directory), *file = lap_format("%s/a-file", directory);
  assert_int_equal(lap_file_make_directories(there, &status), LAP_OK);
  scratch_write(directory, "a-file", "x", 1);
  const char *const targets[] = {there, "/nowhere/at/all", file};
  for (int i = 0; i < 3; ++i) {
    char *run = lap_format("%s/links-%d", directory, i);
    char *link = lap_format("%s/checkpoints/step-00000005", run);
    assert_int_equal(lap_run_directory_create(run, false, &status), LAP_OK);
    assert_int_equal(symlink(targets[i], link), 0);
    assert_int_equal(lap_run_directory_create(run, false, &status), i < 2 ? LAP_USAGE : LAP_OK);
    free(link);
    free(run);
  }
  free(there);
  free(file);
}

/* A loop of links stands for a directory that may not be read, which root may. */
static void checkpoints_that_cannot_be_listed_are_not_taken_for_none(void **state) {
  (void)state;
  lap_status status = {0};
  char *run = lap_format("%s/loop", directory), *checkpoints = lap_format("%s/checkpoints", run);
  assert_int_equal(lap_file_make_directories(run, &status), LAP_OK);
  assert_int_equal(symlink("checkpoints", checkpoints), 0);
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "loop/checkpoints: cannot be listed: "));
  assert_false(lap_run_directory_has_checkpoints(run));
  free(checkpoints);
  free(run);
}

static void run_json_says_what_ran_where_and_before(void **state) {
  (void)state;
  char *run = lap_format("%s/json", directory);
  lap_status status = {0};
  assert_int_equal(lap_run_directory_create(run, false, &status), LAP_OK);
  static const char *const hosts[] = {"a", "a", "b"};
  static const lap_run_fact versions[] = {{"openblas", "0.3.21"}}, inputs[] = {{"tokenizer", "ab"}};
  lap_run_facts facts = {.hosts = hosts,
                         .ranks = 3,
                         .threads = 2,
                         .mesh = {1, 4, 1},
                         .numbers_sha256 = "cd",
                         .versions = versions,
                         .version_count = 1,
                         .inputs = inputs,
                         .input_count = 1};
  for (int ranks = 3; ranks > 0; --ranks) {
    facts.ranks = ranks;
    assert_int_equal(lap_run_json_write(run, &facts, &status), LAP_OK);
  }
  char *file = lap_run_directory_path(run, "run.json");
  json_t *object = json_load_file(file, 0, NULL);
  assert_non_null(object);
  assert_int_equal(json_integer_value(json_object_get(object, "ranks")), 1);
  assert_int_equal(json_array_size(json_object_get(object, "hosts")), 1);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(object, "mesh"), "data")), 4);
  const json_t *read_versions = json_object_get(object, "versions");
  assert_string_equal(json_string_value(json_object_get(read_versions, "openblas")), "0.3.21");
  assert_string_equal(json_string_value(json_object_get(read_versions, "lapidary")),
                      LAPIDARY_VERSION);
  assert_non_null(json_object_get(object, "git_commit"));
  const json_t *previous = json_object_get(object, "previous");
  assert_int_equal(json_array_size(previous), 2);
  const json_t *first = json_array_get(previous, 0);
  assert_int_equal(json_integer_value(json_object_get(first, "ranks")), 3);
  assert_null(json_object_get(first, "previous"));
  assert_null(json_object_get(object, "parent"));
  json_decref(object);
  /* The parent is written once, and stays when the run is resumed. */
  lap_run_parent resumed_run = {.resumed = true},
                 parent = {.checkpoint = (char *)"/a/step-00000007", .step = 7};
  strcpy(parent.state_sha256, "ef");
  for (int resumed = 0; resumed < 2; ++resumed) {
    facts.parent = resumed ? &resumed_run : &parent;
    assert_int_equal(lap_run_json_write(run, &facts, &status), LAP_OK);
    object = json_load_file(file, 0, NULL);
    const json_t *found = json_object_get(object, "parent");
    assert_string_equal(json_string_value(json_object_get(found, "checkpoint")),
                        "/a/step-00000007");
    assert_int_equal(json_integer_value(json_object_get(found, "step")), 7);
    assert_string_equal(json_string_value(json_object_get(found, "state_sha256")), "ef");
    json_decref(object);
  }
  lap_run_parent fresh = {0};
  facts.parent = &fresh;
  assert_int_equal(lap_run_json_write(run, &facts, &status), LAP_OK);
  assert_int_equal(lap_run_json_parent(run, &parent, &status), LAP_OK);
  assert_null(parent.checkpoint);
  free(file);
  free(run);
}

/* A file that somebody broke costs the history, not the run. What the run began with is unknown
 * from then on, unless it begins anew. */
static void a_damaged_run_json_is_kept_aside(void **state) {
  (void)state;
  char *run = lap_format("%s/damaged", directory), *file = lap_format("%s/run.json", run), *name;
  lap_status status = {0};
  lap_run_parent parent = {.resumed = true}, read;
  const lap_run_facts facts = {.parent = &parent};
  assert_int_equal(lap_run_json_parent(run, &read, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "run.json: is missing"));
  assert_int_equal(lap_run_json_set_aside(run, &name, &status), LAP_OK);
  assert_null(name);
  for (int i = 0; i < 2; ++i) {
    assert_int_equal(lap_file_write(file, i ? "[]" : "{", i + 1, &status), LAP_OK);
    assert_int_equal(lap_run_json_parent(run, &read, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "run.json: is damaged, so it cannot be known"));
    assert_int_equal(lap_run_json_set_aside(run, &name, &status), LAP_OK);
    assert_non_null(strstr(name, i ? "/run.json.damaged-2" : "/run.json.damaged"));
    assert_false(lap_file_exists(file));
    assert_true(lap_file_exists(name));
    free(name);
  }
  for (int i = 0; i < 2; ++i) { /* it stays unknown */
    assert_int_equal(lap_run_json_write(run, &facts, &status), LAP_OK);
    assert_int_equal(lap_run_json_parent(run, &read, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "has no parent that can be read"));
  }
  assert_int_equal(lap_run_json_set_aside(run, &name, &status), LAP_OK);
  assert_null(name);
  parent.resumed = false;
  assert_int_equal(lap_run_json_write(run, &facts, &status), LAP_OK);
  assert_int_equal(lap_run_json_parent(run, &read, &status), LAP_OK);
  free(file);
  free(run);
}

/* The linker puts this in the place of lap_directory_lock_take. */
lap_code __real_lap_directory_lock_take(const char *run, lap_directory_lock **lock,
                                        lap_status *status);
lap_code __wrap_lap_directory_lock_take(const char *run, lap_directory_lock **lock,
                                        lap_status *status);

/* A checkpoint that appears while the lock is waited for. */
lap_code __wrap_lap_directory_lock_take(const char *run, lap_directory_lock **lock,
                                        lap_status *status) {
  char *appears = lap_format("%s/checkpoints/step-00000004", run);
  assert_int_equal(lap_file_make_directories(appears, status), LAP_OK);
  free(appears);
  return __real_lap_directory_lock_take(run, lock, status);
}

/* A job on another host ends while its lock is watched for a sign of life. */
static void a_run_that_ends_while_its_lock_is_waited_for_is_not_begun_anew(void **state) {
  (void)state;
  char *folder = scratch_create();
  for (int resume = 0; resume < 2; ++resume) {
    char *run = lap_format("%s/run-%d", folder, resume);
    lap_directory_lock *lock;
    lap_status status = {0};
    const lap_code code = lap_run_directory_take(run, resume, &lock, &status);
    assert_int_equal(code, resume ? LAP_OK : LAP_USAGE);
    if (!resume)
      assert_non_null(strstr(status.message, "has checkpoints; continue that run with --resume"));
    assert_non_null(lock);
    lap_directory_lock_release(lock);
    free(run);
  }
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_run_with_checkpoints_needs_resume),
      cmocka_unit_test(checkpoints_behind_links_count),
      cmocka_unit_test(checkpoints_that_cannot_be_listed_are_not_taken_for_none),
      cmocka_unit_test(a_run_that_ends_while_its_lock_is_waited_for_is_not_begun_anew),
      cmocka_unit_test(run_json_says_what_ran_where_and_before),
      cmocka_unit_test(a_damaged_run_json_is_kept_aside),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
