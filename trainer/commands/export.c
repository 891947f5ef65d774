/* export: a trained model for other programs: a Hugging Face directory, or a GGUF file.
 *
 * For people who want to use a model outside of lapidary. It reads a checkpoint, a run directory or
 * a Hugging Face directory, all weights into memory, and writes --out, which appears under its name
 * when it is whole. A model that the format cannot represent is refused. Not collective: one
 * process, without MPI.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"
#include "trainer/cli/human.h"
#include "trainer/commands/entries.h"
#include "trainer/export/export.h"

typedef struct {
  const char *name, *makes;
  lap_code (*write)(const lap_export_request *request, lap_export_report *report,
                    lap_status *status);
} export_format;

static const export_format formats[] = {
    {"hf", "a Hugging Face directory", lap_export_hf},
    {"gguf", "a GGUF file", lap_export_gguf},
};
enum { FORMATS = sizeof formats / sizeof *formats };

typedef struct {
  const char *format, *out;
  int64_t shard_bytes; /* 0: not given */
} export_flags;

static const int64_t SHARD_BYTES = INT64_C(5000000000);

static const lap_flag flags_of_export[] = {
    {.name = "format",
     .value = "FORMAT",
     .offset = offsetof(export_flags, format),
     .help = "hf: a directory for transformers; gguf: a file for llama.cpp"},
    {.name = "out",
     .value = "PATH",
     .offset = offsetof(export_flags, out),
     .help = "what to write; nothing may be there"},
    {.name = "shard-bytes",
     .value = "N",
     .integer = {1, INT64_MAX},
     .offset = offsetof(export_flags, shard_bytes),
     .help = "hf: weights of more bytes are spread over several files [5000000000]"},
    {0}};

static lap_code find_format(const char *name, const export_format **format, lap_status *status) {
  char known[64] = "";
  for (int i = 0; i < FORMATS; ++i) {
    if (strcmp(formats[i].name, name) == 0) {
      *format = &formats[i];
      return LAP_OK;
    }
    const size_t length = strlen(known);
    snprintf(known + length, sizeof known - length, "%s%s", i ? " or " : "", formats[i].name);
  }
  return lap_fail(status, LAP_USAGE, "--format: expected %s, found '%s'", known, name);
}

static lap_code check_flags(const export_flags *flags, const export_format **format,
                            lap_status *status) {
  if (!flags->format || !flags->out)
    return lap_fail(status, LAP_USAGE, "--format FORMAT and --out PATH are needed");
  LAP_TRY(find_format(flags->format, format, status));
  if (flags->shard_bytes && (*format)->write != lap_export_hf)
    return lap_fail(status, LAP_USAGE,
                    "--shard-bytes: of --format hf; a file of --format %s is always one",
                    (*format)->name);
  if (!lap_file_exists(flags->out)) return LAP_OK;
  return lap_fail(status, LAP_USAGE, "%s: exists; name a place where nothing is", flags->out);
}

static lap_code print_result(const export_format *format, const lap_model_source *model,
                             const char *out, const lap_export_report *report, bool json,
                             lap_status *status) {
  const int64_t parameters = lap_gemma2_embedding_parameters(&model->config->model) +
                             lap_gemma2_non_embedding_parameters(&model->config->model);
  if (json) {
    json_t *object = json_pack("{s:o, s:s, s:I, s:I, s:i}", "out", lap_json_path(out), "format",
                               format->name, "parameters", (json_int_t)parameters, "bytes",
                               (json_int_t)report->bytes, "files", report->files);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char count[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT];
  printf("%s: %s of %s parameters, %s of weights in %d file%s\n", out, format->makes,
         lap_human_count((double)parameters, count), lap_human_bytes((double)report->bytes, bytes),
         report->files, report->files == 1 ? "" : "s");
  return LAP_OK;
}

static lap_code export_model(const export_format *format, const export_flags *flags,
                             const lap_command_line *line, lap_console *console,
                             lap_status *status) {
  lap_model_source model;
  LAP_TRY(lap_model_open(line->positional[0], LAP_MODEL_FLOAT32, &model, status));
  if (model.notice) lap_console_warn(console, "%s", model.notice);
  char *out = lap_copy_string(flags->out);
  for (size_t end = strlen(out); end > 1 && out[end - 1] == '/'; --end) out[end - 1] = '\0';
  const lap_export_request request = {
      .model = &model,
      .out = out,
      .shard_bytes = flags->shard_bytes ? flags->shard_bytes : SHARD_BYTES};
  lap_export_report report;
  lap_code code = format->write(&request, &report, status);
  if (code == LAP_OK) code = print_result(format, &model, out, &report, line->json, status);
  free(out);
  lap_model_close(&model);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  export_flags flags = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_export,
                                     .destination = &flags};
  lap_command_line line;
  const export_format *format = NULL;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_directory_lock *lock = NULL;
  lap_code code = check_flags(&flags, &format, status);
  if (code == LAP_OK) code = lap_output_lock_take(flags.out, false, &lock, status);
  if (code == LAP_OK) {
    lap_console *console = lap_console_create(lap_console_standard(line.quiet, false));
    code = export_model(format, &flags, &line, console, status);
    lap_console_destroy(console);
  }
  lap_directory_lock_release(lock);
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_export = {
    .name = "export",
    .summary = "write a trained model for other programs",
    .usage = "CHECKPOINT --format hf|gguf --out PATH",
    .description =
        "CHECKPOINT is a checkpoint, a run directory (its newest whole checkpoint) or a Hugging "
        "Face directory. "
        "The result appears under its name when it is whole.",
    .run = run};
