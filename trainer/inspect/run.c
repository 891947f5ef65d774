#include "trainer/inspect/run.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/inspect/checkpoint.h"
#include "trainer/inspect/metrics.h"
#include "trainer/inspect/model.h"
#include "trainer/run/directory.h"

enum { SHOWN_CHARACTERS = 80, PATH_CHARACTERS = 4096, MOST_HOSTS = 4, MOST_RUN_BYTES = 64 << 20 };

/* --- run.json --- */

/* A text of the file, cleaned, or "?". */
static char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? lap_report_clean(text, strlen(text), SHOWN_CHARACTERS) : lap_copy_string("?");
}

/* The names of the first hosts, each once where neighbours are the same. */
static char *host_names(const json_t *hosts) {
  char *names = lap_copy_string("");
  const char *before = "";
  int shown = 0;
  for (size_t i = 0; i < json_array_size(hosts); ++i) {
    const char *host = json_string_value(json_array_get(hosts, i));
    if (!host || strcmp(host, before) == 0) continue;
    before = host;
    if (++shown > MOST_HOSTS) break;
    char *clean = lap_report_clean(host, strlen(host), SHOWN_CHARACTERS);
    char *longer = lap_format("%s%s%s", names, *names ? ", " : "", clean);
    free(clean);
    free(names);
    names = longer;
  }
  if (shown <= MOST_HOSTS) return names;
  char *cut = lap_format("%s, ...", names);
  free(names);
  return cut;
}

/* Of a run that went on from the state of another. */
static void report_parent(const json_t *parent, lap_report *report) {
  if (!json_is_object(parent)) return;
  const char *path = json_string_value(json_object_get(parent, "checkpoint"));
  if (!path) path = "?";
  char *checkpoint = lap_report_clean(path, strlen(path), PATH_CHARACTERS);
  char *state = text_of(parent, "state_sha256");
  const json_int_t step = json_integer_value(json_object_get(parent, "step"));
  lap_report_fact(
      report, "parent",
      json_pack("{s:s, s:I, s:s}", "checkpoint", checkpoint, "step", step, "state_sha256", state),
      "%s, step %" PRId64 ", state %.12s", checkpoint, (int64_t)step, state);
  free(checkpoint);
  free(state);
}

static void report_run_json(const json_t *run, lap_report *report) {
  const json_t *versions = json_object_get(run, "versions");
  const int64_t ranks = json_integer_value(json_object_get(run, "ranks"));
  const int64_t threads = json_integer_value(json_object_get(run, "threads"));
  char *started = text_of(run, "started"), *commit = text_of(run, "git_commit");
  char *lapidary = text_of(versions, "lapidary");
  char *blas = json_object_get(versions, "blas") ? text_of(versions, "blas") : NULL;
  char *hosts = host_names(json_object_get(run, "hosts"));
  lap_report_fact(report, "started", json_string(started), "%s", started);
  lap_report_json_only(report, "threads", json_integer(threads));
  lap_report_fact(report, "ranks", json_integer(ranks),
                  "%" PRId64 ", %" PRId64 " thread%s each, on %s", ranks, threads,
                  threads == 1 ? "" : "s", hosts);
  lap_report_json_only(report, "git_commit", json_string(commit));
  lap_report_fact(report, "lapidary", json_string(lapidary), "%s, commit %.12s%s%s", lapidary,
                  commit, blas ? ", " : "", blas ? blas : "");
  report_parent(json_object_get(run, "parent"), report);
  const size_t before = json_array_size(json_object_get(run, "previous"));
  if (before > 0)
    lap_report_fact(report, "resumed", json_integer((json_int_t)before), "%zu time%s", before,
                    before == 1 ? "" : "s");
  free(started);
  free(commit);
  free(lapidary);
  free(blas);
  free(hosts);
}

lap_code lap_inspect_run_json(const lap_inspector *inspector, const char *path, lap_report *report,
                              lap_status *status) {
  (void)inspector;
  json_t *run;
  LAP_TRY(lap_json_read_file(path, MOST_RUN_BYTES, &run, status));
  report_run_json(run, report);
  char *numbers = text_of(run, "numbers_sha256"), *started = text_of(run, "started");
  lap_report_text(report, "numbers_sha256", numbers);
  lap_report_summarise(report, "started %s", started);
  free(started);
  free(numbers);
  json_decref(run);
  return LAP_OK;
}

/* --- checkpoints --- */

typedef struct {
  const lap_inspector *inspector;
  const char *directory; /* with the step-* in it */
  lap_report *report;
  uint64_t newest_step; /* of the newest whole one */
  char *newest;         /* its path; NULL: none */
  size_t count, whole;
  lap_table *table; /* NULL: none */
  json_t *entries;
  lap_status first_problem; /* LAP_OK: none */
} checkpoint_list;

/* The message without the directory that the row is about, cut where it is long. */
static char *shorten(const char *message, const char *directory) {
  enum { MOST_CHARACTERS = 120 };
  const size_t length = strlen(directory);
  if (strncmp(message, directory, length) == 0 && message[length] == '/') message += length + 1;
  return lap_report_clean(message, strlen(message), MOST_CHARACTERS);
}

/* A run that goes on deletes old ones while the list is made. */
static bool is_gone(const char *path) {
  struct stat facts;
  return lstat(path, &facts) != 0 && errno == ENOENT;
}

/* One row; what is wrong with it does not end the list. */
static void inspect_one(checkpoint_list *list, const char *name) {
  lap_status problem = {0};
  lap_checkpoint *checkpoint = NULL;
  char *path = lap_format("%s/%s", list->directory, name);
  problem.code = lap_checkpoint_open(path, &checkpoint, &problem);
  if (problem.code == LAP_OK && list->inspector->check)
    problem.code = lap_inspect_verify_checkpoint(list->inspector, path, &problem);
  const bool whole = problem.code == LAP_OK;
  if (!whole && is_gone(path)) {
    --list->count;
    lap_checkpoint_close(checkpoint);
    free(path);
    return;
  }
  char *clean = whole ? NULL : shorten(problem.message, path);
  const char *state = checkpoint ? checkpoint->state_sha256 : "";
  char *short_state = lap_format("%.16s", *state ? state : "-");
  char *answer = whole ? lap_copy_string("yes") : lap_format("NO: %s", clean);
  const char *const cells[] = {name, short_state, answer};
  lap_table_add(list->table, cells);
  json_t *entry = json_pack("{s:s, s:b, s:s*}", "name", name, "whole", whole, "problem", clean);
  if (checkpoint) json_object_set_new(entry, "state_sha256", json_string(state));
  assert(checkpoint || !whole);
  if (whole && !list->newest) {
    list->newest = path;
    list->newest_step = checkpoint->step;
    path = NULL;
  }
  if (!whole && list->first_problem.code == LAP_OK) list->first_problem = problem;
  list->whole += whole;
  lap_checkpoint_close(checkpoint);
  json_array_append_new(list->entries, entry);
  free(answer);
  free(short_state);
  free(clean);
  free(path);
}

static void inspect_all(checkpoint_list *list, char **names) {
  static const char *const headers[] = {"checkpoint", "state_sha256", "whole"};
  lap_console *console = list->inspector->session->console;
  const bool bar = list->inspector->bar && list->inspector->check;
  list->table = lap_table_create(3, headers);
  list->entries = json_array();
  const size_t count = list->count;
  if (bar) lap_console_progress_begin(console, "check", "checkpoints", (int64_t)count, 0);
  for (size_t i = 0; i < count; ++i) {
    inspect_one(list, names[i]);
    if (bar) lap_console_progress(console, (int64_t)i + 1, "");
  }
  if (bar) lap_console_progress_end(console);
}

/* Hands the list over to the report. */
static void report_checkpoints(checkpoint_list *list, lap_report *report) {
  if (!list->table) return;
  lap_report_json_only(report, "checkpoints", list->entries);
  lap_report_verbatim(report, "\n");
  lap_report_table(report, list->table);
  list->table = NULL;
}

static lap_code inspect_checkpoints(checkpoint_list *list, lap_status *status) {
  if (!lap_file_exists(list->directory)) return LAP_OK;
  char **names;
  LAP_TRY(lap_checkpoint_list(list->directory, &names, &list->count, status));
  const size_t listed = list->count;
  if (listed > 0) inspect_all(list, names);
  lap_checkpoint_list_destroy(names, listed);
  return LAP_OK;
}

/* --- the run --- */

/* Of `schedule`, where the newest step stands. */
static void report_progress(const lap_config *config, const checkpoint_list *list,
                            lap_report *report) {
  const uint64_t tokens = lap_tokens_trained(config, list->newest_step);
  char human[LAP_HUMAN_TEXT];
  if (config->schedule.steps > 0)
    lap_report_fact(report, "step", json_integer((json_int_t)list->newest_step),
                    "%" PRIu64 " of %" PRId64 ", by the newest whole checkpoint", list->newest_step,
                    config->schedule.steps);
  else
    lap_report_count(report, "step", list->newest_step);
  if (tokens > 0)
    lap_report_fact(report, "tokens_trained", json_integer((json_int_t)tokens), "%s",
                    lap_human_count((double)tokens, human));
}

/* NULL in *config where there is none. */
static lap_code load_config(const char *path, lap_config **config, lap_status *status) {
  *config = NULL;
  char *file = lap_run_directory_path(path, "config.resolved.yaml");
  lap_code code = LAP_OK;
  if (lap_file_exists(file)) code = lap_config_load(file, NULL, 0, config, status);
  free(file);
  /* The user did not write this config: whatever is wrong with it is the directory's. */
  return code == LAP_OK ? LAP_OK : (status->code = LAP_DATA);
}

static lap_code report_records(const char *path, lap_report *report, lap_status *status) {
  char *run_json = lap_run_directory_path(path, "run.json");
  char *metrics = lap_run_directory_path(path, "metrics.jsonl");
  lap_code code = LAP_OK;
  if (lap_file_exists(run_json)) {
    json_t *run;
    code = lap_json_read_file(run_json, MOST_RUN_BYTES, &run, status);
    if (code == LAP_OK) report_run_json(run, report);
    json_decref(run);
  }
  lap_metrics_summary summary;
  if (code == LAP_OK && lap_file_exists(metrics) &&
      (code = lap_metrics_summarise(metrics, &summary, status)) == LAP_OK) {
    lap_metrics_report(&summary, report);
    lap_metrics_summary_release(&summary);
  }
  free(run_json);
  free(metrics);
  return code;
}

static void report_newest(const checkpoint_list *list, lap_report *report) {
  lap_checkpoint *checkpoint;
  lap_status ignored;
  if (!list->newest || lap_checkpoint_open(list->newest, &checkpoint, &ignored) != LAP_OK) return;
  lap_report_text(report, "newest", list->newest);
  lap_report_text(report, "state_sha256", checkpoint->state_sha256);
  lap_report_text(report, "numbers_sha256", checkpoint->numbers_sha256);
  lap_report_count(report, "applied_updates", checkpoint->applied_updates);
  lap_report_count(report, "writing_ranks", (uint64_t)checkpoint->writing_ranks);
  lap_checkpoint_close(checkpoint);
}

static lap_code report_run(const char *path, checkpoint_list *list, const lap_config *config,
                           lap_status *status) {
  lap_report *report = list->report;
  if (config) report_progress(config, list, report);
  const lap_code code = report_records(path, report, status);
  report_newest(list, report);
  if (config) lap_report_mesh(report, &config->mesh);
  report_checkpoints(list, report);
  lap_status ignored;
  if (config && lap_config_require(config, LAP_NEEDS_MODEL, &ignored) == LAP_OK)
    lap_report_model(report, &config->model);
  return code;
}

static lap_code inspect_run(const char *path, checkpoint_list *list, lap_status *status) {
  lap_config *config;
  LAP_TRY(inspect_checkpoints(list, status));
  if (list->count > 0)
    lap_report_summarise(list->report, "step %" PRIu64 ", %zu checkpoint%s, %zu whole",
                         list->newest_step, list->count, list->count == 1 ? "" : "s", list->whole);
  else
    lap_report_summarise(list->report, "no checkpoint yet");
  lap_code code = load_config(path, &config, status);
  if (code == LAP_OK) code = report_run(path, list, config, status);
  if (config) lap_config_destroy(config);
  report_checkpoints(list, list->report); /* where the report ended before it */
  if (code != LAP_OK || list->first_problem.code == LAP_OK || !list->inspector->check) return code;
  *status = list->first_problem;
  return status->code = LAP_DATA;
}

lap_code lap_inspect_run(const lap_inspector *inspector, const char *path, lap_report *report,
                         lap_status *status) {
  char *inside = lap_run_directory_path(path, "checkpoints");
  checkpoint_list list = {.inspector = inspector,
                          .report = report,
                          .directory = lap_file_exists(inside) ? inside : path};
  const lap_code code = inspect_run(path, &list, status);
  free(list.newest);
  free(inside);
  return code;
}
