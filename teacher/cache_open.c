#include "teacher/cache_open.h"

#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "teacher/align.h"
#include "teacher/cache_internal.h"
#include "teacher/cache_sandbox.h"

/* --- what the tokens and the run expect of a file --- */

static lap_code check_tokens(const char *path, const lap_cache_identity *file,
                             const lap_token_shard *tokens, lap_status *status) {
  if (strcmp(file->schema.tokenizer_sha256, tokens->tokenizer_sha256) != 0)
    return lap_fail(
        status, LAP_DATA,
        "tokenizer_sha256: cache %s has %s, the tokens %s have %s; teach again with the "
        "tokenizer of the tokens",
        path, file->schema.tokenizer_sha256, tokens->path, tokens->tokenizer_sha256);
  if (file->rows != tokens->token_count)
    return lap_fail(status, LAP_DATA,
                    "%s: expected one row for each token of %s, %" PRIu64 ", found %" PRIu64, path,
                    tokens->path, tokens->token_count, file->rows);
  return LAP_OK;
}

static lap_code check_expectation(const char *path, const lap_cache_schema *schema,
                                  const lap_cache_expectation *expected, lap_status *status) {
  if (schema->vocab_size > expected->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "vocab_size: cache %s has %u, the student only %u; give the student the "
                    "vocabulary of the teacher (model.vocab_size), or a larger one",
                    path, schema->vocab_size, expected->vocab_size);
  if (expected->to_measure && lap_codec_is_drawn(schema->codec))
    return lap_fail(status, LAP_DATA,
                    "codec: cache %s is %s, whose draws would be measured along with the student; "
                    "kl, agreement and calibration come from a cache of codec topk, the same for "
                    "every student: teach --codec topk (--k with the vocabulary: exactly)",
                    path, lap_codec_name(schema->codec));
  if (expected->allow_context_mismatch) return LAP_OK;
  const uint32_t cached = schema->sequence_length, wanted = expected->sequence_length;
  if (cached != wanted && expected->by_flags)
    return lap_fail(status, LAP_DATA,
                    "sequence_length: cache %s has %u, this evaluation has %u; evaluate with the "
                    "windows of the cache, --sequence-length %u, or teach again with "
                    "--sequence-length %u",
                    path, cached, wanted, cached, wanted);
  if (cached != wanted)
    return lap_fail(status, LAP_DATA,
                    "sequence_length: cache %s has %u, the run has %u; teach again with "
                    "--sequence-length %u, or set teacher.allow_context_mismatch",
                    path, cached, wanted, wanted);
  if (schema->document_mask != expected->document_mask)
    return lap_fail(status, LAP_DATA,
                    "document_mask: cache %s has %d, the run has %d; teach again with "
                    "--document-mask %s%s",
                    path, schema->document_mask, expected->document_mask,
                    expected->document_mask ? "true" : "false",
                    expected->by_flags ? "" : ", or set teacher.allow_context_mismatch");
  return LAP_OK;
}

/* --- opening --- */

static lap_cache_shard *find_shard(lap_cache *cache, const char *tokens_sha256, size_t *index) {
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    if (strcmp(cache->tokens->shard[i]->tokens_sha256, tokens_sha256) != 0) continue;
    *index = i;
    return &cache->shard[i];
  }
  return NULL;
}

static lap_code accept_file(lap_cache *cache, const char *path, const lap_cache_identity *file,
                            const char **first_path, const lap_cache_expectation *expectation,
                            lap_status *status) {
  size_t index;
  lap_cache_shard *shard = find_shard(cache, file->tokens_sha256, &index);
  if (!shard) return LAP_OK;
  const lap_token_shard *tokens = cache->tokens->shard[index];
  if (shard->path)
    return lap_fail(status, LAP_DATA, "%s and %s are both for the tokens %s (%s): keep one",
                    shard->path, path, tokens->path, tokens->tokens_sha256);
  LAP_TRY(check_tokens(path, file, tokens, status));
  if (expectation) LAP_TRY(check_expectation(path, &file->schema, expectation, status));
  shard->path = lap_copy_string(path);
  shard->schema = file->schema;
  memcpy(shard->rows_sha256, file->rows_sha256, LAP_SHA256_HEX);
  if (!*first_path) {
    *first_path = shard->path;
    cache->schema = file->schema;
    return LAP_OK;
  }
  cache->schema.has_next_logprob &= file->schema.has_next_logprob;
  cache->schema.has_entropy &= file->schema.has_entropy;
  return lap_cache_schema_equal(path, &file->schema, *first_path, &cache->schema, status);
}

/* `other` names the tokens that the last file seen is for: the usual cause is a cache of another
 * tokenization. */
static lap_code check_complete(const lap_cache *cache, const char *pattern, const char *last_path,
                               const char *last_sha256, lap_status *status) {
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    const lap_token_shard *tokens = cache->tokens->shard[i];
    if (!cache->shard[i].path)
      return lap_fail(status, LAP_DATA,
                      "no file of %s is for the tokens %s (tokens_sha256 %s; %s, for one, has %s): "
                      "run teach on these tokens, or name the cache that belongs to them",
                      pattern, tokens->path, tokens->tokens_sha256, last_path, last_sha256);
  }
  return LAP_OK;
}

static void report(const lap_cache_expectation *expectation, const char *step, size_t done,
                   size_t total) {
  if (!expectation) return;
  lap_progress_report(
      expectation->hook,
      (lap_progress_state){.step = step, .unit = "files", .done = done, .total = total});
}

static lap_code match_files(lap_cache *cache, const char *pattern, char **paths, size_t count,
                            const lap_cache_expectation *expectation, lap_status *status) {
  const char *first_path = NULL;
  char last_sha256[LAP_SHA256_HEX] = "";
  for (size_t i = 0; i < count; ++i) {
    lap_cache_identity file;
    LAP_TRY(lap_cache_file_identity(paths[i], &file, status));
    LAP_TRY(accept_file(cache, paths[i], &file, &first_path, expectation, status));
    memcpy(last_sha256, file.tokens_sha256, LAP_SHA256_HEX);
    report(expectation, "open cache files", i + 1, count);
  }
  return check_complete(cache, pattern, paths[count - 1], last_sha256, status);
}

lap_code lap_cache_open(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status) {
  *cache = NULL;
  char **paths;
  size_t count;
  LAP_TRY(lap_paths_find(pattern, LAP_HDF5_SUFFIX, &paths, &count, status));
  lap_cache *opened = lap_cache_create(tokens);
  lap_code code = match_files(opened, pattern, paths, count, expectation, status);
  lap_paths_release(paths, count);
  if (code == LAP_OK) lap_cache_prepare_reading(opened);
  /* Here, and not when a row is first read: a child is cheap while the process is small. */
  for (size_t i = 0; expectation && i < tokens->count && code == LAP_OK; ++i) {
    code = lap_cache_try_rows(opened, i, status);
    report(expectation, "check and hash the cache", i + 1, tokens->count);
  }
  if (code == LAP_OK && expectation)
    code = lap_cache_check_shift(opened, expectation->allow_shift, status);
  if (code == LAP_OK)
    *cache = opened;
  else
    lap_cache_close(opened);
  return code;
}
