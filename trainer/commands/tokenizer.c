/* tokenizer: trains a SentencePiece tokenizer on text files.
 *
 * For people who start without one; Gemma's own tokenizer does as well. It reads text files, all of
 * them into memory, and writes M.model, with Gemma's special ids and byte pieces. The same input
 * gives the same bytes. Not collective: one process, without MPI.
 */
#include <stddef.h>
#include <stdio.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "dataset/tokenizer.h"
#include "trainer/cli/command.h"
#include "trainer/commands/entries.h"

typedef struct {
  int64_t vocab_size;
  const char *out;
} tokenizer_flags;

static const lap_flag flags_of_tokenizer[] = {
    {.name = "vocab-size",
     .value = "N",
     .integer = {264, 1 << 24},
     .offset = offsetof(tokenizer_flags, vocab_size),
     .help = "tokens of the vocabulary, byte tokens included"},
    {.name = "out",
     .value = "M.model",
     .offset = offsetof(tokenizer_flags, out),
     .help = "file to write"},
    {0}};

/* Alone at --out. */
static lap_code train_at(const tokenizer_flags *flags, const lap_command_line *line,
                         lap_status *status) {
  lap_directory_lock *lock;
  LAP_TRY(lap_output_lock_take(flags->out, false, &lock, status));
  const lap_code code =
      lap_file_exists(flags->out)
          ? lap_fail(status, LAP_USAGE, "%s: exists already; remove it or choose another --out",
                     flags->out)
          : lap_tokenizer_train(line->positional, line->positional_count,
                                (uint32_t)flags->vocab_size, flags->out, status);
  lap_directory_lock_release(lock);
  return code;
}

static lap_code train(const tokenizer_flags *flags, const lap_command_line *line,
                      lap_status *status) {
  if (!flags->out || !flags->vocab_size)
    return lap_fail(status, LAP_USAGE, "--vocab-size N and --out M.model are needed");
  LAP_TRY(train_at(flags, line, status));
  lap_tokenizer *tokenizer;
  LAP_TRY(lap_tokenizer_open(flags->out, &tokenizer, status));
  lap_code code = LAP_OK;
  if (line->json) {
    json_t *object = json_pack("{s:s, s:i, s:s}", "tokenizer", flags->out, "vocab_size",
                               (int)lap_tokenizer_vocab_size(tokenizer), "tokenizer_sha256",
                               lap_tokenizer_sha256(tokenizer));
    code = lap_command_print_json(object, status);
    json_decref(object);
  } else {
    printf("%s: %u tokens, tokenizer_sha256 %s\n", flags->out, lap_tokenizer_vocab_size(tokenizer),
           lap_tokenizer_sha256(tokenizer));
  }
  lap_tokenizer_close(tokenizer);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  tokenizer_flags flags = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = -1,
                                     .json = true,
                                     .flags = flags_of_tokenizer,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  const lap_code code = train(&flags, &line, status);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_tokenizer = {
    .name = "tokenizer",
    .summary = "train a SentencePiece tokenizer on text files",
    .usage = "--vocab-size N --out M.model TEXT...",
    .description =
        "BPE with byte fallback, split digits, identity normalisation, whitespace kept; "
        "pad 0, eos 1, bos 2, unk 3.",
    .run = run};
