/* report: tables, pictures and verdicts of a suite that `ablate` runs or has run; curves and last
 * numbers of any runs.
 *
 * It only reads what the runs have written, and may be called while they run: where planned runs
 * are missing there is no verdict yet. It runs alone: several ranks are refused.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/cli/session.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/report/analysis.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/tensorboard.h"
#include "trainer/report/write.h"

typedef struct {
  const char *out;
  bool tensorboard;
} report_flags;

static const lap_flag flags_of_report[] = {
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(report_flags, out),
     .help = "where the report is written [DIR/report; several runs: report]"},
    {.name = "tensorboard",
     .offset = offsetof(report_flags, tensorboard),
     .help = "curves as event files too, below tensorboard/ of the report"},
    {0}};

/* --- on the screen --- */

/* Or why there is none. */
static char *verdict_of(const json_t *comparison) {
  const char *problem = lap_json_text(comparison, "problem");
  return lap_format("%s%s", *problem ? problem : lap_json_text(comparison, "verdict"),
                    lap_json_flag(comparison, "exploratory") ? " (exploratory)" : "");
}

static void print_comparisons(const json_t *report, const json_t *measure) {
  char confidence[LAP_CELL], interval_of[LAP_CELL];
  snprintf(interval_of, sizeof interval_of, "%.16s %% interval",
           lap_cell_confidence(report, confidence));
  const char *const headers[] = {"arm",          "baseline", "difference", interval_of,
                                 "simultaneous", "p (Holm)", "verdict"};
  const json_t *comparisons = json_object_get(measure, "comparisons");
  lap_table *table = lap_table_create(7, headers);
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    const json_t *one = json_array_get(comparisons, i);
    char difference[LAP_CELL], interval[LAP_CELL], together[LAP_CELL], p[LAP_CELL];
    char *verdict = verdict_of(one);
    const char *const cells[] = {
        lap_json_text(one, "arm"),
        lap_json_text(one, "baseline"),
        lap_cell_signed(lap_json_real(one, "estimate"), difference),
        lap_cell_interval(json_object_get(one, "interval"), interval),
        lap_cell_interval(json_object_get(one, "simultaneous_interval"), together),
        lap_cell_p(lap_json_real(one, "adjusted_p"), p),
        verdict};
    lap_table_add(table, cells);
    free(verdict);
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

/* Where nothing is compared. */
static void print_estimates(const json_t *report, const json_t *measure) {
  char confidence[LAP_CELL], interval_of[LAP_CELL];
  snprintf(interval_of, sizeof interval_of, "%.16s %% interval",
           lap_cell_confidence(report, confidence));
  const char *const headers[] = {"arm", "mean over seeds", interval_of};
  const json_t *arms = json_object_get(measure, "arms");
  lap_table *table = lap_table_create(3, headers);
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i);
    char estimate[LAP_CELL], interval[LAP_CELL];
    const char *const cells[] = {lap_json_text(arm, "arm"),
                                 lap_cell_number(lap_json_real(arm, "estimate"), estimate),
                                 lap_cell_interval(json_object_get(arm, "interval"), interval)};
    lap_table_add(table, cells);
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

static void print_primary(const json_t *report) {
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i);
    const json_t *measure = json_array_get(json_object_get(set, "measures"), 0);
    if (!lap_json_flag(set, "primary") || !measure) continue;
    const bool compares = json_array_size(json_object_get(measure, "comparisons")) > 0;
    printf("%s on %s, %s; %s\n", lap_json_text(measure, "title"), lap_json_text(set, "name"),
           lap_json_text(measure, "unit"),
           compares ? "arm minus baseline" : "the suite names nothing to `compare`");
    (compares ? print_comparisons : print_estimates)(report, measure);
  }
  const json_t *even = json_object_get(report, "break_even");
  char confidence[LAP_CELL];
  if (lap_json_flag(even, "complete"))
    printf("break-even: %s%s, %s %% interval %s\n", lap_json_text(even, "text"),
           json_is_number(json_object_get(even, "multiple")) ? " the tokens" : "",
           lap_cell_confidence(report, confidence), lap_json_text(even, "interval_text"));
}

static void print_arms(const json_t *report) {
  static const char *const headers[] = {"run", "tokens", "training loss", "held-out loss"};
  const json_t *arms = json_object_get(report, "arms");
  lap_table *table = lap_table_create(4, headers);
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i);
    const json_t *run = json_array_get(json_object_get(arm, "runs"), 0);
    char tokens[LAP_CELL], loss[LAP_CELL], held_out[LAP_CELL];
    const char *const cells[] = {lap_json_text(arm, "name"),
                                 lap_cell_count(lap_json_real(arm, "tokens"), tokens),
                                 lap_cell_number(lap_json_real(arm, "train_loss"), loss),
                                 lap_cell_number(lap_json_real(run, "eval_loss"), held_out)};
    lap_table_add(table, cells);
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

static lap_code print_report(const lap_session *session, const json_t *report,
                             const char *directory, bool json, lap_status *status) {
  const json_t *warnings = json_object_get(report, "warnings");
  for (size_t i = 0; i < json_array_size(warnings); ++i)
    lap_console_warn(session->console, "%s", lap_json_text(json_array_get(warnings, i), "text"));
  if (json) {
    json_t *object =
        json_pack("{s:o, s:s, s:O?, s:O?}", "directory", lap_json_path(directory), "name",
                  lap_json_text(report, "name"), "complete", json_object_get(report, "complete"),
                  "sets", json_object_get(report, "sets"));
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  if (json_object_get(report, "sets"))
    print_primary(report);
  else
    print_arms(report);
  printf("%s/report.html\n", directory);
  return lap_output_flush(status);
}

/* --- the command --- */

static lap_code report_on_study(const char *path, const char *out, json_t **report,
                                lap_status *status) {
  lap_study *study;
  LAP_TRY(lap_study_open(path, &study, status));
  lap_code code = lap_study_analyse(study, report, status);
  if (code == LAP_OK) {
    lap_run_losses_entry *entries;
    const size_t count = lap_study_entries(study, &entries);
    code = lap_run_losses_write(out, entries, count, status);
    free(entries);
  }
  lap_study_close(study);
  return code;
}

static bool is_study(const char *path) {
  char *plan = lap_format("%s/plan.json", path);
  const bool found = lap_file_exists(plan);
  free(plan);
  return found;
}

static lap_code report_all(const lap_session *session, const lap_command_line *line,
                           void *destination, lap_status *status) {
  const report_flags *flags = destination;
  LAP_TRY(lap_session_alone(session, "report", status));
  const bool one = line->positional_count == 1;
  const bool with_plan = one && is_study(line->positional[0]);
  for (size_t i = 0; i < line->positional_count && !one; ++i)
    if (is_study(line->positional[i]))
      return lap_fail(status, LAP_USAGE,
                      "%s: has a plan.json; a suite is reported on by itself, not beside others",
                      line->positional[i]);
  char *out = flags->out ? lap_copy_string(flags->out)
              : one      ? lap_format("%s/report", line->positional[0])
                         : lap_copy_string("report");
  json_t *report = NULL;
  lap_code code = with_plan
                      ? report_on_study(line->positional[0], out, &report, status)
                      : lap_runs_analyse(line->positional, line->positional_count, &report, status);
  if (code == LAP_OK) code = lap_report_write(report, out, status);
  if (code == LAP_OK && flags->tensorboard) {
    char *events = lap_format("%s/tensorboard", out);
    code = lap_report_write_tensorboard(report, events, status);
    free(events);
  }
  if (code == LAP_OK) code = print_report(session, report, out, line->json, status);
  json_decref(report);
  free(out);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  report_flags flags = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_report,
                                     .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, report_all, status);
}

const lap_command lap_command_report = {
    .name = "report",
    .summary = "compare the runs of a suite, with error bars; curves of any runs",
    .usage = "DIR | RUN... [--out DIR] [--tensorboard]",
    .description =
        "DIR is what `lapidary ablate` writes, while it runs or after. Its report gets "
        "report.json, "
        "report.md, report.tex, a self-contained page report.html, curves and pictures, and the "
        "losses of every run by document as one table (losses.h5, losses.csv). Where planned runs "
        "are missing or have diverged there is no verdict. RUN is a directory of `lapidary train`: "
        "curves and last numbers. The same inputs give the same bytes.",
    .run = run};
