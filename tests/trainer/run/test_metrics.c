/* metrics: lines come out in the order of the design, and a resume keeps exactly what it should. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/run/metrics.h"

static char *directory;
static char *path;

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  path = lap_format("%s/metrics.jsonl", directory);
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  free(path);
  scratch_remove(directory);
  return 0;
}

static void write_text(const char *text) {
  lap_status status = {0};
  assert_int_equal(lap_file_write(path, text, strlen(text), &status), LAP_OK);
}

static void assert_text(const char *expected) {
  char *text;
  lap_status status = {0};
  assert_int_equal(lap_file_read(path, 1 << 20, &text, NULL, &status), LAP_OK);
  assert_string_equal(text, expected);
  free(text);
}

static void lines_have_the_keys_of_the_design_in_order(void **state) {
  (void)state;
  unlink(path);
  lap_status status = {0};
  lap_metrics *metrics;
  assert_int_equal(lap_metrics_open(path, NULL, &metrics, &status), LAP_OK);
  const lap_metrics_step step = {.step = 1,
                                 .tokens = 64,
                                 .loss = 2.5,
                                 .ce = 3,
                                 .kd = NAN,
                                 .kl = -INFINITY,
                                 .grad_norm = INFINITY,
                                 .learning_rate = 0.1,
                                 .seconds = 0.5,
                                 .tokens_per_second = 128,
                                 .communication_seconds = 0,
                                 .skipped = 2};
  assert_int_equal(lap_metrics_append(metrics, &step, &status), LAP_OK);
  json_t *eval = json_pack("{s:o, s:o}", "loss", lap_json_number(1.5), "kl", lap_json_number(NAN));
  assert_int_equal(lap_metrics_append_eval(metrics, 1, 64, eval, &status), LAP_OK);
  json_decref(eval);
  /* Flushed: readable before the file is closed. */
  assert_text(
      "{\"step\": 1, \"tokens\": 64, \"loss\": 2.5, \"ce\": 3.0, \"kd\": null, \"kl\": null, "
      "\"grad_norm\": null, \"learning_rate\": 0.1, \"seconds\": 0.5, "
      "\"tokens_per_second\": 128.0, \"communication_seconds\": 0.0, \"skipped\": 2}\n"
      "{\"step\": 1, \"tokens\": 64, \"eval\": {\"loss\": 1.5, \"kl\": null}}\n");
  assert_int_equal(lap_metrics_close(metrics, &status), LAP_OK);
}

static void opening_again_appends(void **state) {
  (void)state;
  write_text("{\"step\": 1}\n");
  lap_status status = {0};
  lap_metrics *metrics;
  assert_int_equal(lap_metrics_open(path, NULL, &metrics, &status), LAP_OK);
  json_t *eval = json_object();
  assert_int_equal(lap_metrics_append_eval(metrics, 2, 3, eval, &status), LAP_OK);
  json_decref(eval);
  assert_int_equal(lap_metrics_close(metrics, &status), LAP_OK);
  assert_text("{\"step\": 1}\n{\"step\": 2, \"tokens\": 3, \"eval\": {}}\n");
}

static void resuming_drops_what_lies_past_its_step(void **state) {
  (void)state;
  static const char before[] =
      "{\"step\":1}\n{\"step\": 2, \"x\": null}\n{\"step\": 3}\n{\"step\": 2, \"eval\": "
      "{}}\n{\"ste";
  static const struct {
    int64_t step;
    const char *after;
  } cases[] = {
      {0, ""},
      {1, "{\"step\":1}\n"},
      {2, "{\"step\":1}\n{\"step\": 2, \"x\": null}\n{\"step\": 2, \"eval\": {}}\n"},
      {9, "{\"step\":1}\n{\"step\": 2, \"x\": null}\n{\"step\": 3}\n{\"step\": 2, \"eval\": {}}\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_status status = {0};
    write_text(before);
    assert_int_equal(lap_metrics_truncate(path, cases[i].step, &status), LAP_OK);
    assert_text(cases[i].after);
  }
}

static void every_cut_of_a_kill_is_survived(void **state) {
  (void)state;
  static const char whole[] = "{\"step\": 1}\n{\"step\": 2}\n";
  for (size_t bytes = 0; bytes < sizeof whole; ++bytes) {
    lap_status status = {0};
    assert_int_equal(lap_file_write(path, whole, bytes, &status), LAP_OK);
    assert_int_equal(lap_metrics_truncate(path, 5, &status), LAP_OK);
    char expected[sizeof whole];
    const size_t kept = bytes / 12 * 12; /* whole lines of 12 bytes */
    snprintf(expected, sizeof expected, "%.*s", (int)kept, whole);
    assert_text(expected);
  }
}

/* The machine stopped: of what was not synced since step 1 anything may be left. */
static void what_was_never_synced_may_be_anything(void **state) {
  (void)state;
  static const char *const texts[] = {"{\"step\": 1}\nrubbish\n{\"step\": 3}\n",
                                      "{\"step\": 1}\n\n{\"step\": 2}\n",
                                      "{\"step\": 1}\n{\"step\": 2}\n[]\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    write_text(texts[i]);
    lap_status status = {0};
    assert_int_equal(lap_metrics_truncate(path, 1, &status), LAP_OK);
    assert_text("{\"step\": 1}\n");
  }
}

static void a_broken_line_is_named_and_nothing_changes(void **state) {
  (void)state;
  static const char *const texts[] = {"{\"step\": 1}\nrubbish\n{\"step\": 3}\n",
                                      "{\"step\": 1}\n{\"step\": 1.5}\n", "{\"step\": 1}\n[]\n",
                                      "{\"step\": 1}\n\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    write_text(texts[i]);
    lap_status status = {0};
    assert_int_equal(lap_metrics_truncate(path, 2, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "metrics.jsonl:2: expected a JSON object"));
    assert_text(texts[i]);
  }
}

static void a_line_of_millions_of_values_is_refused_unparsed(void **state) {
  (void)state;
  enum { BYTES = 9 << 20 };
  char *line = calloc(BYTES + 8, 1);
  for (int i = 0; i < BYTES; ++i) line[i] = "{},"[i % 3];
  static const char begin[] = "{\"step\":1,\"x\":[", end[] = "{}]}\n";
  memcpy(line, begin, sizeof begin - 1); /* 15 bytes: a whole number of triples */
  memcpy(line + BYTES, end, sizeof end);
  write_text(line);
  lap_status status = {0};
  assert_int_equal(lap_metrics_truncate(path, 2, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "metrics.jsonl:1: expected"));
  free(line);
}

static void a_missing_file_is_nothing_to_truncate(void **state) {
  (void)state;
  unlink(path);
  lap_status status = {0};
  assert_int_equal(lap_metrics_truncate(path, 3, &status), LAP_OK);
  assert_false(lap_file_exists(path));
}

static void the_best_evaluation_is_found_again(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t step;
    double loss;
  } cases[] = {
      {"", -1, INFINITY},
      {"{\"step\": 1, \"loss\": 0.5}\n", -1, INFINITY},
      {"{\"step\": 5, \"eval\": {\"loss\": 3.5}}\n{\"step\": 6, \"loss\": 1}\n"
       "{\"step\": 10, \"eval\": {\"loss\": 2.5}}\n{\"step\": 15, \"eval\": {\"loss\": null}}\n"
       "{\"step\": 20, \"eval\": {\"loss\": 2.5}}\n{\"step\": 25, \"eval\": {\"loss\": 2}}",
       10, 2.5},
  };
  int64_t step;
  double loss;
  lap_status status = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    write_text(cases[i].text);
    assert_int_equal(lap_metrics_best_eval(path, &step, &loss, &status), LAP_OK);
    assert_int_equal(step, cases[i].step);
    assert_true(loss == cases[i].loss);
  }
  unlink(path);
  assert_int_equal(lap_metrics_best_eval(path, &step, &loss, &status), LAP_OK);
  assert_int_equal(step, -1);
}

static void the_lines_of_a_step_are_found(void **state) {
  (void)state;
#define STEP_5 "{\"step\": 5, \"loss\": 1}\n"
#define EVAL_5 "{\"step\": 5, \"eval\": {\"loss\": 2}}\n"
  static const struct {
    const char *text;
    bool made, evaluated;
  } cases[] = {
      {"", false, false},
      {STEP_5, true, false},
      {STEP_5 EVAL_5, true, true},
      {"{\"step\": 4, \"eval\": {\"loss\": 2}}\n" STEP_5, true, false},
      {"{\"step\": 4, \"loss\": 1}\n", false, false}, /* of a run that began at step 5 */
      {STEP_5 "not JSON\n", true, false},
  };
  bool made, evaluated;
  lap_status status = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    write_text(cases[i].text);
    assert_int_equal(lap_metrics_find(path, 5, &made, &evaluated, &status), LAP_OK);
    assert_int_equal(made, cases[i].made);
    assert_int_equal(evaluated, cases[i].evaluated);
  }
  unlink(path);
  assert_int_equal(lap_metrics_find(path, 5, &made, &evaluated, &status), LAP_OK);
  assert_false(made || evaluated);
}

static void the_last_step_is_the_largest_of_all_lines(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t last;
  } cases[] = {{"", 0},
               {"not JSON\n", 0},
               {STEP_5 "{\"step\": 9", 5}, /* cut by a kill */
               {"{\"step\": 7, \"eval\": {\"loss\": 2}}\n" STEP_5, 7}};
  lap_status status = {0};
  int64_t last;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    write_text(cases[i].text);
    assert_int_equal(lap_metrics_last_step(path, &last, &status), LAP_OK);
    assert_int_equal(last, cases[i].last);
  }
  unlink(path);
  assert_int_equal(lap_metrics_last_step(path, &last, &status), LAP_OK);
  assert_int_equal(last, 0);
}

static void a_full_disk_is_reported(void **state) {
  (void)state;
  lap_status status = {0};
  lap_metrics *metrics;
  assert_int_equal(lap_metrics_open("/dev/full", NULL, &metrics, &status), LAP_OK);
  const lap_metrics_step step = {.step = 1};
  assert_int_equal(lap_metrics_append(metrics, &step, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/dev/full: cannot be written: No space left"));
  lap_metrics_close(metrics, &status);
}

/* Another job has the directory now, and with it the file. */
static void a_job_that_was_taken_over_appends_nothing(void **state) {
  (void)state;
  write_text("{\"step\": 1}\n");
  lap_status status = {0};
  lap_directory_lock *lock;
  lap_metrics *metrics;
  assert_int_equal(lap_directory_lock_take(directory, &lock, &status), LAP_OK);
  assert_int_equal(lap_directory_lock_fence(lock, &status), LAP_OK);
  assert_int_equal(lap_metrics_open(path, lock, &metrics, &status), LAP_OK);
  json_t *eval = json_object();
  assert_int_equal(lap_metrics_append_eval(metrics, 2, 3, eval, &status), LAP_OK);
  static const char whole[] = "{\"step\": 1}\n{\"step\": 2, \"tokens\": 3, \"eval\": {}}\n";
  assert_text(whole);
  static const char others[] = "epoch 2\nelsewhere\n";
  scratch_write(directory, ".epoch", others, sizeof others - 1);
  const lap_metrics_step step = {.step = 3};
  for (int attempt = 0; attempt < 2; ++attempt) {
    const lap_code code = attempt ? lap_metrics_append(metrics, &step, &status)
                                  : lap_metrics_append_eval(metrics, 3, 3, eval, &status);
    assert_int_equal(code, LAP_USAGE);
    assert_non_null(strstr(status.message, "another job has taken over (elsewhere, epoch 2; "));
    assert_text(whole);
  }
  json_decref(eval);
  assert_int_equal(lap_metrics_close(metrics, &status), LAP_OK);
  assert_text(whole);
  lap_directory_lock_release(lock);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines_have_the_keys_of_the_design_in_order),
      cmocka_unit_test(opening_again_appends),
      cmocka_unit_test(resuming_drops_what_lies_past_its_step),
      cmocka_unit_test(every_cut_of_a_kill_is_survived),
      cmocka_unit_test(what_was_never_synced_may_be_anything),
      cmocka_unit_test(a_broken_line_is_named_and_nothing_changes),
      cmocka_unit_test(a_line_of_millions_of_values_is_refused_unparsed),
      cmocka_unit_test(a_missing_file_is_nothing_to_truncate),
      cmocka_unit_test(the_best_evaluation_is_found_again),
      cmocka_unit_test(the_lines_of_a_step_are_found),
      cmocka_unit_test(the_last_step_is_the_largest_of_all_lines),
      cmocka_unit_test(a_full_disk_is_reported),
      cmocka_unit_test(a_job_that_was_taken_over_appends_nothing),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
