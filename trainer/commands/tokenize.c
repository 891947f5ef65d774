/* lapidary tokenize: see docs/design.md#commands. */
#include <stddef.h>
#include <stdio.h>

#include "dataset/tokenize.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"
#include "trainer/commands/commands.h"

static const lap_flag flags_of_tokenize[] = {
    {.name = "tokenizer",
     .value = "M.model",
     .place = offsetof(lap_tokenize_options, tokenizer),
     .help = "the tokenizer to use"},
    {.name = "out",
     .value = "DIR",
     .place = offsetof(lap_tokenize_options, out),
     .help = "writes DIR/train/*.h5 and, with a holdout, DIR/eval/*.h5"},
    {.name = "documents",
     .value = "HOW",
     .place = offsetof(lap_tokenize_options, documents),
     .help =
         "what a document is: file, line, blank (blocks between blank lines) or jsonl:KEY [file]"},
    {.name = "holdout",
     .value = "F",
     .real = {0, 0.999},
     .place = offsetof(lap_tokenize_options, holdout),
     .help = "share of the text held out for evaluation, by whole documents, or by contiguous "
             "blocks of 64 KiB where there are few [0]"},
    {.name = "shard-tokens",
     .value = "N",
     .integer = {16, 1 << 30},
     .place = offsetof(lap_tokenize_options, shard_tokens),
     .help = "tokens of a shard [1048576]"},
    {.name = "seed",
     .value = "N",
     .integer = {0, INT64_MAX},
     .place = offsetof(lap_tokenize_options, seed),
     .help = "which documents are held out [1]"},
    {0}};

typedef struct {
  lap_console *console;
  bool started;
} progress_state;

static void show_progress(void *context, const lap_tokenize_counts *counts, uint64_t total_bytes) {
  progress_state *progress = context;
  if (total_bytes == 0) return;
  if (!progress->started)
    lap_console_progress_begin(progress->console, "tokenize", "bytes", (int64_t)total_bytes, 0);
  progress->started = true;
  char detail[48], tokens[LAP_HUMAN_TEXT];
  snprintf(detail, sizeof detail, "%s tokens",
           lap_human_count((double)(counts->train.tokens + counts->eval.tokens), tokens));
  const uint64_t done = counts->train.bytes + counts->eval.bytes;
  lap_console_progress(progress->console, (int64_t)(done < total_bytes ? done : total_bytes),
                       detail);
}

static void print_side(const char *name, const lap_tokenize_side *side) {
  char tokens[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT];
  printf("%-6s %llu documents, %s tokens, %s of text, %llu shard%s\n", name,
         (unsigned long long)side->documents, lap_human_count((double)side->tokens, tokens),
         lap_human_bytes((double)side->bytes, bytes), (unsigned long long)side->shards,
         side->shards == 1 ? "" : "s");
}

static json_t *side_json(const lap_tokenize_side *side) {
  return json_pack("{s:I, s:I, s:I, s:I}", "documents", (json_int_t)side->documents, "tokens",
                   (json_int_t)side->tokens, "bytes", (json_int_t)side->bytes, "shards",
                   (json_int_t)side->shards);
}

static lap_code tokenize(const lap_tokenize_options *o, const lap_command_line *line,
                         lap_status *status) {
  if (!o->tokenizer || !o->out)
    return lap_fail(status, LAP_USAGE, "--tokenizer M.model and --out DIR are needed");
  progress_state progress = {lap_console_create(lap_console_standard(line->quiet, false)), false};
  lap_tokenize_counts counts;
  lap_code code = lap_tokenize(o, show_progress, &progress, &counts, status);
  if (progress.started) lap_console_progress_end(progress.console);
  lap_console_destroy(progress.console);
  LAP_TRY(code);
  if (line->json) {
    json_t *object =
        json_pack("{s:o, s:o, s:I}", "train", side_json(&counts.train), "eval",
                  side_json(&counts.eval), "block_bytes", (json_int_t)counts.block_bytes);
    code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  if (counts.block_bytes)
    printf("few documents: the text was cut into contiguous blocks of about %llu bytes\n",
           (unsigned long long)counts.block_bytes);
  print_side("train", &counts.train);
  if (o->holdout > 0) print_side("eval", &counts.eval);
  return LAP_OK;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  lap_tokenize_options o = {.documents = "file", .shard_tokens = LAP_SHARD_TOKENS, .seed = 1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_tokenize,
                                     .destination = &o};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  o.texts = line.positional;
  o.text_count = line.positional_count;
  const lap_code code = tokenize(&o, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_tokenize = {
    .name = "tokenize",
    .summary = "turn text files into token shards",
    .usage = "--tokenizer M.model --out DIR TEXT...",
    .description = "A document becomes BOS text EOS. Shards are HDF5 files of a documented schema.",
    .run = run};
