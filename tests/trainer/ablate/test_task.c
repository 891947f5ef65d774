/* task: keys know what decides an outcome and nothing else; what is done is known by its key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/ablate/outcome.h"
#include "trainer/ablate/task.h"

/* A task of this setting that reads another task, or `content` from outside. */
static size_t add(lap_tasks *tasks, lap_task_kind kind, const char *name, const char *setting,
                  size_t needed, const char *content, bool *is_new) {
  lap_task_draft draft;
  lap_task_input input = {.task = needed};
  strcpy(input.sha256, content);
  lap_task_draft_begin(&draft, kind);
  lap_task_draft_say(&draft, "%s", setting);
  lap_task_draft_read(&draft, tasks, "input", &input);
  return lap_tasks_add(tasks, &draft, name, "", is_new);
}

static void equal_tasks_are_one(void **state) {
  (void)state;
  lap_tasks tasks = {.out = lap_copy_string("out")};
  const size_t none = (size_t)LAP_NO_TASK;
  bool is_new;
  assert_int_equal(add(&tasks, LAP_TASK_TEXT, NULL, "a", none, "1", &is_new), 0);
  assert_true(is_new);
  assert_int_equal(add(&tasks, LAP_TASK_TEXT, NULL, "a", none, "1", &is_new), 0);
  assert_false(is_new);
  assert_int_equal(add(&tasks, LAP_TASK_TEXT, NULL, "b", none, "1", &is_new), 1);   /* a setting */
  assert_int_equal(add(&tasks, LAP_TASK_TEXT, NULL, "a", none, "2", &is_new), 2);   /* a content */
  assert_int_equal(add(&tasks, LAP_TASK_TOKENS, NULL, "a", none, "1", &is_new), 3); /* a kind */
  assert_int_equal(add(&tasks, LAP_TASK_TOKENS, NULL, "a", 0, "", &is_new), 4);
  assert_int_equal(add(&tasks, LAP_TASK_TOKENS, NULL, "a", 2, "", &is_new), 5); /* what it reads */
  assert_int_equal(tasks.task[5].needs[0], 2);
  char *expected = lap_format("out/shared/text-%.12s", tasks.task[0].key);
  assert_string_equal(tasks.task[0].directory, expected);
  free(expected);
  lap_tasks_release(&tasks);
}

static void evaluations_lie_in_their_run(void **state) {
  (void)state;
  lap_tasks tasks = {.out = lap_copy_string("out")};
  lap_task_draft draft;
  bool is_new;
  lap_task_draft_begin(&draft, LAP_TASK_EVALUATION);
  const size_t at = lap_tasks_add(&tasks, &draft, "runs/a/seed-1/eval/test", "test.", &is_new);
  assert_string_equal(tasks.task[at].directory, "out/runs/a/seed-1/eval");
  char *path = lap_task_result_path(&tasks.task[at]);
  assert_string_equal(path, "out/runs/a/seed-1/eval/test.json");
  free(path);
  lap_tasks_release(&tasks);
}

/* What a done task has beside done.json. */
static void write_result(const lap_task *task) {
  char *path = lap_task_result_path(task);
  lap_status status;
  assert_int_equal(lap_file_write(path, "{}\n", 3, &status), LAP_OK);
  free(path);
}

static void what_is_done_has_the_key(void **state) {
  (void)state;
  char *folder = scratch_create();
  lap_tasks tasks = {.out = lap_copy_string(folder)};
  const size_t none = (size_t)LAP_NO_TASK;
  lap_status status;
  bool is_new, diverged;
  const size_t at = add(&tasks, LAP_TASK_RUN, "runs/a/seed-1", "a", none, "1", &is_new);
  lap_task *task = &tasks.task[at];
  lap_task_add_argument(task, "train");
  assert_false(lap_task_is_done(task, &diverged));
  assert_int_equal(lap_task_settle(&tasks, task, &status), LAP_OK);
  assert_false(lap_task_is_done(task, &diverged));
  assert_int_equal(lap_task_write_done(task, 1, 2, 1, false, &status), LAP_OK);
  assert_false(lap_task_is_done(task, &diverged)); /* its result is missing */
  write_result(task);
  assert_true(lap_task_is_done(task, &diverged));
  assert_false(diverged);
  /* Another key: the run is put aside, and comes back. */
  char key[LAP_SHA256_HEX];
  memcpy(key, task->key, sizeof key);
  memset(task->key, 'f', LAP_SHA256_HEX - 1);
  assert_false(lap_task_is_done(task, &diverged));
  assert_int_equal(lap_task_settle(&tasks, task, &status), LAP_OK);
  assert_int_equal(scratch_count(scratch_path(folder, "replaced")), 1);
  assert_int_equal(lap_task_write_done(task, 1, 2, 1, true, &status), LAP_OK);
  write_result(task);
  assert_true(lap_task_is_done(task, &diverged));
  assert_true(diverged);
  memcpy(task->key, key, sizeof key);
  assert_int_equal(lap_task_settle(&tasks, task, &status), LAP_OK);
  assert_true(lap_task_is_done(task, &diverged));
  assert_false(diverged);
  lap_tasks_release(&tasks);
  scratch_remove(folder);
}

/* Paths may be any bytes. */
static void a_word_that_is_no_text_stays_in_the_command(void **state) {
  (void)state;
  static const char expected[] = "\"lapidary\",\n  \"train\",\n  \"run_dir=caf\xEF\xBF\xBD\"\n";
  char *folder = scratch_create();
  lap_task task = {.kind = LAP_TASK_RUN, .directory = folder, .prefix = ""};
  lap_status status;
  size_t count;
  lap_task_add_argument(&task, "train");
  lap_task_add_argument(&task, "run_dir=%s", "caf\xE9");
  assert_int_equal(lap_task_write_done(&task, 1, 2, 1, false, &status), LAP_OK);
  char *done = scratch_read(scratch_path(folder, "done.json"), &count);
  if (!strstr(done, expected)) fail_msg("%s", done);
  free(done);
  for (size_t i = 0; i < task.argument_count; ++i) free(task.argument[i]);
  free(task.argument);
  scratch_remove(folder);
}

static void the_last_word_is_kept(void **state) {
  (void)state;
  char *folder = scratch_create();
  lap_task task = {.kind = LAP_TASK_RUN, .directory = folder, .prefix = ""};
  lap_status status;
  bool was_whole;
  lap_outcome_time took;
  static const char said[] =
      "step 3 of 3\n{\"step\": 3, \"total_steps\": 3, \"loss\": null, "
      "\"eval\": null, \"seconds\": 0.5}\n";
  /* In the evaluation of its last step. */
  static const char stopped[] = "{\"step\": 3, \"total_steps\": 3, \"stopped\": true}\n";
  static const char trunk[] = "{\"step\": 1}\n";
  static const char half[] = "{\"step\": 2, \"total_steps\": 3}\n", cut[] = "{\"step\": 3, \"tot";
  static const char metrics[] =
      "{\"step\": 1, \"loss\": 6, \"seconds\": 8}\n{\"step\": 2, \"loss\": 5.5, \"seconds\": 2}\n"
      "{\"step\": 3, \"loss\": 4.5, \"seconds\": 0.5}\n"
      "{\"step\": 3, \"eval\": {\"loss\": 4}}\n";
  scratch_write(folder, "metrics.jsonl", metrics, sizeof metrics - 1);
  scratch_write(folder, "trunk.json", trunk, sizeof trunk - 1);
  scratch_write(folder, "out.txt", cut, sizeof cut - 1);
  assert_int_equal(lap_outcome_salvage(&task, &was_whole, &took, &status), LAP_OK);
  assert_false(was_whole);
  assert_int_equal(lap_outcome_keep(&task, false, &took, &status), LAP_DATA);
  scratch_write(folder, "out.txt", half, sizeof half - 1);
  assert_int_equal(lap_outcome_salvage(&task, &was_whole, &took, &status), LAP_OK);
  assert_false(was_whole);
  scratch_write(folder, "out.txt", stopped, sizeof stopped - 1);
  assert_int_equal(lap_outcome_salvage(&task, &was_whole, &took, &status), LAP_OK);
  assert_false(was_whole);
  scratch_write(folder, "out.txt", said, sizeof said - 1);
  assert_int_equal(lap_outcome_salvage(&task, &was_whole, &took, &status), LAP_OK);
  assert_true(was_whole);
  size_t count;
  char *kept = scratch_read(scratch_path(folder, "train.json"), &count);
  assert_string_equal(kept,
                      "{\"step\":3,\"total_steps\":3,\"loss\":4.5,\"eval\":{\"loss\":4},"
                      "\"seconds\":0.5,\"seconds_before\":2.0}\n");
  assert_true(took.seconds == 0.5 && took.seconds_before == 2); /* step 1 is of the trunk */
  free(kept);
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_tasks_are_one),
      cmocka_unit_test(evaluations_lie_in_their_run),
      cmocka_unit_test(what_is_done_has_the_key),
      cmocka_unit_test(a_word_that_is_no_text_stays_in_the_command),
      cmocka_unit_test(the_last_word_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
