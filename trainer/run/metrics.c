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
};

static lap_code write_failure(const lap_metrics *metrics, lap_status *status) {
  return lap_file_fail(metrics->path, "be written", status);
}

lap_code lap_metrics_open(const char *path, lap_metrics **metrics, lap_status *status) {
  *metrics = NULL;
  FILE *file = fopen(path, "ae");
  if (!file) return lap_file_fail(path, "be opened", status);
  *metrics = lap_allocate(1, sizeof **metrics);
  (*metrics)->file = file;
  (*metrics)->path = lap_copy_string(path);
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
 */
static lap_code append_line(lap_metrics *metrics, json_t *line, lap_status *status) {
  enum { DIGITS = 12 };
  const int failed = json_dumpf(line, metrics->file, JSON_REAL_PRECISION(DIGITS)) != 0 ||
                     fputc('\n', metrics->file) == EOF || fflush(metrics->file) != 0;
  json_decref(line);
  return failed ? write_failure(metrics, status) : LAP_OK;
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

/* NULL where the line is not JSON, or has more values than a file may have. */
static json_t *parse_line(const char *line, size_t bytes) {
  if (lap_json_values(line, bytes) > LAP_JSON_MOST_VALUES) return NULL;
  return json_loadb(line, bytes, JSON_REJECT_DUPLICATES, NULL);
}

/* The step of one line without its newline. */
static lap_code step_of_line(const char *path, const char *line, size_t bytes, long number,
                             int64_t *step, lap_status *status) {
  json_t *object = parse_line(line, bytes);
  const json_t *value = json_object_get(object, "step");
  const bool found = json_is_integer(value);
  *step = json_integer_value(value);
  json_decref(object);
  if (found) return LAP_OK;
  return lap_fail(
      status, LAP_DATA,
      "%s:%ld: expected a JSON object with an integer \"step\"; repair the line, or move "
      "the file away",
      path, number);
}

lap_code lap_metrics_truncate(const char *path, int64_t last_step, lap_status *status) {
  if (!lap_file_exists(path)) return LAP_OK;
  char *text;
  size_t bytes, kept = 0;
  LAP_TRY(lap_file_read(path, SIZE_MAX / 2, &text, &bytes, status));
  lap_code code = LAP_OK;
  int64_t step = 0, reached = 0;
  const char *line = text, *end = text + bytes;
  for (long number = 1; code == LAP_OK && line < end; ++number) {
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    if (!newline) break; /* cut by a kill */
    code = step_of_line(path, line, (size_t)(newline - line), number, &step, status);
    if (code != LAP_OK && reached >= last_step) { /* the machine stopped before it was on disk */
      code = LAP_OK;
      break;
    }
    if (step > reached) reached = step;
    const size_t length = (size_t)(newline + 1 - line);
    line = newline + 1;
    if (code != LAP_OK || step > last_step) continue;
    memmove(text + kept, line - length, length);
    kept += length;
  }
  lap_file_remove_temporaries(path); /* of a run that was killed */
  if (code == LAP_OK && kept != bytes) code = lap_file_write(path, text, kept, status);
  free(text);
  return code;
}

static void take_if_better(const char *line, size_t bytes, int64_t *step, double *loss) {
  json_t *object = parse_line(line, bytes);
  const json_t *found = json_object_get(json_object_get(object, "eval"), "loss");
  if (json_is_number(found) && json_number_value(found) < *loss) {
    *loss = json_number_value(found);
    *step = json_integer_value(json_object_get(object, "step"));
  }
  json_decref(object);
}

lap_code lap_metrics_best_eval(const char *path, int64_t *step, double *loss, lap_status *status) {
  *step = -1;
  *loss = INFINITY;
  if (!lap_file_exists(path)) return LAP_OK;
  char *text;
  size_t bytes;
  LAP_TRY(lap_file_read(path, SIZE_MAX / 2, &text, &bytes, status));
  const char *newline;
  for (const char *line = text; (newline = memchr(line, '\n', (size_t)(text + bytes - line)));
       line = newline + 1)
    take_if_better(line, (size_t)(newline - line), step, loss);
  free(text);
  return LAP_OK;
}
