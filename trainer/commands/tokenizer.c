/* tokenizer: trains a SentencePiece tokenizer on text files.
 *
 * For people who start without one; Gemma's own tokenizer does as well. It reads the texts that
 * `tokenize` reads, without what `tokenize --holdout` holds out, and writes M.model, with Gemma's
 * special ids and byte pieces. The same input gives the same bytes. Not collective: one process,
 * without MPI.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/directory_lock.h"
#include "core/file.h"
#include "core/json.h"
#include "dataset/tokenizer.h"
#include "dataset/tokenizer_train.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/text_flags.h"

typedef struct {
  int64_t vocab_size;
  const char *out, *sample;
  double character_coverage;
} tokenizer_flags;

static const lap_flag flags_of_tokenizer[] = {
    {.name = "vocab-size",
     .value = "N",
     .integer = {269, 1 << 20},
     .offset = offsetof(tokenizer_flags, vocab_size),
     .help = "tokens of the vocabulary, byte tokens included"},
    {.name = "out",
     .value = "M.model",
     .offset = offsetof(tokenizer_flags, out),
     .help = "file to write"},
    {.name = "sample",
     .value = "BYTES",
     .offset = offsetof(tokenizer_flags, sample),
     .help = "learn from so much text at most, e.g. 200M, drawn at random from all of it, which "
             "bounds memory and time [all]"},
    {.name = "character-coverage",
     .value = "F",
     .real = {0.01, 1},
     .offset = offsetof(tokenizer_flags, character_coverage),
     .help = "share of the text whose characters become tokens; the others are spelled in bytes "
             "[0.9995, or what fits]"},
    {0}};

/* "200M", "1.5GiB", "5e6": bytes, at least one. */
static lap_code read_bytes(const char *text, uint64_t *bytes, lap_status *status) {
  static const char prefixes[] = "kMGT";
  char *end;
  double value = strtod(text, &end);
  const bool number = end > text;
  const char *prefix = *end ? strchr(prefixes, *end == 'K' ? 'k' : *end) : NULL;
  const bool binary = prefix && end[1] == 'i';
  for (long i = prefix ? prefix - prefixes + 1 : 0; i > 0; --i) value *= binary ? 1024 : 1000;
  if (prefix) end += 1 + binary;
  end += *end == 'B' && !(prefix && binary && end[-1] != 'i');
  if (number && *end == '\0' && value >= 1 && value < 9e18) {
    *bytes = (uint64_t)value;
    return LAP_OK;
  }
  return lap_fail(status, LAP_USAGE,
                  "--sample: expected a number of bytes, e.g. 200M or 1.5GiB, found '%s'", text);
}

static void say_report(lap_console *console, const tokenizer_flags *flags,
                       const lap_tokenizer_report *report, double seconds) {
  char bytes[LAP_HUMAN_TEXT], of[LAP_HUMAN_TEXT], elapsed[LAP_HUMAN_TEXT];
  lap_text_say_findings(console, &report->findings);
  lap_human_bytes((double)report->bytes, bytes);
  if (report->sampled_of)
    lap_console_say(console, "a sample: %s of %s of text", bytes,
                    lap_human_bytes((double)report->sampled_of, of));
  if (report->coverage_lowered)
    lap_console_warn(console,
                     "the text has %" PRIu64 " different characters, too many for %" PRId64
                     " tokens: the %" PRIu64
                     " most frequent (%.2f %% of the text) are tokens, the "
                     "others are spelled in bytes; a larger --vocab-size holds more",
                     report->characters, flags->vocab_size, report->character_pieces,
                     100 * report->coverage);
  lap_console_say(console,
                  "learned from %s of text: %" PRIu64 " different words, %" PRIu64 " of %" PRIu64
                  " characters; %s",
                  bytes, report->words, report->character_pieces, report->characters,
                  lap_human_seconds(seconds, elapsed));
}

static lap_code print_result(const char *out, const lap_tokenizer_report *report, bool as_json,
                             lap_status *status) {
  lap_tokenizer *tokenizer;
  LAP_TRY(lap_tokenizer_open(out, &tokenizer, status));
  lap_code code = LAP_OK;
  if (as_json) {
    json_t *object =
        json_pack("{s:o, s:i, s:s, s:I, s:I, s:I, s:I, s:f, s:o}", "tokenizer", lap_json_path(out),
                  "vocab_size", (int)lap_tokenizer_vocab_size(tokenizer), "tokenizer_sha256",
                  lap_tokenizer_sha256(tokenizer), "bytes", (json_int_t)report->bytes, "words",
                  (json_int_t)report->words, "characters", (json_int_t)report->characters,
                  "character_pieces", (json_int_t)report->character_pieces, "character_coverage",
                  report->coverage, "findings", lap_text_findings_json(&report->findings));
    code = lap_command_print_json(object, status);
    json_decref(object);
  } else {
    printf("%s: %u tokens, tokenizer_sha256 %s\n", out, lap_tokenizer_vocab_size(tokenizer),
           lap_tokenizer_sha256(tokenizer));
  }
  lap_tokenizer_close(tokenizer);
  return code;
}

/* Alone at --out. */
static lap_code train_at(const lap_tokenizer_training *training, lap_tokenizer_report *report,
                         lap_status *status) {
  lap_directory_lock *lock;
  LAP_TRY(lap_output_lock_take(training->out, false, &lock, status));
  const lap_code code =
      lap_file_exists(training->out)
          ? lap_fail(status, LAP_USAGE, "%s: exists already; remove it or choose another --out",
                     training->out)
          : lap_tokenizer_train(training, report, status);
  lap_directory_lock_release(lock);
  return code;
}

static lap_code train(const tokenizer_flags *flags, lap_split_options *text,
                      const lap_command_line *line, lap_status *status) {
  if (!flags->out || !flags->vocab_size)
    return lap_fail(status, LAP_USAGE, "--vocab-size N and --out M.model are needed");
  lap_tokenizer_training training = {.text = *text,
                                     .vocab_size = (uint32_t)flags->vocab_size,
                                     .character_coverage = flags->character_coverage,
                                     .out = flags->out};
  if (flags->sample) LAP_TRY(read_bytes(flags->sample, &training.sample_bytes, status));
  lap_console *console = lap_console_create(lap_console_standard(line->quiet, false));
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, console);
  training.text.hook = &hook;
  const double begun = lap_clock_seconds();
  lap_tokenizer_report report;
  const lap_code code = train_at(&training, &report, status);
  lap_step_progress_end(&progress);
  if (code == LAP_OK) say_report(console, flags, &report, lap_clock_seconds() - begun);
  lap_console_destroy(console);
  LAP_TRY(code);
  return print_result(flags->out, &report, line->json, status);
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  tokenizer_flags flags = {0};
  lap_split_options text = lap_text_options();
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_tokenizer,
                                     .destination = &flags,
                                     .shared_flags = lap_text_flags,
                                     .shared_destination = &text};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  text.inputs = line.positional;
  text.input_count = line.positional_count;
  const lap_code code = train(&flags, &text, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_tokenizer = {
    .name = "tokenizer",
    .summary = "train a SentencePiece tokenizer on text files",
    .usage = "--vocab-size N --out M.model TEXT...",
    .description =
        "BPE with byte fallback, split digits, identity normalisation, whitespace kept; "
        "pad 0, eos 1, bos 2, unk 3. Give it the --documents, --holdout and --seed of tokenize, "
        "and it does not learn from what is held out.\n\n" LAP_TEXT_INPUTS,
    .run = run};
