/* tokenize: turns text files into token shards, with a share of them held out for evaluation.
 *
 * For people who prepare data, once for each corpus and tokenizer. It reads text files and a
 * SentencePiece model and writes shards into DIR/train and DIR/eval, which appear when all is done
 * (dataset/tokenize.h). Not collective: one process, without MPI.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "dataset/tokenize.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/text_flags.h"

static const lap_flag flags_of_tokenize[] = {
    {.name = "tokenizer",
     .value = "M.model",
     .offset = offsetof(lap_tokenize_options, tokenizer),
     .help = "the tokenizer to use"},
    {.name = "out",
     .value = "DIR",
     .offset = offsetof(lap_tokenize_options, out),
     .help = "writes DIR/train/*.h5 and, with a holdout, DIR/eval/*.h5"},
    {.name = "shard-tokens",
     .value = "N",
     .integer = {16, 1 << 30},
     .offset = offsetof(lap_tokenize_options, shard_tokens),
     .help = "tokens of a shard [1048576]"},
    {.name = "allow-unknown",
     .value = "F",
     .real = {0, 1},
     .offset = offsetof(lap_tokenize_options, allow_unknown),
     .help = "share of the tokens that may be unknown to a tokenizer without byte pieces [0.01]"},
    {0}};

static void print_side(const char *name, const lap_tokenize_side *side) {
  char tokens[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT];
  printf("%-6s %" PRIu64 " documents, %s tokens, %s of text, %" PRIu64 " shard%s\n", name,
         side->documents, lap_human_count((double)side->tokens, tokens),
         lap_human_bytes((double)side->bytes, bytes), side->shards, side->shards == 1 ? "" : "s");
}

static json_t *side_json(const lap_tokenize_side *side) {
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "documents", (json_int_t)side->documents,
                   "tokens", (json_int_t)side->tokens, "bytes", (json_int_t)side->bytes, "shards",
                   (json_int_t)side->shards, "unknown", (json_int_t)side->unknown,
                   "repeated_shards", (json_int_t)side->repeated);
}

static json_t *counts_json(const lap_tokenize_counts *counts) {
  return json_pack("{s:o, s:o, s:I, s:o}", "train", side_json(&counts->train), "eval",
                   side_json(&counts->eval), "block_bytes", (json_int_t)counts->block_bytes,
                   "findings", lap_text_findings_json(&counts->findings));
}

static void say_repeated(lap_console *console, const char *name, const lap_tokenize_side *side) {
  if (side->repeated == 0) return;
  lap_console_warn(console,
                   "%s: the text repeats itself: %" PRIu64
                   " shard%s had the tokens of another and %s left out, the first those of "
                   "tokens-%05" PRIu64 ".h5",
                   name, side->repeated, side->repeated == 1 ? "" : "s",
                   side->repeated == 1 ? "was" : "were", side->repeated_first);
}

static void say_counts(lap_console *console, const lap_tokenize_options *o,
                       const lap_tokenize_counts *counts) {
  lap_text_say_findings(console, &counts->findings);
  say_repeated(console, "train", &counts->train);
  say_repeated(console, "eval", &counts->eval);
  const uint64_t unknown = counts->train.unknown + counts->eval.unknown;
  const uint64_t tokens = counts->train.tokens + counts->eval.tokens;
  if (unknown > 0)
    lap_console_warn(console,
                     "%s has no byte pieces: %" PRIu64 " of %" PRIu64
                     " tokens (%.2g %%) are unknown to it",
                     o->tokenizer, unknown, tokens, 100 * (double)unknown / (double)tokens);
}

static lap_code tokenize(lap_tokenize_options *o, const lap_command_line *line,
                         lap_status *status) {
  if (!o->tokenizer || !o->out)
    return lap_fail(status, LAP_USAGE, "--tokenizer M.model and --out DIR are needed");
  lap_console *console = lap_console_create(lap_console_standard(line->quiet, false));
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, console);
  o->text.hook = &hook;
  lap_tokenize_counts counts;
  lap_code code = lap_tokenize(o, &counts, status);
  lap_step_progress_end(&progress);
  o->text.hook = NULL; /* which ends here */
  if (code == LAP_OK) say_counts(console, o, &counts);
  lap_console_destroy(console);
  LAP_TRY(code);
  if (line->json) {
    json_t *object = counts_json(&counts);
    code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  if (counts.block_bytes)
    printf("few documents: the text was cut into contiguous blocks of about %" PRIu64 " bytes\n",
           counts.block_bytes);
  print_side("train", &counts.train);
  if (o->text.holdout > 0) print_side("eval", &counts.eval);
  return LAP_OK;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  lap_tokenize_options o = {
      .text = lap_text_options(), .shard_tokens = LAP_SHARD_TOKENS, .allow_unknown = .01};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_tokenize,
                                     .destination = &o,
                                     .shared_flags = lap_text_flags,
                                     .shared_destination = &o.text};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  o.text.inputs = line.positional;
  o.text.input_count = line.positional_count;
  const lap_code code = tokenize(&o, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_tokenize = {.name = "tokenize",
                                          .summary = "turn text files into token shards",
                                          .usage = "--tokenizer M.model --out DIR TEXT...",
                                          .description =
                                              "A document becomes BOS text EOS. Shards are HDF5 "
                                              "files of a documented schema.\n\n" LAP_TEXT_INPUTS,
                                          .run = run};
