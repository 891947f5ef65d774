#include "trainer/ablate/outcome.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/ablate/trunk.h"
#include "trainer/run/metrics.h"

enum { MOST_BYTES = 64 << 20, LINES = 6, MOST_LETTERS = 900 };

/* The whole file, "" where there is none. */
static char *text_of(const char *path) {
  char *text;
  lap_status ignored;
  if (!lap_file_exists(path) || lap_file_read(path, MOST_BYTES, &text, NULL, &ignored) != LAP_OK)
    return lap_copy_string("");
  return text;
}

/* The last line, which a newline ends; "" where there is none. */
static const char *last_line(char *text) {
  const size_t length = strlen(text);
  if (length == 0 || text[length - 1] != '\n') return "";
  text[length - 1] = '\0';
  const char *before = strrchr(text, '\n');
  return before ? before + 1 : text;
}

static json_t *last_object(const lap_task *task) {
  char *path = lap_task_path(task, "out.txt"), *text = text_of(path);
  json_t *object = json_loads(last_line(text), 0, NULL);
  free(text);
  free(path);
  return object;
}

static lap_code keep(const lap_task *task, const json_t *object, lap_status *status) {
  char *path = lap_task_result_path(task);
  const lap_code code = lap_json_write_file(path, object, JSON_COMPACT, status);
  free(path);
  return code;
}

/* --- a run that had ended before --- */

static void fill(json_t *object, const char *key, const json_t *from, const char *name) {
  json_t *value = json_object_get(from, name);
  if (value && json_is_null(json_object_get(object, key))) json_object_set(object, key, value);
}

/* Steps in the metrics of a branch that its trunk has made. */
static json_int_t steps_of_trunk(const lap_task *task) {
  char *path = lap_task_path(task, LAP_TRUNK_FILE), *text = text_of(path);
  json_t *object = json_loads(text, 0, NULL);
  const json_int_t steps = json_integer_value(json_object_get(object, "step"));
  json_decref(object);
  free(text);
  free(path);
  return steps;
}

static double seconds_of_step(const json_t *line, json_int_t steps_of_others) {
  const bool own = json_integer_value(json_object_get(line, "step")) > steps_of_others;
  return own && !json_object_get(line, "eval") ? json_number_value(json_object_get(line, "seconds"))
                                               : 0;
}

/* `train --resume auto` of a run that has ended knows its state, and no more of its last step: that
 * is in its metrics. So is how long the steps took that were made before it was resumed. */
static lap_outcome_time complete(const lap_task *task, json_t *object) {
  const json_int_t of_trunk = steps_of_trunk(task);
  lap_outcome_time took = {.seconds = json_number_value(json_object_get(object, "seconds"))};
  double all = 0;
  char *path = lap_format("%s/metrics.jsonl", task->directory);
  json_t *step = NULL, *eval = NULL;
  lap_metrics_lines lines;
  lap_status ignored;
  const bool there = lap_metrics_lines_open(path, &lines, &ignored) == LAP_OK;
  while (there && lap_metrics_lines_next(&lines)) {
    json_t **place = json_object_get(lines.value, "eval") ? &eval : &step;
    if (!lines.value) continue;
    all += seconds_of_step(lines.value, of_trunk);
    json_decref(*place);
    *place = json_incref(lines.value);
  }
  if (there) lap_metrics_lines_close(&lines);
  static const char *const names[][2] = {
      {"loss", "loss"}, {"objective", "loss"}, {"cross_entropy", "ce"}, {"kd", "kd"}, {"kl", "kl"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
    fill(object, names[i][0], step, names[i][1]);
  fill(object, "eval", eval, "eval");
  took.seconds_before = fmax(0, all - took.seconds);
  json_object_set_new(object, "seconds_before", json_real(took.seconds_before));
  json_decref(step);
  json_decref(eval);
  free(path);
  return took;
}

static bool is_training(const lap_task *task) {
  return task->kind == LAP_TASK_RUN || task->kind == LAP_TASK_MODEL;
}

lap_code lap_outcome_keep(const lap_task *task, bool diverged, lap_outcome_time *took,
                          lap_status *status) {
  *took = (lap_outcome_time){0};
  if (task->kind == LAP_TASK_CACHE) return LAP_OK; /* it says what one call did of the whole */
  json_t *object = diverged ? json_pack("{s:b, s:i}", "diverged", 1, "exit_code", LAP_NONFINITE)
                            : last_object(task);
  lap_code code = LAP_OK;
  if (!json_is_object(object))
    code = lap_fail(status, LAP_DATA, "%s/%sout.txt: the last line is not a JSON object",
                    task->directory, task->prefix);
  if (code == LAP_OK && is_training(task) && !diverged) *took = complete(task, object);
  if (code == LAP_OK) code = keep(task, object, status);
  json_decref(object);
  return code;
}

lap_code lap_outcome_salvage(const lap_task *task, bool *was_whole, lap_outcome_time *took,
                             lap_status *status) {
  *was_whole = false;
  *took = (lap_outcome_time){0};
  if (!is_training(task)) return LAP_OK;
  json_t *object = last_object(task);
  const json_int_t step = json_integer_value(json_object_get(object, "step"));
  /* One that was stopped in the evaluation of its last step still has that to do. */
  *was_whole = step > 0 && step == json_integer_value(json_object_get(object, "total_steps")) &&
               !json_is_true(json_object_get(object, "stopped"));
  lap_code code = LAP_OK;
  if (*was_whole) {
    *took = complete(task, object);
    code = keep(task, object, status);
  }
  json_decref(object);
  return code;
}

int64_t lap_outcome_near_duplicates(const lap_task *task) {
  if (task->kind != LAP_TASK_TEXT) return 0;
  json_t *object = last_object(task);
  const int64_t count = json_integer_value(json_object_get(object, "near_duplicates"));
  json_decref(object);
  return count;
}

char *lap_outcome_last_lines(const char *log) {
  char *text = text_of(log);
  size_t at = strlen(text);
  for (int lines = 0; at > 0 && strlen(text) - at < MOST_LETTERS; --at)
    if (text[at - 1] == '\n' && lines++ == LINES) break;
  char *last = lap_copy_string(text + at);
  for (size_t length = strlen(last); length > 0 && last[length - 1] == '\n';) last[--length] = '\0';
  free(text);
  return last;
}
