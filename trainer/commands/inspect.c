/* inspect: what any file of lapidary is; with --check, whether it is whole.
 *
 * For people who were given a file, or whose disk was full. It reads token shards, caches,
 * checkpoints, run directories, Hugging Face directories, safetensors and GGUF files, tokenizers,
 * configs, run.json and metrics.jsonl, and writes nothing but its report: one path in full, several
 * in a line each. It runs alone: several ranks are refused.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/inspect/find.h"
#include "trainer/inspect/inspect.h"
#include "trainer/inspect/losses.h"
#include "trainer/inspect/survey.h"

typedef struct {
  const char *tokenizer, *tokens;
  bool check;
  int64_t jobs; /* 0: as many as are worth while */
} inspect_flags;

static const lap_flag flags_of_inspect[] = {
    {.name = "check",
     .offset = offsetof(inspect_flags, check),
     .help = "verify everything: all rows, all checksums, the state's hash"},
    {.name = "jobs",
     .value = "J",
     .integer = {1, 64},
     .offset = offsetof(inspect_flags, jobs),
     .help = "with --check, processes that look at files at once [one a core, as memory allows]"},
    {.name = "tokenizer",
     .value = "M.model",
     .offset = offsetof(inspect_flags, tokenizer),
     .help = "show tokens as text"},
    {.name = "tokens",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(inspect_flags, tokens),
     .help = "token shards, among them those of the caches: a path, folder or glob"},
    {0}};

/* --- the paths --- */

typedef struct {
  char **path;
  size_t count;
} path_list;

static lap_code add_argument(path_list *list, const char *argument, lap_status *status) {
  char **paths;
  size_t count;
  LAP_TRY(lap_inspect_paths(argument, &paths, &count, status));
  list->path = lap_reallocate(list->path, (int64_t)(list->count + count) + 1, sizeof *list->path);
  for (size_t i = 0; i < count; ++i) list->path[list->count++] = paths[i];
  free(paths);
  return LAP_OK;
}

/* --- one, in full; several, a line each --- */

static lap_code print_report(const lap_inspector *inspector, const lap_report *report, bool whole,
                             bool json, lap_status *status) {
  if (json) return lap_command_print_json(lap_report_json(report), status);
  if (!*lap_report_kind(report)) return LAP_OK;
  lap_report_print(report, stdout);
  if (inspector->check && whole) puts("\nchecked: whole");
  return lap_output_flush(status);
}

static lap_code inspect_one(const lap_inspector *inspector, const char *path, bool json,
                            lap_status *status) {
  lap_status printed = {0};
  lap_report *report = lap_report_create(path);
  const lap_code code = lap_inspect(inspector, path, report, status);
  printed.code = print_report(inspector, report, code == LAP_OK, json, &printed);
  lap_report_destroy(report);
  if (code != LAP_OK || printed.code == LAP_OK) return code;
  *status = printed;
  return printed.code;
}

typedef struct {
  lap_table *table;
  json_t *results;
  size_t problems;
  lap_status first;
} survey;

static void add_finding(const lap_inspector *inspector, const char *path,
                        const lap_survey_entry *found, survey *s) {
  const lap_code code = found->status.code;
  char *clean = lap_report_clean(path, strlen(path), 200);
  const char *answer = code != LAP_OK ? "PROBLEM" : inspector->check ? "whole" : "-";
  const char *const cells[] = {clean, found->kind, found->summary, answer};
  lap_table_add(s->table, cells);
  json_array_append(s->results, found->json);
  if (code != LAP_OK && s->problems++ == 0) s->first = found->status;
  if (code != LAP_OK && s->problems > 1)
    lap_console_warn(inspector->session->console, "%s", found->status.message);
  free(clean);
}

static void show_progress(void *console, int64_t looked_at) {
  lap_console_progress(console, looked_at, "");
}

static void show_nothing(void *console, int64_t looked_at) { (void)console, (void)looked_at; }

/* Looking without checking takes no time, and reads little of a file. */
static void look_at_all(const lap_inspector *inspector, const path_list *list, int64_t jobs,
                        survey *s) {
  lap_console *console = inspector->session->console;
  lap_survey_entry *findings = lap_allocate((int64_t)list->count, sizeof *findings);
  if (!inspector->check) jobs = 1;
  if (jobs == 0) jobs = lap_survey_jobs(list->path, list->count);
  if (inspector->check)
    lap_console_progress_begin(console, "check", "files", (int64_t)list->count, 0);
  lap_survey(inspector, list->path, list->count, (int)jobs,
             inspector->check ? show_progress : show_nothing, console, findings);
  if (inspector->check) lap_console_progress_end(console);
  for (size_t i = 0; i < list->count; ++i) add_finding(inspector, list->path[i], &findings[i], s);
  lap_survey_release(findings, list->count);
  free(findings);
}

/* Where several runs are among the paths. */
static void print_losses(const survey *s) {
  const char *best;
  lap_table *losses = lap_losses_table(s->results, &best);
  if (!losses) return;
  puts("\nlosses in nats/token");
  lap_table_print(losses, stdout);
  if (best) printf("lowest held-out: %s\n", best);
  lap_table_destroy(losses);
}

static lap_code print_survey(const lap_inspector *inspector, const survey *s, size_t count,
                             bool json, lap_status *status) {
  if (json) {
    json_t *object =
        json_pack("{s:O, s:I, s:b}", "results", s->results, "problems", (json_int_t)s->problems,
                  "checked", inspector->check && s->problems == 0);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  lap_table_print(s->table, stdout);
  print_losses(s);
  if (inspector->check && s->problems == 0) printf("\nchecked: all %zu are whole\n", count);
  return lap_output_flush(status);
}

static lap_code inspect_several(lap_inspector *inspector, const path_list *list, int64_t jobs,
                                bool json, lap_status *status) {
  static const char *const headers[] = {"path", "kind", "what", "check"};
  survey s = {.table = lap_table_create(4, headers), .results = json_array()};
  inspector->bar = false;
  look_at_all(inspector, list, jobs, &s);
  lap_code code = print_survey(inspector, &s, list->count, json, status);
  if (s.problems > 0) {
    *status = s.first;
    code = s.first.code;
    if (s.problems > 1)
      lap_fail_context(status, "%zu of %zu have problems; the first", s.problems, list->count);
  }
  lap_table_destroy(s.table);
  json_decref(s.results);
  return code;
}

/* --- the command --- */

static lap_code inspect_all(const lap_session *session, const lap_command_line *line,
                            void *destination, lap_status *status) {
  const inspect_flags *flags = destination;
  LAP_TRY(lap_session_alone(session, "inspect", status));
  lap_inspector inspector;
  LAP_TRY(lap_inspector_open(session, flags->tokenizer, flags->tokens, &inspector, status));
  inspector.check = flags->check;
  inspector.bar = true;
  path_list list = {0};
  lap_code code = LAP_OK;
  for (size_t i = 0; i < line->positional_count && code == LAP_OK; ++i)
    code = add_argument(&list, line->positional[i], status);
  if (code == LAP_OK && list.count == 1)
    code = inspect_one(&inspector, list.path[0], line->json, status);
  else if (code == LAP_OK)
    code = inspect_several(&inspector, &list, flags->jobs, line->json, status);
  lap_paths_release(list.path, list.count);
  lap_inspector_close(&inspector);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  inspect_flags flags = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_inspect,
                                     .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, inspect_all, status);
}

const lap_command lap_command_inspect = {
    .name = "inspect",
    .summary = "say what any of our files is; --check: verify everything of it",
    .usage = "PATH... [--check [--jobs J]] [--tokenizer M.model] [--tokens GLOB]",
    .description =
        "PATH is a token shard, a teacher cache, losses by document, a checkpoint or run "
        "directory, a Hugging Face directory, a safetensors or GGUF file, a tokenizer, a config, "
        "a suite or its directory, a hardware file, run.json or metrics.jsonl, a directory of "
        ".h5 files, or a glob of them. One path is shown in full, several get a line each (with "
        "--json: {\"results\": [...]}), and several runs a table of their losses. A cache is "
        "shown with its tokens where --tokens has its shard. --check ends with 3 where anything "
        "is damaged.",
    .run = run};
