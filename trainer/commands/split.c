/* split: documents of a text into train, dev and test, near-duplicates taken out first.
 *
 * For people who compare models, and the first step of `ablate`: held-out text must not be in the
 * training text, not even with a few words changed. It reads text files and writes JSON lines that
 * `tokenizer` and `tokenize` read with --documents jsonl:text. Not collective: one process, without
 * MPI.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/paths.h"
#include "dataset/divide.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/text_flags.h"

typedef struct {
  const char *out, *documents, *apart;
  double dev, test, near_duplicates;
  int64_t seed, limit;
  bool strict;
} split_flags;

static const lap_flag flags_of_split[] = {
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(split_flags, out),
     .help = "writes DIR/train.jsonl, DIR/dev.jsonl and DIR/test.jsonl; none may be there"},
    {.name = "documents",
     .value = "HOW",
     .offset = offsetof(split_flags, documents),
     .help = "what a document is: file, line, blank (blocks between blank lines) or jsonl:KEY "
             "[file]"},
    {.name = "dev",
     .value = "F",
     .real = {0, 0.999},
     .offset = offsetof(split_flags, dev),
     .help = "share of the text for tuning, by whole documents [0.05]"},
    {.name = "test",
     .value = "F",
     .real = {0, 0.999},
     .offset = offsetof(split_flags, test),
     .help = "share of the text for the final comparison, likewise [0.05]"},
    {.name = "near-duplicates",
     .value = "J",
     .real = {0, 1},
     .offset = offsetof(split_flags, near_duplicates),
     .help =
         "leave out documents whose 5-word shingles (5 characters of scripts without spaces, as "
         "Chinese) agree so much with those of an earlier one (Jaccard index, estimated by "
         "MinHash), 0.5 to 1; of pairs whose index is J half are "
         "found, of J + 0.1 at least 97 %, of J - 0.1 at most 3 %; 0: leave out none [0.8]"},
    {.name = "apart",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(split_flags, apart),
     .help = "other held-out text, JSON lines with \"text\" as split writes them: what is a "
             "near-duplicate of it is left out as well"},
    {.name = "limit",
     .value = "BYTES",
     .integer = {0, INT64_MAX},
     .offset = offsetof(split_flags, limit),
     .help =
         "use only the documents that begin within the first so many bytes of text; 0: all [0]"},
    {.name = "seed",
     .value = "N",
     .integer = {0, INT64_MAX},
     .offset = offsetof(split_flags, seed),
     .help = "which documents are held out [1]"},
    {.name = "strict",
     .offset = offsetof(split_flags, strict),
     .help = "stop at the first thing that is wrong in the text, with exit code 3"},
    {0}};

static lap_code print_result(const lap_divide_counts *counts, bool as_json, lap_status *status) {
  if (!as_json) {
    for (int side = 0; side < LAP_SIDES; ++side) {
      char bytes[LAP_HUMAN_TEXT];
      if (counts->side[side].documents == 0) continue;
      printf("%-6s %" PRIu64 " documents, %s of text\n", lap_side_name((lap_side)side),
             counts->side[side].documents,
             lap_human_bytes((double)counts->side[side].bytes, bytes));
    }
    printf("near-duplicates left out: %" PRIu64 "\n", counts->repeated);
    return LAP_OK;
  }
  json_t *object = json_object();
  for (int side = 0; side < LAP_SIDES; ++side)
    json_object_set_new(
        object, lap_side_name((lap_side)side),
        json_pack("{s:I, s:I}", "documents", (json_int_t)counts->side[side].documents, "bytes",
                  (json_int_t)counts->side[side].bytes));
  json_object_set_new(object, "near_duplicates", json_integer((json_int_t)counts->repeated));
  json_object_set_new(object, "near_duplicate_bytes",
                      json_integer((json_int_t)counts->repeated_bytes));
  json_object_set_new(object, "beyond_limit", json_integer((json_int_t)counts->beyond));
  json_object_set_new(object, "findings", lap_text_findings_json(&counts->findings));
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* Alone at --out. */
static lap_code divide_at(lap_divide_options *o, const char *apart, lap_divide_counts *counts,
                          lap_status *status) {
  char **paths = NULL;
  size_t count = 0;
  if (apart) LAP_TRY(lap_paths_find(apart, ".jsonl", &paths, &count, status));
  o->apart = (const char *const *)paths;
  o->apart_count = count;
  const bool was_there = lap_file_exists(o->out);
  lap_directory_lock *lock = NULL;
  lap_code code = lap_output_lock_take(o->out, true, &lock, status);
  if (code == LAP_OK) code = lap_divide(o, counts, status);
  lap_directory_lock_release(lock);
  if (code != LAP_OK && !was_there) (void)rmdir(o->out); /* where the lock was all in it */
  if (paths) lap_paths_release(paths, count);
  return code;
}

static lap_code split(const split_flags *flags, const lap_command_line *line, lap_status *status) {
  if (!flags->out) return lap_fail(status, LAP_USAGE, "--out DIR is needed");
  lap_console *console = lap_console_create(lap_console_standard(line->quiet, false));
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, console);
  lap_divide_options o = {.text = {.inputs = line->positional,
                                   .input_count = line->positional_count,
                                   .documents = flags->documents,
                                   .seed = (uint64_t)flags->seed,
                                   .strict = flags->strict,
                                   .hook = &hook},
                          .dev = flags->dev,
                          .test = flags->test,
                          .near_duplicates = flags->near_duplicates,
                          .limit = (uint64_t)flags->limit,
                          .out = flags->out};
  lap_divide_counts counts;
  const lap_code code = divide_at(&o, flags->apart, &counts, status);
  lap_step_progress_end(&progress);
  if (code == LAP_OK) lap_text_say_findings(console, &counts.findings);
  lap_console_destroy(console);
  LAP_TRY(code);
  return print_result(&counts, line->json, status);
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  split_flags flags = {.dev = .05, .test = .05, .near_duplicates = .8, .seed = 1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_split,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  const lap_code code = split(&flags, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_split = {
    .name = "split",
    .summary = "documents of a text into train, dev and test, without near-duplicates",
    .usage = "--out DIR TEXT...",
    .description =
        "Whole documents, one a line, as {\"file\": N, \"text\": \"...\"}, N counting the files. "
        "tokenizer and tokenize read them "
        "with --documents jsonl:text.\n\n" LAP_TEXT_INPUTS
        "\n\nsplit reads the text several times: standard input and pipes are refused.",
    .run = run};
