#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
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

static lap_code hash_rows(lap_cache *cache, size_t shard, lap_sha256_stream *stream,
                          lap_status *status) {
  const uint64_t total = cache->tokens->shard[shard]->token_count;
  const size_t k = cache->schema.k;
  const lap_cache_file *file;
  LAP_TRY(lap_cache_use_file(cache, shard, &file, status));
  for (uint64_t row = 0; row < total; row += cache->block_rows) {
    const uint64_t left = total - row, count = left < cache->block_rows ? left : cache->block_rows;
    LAP_TRY(lap_cache_file_read(file, row, count, &cache->raw, status));
    lap_sha256_add(stream, cache->raw.ids, count * k * sizeof *cache->raw.ids);
    lap_sha256_add(stream, cache->raw.logprob, count * k * sizeof *cache->raw.logprob);
    lap_sha256_add(stream, cache->raw.tail_mass, count * sizeof *cache->raw.tail_mass);
  }
  return LAP_OK;
}

lap_code lap_cache_shard_sha256(lap_cache *cache, size_t shard, uint8_t digest[LAP_SHA256_SIZE],
                                lap_status *status) {
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, cache->tokens->shard[shard]->tokens_sha256, LAP_SHA256_HEX - 1);
  const lap_code code = hash_rows(cache, shard, stream, status);
  lap_sha256_finish(stream, digest);
  return code;
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
