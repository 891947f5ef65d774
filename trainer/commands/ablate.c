/* ablate: many runs from one suite file: arms of a config over several seeds, with all they need.
 *
 * For people who ask whether a change helps. It reads a suite (docs/ablations.md), makes tokenizer,
 * shards, teacher and caches, trains and evaluates every run, each as a child process, and keeps
 * what is done. Not collective: one process, which starts ranks itself where the suite asks for
 * them.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/parse_number.h"
#include "trainer/ablate/ablate.h"
#include "trainer/ablate/dry_run.h"
#include "trainer/ablate/sbatch.h"
#include "trainer/ablate/suite_read.h"
#include "trainer/cli/command.h"
#include "trainer/commands/entries.h"

typedef struct {
  const char *out, *hardware, *part, *sbatch;
  int64_t jobs;
  bool dry_run, smoke;
} ablate_flags;

static const lap_flag flags_of_ablate[] = {
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(ablate_flags, out),
     .help = "directory of the suite; one process at a time works in it"},
    {.name = "dry-run",
     .offset = offsetof(ablate_flags, dry_run),
     .help = "check all configs, print every run with its hours and the size of the caches, write "
             "nothing"},
    {.name = "hardware",
     .value = "H.yaml",
     .offset = offsetof(ablate_flags, hardware),
     .help = "with --dry-run: predict hours on it: from doctor --json"},
    {.name = "jobs",
     .value = "J",
     .integer = {1, 1024},
     .offset = offsetof(ablate_flags, jobs),
     .help = "steps of one rank that run beside each other, in each job of --sbatch too [1]"},
    {.name = "part",
     .value = "shared|N",
     .offset = offsetof(ablate_flags, part),
     .help = "do what the runs share, or only run N of them, counted from 0 seed by seed: for "
             "jobs of a queue [all]"},
    {.name = "sbatch",
     .value = "OPTIONS",
     .may_be_empty = true,
     .offset = offsetof(ablate_flags, sbatch),
     .help = "submit it to Slurm: a job for what the runs share, an array of the runs, a job for "
             "what is left; OPTIONS are words for each sbatch"},
    {.name = "smoke",
     .offset = offsetof(ablate_flags, smoke),
     .help = "the same suite in minutes: fewer seeds and steps, less text, marked as smoke"},
    {0}};

/* Ranks are its own to start. */
static lap_code check_alone(lap_status *status) {
  const char *size = getenv("OMPI_COMM_WORLD_SIZE");
  if (!size || atoi(size) == 1) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "ablate is started once, without mpirun: it starts ranks itself, as many as "
                  "`ranks` of the suite says");
}

static lap_code read_part(const char *text, int64_t *part, lap_status *status) {
  *part = text ? LAP_PART_SHARED : LAP_PART_WHOLE;
  if (!text || !strcmp(text, "shared")) return LAP_OK;
  if (lap_number_read_integer(text, part) && *part >= 0) return LAP_OK;
  return lap_fail(status, LAP_USAGE, "--part: expected shared or the number of a run, found '%s'",
                  text);
}

static lap_code submit(const lap_suite *suite, const ablate_flags *flags,
                       const lap_command_line *line, lap_status *status) {
  json_t *costs, *jobs;
  LAP_TRY(lap_dry_run(suite, flags->out, NULL, &costs, status)); /* every config is checked */
  json_decref(costs);
  LAP_TRY(lap_sbatch_submit(suite, line->positional[0], flags->out, flags->sbatch, flags->jobs,
                            &jobs, status));
  lap_code code = LAP_OK;
  if (line->json)
    code = lap_command_print_json(jobs, status);
  else
    printf("%s: submitted as jobs %s (shared), %s (runs), %s (rest); what they say is in %s/jobs\n",
           flags->out, json_string_value(json_object_get(jobs, "shared")),
           json_string_value(json_object_get(jobs, "runs")),
           json_string_value(json_object_get(jobs, "rest")), flags->out);
  json_decref(jobs);
  return code;
}

static lap_code run_suite(const lap_suite *suite, const ablate_flags *flags,
                          const lap_command_line *line, lap_status *status) {
  lap_console *console = lap_console_create(lap_console_standard(line->quiet, false));
  const lap_execute_options options = {.console = console,
                                       .jobs = (int)flags->jobs,
                                       .ranks = (int)suite->ranks,
                                       .launcher = suite->launcher};
  json_t *result = NULL;
  int64_t part;
  lap_code code = read_part(flags->part, &part, status);
  if (code == LAP_OK) code = lap_ablate(suite, flags->out, part, &options, &result, status);
  lap_console_destroy(console);
  if (code == LAP_OK && line->json)
    code = lap_command_print_json(result, status);
  else if (code == LAP_OK)
    printf("%s: %d runs, %d done, %d diverged\n", flags->out,
           (int)json_integer_value(json_object_get(result, "runs")),
           (int)json_integer_value(json_object_get(result, "done")),
           (int)json_integer_value(json_object_get(result, "diverged")));
  json_decref(result);
  return code;
}

static lap_code ablate(const ablate_flags *flags, const lap_command_line *line,
                       lap_status *status) {
  LAP_TRY(check_alone(status));
  if (!flags->out) return lap_fail(status, LAP_USAGE, "--out DIR is needed");
  if (strchr(flags->out, ',')) /* which would part the paths of several shards or caches */
    return lap_fail(status, LAP_USAGE, "--out: expected a path without a comma, found '%s'",
                    flags->out);
  if (flags->hardware && !flags->dry_run)
    return lap_fail(status, LAP_USAGE, "--hardware predicts hours with --dry-run");
  if (flags->part && (flags->dry_run || flags->sbatch))
    return lap_fail(status, LAP_USAGE,
                    "--part does a part of the suite now: leave out %s, which is of the whole",
                    flags->dry_run ? "--dry-run" : "--sbatch");
  lap_suite suite;
  LAP_TRY(lap_suite_load(line->positional[0], flags->smoke, &suite, status));
  lap_code code;
  if (flags->dry_run) {
    json_t *costs = NULL;
    code = lap_dry_run(&suite, flags->out, flags->hardware, &costs, status);
    if (code == LAP_OK && line->json)
      code = lap_command_print_json(costs, status);
    else if (code == LAP_OK)
      lap_dry_run_print(costs);
    json_decref(costs);
  } else if (flags->sbatch) {
    code = submit(&suite, flags, line, status);
  } else {
    code = run_suite(&suite, flags, line, status);
  }
  lap_suite_release(&suite);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  ablate_flags flags = {.jobs = 1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_ablate,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  const lap_code code = ablate(&flags, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_ablate = {
    .name = "ablate",
    .summary =
        "train and evaluate the arms of a suite over several seeds; killed anywhere it goes "
        "on",
    .usage = "SUITE.yaml --out DIR",
    .description =
        "A suite names a base config, a corpus, a teacher, seeds, and arms that change some keys. "
        "Tokenizer, shards, teacher and caches are made once and shared; what is done is never "
        "done "
        "again; a changed suite runs again only what changed. `lapidary report DIR` compares the "
        "arms.",
    .run = run};
