#include "trainer/inspect/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/cli/human.h"

enum { LINE_MOST_BYTES = 1 << 20 };

static double number(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static int64_t step_of(const json_t *line) {
  return json_integer_value(json_object_get(line, "step"));
}

static void keep(json_t **kept, json_t *line) {
  json_decref(*kept);
  *kept = json_incref(line);
}

static lap_code bad_line(const char *path, uint64_t line, const char *expected,
                         lap_status *status) {
  return lap_fail(status, LAP_DATA, "%s:%" PRIu64 ": expected %s", path, line, expected);
}

/* One line, without its line break. */
static lap_code take_line(const char *path, const char *text, size_t bytes,
                          lap_metrics_summary *summary, int64_t *step, lap_status *status) {
  const uint64_t number_of_line = summary->lines + 1;
  json_t *line = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
  const json_t *eval = json_object_get(line, "eval"), *found = json_object_get(line, "step");
  const int64_t before = *step;
  lap_code code = LAP_OK;
  if (!json_is_integer(found))
    code = bad_line(path, number_of_line, "a JSON object with an integer \"step\"", status);
  else if ((*step = json_integer_value(found)) < before)
    code =
        bad_line(path, number_of_line, "a step that is not before that of the line above", status);
  else if (eval && !json_is_object(eval))
    code = bad_line(path, number_of_line, "an object for \"eval\"", status);
  if (code == LAP_OK) {
    ++summary->lines;
    ++*(eval ? &summary->evals : &summary->steps);
    keep(eval ? &summary->last_eval : &summary->last_step, line);
    const json_t *best = json_object_get(summary->best_eval, "eval");
    if (eval && json_is_number(json_object_get(eval, "loss")) &&
        (!best || number(eval, "loss") < number(best, "loss")))
      keep(&summary->best_eval, line);
  }
  json_decref(line);
  return code;
}

lap_code lap_metrics_summarise(const char *path, lap_metrics_summary *summary, lap_status *status) {
  *summary = (lap_metrics_summary){0};
  FILE *file = fopen(path, "re");
  if (!file) return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  char *line = lap_allocate(LINE_MOST_BYTES, 1);
  int64_t step = 0;
  lap_code code = LAP_OK;
  while (code == LAP_OK && fgets(line, LINE_MOST_BYTES, file)) {
    const size_t bytes = strlen(line);
    summary->cut = bytes == 0 || line[bytes - 1] != '\n';
    if (!summary->cut)
      code = take_line(path, line, bytes - 1, summary, &step, status);
    else if (!feof(file))
      code = bad_line(path, summary->lines + 1, "a line of text below 1 MiB", status);
  }
  if (code == LAP_OK && ferror(file))
    code = lap_fail(status, LAP_DATA, "%s: cannot be read: %s", path, strerror(errno));
  fclose(file);
  free(line);
  if (code != LAP_OK) lap_metrics_summary_release(summary);
  return code;
}

void lap_metrics_summary_release(lap_metrics_summary *summary) {
  json_decref(summary->last_step);
  json_decref(summary->last_eval);
  json_decref(summary->best_eval);
  *summary = (lap_metrics_summary){0};
}

/* --- what is said of it --- */

typedef struct {
  const char *key, *name, *unit; /* as in the file; as it is said, where the two differ */
} spoken;

/* Of a step without counted positions there is no loss, and no gradient either. */
static bool counts_nothing(const json_t *line) {
  const json_t *norm = json_object_get(line, "grad_norm");
  return json_is_null(json_object_get(line, "loss")) && json_is_number(norm) &&
         json_number_value(norm) == 0;
}

/* "loss 4.3957 nats/token, perplexity 81.10": those of `keys` that are numbers. */
static char *numbers_text(const json_t *object, const spoken *keys, size_t count) {
  char *text = NULL;
  size_t bytes;
  FILE *out = lap_open_text(&text, &bytes);
  for (size_t i = 0; i < count; ++i) {
    const json_t *value = json_object_get(object, keys[i].key);
    if (json_is_number(value))
      fprintf(out, ", %s %.*g%s", keys[i].name, 5, json_number_value(value), keys[i].unit);
    else if (i == 0 && counts_nothing(object))
      fprintf(out, ", no position counted");
    else if (i == 0)
      fprintf(out, ", %s not finite", keys[i].name);
  }
  lap_close_text(out, &text);
  return text;
}

/* Whether a teacher has a part in the objective, which "loss" of a step's line is. */
static bool is_distilled(const json_t *step) { return json_is_number(json_object_get(step, "kd")); }

/* Of a distilled run the objective is said by that name: it is not the loss of an evaluation. */
static const char *loss_name(bool distilled, const char *otherwise) {
  return distilled ? otherwise : "loss";
}

static void report_eval(lap_report *report, const char *key, json_t *line, bool distilled) {
  const spoken keys[] = {{"loss", loss_name(distilled, "cross-entropy"), " nats/token"},
                         {"perplexity", "perplexity", ""},
                         {"bits_per_byte", "bits_per_byte", ""},
                         {"kl", "kl", " nats/token"}};
  const json_t *eval = json_object_get(line, "eval");
  char *text = numbers_text(eval, keys, 4);
  lap_report_fact(report, key, json_incref(line), "step %" PRId64 "%s", step_of(line), text);
  free(text);
}

void lap_metrics_report(const lap_metrics_summary *summary, lap_report *report) {
  const bool distilled = is_distilled(summary->last_step);
  if (summary->last_step) {
    const json_t *line = summary->last_step;
    const spoken keys[] = {{"loss", loss_name(distilled, "objective"), " nats/token"},
                           {"ce", "cross-entropy", " nats/token"},
                           {"kd", "kd", " nats/token"},
                           {"kl", "kl", " nats/token"},
                           {"grad_norm", "grad_norm", ""},
                           {"learning_rate", "learning_rate", ""}};
    char *text = numbers_text(line, keys, 6), rate[LAP_HUMAN_TEXT];
    lap_report_fact(report, "last_step", json_incref(summary->last_step),
                    "step %" PRId64 "%s, %s tokens/s", step_of(line), text,
                    lap_human_count(number(line, "tokens_per_second"), rate));
    free(text);
    const json_int_t skipped = json_integer_value(json_object_get(line, "skipped"));
    if (skipped > 0) lap_report_count(report, "skipped", (uint64_t)skipped);
  }
  if (summary->last_eval) report_eval(report, "last_eval", summary->last_eval, distilled);
  if (summary->best_eval) report_eval(report, "best_eval", summary->best_eval, distilled);
  if (summary->cut)
    lap_report_note(report, "the last line is not finished: the run was killed, or goes on");
}

lap_code lap_inspect_metrics(const lap_inspector *inspector, const char *path, lap_report *report,
                             lap_status *status) {
  (void)inspector;
  lap_metrics_summary summary;
  LAP_TRY(lap_metrics_summarise(path, &summary, status));
  lap_report_count(report, "lines", summary.lines);
  lap_report_count(report, "steps", summary.steps);
  lap_report_count(report, "evals", summary.evals);
  lap_metrics_report(&summary, report);
  lap_report_summarise(report, "%" PRIu64 " steps and %" PRIu64 " evaluations", summary.steps,
                       summary.evals);
  lap_metrics_summary_release(&summary);
  return LAP_OK;
}
