#include "trainer/inspect/inspect.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "trainer/config/other_file.h"
#include "trainer/inspect/cache.h"
#include "trainer/inspect/checkpoint.h"
#include "trainer/inspect/config.h"
#include "trainer/inspect/documents.h"
#include "trainer/inspect/find.h"
#include "trainer/inspect/metrics.h"
#include "trainer/inspect/plans.h"
#include "trainer/inspect/run.h"
#include "trainer/inspect/tensors.h"
#include "trainer/inspect/tokens.h"
#include "trainer/model/source.h"

/* --- what a path is --- */

typedef struct {
  const char *path, *name; /* the name is its last component */
  bool is_directory, is_hdf5, is_gguf;
  char format[LAP_HDF5_TEXT]; /* the attribute of an HDF5 file; "" where it has none */
} subject;

static bool ends_with(const char *text, const char *ending) {
  const size_t length = strlen(text), tail = strlen(ending);
  return length >= tail && strcmp(text + length - tail, ending) == 0;
}

static bool is_hugging_face(const subject *s) {
  return s->is_directory && lap_model_is_hugging_face(s->path);
}
static bool is_checkpoint(const subject *s) {
  return s->is_directory && lap_inspect_is_checkpoint(s->path);
}
static bool is_manifest(const subject *s) {
  return !s->is_directory && !strcmp(s->name, "manifest.json");
}
static bool is_hint(const subject *s) { return !s->is_directory && !strcmp(s->name, "latest"); }
static bool is_run(const subject *s) { return s->is_directory && lap_inspect_is_run(s->path); }
static bool is_token_shard(const subject *s) { return !strcmp(s->format, "lapidary-tokens"); }
static bool is_cache(const subject *s) { return !strcmp(s->format, "lapidary-teacher"); }
static bool is_document_losses(const subject *s) {
  return !strcmp(s->format, LAP_INSPECT_LOSSES_FORMAT);
}
static bool is_gguf(const subject *s) {
  return s->is_gguf || (!s->is_directory && ends_with(s->name, ".gguf"));
}
static bool is_safetensors(const subject *s) {
  return !s->is_directory && ends_with(s->name, ".safetensors");
}
static bool is_tokenizer(const subject *s) {
  return !s->is_directory && !s->is_hdf5 && ends_with(s->name, ".model");
}
static bool is_config(const subject *s) {
  return !s->is_directory && (ends_with(s->name, ".yaml") || ends_with(s->name, ".yml"));
}
static bool is_suite(const subject *s) {
  return is_config(s) && lap_other_file_at(s->path) == LAP_OTHER_SUITE;
}
static bool is_hardware(const subject *s) {
  return (is_config(s) || (!s->is_directory && ends_with(s->name, ".json"))) &&
         lap_other_file_at(s->path) == LAP_OTHER_HARDWARE;
}
static bool is_run_json(const subject *s) {
  return !s->is_directory && !strcmp(s->name, "run.json");
}
static bool is_metrics(const subject *s) {
  return !s->is_directory && ends_with(s->name, ".jsonl");
}

static lap_code inspect_manifest(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status) {
  char *copy = lap_copy_string(path);
  const lap_code code = lap_inspect_checkpoint(inspector, dirname(copy), report, status);
  free(copy);
  return code;
}

typedef struct {
  const char *name, *sign; /* what it is known by */
  bool (*is)(const subject *s);
  lap_code (*inspect)(const lap_inspector *inspector, const char *path, lap_report *report,
                      lap_status *status);
} kind;

/* The first that fits. */
static const kind kinds[] = {
    {"Hugging Face directory", "a directory with config.json", is_hugging_face,
     lap_inspect_hugging_face},
    {"checkpoint", "a directory with manifest.json", is_checkpoint, lap_inspect_checkpoint},
    {"checkpoint", "its manifest.json", is_manifest, inspect_manifest},
    {"hint", "latest, beside checkpoints", is_hint, lap_inspect_hint},
    {"run directory", "a directory with checkpoints/, run.json or metrics.jsonl", is_run,
     lap_inspect_run},
    {"token shard", "HDF5 with format=\"lapidary-tokens\"", is_token_shard,
     lap_inspect_token_shard},
    {"teacher cache", "HDF5 with format=\"lapidary-teacher\"", is_cache, lap_inspect_cache},
    {"losses by document", "HDF5 with format=\"" LAP_INSPECT_LOSSES_FORMAT "\"", is_document_losses,
     lap_inspect_document_losses},
    {"GGUF file", "begins with GGUF", is_gguf, lap_inspect_gguf},
    {"safetensors file", "*.safetensors", is_safetensors, lap_inspect_safetensors},
    {"tokenizer", "a SentencePiece *.model", is_tokenizer, lap_inspect_tokenizer},
    {"suite", "*.yaml with arms", is_suite, lap_inspect_suite},
    {"hardware file", "*.yaml or *.json with sgemm_gflops or chip", is_hardware,
     lap_inspect_hardware},
    {"config", "*.yaml", is_config, lap_inspect_config},
    {"run.json", "run.json", is_run_json, lap_inspect_run_json},
    {"metrics", "*.jsonl", is_metrics, lap_inspect_metrics},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* A task of lap_hdf5_try; the result is the attribute [LAP_HDF5_TEXT]. An HDF5 file that cannot be
 * opened is damaged, whatever it was. */
static lap_code read_format(const void *path, void *format, lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_code code = LAP_OK;
  if (lap_hdf5_has_attribute(&file, "format"))
    code = lap_hdf5_read_string(&file, "format", format, LAP_HDF5_TEXT, status);
  lap_hdf5_close(&file);
  return code;
}

/* HDF5's signature is at the beginning or, behind a block of the user's own, at 512, 1024, 2048
 * and so on. */
static bool has_hdf5_signature(FILE *file) {
  static const char signature[] = "\x89HDF\r\n\x1a\n";
  char found[sizeof signature - 1];
  for (long at = 0; at <= LONG_MAX / 2; at = at ? 2 * at : 512) {
    if (fseek(file, at, SEEK_SET) != 0 || fread(found, 1, sizeof found, file) != sizeof found)
      return false;
    if (memcmp(found, signature, sizeof found) == 0) return true;
  }
  return false;
}

static lap_code examine(const char *path, subject *s, lap_status *status) {
  *s = (subject){.path = path, .name = lap_path_name(path)};
  struct stat facts;
  if (stat(path, &facts) != 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be examined: %s", path, strerror(errno));
  s->is_directory = S_ISDIR(facts.st_mode);
  if (s->is_directory) return LAP_OK;
  if (!S_ISREG(facts.st_mode))
    return lap_fail(status, LAP_DATA, "%s: is neither a regular file nor a directory", path);
  FILE *file = fopen(path, "re");
  if (!file) return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  char head[4] = "";
  s->is_gguf = fread(head, 1, sizeof head, file) == sizeof head && !memcmp(head, "GGUF", 4);
  s->is_hdf5 = has_hdf5_signature(file);
  fclose(file);
  if (s->is_hdf5) return lap_hdf5_try(path, read_format, path, s->format, sizeof s->format, status);
  if (ends_with(s->name, ".h5"))
    return lap_fail(status, LAP_DATA,
                    "%s: is not an HDF5 file (its first bytes are damaged, or "
                    "something else has this name)",
                    path);
  return LAP_OK;
}

static lap_code refuse(const subject *s, lap_status *status) {
  char *looked_for = lap_copy_string("");
  for (int i = 0; i < KINDS; ++i) {
    char *longer =
        lap_format("%s%s%s (%s)", looked_for, i ? "; " : "", kinds[i].name, kinds[i].sign);
    free(looked_for);
    looked_for = longer;
  }
  char *format = lap_report_clean(s->format, strlen(s->format), 40);
  lap_fail(status, LAP_DATA, "%s: is not a kind of file that lapidary knows%s%s%s; looked for: %s",
           s->path, s->is_hdf5 ? " (HDF5 with format=\"" : "", s->is_hdf5 ? format : "",
           s->is_hdf5 ? "\")" : "", looked_for);
  free(format);
  free(looked_for);
  return LAP_DATA;
}

static lap_code inspect(const lap_inspector *inspector, const char *path, lap_report *report,
                        lap_status *status) {
  subject s;
  LAP_TRY(examine(path, &s, status));
  for (int i = 0; i < KINDS; ++i) {
    if (!kinds[i].is(&s)) continue;
    lap_report_set_kind(report, kinds[i].name);
    return kinds[i].inspect(inspector, path, report, status);
  }
  return refuse(&s, status);
}

lap_code lap_inspect(const lap_inspector *inspector, const char *path, lap_report *report,
                     lap_status *status) {
  char *plain = lap_copy_string(path);
  for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; --end) plain[end - 1] = '\0';
  const lap_code code = inspect(inspector, plain, report, status);
  lap_report_end_section(report);
  if (code != LAP_OK)
    lap_report_problem(report, status->message);
  else if (inspector->check)
    lap_report_json_only(report, "checked", json_true());
  free(plain);
  return code;
}
