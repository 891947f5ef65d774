#include "teacher/cache_open.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "teacher/align.h"

enum { MOST_OPEN_FILES = 64, BLOCK_SLOTS = 1 << 19 };

const lap_cache_schema *lap_cache_schema_of(const lap_cache *cache) { return &cache->schema; }

const char *lap_cache_path(const lap_cache *cache, size_t shard) {
  return cache->shard[shard].path;
}

/* --- what a file says of itself, told by a child that has opened it --- */

typedef struct {
  lap_cache_schema schema;
  uint64_t rows;
  char tokens_sha256[LAP_SHA256_HEX];
} identity;

static lap_code identify(const void *path, void *result, lap_status *status) {
  identity *found = result;
  lap_cache_file file;
  LAP_TRY(lap_cache_file_open(path, &file, status));
  found->schema = file.schema;
  found->rows = file.row_count;
  memcpy(found->tokens_sha256, file.tokens_sha256, LAP_SHA256_HEX);
  lap_cache_file_close(&file);
  return LAP_OK;
}

lap_code lap_cache_file_identity(const char *path, lap_cache_schema *schema, uint64_t *rows,
                                 char tokens_sha256[LAP_SHA256_HEX], lap_status *status) {
  identity found;
  LAP_TRY(lap_hdf5_try(path, identify, path, &found, sizeof found, status));
  *schema = found.schema;
  *rows = found.rows;
  memcpy(tokens_sha256, found.tokens_sha256, LAP_SHA256_HEX);
  return LAP_OK;
}

/* --- files are opened when they are used, the one used longest ago makes room --- */

static void close_shard(lap_cache *cache, lap_cache_shard *shard) {
  if (!shard->file) return;
  lap_cache_file_close(shard->file);
  free(shard->file);
  shard->file = NULL;
  --cache->open_count;
}

static void make_room(lap_cache *cache) {
  if (cache->open_count < MOST_OPEN_FILES) return;
  lap_cache_shard *oldest = NULL;
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    lap_cache_shard *shard = &cache->shard[i];
    if (shard->file && (!oldest || shard->last_use < oldest->last_use)) oldest = shard;
  }
  close_shard(cache, oldest);
}

static lap_code check_unchanged(const lap_cache *cache, size_t shard, const lap_cache_file *file,
                                lap_status *status) {
  const lap_token_shard *tokens = cache->tokens->shard[shard];
  const lap_cache_shard *known = &cache->shard[shard];
  lap_code code = lap_cache_schema_equal(known->path, &file->schema,
                                         "the file that was here before", &known->schema, status);
  const bool same = file->row_count == tokens->token_count &&
                    strcmp(file->tokens_sha256, tokens->tokens_sha256) == 0 &&
                    file->schema.has_next_logprob == known->schema.has_next_logprob &&
                    file->schema.has_entropy == known->schema.has_entropy;
  if (code == LAP_OK && !same)
    code = lap_fail(status, LAP_DATA, "%s: the file was replaced by another one during the run",
                    known->path);
  return code;
}

lap_code lap_cache_use_file(lap_cache *cache, size_t shard, const lap_cache_file **file,
                            lap_status *status) {
  lap_cache_shard *used = &cache->shard[shard];
  LAP_TRY(lap_cache_try_rows(cache, shard, status));
  used->last_use = ++cache->clock;
  if (!used->file) {
    make_room(cache);
    lap_cache_file opened;
    LAP_TRY(lap_cache_file_open(used->path, &opened, status));
    const lap_code code = check_unchanged(cache, shard, &opened, status);
    if (code != LAP_OK) {
      lap_cache_file_close(&opened);
      return code;
    }
    used->file = lap_allocate(1, sizeof *used->file);
    *used->file = opened;
    ++cache->open_count;
  }
  *file = used->file;
  return LAP_OK;
}

/* --- what the tokens and the run expect of a file --- */

static lap_code check_tokens(const char *path, const identity *file, const lap_token_shard *tokens,
                             lap_status *status) {
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
  if (expected->allow_context_mismatch) return LAP_OK;
  if (schema->sequence_length != expected->sequence_length)
    return lap_fail(status, LAP_DATA,
                    "sequence_length: cache %s has %u, the run has %u; teach again with "
                    "--sequence-length %u, or set teacher.allow_context_mismatch",
                    path, schema->sequence_length, expected->sequence_length,
                    expected->sequence_length);
  if (schema->document_mask != expected->document_mask)
    return lap_fail(status, LAP_DATA,
                    "document_mask: cache %s has %d, the run has %d; teach again with "
                    "--document-mask %s, or set teacher.allow_context_mismatch",
                    path, schema->document_mask, expected->document_mask,
                    expected->document_mask ? "true" : "false");
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

static lap_code accept_file(lap_cache *cache, const char *path, const identity *file,
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

static lap_code match_files(lap_cache *cache, const char *pattern, char **paths, size_t count,
                            const lap_cache_expectation *expectation, lap_status *status) {
  const char *first_path = NULL;
  char last_sha256[LAP_SHA256_HEX] = "";
  for (size_t i = 0; i < count; ++i) {
    identity file;
    LAP_TRY(lap_hdf5_try(paths[i], identify, paths[i], &file, sizeof file, status));
    LAP_TRY(accept_file(cache, paths[i], &file, &first_path, expectation, status));
    memcpy(last_sha256, file.tokens_sha256, LAP_SHA256_HEX);
  }
  return check_complete(cache, pattern, paths[count - 1], last_sha256, status);
}

static uint32_t rows_of_block(uint32_t k) { return k < BLOCK_SLOTS ? BLOCK_SLOTS / k : 1; }

int64_t lap_cache_bytes(int64_t k) {
  const int64_t slot = sizeof(int64_t) + sizeof(float) + sizeof(uint16_t);
  return rows_of_block((uint32_t)k) * (k * slot + (int64_t)sizeof(float));
}

static void prepare_reading(lap_cache *cache) {
  const uint32_t k = cache->schema.k;
  cache->block_rows = rows_of_block(k);
  lap_cache_raw_create(cache->block_rows, k, &cache->raw);
  lap_duplicates_create(cache->schema.vocab_size, &cache->seen);
}

lap_code lap_cache_open(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status) {
  *cache = NULL;
  char **paths;
  size_t count;
  LAP_TRY(lap_paths_match(pattern, &paths, &count, status));
  lap_cache *opened = lap_allocate(1, sizeof *opened);
  opened->tokens = tokens;
  opened->shard = lap_allocate(tokens->count, sizeof *opened->shard);
  lap_code code = match_files(opened, pattern, paths, count, expectation, status);
  lap_paths_release(paths, count);
  if (code == LAP_OK) prepare_reading(opened);
  /* Here, and not when a row is first read: a child is cheap while the process is small. */
  for (size_t i = 0; expectation && i < tokens->count && code == LAP_OK; ++i)
    code = lap_cache_try_rows(opened, i, status);
  if (code == LAP_OK && expectation && !expectation->allow_shift)
    code = lap_cache_check_shift(opened, status);
  if (code == LAP_OK)
    *cache = opened;
  else
    lap_cache_close(opened);
  return code;
}

void lap_cache_close(lap_cache *cache) {
  if (!cache) return;
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    close_shard(cache, &cache->shard[i]);
    free(cache->shard[i].path);
  }
  lap_cache_raw_destroy(&cache->raw);
  lap_duplicates_destroy(&cache->seen);
  free(cache->shard);
  free(cache);
}
