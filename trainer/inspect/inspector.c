#include "trainer/inspect/inspector.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "dataset/token_shard.h"
#include "trainer/inspect/find.h"

/* A task of lap_hdf5_try; the result is tokens_sha256. */
static lap_code read_shard_name(const void *path, void *tokens_sha256, lap_status *status) {
  lap_hdf5_file file;
  LAP_TRY(lap_hdf5_open(path, &file, status));
  lap_code code = lap_hdf5_check_format(&file, "lapidary-tokens", 1, status);
  if (code == LAP_OK) code = lap_hdf5_read_sha256(&file, "tokens_sha256", tokens_sha256, status);
  lap_hdf5_close(&file);
  return code;
}

static lap_code list_shards(lap_inspector *inspector, lap_status *status) {
  char **paths;
  size_t count;
  LAP_TRY(lap_inspect_paths(inspector->tokens, &paths, &count, status));
  inspector->shard = lap_allocate(count, sizeof *inspector->shard);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    lap_known_shard *shard = &inspector->shard[inspector->shard_count++];
    shard->path = lap_copy_string(paths[i]);
    code = lap_hdf5_try(paths[i], read_shard_name, paths[i], shard->tokens_sha256,
                        sizeof shard->tokens_sha256, status);
  }
  lap_paths_release(paths, count);
  if (code != LAP_OK) lap_fail_context(status, "--tokens");
  return code;
}

lap_code lap_inspector_open(const lap_session *session, const char *tokenizer, const char *tokens,
                            lap_inspector *inspector, lap_status *status) {
  *inspector = (lap_inspector){.session = session, .tokenizer_path = tokenizer, .tokens = tokens};
  lap_code code = LAP_OK;
  if (tokenizer) code = lap_tokenizer_open(tokenizer, &inspector->tokenizer, status);
  if (code == LAP_OK && tokens) code = list_shards(inspector, status);
  if (code != LAP_OK) lap_inspector_close(inspector);
  return code;
}

void lap_inspector_close(lap_inspector *inspector) {
  if (inspector->tokenizer) lap_tokenizer_close(inspector->tokenizer);
  for (size_t i = 0; i < inspector->shard_count; ++i) free(inspector->shard[i].path);
  free(inspector->shard);
  *inspector = (lap_inspector){0};
}

lap_code lap_inspect_tokenizer_match(const lap_inspector *inspector, const char *path,
                                     const char *tokenizer_sha256, bool *usable, lap_report *report,
                                     lap_status *status) {
  lap_report_text(report, "tokenizer_sha256", tokenizer_sha256);
  *usable = false;
  if (!inspector->tokenizer) return LAP_OK;
  const char *given = lap_tokenizer_sha256(inspector->tokenizer);
  *usable = strcmp(given, tokenizer_sha256) == 0;
  lap_report_fact(report, "tokenizer_matches", json_boolean(*usable), "%s",
                  *usable ? "yes" : "NO: made with another tokenizer");
  if (*usable || !inspector->check) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: made with tokenizer %.12s..., but %s is %.12s...", path,
                  tokenizer_sha256, inspector->tokenizer_path, given);
}
