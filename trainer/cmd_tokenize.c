/* lapidary tokenize: see DESIGN 7. */
#include <stdio.h>

#include "dataset/tokenize.h"
#include "trainer/command.h"
#include "trainer/commands.h"
#include "trainer/console.h"

enum { KEY_TOKENIZER = 1000, KEY_OUT, KEY_DOCUMENTS, KEY_HOLDOUT, KEY_SHARD_TOKENS, KEY_SEED };

static const struct argp_option options[] = {
    {"tokenizer", KEY_TOKENIZER, "M.model", 0, "the tokenizer to use", 0},
    {"out", KEY_OUT, "DIR", 0, "writes DIR/train/*.h5 and, with a holdout, DIR/eval/*.h5", 0},
    {"documents", KEY_DOCUMENTS, "HOW", 0,
     "what a document is: file, line, blank (blocks between blank lines) or jsonl:KEY [file]", 0},
    {"holdout", KEY_HOLDOUT, "F", 0,
     "share of the text held out for evaluation, by whole documents, or by contiguous blocks of "
     "64 KiB where there are few [0]",
     0},
    {"shard-tokens", KEY_SHARD_TOKENS, "N", 0, "tokens of a shard [1048576]", 0},
    {"seed", KEY_SEED, "N", 0, "which documents are held out [1]", 0},
    {0}};

static lap_code take(int key, const char *argument, void *destination, lap_status *status) {
  lap_tokenize_options *o = destination;
  int64_t integer = 0;
  switch (key) {
    case KEY_TOKENIZER:
      o->tokenizer = argument;
      return LAP_OK;
    case KEY_OUT:
      o->out = argument;
      return LAP_OK;
    case KEY_DOCUMENTS:
      o->documents = argument;
      return LAP_OK;
    case KEY_HOLDOUT:
      return lap_command_real("--holdout", argument, 0, 0.999, &o->holdout, status);
    case KEY_SEED:
      LAP_TRY(lap_command_integer("--seed", argument, 0, INT64_MAX, &integer, status));
      o->seed = (uint64_t)integer;
      return LAP_OK;
    default:
      LAP_TRY(lap_command_integer("--shard-tokens", argument, 16, 1 << 30, &integer, status));
      o->shard_tokens = (uint64_t)integer;
      return LAP_OK;
  }
}

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
                                     .options = options,
                                     .take = take,
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
