#include "teacher/cache.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "core/memory.h"
#include "teacher/cache_internal.h"
#include "teacher/cache_sandbox.h"

enum { MOST_OPEN_FILES = 64, BLOCK_SLOTS = 1 << 19 };

/* --- the cache --- */

lap_cache *lap_cache_create(const lap_token_set *tokens) {
  lap_cache *cache = lap_allocate(1, sizeof *cache);
  cache->tokens = tokens;
  cache->shard = lap_allocate(tokens->count, sizeof *cache->shard);
  return cache;
}

static uint32_t rows_of_block(uint32_t k) { return k < BLOCK_SLOTS ? BLOCK_SLOTS / k : 1; }

int64_t lap_cache_bytes(int64_t k) {
  const int64_t slot = sizeof(int64_t) + sizeof(float) + sizeof(uint16_t);
  return rows_of_block((uint32_t)k) * (k * slot + (int64_t)sizeof(float));
}

void lap_cache_prepare_reading(lap_cache *cache) {
  const uint32_t k = cache->schema.k;
  cache->block_rows = rows_of_block(k);
  lap_cache_raw_create(cache->block_rows, k, &cache->raw);
  lap_duplicates_create(cache->schema.vocab_size, &cache->seen);
}

size_t lap_cache_draw_count(const lap_cache *cache) {
  size_t count = 1;
  for (; cache->next; cache = cache->next) ++count;
  return count;
}

lap_cache *lap_cache_of_epoch(lap_cache *cache, uint64_t epoch) {
  for (uint64_t left = epoch % lap_cache_draw_count(cache); left > 0; --left) cache = cache->next;
  return cache;
}

const lap_cache_schema *lap_cache_schema_of(const lap_cache *cache) { return &cache->schema; }
const lap_token_set *lap_cache_tokens(const lap_cache *cache) { return cache->tokens; }

const char *lap_cache_notice(const lap_cache *cache) {
  while (cache->next && !cache->notice) cache = cache->next;
  return cache->notice;
}

bool lap_cache_lacks_tail(const lap_cache *cache) { return cache->lacks_tail; }

const char *lap_cache_path(const lap_cache *cache, size_t shard) {
  return cache->shard[shard].path;
}

/* --- files are opened when they are used, the one used longest ago makes room --- */

static void close_shard(lap_cache *cache, lap_cache_shard *shard) {
  if (!shard->file) return;
  lap_cache_file_close(shard->file);
  free(shard->file);
  shard->file = NULL;
  --cache->open_count;
}

void lap_cache_close(lap_cache *cache) {
  if (!cache) return;
  lap_cache_close(cache->next);
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    close_shard(cache, &cache->shard[i]);
    free(cache->shard[i].path);
  }
  lap_cache_raw_destroy(&cache->raw);
  lap_duplicates_destroy(&cache->seen);
  free(cache->notice);
  free(cache->shard);
  free(cache);
}

static void make_room(lap_cache *cache) {
  if (cache->open_count < MOST_OPEN_FILES) return;
  lap_cache_shard *oldest = NULL;
  for (size_t i = 0; i < cache->tokens->count; ++i) {
    lap_cache_shard *shard = &cache->shard[i];
    if (shard->file && (!oldest || shard->last_use < oldest->last_use)) oldest = shard;
  }
  assert(oldest);
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

lap_code lap_cache_try_rows(lap_cache *cache, size_t shard, lap_status *status) {
  lap_cache_shard *tried = &cache->shard[shard];
  if (tried->is_tried) return LAP_OK;
  LAP_TRY(lap_cache_file_try(tried->path, cache->tokens->shard[shard]->tokens_sha256, tried->digest,
                             status));
  tried->is_tried = true;
  return LAP_OK;
}

static lap_code use_file(lap_cache *cache, size_t shard, const lap_cache_file **file,
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

/* --- rows as they are used --- */

/* With s = sum t + r: -sum (t/s) log(t/s) - (r/s) log(r/s) = log s - (sum t log t + r log r) / s.
 */
static double bucket_entropy(const lap_stored_row *stored, const float *probability, double mass) {
  const double r = (double)lap_row_tail(stored->tail_mass), s = mass + r;
  double sum = r > 0 ? r * lap_scalar_log(r) : 0;
  for (uint32_t i = 0; i < stored->k; ++i)
    if (probability[i] > 0) sum += (double)probability[i] * (double)stored->logprob[i];
  return lap_scalar_log(s) - sum / s;
}

static void clear_row(lap_cache_rows *rows, uint32_t at) {
  const size_t slot = (size_t)at * rows->k;
  for (uint32_t i = 0; i < rows->k; ++i) rows->ids[slot + i] = -1;
  memset(rows->probability + slot, 0, rows->k * sizeof *rows->probability);
  rows->tail[at] = 0;
  rows->bucket_entropy[at] = 0;
  if (rows->next_logprob) rows->next_logprob[at] = 0;
  if (rows->entropy) rows->entropy[at] = 0;
}

/* Row `from` of `raw`, which is row `row` of the shard's file, becomes row `at` of `rows`. */
static lap_code use_row(lap_cache *cache, const lap_cache_file *file, uint64_t row,
                        const lap_cache_raw *raw, uint32_t from, lap_cache_rows *rows, uint32_t at,
                        lap_status *status) {
  const uint32_t k = rows->k;
  const lap_stored_row stored = {
      .path = file->file.path,
      .row = row,
      .k = k,
      .drawn = lap_codec_is_drawn(cache->schema.codec),
      .ids = raw->ids + (size_t)from * k,
      .logprob = raw->logprob + (size_t)from * k,
      .tail_mass = raw->tail_mass[from],
      .next_logprob = raw->next_logprob ? raw->next_logprob + from : NULL,
      .entropy = raw->entropy ? raw->entropy + from : NULL};
  float *probability = rows->probability + (size_t)at * k;
  double mass;
  LAP_TRY(lap_stored_row_check(&stored, &cache->seen, rows->ids + (size_t)at * k, probability,
                               &mass, status));
  rows->tail[at] = lap_row_tail(stored.tail_mass);
  if (!lap_codec_is_drawn(cache->schema.codec))
    rows->bucket_entropy[at] = bucket_entropy(&stored, probability, mass);
  else
    rows->bucket_entropy[at] = rows->entropy ? (double)rows->entropy[at] : NAN;
  return LAP_OK;
}

static lap_code read_block(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                           const uint8_t *counted, lap_cache_rows *rows, uint32_t at,
                           lap_status *status) {
  const lap_cache_file *file;
  LAP_TRY(use_file(cache, shard, &file, status));
  lap_cache_raw raw = cache->raw;
  if (rows->next_logprob) raw.next_logprob = rows->next_logprob + at;
  if (rows->entropy) raw.entropy = rows->entropy + at;
  LAP_TRY(lap_cache_file_read(file, row, count, &raw, status));
  for (uint32_t i = 0; i < count; ++i) {
    const bool counts =
        counted ? counted[at + i] != 0 : lap_row_counts(cache->tokens->shard[shard], row + i);
    if (counts)
      LAP_TRY(use_row(cache, file, row + i, &raw, i, rows, at + i, status));
    else
      clear_row(rows, at + i);
  }
  return LAP_OK;
}

lap_code lap_cache_read(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                        const uint8_t *counted, lap_cache_rows *rows, lap_status *status) {
  const uint64_t total = cache->tokens->shard[shard]->token_count;
  assert(count <= rows->capacity && row <= total && count <= total - row);
  for (uint32_t at = 0; at < count; at += cache->block_rows) {
    const uint32_t left = count - at;
    const uint32_t block = left < cache->block_rows ? left : cache->block_rows;
    LAP_TRY(read_block(cache, shard, row + at, block, counted, rows, at, status));
  }
  return LAP_OK;
}

lap_cache_rows *lap_cache_rows_create(const lap_cache *cache, uint32_t capacity) {
  const lap_cache_schema *schema = &cache->schema;
  const size_t slots = (size_t)capacity * schema->k;
  lap_cache_rows *rows = lap_allocate(1, sizeof *rows);
  *rows = (lap_cache_rows){
      .capacity = capacity,
      .k = schema->k,
      .ids = lap_allocate(slots, sizeof *rows->ids),
      .probability = lap_allocate(slots, sizeof *rows->probability),
      .tail = lap_allocate(capacity, sizeof *rows->tail),
      .bucket_entropy = lap_allocate(capacity, sizeof *rows->bucket_entropy),
  };
  if (schema->has_next_logprob) rows->next_logprob = lap_allocate(capacity, sizeof(float));
  if (schema->has_entropy) rows->entropy = lap_allocate(capacity, sizeof(float));
  return rows;
}

int64_t lap_cache_rows_bytes(int64_t capacity, int64_t k) {
  const int64_t slot = sizeof(int32_t) + sizeof(float);
  return capacity * (k * slot + 3 * (int64_t)sizeof(float) + (int64_t)sizeof(double));
}

void lap_cache_rows_destroy(lap_cache_rows *rows) {
  if (!rows) return;
  free(rows->ids);
  free(rows->probability);
  free(rows->tail);
  free(rows->bucket_entropy);
  free(rows->next_logprob);
  free(rows->entropy);
  free(rows);
}

/* --- the identity of the content --- */

/* Everything that decides what a row means. The teacher's name does not; its values do. */
static void hash_schema(const lap_cache_schema *schema, lap_sha256_stream *stream) {
  char *text = lap_format(
      "lapidary-cache 1\ncodec %s\nvocab_size %u\nk %u\ndraws %u\nsequence_length %u\n"
      "document_mask %d\ntokenizer_sha256 %s\n",
      lap_codec_name(schema->codec), schema->vocab_size, schema->k, schema->draws,
      schema->sequence_length, schema->document_mask, schema->tokenizer_sha256);
  lap_sha256_add(stream, text, strlen(text));
  free(text);
  if (schema->exact == 0) return;
  text = lap_format("exact %u\n", schema->exact);
  lap_sha256_add(stream, text, strlen(text));
  free(text);
}

lap_code lap_cache_content_sha256(lap_cache *cache, char hex[LAP_SHA256_HEX], lap_status *status) {
  lap_sha256_stream *stream = lap_sha256_create();
  hash_schema(&cache->schema, stream);
  lap_code code = LAP_OK;
  for (lap_cache *draw = cache; draw; draw = draw->next)
    for (size_t i = 0; i < draw->tokens->count && code == LAP_OK; ++i) {
      code = lap_cache_try_rows(draw, i, status);
      lap_sha256_add(stream, draw->shard[i].digest, LAP_SHA256_SIZE);
    }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
  return code;
}

lap_code lap_cache_shard_sha256(lap_cache *cache, size_t shard, char hex[LAP_SHA256_HEX],
                                lap_status *status) {
  LAP_TRY(lap_cache_try_rows(cache, shard, status));
  lap_sha256_hex(cache->shard[shard].digest, hex);
  return LAP_OK;
}
