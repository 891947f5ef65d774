#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "teacher/cache_open.h"

/* Everything that decides what a row means. The teacher's name does not; its values do. */
static void hash_schema(const lap_cache_schema *schema, lap_sha256_stream *stream) {
  char *text = lap_format(
      "lapidary-cache 1\ncodec %s\nvocab_size %u\nk %u\ndraws %u\nsequence_length %u\n"
      "document_mask %d\ntokenizer_sha256 %s\n",
      lap_codec_name(schema->codec), schema->vocab_size, schema->k, schema->draws,
      schema->sequence_length, schema->document_mask, schema->tokenizer_sha256);
  lap_sha256_add(stream, text, strlen(text));
  free(text);
}

/* --- the digest of one file, computed by the child that tries its rows --- */

typedef struct {
  const char *path, *tokens_sha256;
} rows_of_file;

static lap_code hash_rows(const lap_cache_file *file, lap_sha256_stream *stream,
                          lap_status *status) {
  enum { BLOCK_SLOTS = 1 << 19 };
  const size_t k = file->schema.k;
  const uint64_t block = k < BLOCK_SLOTS ? BLOCK_SLOTS / k : 1;
  lap_cache_raw raw;
  lap_cache_raw_create((uint32_t)block, (uint32_t)k, &raw);
  /* Not hashed, but read: whatever will be read must have been. */
  if (file->schema.has_next_logprob) raw.next_logprob = lap_allocate(block, sizeof(float));
  if (file->schema.has_entropy) raw.entropy = lap_allocate(block, sizeof(float));
  lap_code code = LAP_OK;
  for (uint64_t row = 0; row < file->row_count && code == LAP_OK; row += block) {
    const uint64_t left = file->row_count - row, count = left < block ? left : block;
    if ((code = lap_cache_file_read(file, row, count, &raw, status)) != LAP_OK) break;
    lap_sha256_add(stream, raw.ids, count * k * sizeof *raw.ids);
    lap_sha256_add(stream, raw.logprob, count * k * sizeof *raw.logprob);
    lap_sha256_add(stream, raw.tail_mass, count * sizeof *raw.tail_mass);
  }
  free(raw.next_logprob);
  free(raw.entropy);
  lap_cache_raw_destroy(&raw);
  return code;
}

static lap_code hash_file(const void *context, void *digest, lap_status *status) {
  const rows_of_file *rows = context;
  lap_cache_file file;
  LAP_TRY(lap_cache_file_open(rows->path, &file, status));
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, rows->tokens_sha256, strlen(rows->tokens_sha256));
  const lap_code code = hash_rows(&file, stream, status);
  lap_sha256_finish(stream, digest);
  lap_cache_file_close(&file);
  return code;
}

lap_code lap_cache_file_try(const char *path, const char *tokens_sha256,
                            uint8_t digest[LAP_SHA256_SIZE], lap_status *status) {
  const rows_of_file rows = {path, tokens_sha256};
  return lap_hdf5_try(path, hash_file, &rows, digest, LAP_SHA256_SIZE, status);
}

lap_code lap_cache_try_rows(lap_cache *cache, size_t shard, lap_status *status) {
  lap_cache_shard *tried = &cache->shard[shard];
  if (tried->is_tried) return LAP_OK;
  LAP_TRY(lap_cache_file_try(tried->path, cache->tokens->shard[shard]->tokens_sha256, tried->digest,
                             status));
  tried->is_tried = true;
  return LAP_OK;
}

lap_code lap_cache_shard_sha256(lap_cache *cache, size_t shard, uint8_t digest[LAP_SHA256_SIZE],
                                lap_status *status) {
  LAP_TRY(lap_cache_try_rows(cache, shard, status));
  memcpy(digest, cache->shard[shard].digest, LAP_SHA256_SIZE);
  return LAP_OK;
}

void lap_cache_combine_sha256(const lap_cache *cache, const uint8_t *digests,
                              char hex[LAP_SHA256_HEX]) {
  lap_sha256_stream *stream = lap_sha256_create();
  hash_schema(&cache->schema, stream);
  lap_sha256_add(stream, digests, cache->tokens->count * LAP_SHA256_SIZE);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
}

lap_code lap_cache_content_sha256(lap_cache *cache, char hex[LAP_SHA256_HEX], lap_status *status) {
  uint8_t *digests = lap_allocate(cache->tokens->count, LAP_SHA256_SIZE);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < cache->tokens->count && code == LAP_OK; ++i)
    code = lap_cache_shard_sha256(cache, i, digests + i * LAP_SHA256_SIZE, status);
  if (code == LAP_OK) lap_cache_combine_sha256(cache, digests, hex);
  free(digests);
  return code;
}
