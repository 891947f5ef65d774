#include "trainer/inspect/checkpoint.h"

#include <dirent.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/cli/human.h"
#include "trainer/inspect/model.h"
#include "trainer/model/source.h"
#include "trainer/state/hash.h"

/* Bytes and number of the files of a directory. */
static double measure_directory(const char *path, int *files) {
  double bytes = 0;
  *files = 0;
  DIR *open = opendir(path);
  if (!open) return 0;
  for (const struct dirent *entry; (entry = readdir(open));) {
    struct stat facts;
    if (fstatat(dirfd(open), entry->d_name, &facts, 0) != 0 || !S_ISREG(facts.st_mode)) continue;
    bytes += (double)facts.st_size;
    ++*files;
  }
  closedir(open);
  return bytes;
}

static void report_bytes(const char *path, lap_report *report) {
  int files;
  char human[LAP_HUMAN_TEXT];
  const double bytes = measure_directory(path, &files);
  lap_report_fact(report, "bytes", json_integer((json_int_t)bytes), "%s in %d files",
                  lap_human_bytes(bytes, human), files);
}

static void report_manifest(const lap_checkpoint *c, lap_report *report) {
  lap_report_fact(report, "checkpoint_kind", json_string(c->full ? "full" : "weights"), "%s",
                  c->full ? "full: a run can resume from it"
                          : "weights only: a run can start from it with init");
  lap_report_count(report, "step", c->step);
  lap_report_count(report, "applied_updates", c->applied_updates);
  if (c->bad_steps > 0) lap_report_count(report, "bad_steps", c->bad_steps);
  if (c->full) {
    lap_report_text(report, "state_sha256", c->state_sha256);
    lap_report_text(report, "numbers_sha256", c->numbers_sha256);
  }
  lap_report_count(report, "writing_ranks", (uint64_t)c->writing_ranks);
  report_bytes(c->path, report);
}

static lap_code report_tokenizer(const lap_model_source *source, lap_report *report,
                                 lap_status *status) {
  if (!source->tokenizer_path) {
    lap_report_fact(report, "tokenizer_sha256", json_null(), "no tokenizer in it");
    return LAP_OK;
  }
  char hex[LAP_SHA256_HEX];
  LAP_TRY(lap_sha256_file(source->tokenizer_path, hex, status));
  lap_report_text(report, "tokenizer_sha256", hex);
  return LAP_OK;
}

static lap_code report_content(const lap_model_source *source, lap_report *report,
                               lap_status *status) {
  const lap_checkpoint *c = source->checkpoint;
  report_manifest(c, report);
  const uint64_t tokens = lap_tokens_trained(source->config, c->step);
  if (tokens > 0) lap_report_count(report, "tokens_trained", tokens);
  lap_report_mesh(report, &source->config->mesh);
  LAP_TRY(report_tokenizer(source, report, status));
  lap_report_model(report, &source->config->model);
  return LAP_OK;
}

/* Loading reads all pieces, compares checksums and tensors, and hashes the state. */
static lap_code verify(const lap_inspector *inspector, lap_model_source *source,
                       lap_status *status) {
  if (!source->checkpoint->full) return lap_checkpoint_verify(source->checkpoint, status);
  lap_comm *comm = inspector->session->comm;
  const lap_mesh mesh = {1, lap_comm_size(comm), source->checkpoint->model_shards};
  lap_placement placement;
  LAP_TRY(lap_placement_create(&mesh, 0, LAP_SHARDING_OPTIMIZER, comm, &placement, status));
  lap_state *state = lap_state_create(&source->config->model, &placement, LAP_STATE_TRAINING);
  const lap_code code = lap_checkpoint_load(source->checkpoint, state, status);
  lap_state_destroy(state);
  return code;
}

/* Opens what has the name of a checkpoint; refuses a Hugging Face directory of that name. */
static lap_code open_checkpoint(const char *path, lap_model_source *source, lap_status *status) {
  LAP_TRY(lap_model_open(path, LAP_MODEL_NO_WEIGHTS, source, status));
  if (source->checkpoint) return LAP_OK;
  lap_model_close(source);
  return lap_fail(status, LAP_DATA, "%s: expected a checkpoint, found a Hugging Face directory",
                  path);
}

lap_code lap_inspect_verify_checkpoint(const lap_inspector *inspector, const char *path,
                                       lap_status *status) {
  lap_model_source source;
  LAP_TRY(open_checkpoint(path, &source, status));
  const lap_code code = verify(inspector, &source, status);
  lap_model_close(&source);
  return code;
}

lap_code lap_inspect_checkpoint(const lap_inspector *inspector, const char *path,
                                lap_report *report, lap_status *status) {
  lap_model_source source;
  LAP_TRY(open_checkpoint(path, &source, status));
  const lap_checkpoint *c = source.checkpoint;
  lap_report_summarise(report, "%s, step %" PRIu64 "%s%.12s", c->full ? "full" : "weights", c->step,
                       c->full ? ", state " : "", c->state_sha256);
  lap_code code = report_content(&source, report, status);
  if (code == LAP_OK && inspector->check) {
    if (inspector->bar)
      lap_console_say(inspector->session->console, "check: reading all of %s", c->path);
    code = verify(inspector, &source, status);
  }
  lap_model_close(&source);
  return code;
}

lap_code lap_inspect_hugging_face(const lap_inspector *inspector, const char *path,
                                  lap_report *report, lap_status *status) {
  lap_model_source source;
  char human[LAP_HUMAN_TEXT];
  if (inspector->check && inspector->bar)
    lap_console_say(inspector->session->console, "check: reading all of %s", path);
  LAP_TRY(lap_model_open(path, inspector->check ? LAP_MODEL_FLOAT32 : LAP_MODEL_NO_WEIGHTS, &source,
                         status));
  const lap_gemma2_config *model = &source.config->model;
  const int64_t parameters =
      lap_gemma2_embedding_parameters(model) + lap_gemma2_non_embedding_parameters(model);
  lap_report_summarise(report, "Gemma 2, %s parameters",
                       lap_human_count((double)parameters, human));
  report_bytes(path, report);
  const lap_code code = report_tokenizer(&source, report, status);
  if (code == LAP_OK) lap_report_model(report, model);
  lap_model_close(&source);
  return code;
}

lap_code lap_inspect_hint(const lap_inspector *inspector, const char *path, lap_report *report,
                          lap_status *status) {
  enum { MOST_BYTES = 64 };
  (void)inspector;
  char *text;
  LAP_TRY(lap_file_read(path, MOST_BYTES, &text, NULL, status));
  text[strcspn(text, "\n")] = '\0';
  char *copy = lap_copy_string(path), *named = lap_format("%s/%s", dirname(copy), text);
  char *clean = lap_report_clean(text, strlen(text), MOST_BYTES);
  lap_report_summarise(report, "%s", clean);
  lap_report_text(report, "names", clean);
  lap_code code = LAP_OK;
  if (!lap_checkpoint_is_step(text, NULL) || !lap_file_exists(named))
    code = lap_fail(status, LAP_DATA,
                    "%s: names no checkpoint beside it (it says '%s'); a run resumes without it",
                    path, clean);
  free(clean);
  free(named);
  free(copy);
  free(text);
  return code;
}
