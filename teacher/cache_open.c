#include "teacher/cache_open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "teacher/cache_internal.h"
#include "teacher/cache_sandbox.h"
#include "teacher/look.h"

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

static lap_code check_windows(const char *path, const lap_cache_schema *schema,
                              const lap_cache_expectation *expected, lap_status *status) {
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
  if (schema->document_mask == expected->document_mask) return LAP_OK;
  static const char *const words[] = {"false", "true"};
  const char *has = words[schema->document_mask], *needs = words[expected->document_mask];
  if (expected->by_flags)
    return lap_fail(status, LAP_DATA,
                    "document_mask: cache %s has %s, this evaluation has %s; evaluate as the cache "
                    "was made, --document-mask %s, or teach again with --document-mask %s",
                    path, has, needs, has, needs);
  return lap_fail(status, LAP_DATA,
                  "document_mask: cache %s has %s, the run has %s; teach again with "
                  "--document-mask %s, or set teacher.allow_context_mismatch",
                  path, has, needs, needs);
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
  return expected->allow_context_mismatch ? LAP_OK : check_windows(path, schema, expected, status);
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

/* The files of which a cache is made. */
typedef struct {
  const char *pattern;
  char **paths;
  size_t count;
  const int64_t *draw_seed; /* only those of this one; NULL: all */
} found_files;

static lap_code accept_file(lap_cache *cache, const char *path, const found_files *files,
                            const lap_cache_identity *file, const char **first_path,
                            const lap_cache_expectation *expectation, lap_status *status) {
  size_t index;
  lap_cache_shard *shard = find_shard(cache, file->tokens_sha256, &index);
  if (!shard || (files->draw_seed && file->schema.draw_seed != *files->draw_seed)) return LAP_OK;
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

static void report(const lap_cache_expectation *expectation, size_t done, size_t total) {
  if (!expectation) return;
  lap_progress_report(
      expectation->hook,
      (lap_progress_state){
          .step = "open cache files", .unit = "files", .done = done, .total = total});
}

static lap_code match_files(lap_cache *cache, const found_files *files,
                            const lap_cache_expectation *expectation, lap_status *status) {
  const char *first_path = NULL;
  char last_sha256[LAP_SHA256_HEX] = "";
  for (size_t i = 0; i < files->count; ++i) {
    lap_cache_identity file;
    LAP_TRY(lap_cache_file_identity(files->paths[i], &file, status));
    LAP_TRY(accept_file(cache, files->paths[i], files, &file, &first_path, expectation, status));
    memcpy(last_sha256, file.tokens_sha256, LAP_SHA256_HEX);
    report(expectation, i + 1, files->count);
  }
  return check_complete(cache, files->pattern, files->paths[files->count - 1], last_sha256, status);
}

static lap_code open_files(const found_files *files, const lap_token_set *tokens,
                           const lap_cache_expectation *expectation, lap_cache **cache,
                           lap_status *status) {
  lap_cache *opened = lap_cache_create(tokens);
  lap_code code = match_files(opened, files, expectation, status);
  if (code != LAP_OK) {
    lap_cache_close(opened);
    return code;
  }
  lap_cache_prepare_reading(opened);
  *cache = opened;
  return LAP_OK;
}

/* --- several draws --- */

static int ascending(const void *left, const void *right) {
  const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return (a > b) - (a < b);
}

/* The draw seeds of the files for these tokens, each once, ascending; seeds [files->count]. None
 * where some file is not known to be drawn: then nothing says which files belong together. */
static lap_code find_draw_seeds(const found_files *files, const lap_token_set *tokens,
                                int64_t *seeds, size_t *count, lap_status *status) {
  lap_cache *none = lap_cache_create(tokens);
  lap_code code = LAP_OK;
  bool known = true;
  size_t found = 0, index;
  for (size_t i = 0; i < files->count && code == LAP_OK; ++i) {
    lap_cache_identity file;
    code = lap_cache_file_identity(files->paths[i], &file, status);
    if (code != LAP_OK || !find_shard(none, file.tokens_sha256, &index)) continue;
    known = known && lap_codec_is_drawn(file.schema.codec) && file.schema.draw_seed >= 0;
    seeds[found++] = file.schema.draw_seed;
  }
  lap_cache_close(none);
  qsort(seeds, found, sizeof *seeds, ascending);
  *count = 0;
  for (size_t i = 0; i < found && known; ++i)
    if (*count == 0 || seeds[i] != seeds[*count - 1]) seeds[(*count)++] = seeds[i];
  return code;
}

/* All draws are of one codec, one size and one teacher; only the seed may differ. Rows are made
 * with the optional columns of the first, which are those that all have. */
static lap_code check_draw(lap_cache *first, const lap_cache *draw, lap_status *status) {
  lap_cache_schema schema = draw->schema;
  schema.draw_seed = first->schema.draw_seed;
  first->schema.has_next_logprob &= schema.has_next_logprob;
  first->schema.has_entropy &= schema.has_entropy;
  return lap_cache_schema_equal(lap_cache_path(draw, 0), &schema, lap_cache_path(first, 0),
                                &first->schema, status);
}

static lap_code open_draws(found_files *files, const int64_t *seeds, size_t count,
                           const lap_token_set *tokens, const lap_cache_expectation *expectation,
                           lap_cache **cache, lap_status *status) {
  lap_cache **end = cache;
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    files->draw_seed = &seeds[i];
    code = open_files(files, tokens, expectation, end, status);
    if (code == LAP_OK) code = check_draw(*cache, *end, status);
    if (code == LAP_OK) end = &(*end)->next;
  }
  if (code == LAP_OK) return LAP_OK;
  lap_cache_close(*cache);
  *cache = NULL;
  return code;
}

lap_code lap_cache_find(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status) {
  *cache = NULL;
  found_files files = {.pattern = pattern};
  LAP_TRY(lap_paths_find(pattern, LAP_HDF5_SUFFIX, &files.paths, &files.count, status));
  int64_t *seeds = lap_allocate((int64_t)files.count, sizeof *seeds);
  size_t draws = 0;
  lap_code code = LAP_OK;
  if (expectation && expectation->several_draws)
    code = find_draw_seeds(&files, tokens, seeds, &draws, status);
  if (code == LAP_OK && draws > 1)
    code = open_draws(&files, seeds, draws, tokens, expectation, cache, status);
  else if (code == LAP_OK)
    code = open_files(&files, tokens, expectation, cache, status);
  free(seeds);
  lap_paths_release(files.paths, files.count);
  return code;
}

/* Here, and not when a row is first read: a child is cheap while the process is small. */
static lap_code look_at_all(lap_cache *cache, const lap_cache_expectation *expectation,
                            lap_status *status) {
  const lap_cache_share all = {.first = 0, .every = 1, .children = 1, .hook = expectation->hook};
  lap_cache_finding *findings =
      lap_allocate((int64_t)lap_cache_file_count(cache), sizeof *findings);
  lap_code code = lap_cache_look(cache, &all, findings, status);
  if (code == LAP_OK)
    code =
        lap_cache_accept(cache, findings, expectation->allow_shift, expectation->by_flags, status);
  free(findings);
  return code;
}

lap_code lap_cache_open(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status) {
  LAP_TRY(lap_cache_find(pattern, tokens, expectation, cache, status));
  if (!expectation) return LAP_OK;
  const lap_code code = look_at_all(*cache, expectation, status);
  if (code == LAP_OK) return LAP_OK;
  lap_cache_close(*cache);
  *cache = NULL;
  return code;
}
