#include "trainer/run/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

struct lap_metrics {
  FILE *file;
  char *path;
  const lap_directory_lock *lock;
};

static lap_code write_failure(const lap_metrics *metrics, lap_status *status) {
  return lap_file_fail(metrics->path, "be written", status);
}

lap_code lap_metrics_open(const char *path, const lap_directory_lock *lock, lap_metrics **metrics,
                          lap_status *status) {
  *metrics = NULL;
  FILE *file = fopen(path, "ae");
  if (!file) return lap_file_fail(path, "be opened", status);
  *metrics = lap_allocate(1, sizeof **metrics);
  (*metrics)->file = file;
  (*metrics)->path = lap_copy_string(path);
  (*metrics)->lock = lock;
  const lap_code code = lap_file_sync_name(path, status);
  if (code == LAP_OK) return LAP_OK;
  lap_status ignored;
  lap_metrics_close(*metrics, &ignored);
  *metrics = NULL;
  return code;
}

lap_code lap_metrics_sync(lap_metrics *metrics, lap_status *status) {
  if (fflush(metrics->file) != 0) return write_failure(metrics, status);
  if (fsync(fileno(metrics->file)) == 0) return LAP_OK;
  return lap_file_fail(metrics->path, "be brought to disk", status);
}

lap_code lap_metrics_close(lap_metrics *metrics, lap_status *status) {
  if (!metrics) return LAP_OK;
  lap_code code = LAP_OK;
  if (fclose(metrics->file) != 0) code = write_failure(metrics, status);
  free(metrics->path);
  free(metrics);
  return code;
}

/* Takes the reference. One line, flushed, so that a reader that follows the file sees whole lines.
 * With all digits: a run that is started again when it has ended says its losses from here. */
static lap_code append_line(lap_metrics *metrics, json_t *line, lap_status *status) {
  lap_code code = lap_directory_lock_check(metrics->lock, status);
  if (code == LAP_OK && (!lap_json_write(line, metrics->file) ||
                         fputc('\n', metrics->file) == EOF || fflush(metrics->file) != 0))
    code = write_failure(metrics, status);
  json_decref(line);
  return code;
}

lap_code lap_metrics_append(lap_metrics *metrics, const lap_metrics_step *step,
                            lap_status *status) {
  json_t *line = json_object();
  json_object_set_new(line, "step", json_integer(step->step));
  json_object_set_new(line, "tokens", json_integer(step->tokens));
  json_object_set_new(line, "loss", lap_json_number(step->loss));
  json_object_set_new(line, "ce", lap_json_number(step->ce));
  json_object_set_new(line, "kd", lap_json_number(step->kd));
  json_object_set_new(line, "kl", lap_json_number(step->kl));
  json_object_set_new(line, "grad_norm", lap_json_number(step->grad_norm));
  json_object_set_new(line, "learning_rate", lap_json_number(step->learning_rate));
  json_object_set_new(line, "seconds", lap_json_number(step->seconds));
  json_object_set_new(line, "tokens_per_second", lap_json_number(step->tokens_per_second));
  json_object_set_new(line, "communication_seconds", lap_json_number(step->communication_seconds));
  json_object_set_new(line, "skipped", json_integer(step->skipped));
  if (step->spike != 0) json_object_set_new(line, "loss_spike_sigmas", json_real(step->spike));
  return append_line(metrics, line, status);
}

lap_code lap_metrics_append_eval(lap_metrics *metrics, int64_t step, int64_t tokens, json_t *eval,
                                 lap_status *status) {
  json_t *line = json_object();
  json_object_set_new(line, "step", json_integer(step));
  json_object_set_new(line, "tokens", json_integer(tokens));
  json_object_set(line, "eval", eval);
  return append_line(metrics, line, status);
}

/* --- reading --- */

lap_code lap_metrics_lines_open(const char *path, lap_metrics_lines *lines, lap_status *status) {
  *lines = (lap_metrics_lines){0};
  if (!lap_file_exists(path)) return LAP_OK;
  return lap_file_read(path, SIZE_MAX / 2, &lines->text, &lines->bytes, status);
}

bool lap_metrics_lines_next(lap_metrics_lines *lines) {
  json_decref(lines->value);
  lines->value = NULL;
  const size_t left = lines->bytes - lines->end;
  const char *line = left > 0 ? lines->text + lines->end : NULL;
  const char *newline = line ? memchr(line, '\n', left) : NULL;
  if (!newline) return false; /* cut by a kill, or the end */
  const size_t length = (size_t)(newline - line);
  lines->begin = lines->end;
  lines->end += length + 1;
  ++lines->number;
  if (lap_json_values(line, length) <= LAP_JSON_MOST_VALUES)
    lines->value = json_loadb(line, length, JSON_REJECT_DUPLICATES, NULL);
  return true;
}

void lap_metrics_lines_close(lap_metrics_lines *lines) {
  json_decref(lines->value);
  free(lines->text);
  *lines = (lap_metrics_lines){0};
}

static lap_code step_of_line(const char *path, const lap_metrics_lines *lines, int64_t *step,
                             lap_status *status) {
  const json_t *value = json_object_get(lines->value, "step");
  *step = json_integer_value(value);
  if (json_is_integer(value)) return LAP_OK;
  return lap_fail(
      status, LAP_DATA,
      "%s:%ld: expected a JSON object with an integer \"step\"; repair the line, or move "
      "the file away",
      path, lines->number);
}

lap_code lap_metrics_truncate(const char *path, int64_t last_step, lap_status *status) {
  lap_metrics_lines lines;
  LAP_TRY(lap_metrics_lines_open(path, &lines, status));
  lap_code code = LAP_OK;
  size_t kept = 0;
  for (int64_t step, reached = 0; code == LAP_OK && lap_metrics_lines_next(&lines);) {
    code = step_of_line(path, &lines, &step, status);
    if (code != LAP_OK && reached >= last_step) { /* the machine stopped before it was on disk */
      code = LAP_OK;
      break;
    }
    if (step > reached) reached = step;
    if (code != LAP_OK || step > last_step) continue;
    const size_t length = lines.end - lines.begin;
    memmove(lines.text + kept, lines.text + lines.begin, length);
    kept += length;
  }
  lap_file_remove_temporaries(path); /* of a run that was killed */
  if (code == LAP_OK && kept != lines.bytes) code = lap_file_write(path, lines.text, kept, status);
  lap_metrics_lines_close(&lines);
  return code;
}

lap_code lap_metrics_best_eval(const char *path, int64_t *step, double *loss, lap_status *status) {
  *step = -1;
  *loss = INFINITY;
  lap_metrics_lines lines;
  LAP_TRY(lap_metrics_lines_open(path, &lines, status));
  while (lap_metrics_lines_next(&lines)) {
    const json_t *found = json_object_get(json_object_get(lines.value, "eval"), "loss");
    if (!json_is_number(found) || json_number_value(found) >= *loss) continue;
    *loss = json_number_value(found);
    *step = json_integer_value(json_object_get(lines.value, "step"));
  }
  lap_metrics_lines_close(&lines);
  return LAP_OK;
}

lap_code lap_metrics_find(const char *path, int64_t step, bool *made, bool *evaluated,
                          lap_status *status) {
  lap_metrics_lines lines;
  *made = *evaluated = false;
  LAP_TRY(lap_metrics_lines_open(path, &lines, status));
  while (lap_metrics_lines_next(&lines)) {
    const json_t *at = json_object_get(lines.value, "step");
    if (!json_is_integer(at) || json_integer_value(at) != step) continue;
    const bool eval = json_object_get(lines.value, "eval") != NULL;
    *made = *made || !eval;
    *evaluated = *evaluated || eval;
  }
  lap_metrics_lines_close(&lines);
  return LAP_OK;
}

lap_code lap_metrics_last_step(const char *path, int64_t *step, lap_status *status) {
  lap_metrics_lines lines;
  *step = 0;
  LAP_TRY(lap_metrics_lines_open(path, &lines, status));
  while (lap_metrics_lines_next(&lines)) {
    const int64_t at = json_integer_value(json_object_get(lines.value, "step"));
    if (at > *step) *step = at;
  }
  lap_metrics_lines_close(&lines);
  return LAP_OK;
}
