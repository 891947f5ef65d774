#include "teacher/cache_sandbox.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "teacher/cache_file.h"
#include "teacher/rows_digest.h"

static lap_code identify(const void *path, void *result, lap_status *status) {
  lap_cache_identity *found = result;
  lap_cache_file file;
  LAP_TRY(lap_cache_file_open(path, &file, status));
  found->schema = file.schema;
  found->rows = file.row_count;
  memcpy(found->tokens_sha256, file.tokens_sha256, LAP_SHA256_HEX);
  memcpy(found->rows_sha256, file.rows_sha256, LAP_SHA256_HEX);
  lap_cache_file_close(&file);
  return LAP_OK;
}

lap_code lap_cache_file_identity(const char *path, lap_cache_identity *identity,
                                 lap_status *status) {
  return lap_hdf5_try(path, identify, path, identity, sizeof *identity, status);
}

/* --- the digest of the rows --- */

typedef struct {
  const char *path, *tokens_sha256;
} rows_of_file;

static lap_code hash_rows(const lap_cache_file *file, lap_sha256_stream *stream,
                          lap_status *status) {
  const uint32_t k = file->schema.k, block = lap_rows_digest_block(k);
  lap_cache_raw raw;
  lap_cache_raw_create(block, k, &raw);
  /* Not hashed, but read: whatever will be read must have been. */
  if (file->schema.has_next_logprob) raw.next_logprob = lap_allocate(block, sizeof(float));
  if (file->schema.has_entropy) raw.entropy = lap_allocate(block, sizeof(float));
  lap_code code = LAP_OK;
  for (uint64_t row = 0; row < file->row_count && code == LAP_OK; row += block) {
    const uint64_t left = file->row_count - row, count = left < block ? left : block;
    if ((code = lap_cache_file_read(file, row, count, &raw, status)) != LAP_OK) break;
    lap_rows_digest_add(stream, &raw, count, k);
  }
  free(raw.next_logprob);
  free(raw.entropy);
  lap_cache_raw_destroy(&raw);
  return code;
}

lap_code lap_cache_file_hash(const char *path, const char *tokens_sha256,
                             uint8_t digest[LAP_SHA256_SIZE], lap_status *status) {
  lap_cache_file file;
  LAP_TRY(lap_cache_file_open(path, &file, status));
  lap_sha256_stream *stream = lap_rows_digest_create(tokens_sha256);
  const lap_code code = hash_rows(&file, stream, status);
  lap_sha256_finish(stream, digest);
  lap_cache_file_close(&file);
  return code;
}

static lap_code hash_file(const void *context, void *digest, lap_status *status) {
  const rows_of_file *rows = context;
  return lap_cache_file_hash(rows->path, rows->tokens_sha256, digest, status);
}

lap_code lap_cache_file_try(const char *path, const char *tokens_sha256,
                            uint8_t digest[LAP_SHA256_SIZE], lap_status *status) {
  const rows_of_file rows = {path, tokens_sha256};
  return lap_hdf5_try(path, hash_file, &rows, digest, LAP_SHA256_SIZE, status);
}
