#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/paths.h"
#include "dataset/hdf5_file.h"
#include "dataset/windows.h"

/* Shards of one set share the tokenizer. */
static lap_code check_against(const lap_token_set *set, const lap_token_shard *added,
                              lap_status *status) {
  for (size_t i = 0; i < set->count; ++i) {
    const lap_token_shard *other = set->shard[i];
    if (other->vocab_size != added->vocab_size)
      return lap_fail(status, LAP_DATA, "%s has vocab_size %u, but %s has %u", added->path,
                      added->vocab_size, other->path, other->vocab_size);
    if (strcmp(other->tokenizer_sha256, added->tokenizer_sha256) != 0)
      return lap_fail(status, LAP_DATA,
                      "%s was made with the tokenizer %s, but %s with %s: tokenize both with one",
                      added->path, added->tokenizer_sha256, other->path, other->tokenizer_sha256);
  }
  return LAP_OK;
}

static const lap_token_shard *repeated_by(const lap_token_set *set, size_t index) {
  for (size_t i = 0; i < index; ++i)
    if (strcmp(set->shard[i]->tokens_sha256, set->shard[index]->tokens_sha256) == 0)
      return set->shard[i];
  return NULL;
}

/* Shards of one set hold different tokens, because a cache is found by its hash. All that do not,
 * from `first` on, are named at once, as far as a message holds them. */
static lap_code check_repeated(const lap_token_set *set, size_t first, lap_status *status) {
  enum { PAIR_ROOM = 3 * LAP_MESSAGE_SIZE / 4 };
  char pairs[PAIR_ROOM] = "";
  size_t used = 0, repeated = 0, named = 0;
  for (size_t i = first; i < set->count; ++i) {
    const lap_token_shard *other = repeated_by(set, i);
    if (!other) continue;
    ++repeated;
    const int length = snprintf(pairs + used, PAIR_ROOM - used, "%s%s repeats %s", used ? ", " : "",
                                set->shard[i]->path, other->path);
    if ((size_t)length < PAIR_ROOM - used) {
      used += (size_t)length;
      ++named;
    }
    pairs[used] = '\0';
  }
  if (repeated == 0) return LAP_OK;
  char more[48] = "";
  if (repeated > named) snprintf(more, sizeof more, " and %zu more", repeated - named);
  return lap_fail(status, LAP_DATA,
                  "%zu shard%s hold%s the same tokens as another: %s%s; remove what is there twice "
                  "(a source can count more with a weight, a run can take more epochs)",
                  repeated, repeated == 1 ? "" : "s", repeated == 1 ? "s" : "", pairs, more);
}

static void report_opened(const lap_token_set *set, size_t done, size_t total) {
  lap_progress_report(
      set->hook, (lap_progress_state){
                     .step = "open token shards", .unit = "shards", .done = done, .total = total});
}

lap_code lap_token_set_add(const char *pattern, lap_token_set *set, lap_status *status) {
  char **paths;
  size_t count;
  LAP_TRY(lap_paths_find(pattern, LAP_HDF5_SUFFIX, &paths, &count, status));
  const size_t before = set->count;
  set->shard = lap_reallocate(set->shard, before + count, sizeof *set->shard);
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    lap_token_shard *shard;
    if ((code = lap_token_shard_open(paths[i], &shard, status)) != LAP_OK) break;
    code = check_against(set, shard, status);
    set->shard[set->count++] = shard;
    set->token_count += shard->token_count;
    report_opened(set, i + 1, count);
  }
  lap_paths_release(paths, count);
  if (code == LAP_OK) code = check_repeated(set, before, status);
  while (code != LAP_OK && set->count > before) {
    lap_token_shard *last = set->shard[--set->count];
    set->token_count -= last->token_count;
    lap_token_shard_close(last);
  }
  return code;
}

lap_code lap_token_set_open(const char *pattern, lap_token_set *set, lap_status *status) {
  *set = (lap_token_set){0};
  const lap_code code = lap_token_set_add(pattern, set, status);
  if (code != LAP_OK) lap_token_set_close(set);
  return code;
}

static uint64_t shard_bytes(uint64_t tokens, uint64_t documents) {
  return tokens * sizeof(uint32_t) + (documents + 1) * sizeof(uint64_t);
}

void lap_token_set_sha256(const lap_token_set *set, char hex[LAP_SHA256_HEX]) {
  memcpy(hex, set->shard[0]->tokens_sha256, LAP_SHA256_HEX);
  if (set->count == 1) return;
  lap_sha256_stream *stream = lap_sha256_create();
  for (size_t i = 0; i < set->count; ++i)
    lap_sha256_add(stream, set->shard[i]->tokens_sha256, LAP_SHA256_HEX - 1);
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
}

void lap_token_set_content_sha256(const lap_token_set *set, char hex[LAP_SHA256_HEX]) {
  lap_sha256_stream *stream = lap_sha256_create();
  for (size_t i = 0; i < set->count; ++i) {
    const lap_token_shard *shard = set->shard[i];
    lap_sha256_add(stream, shard->tokens_sha256, LAP_SHA256_HEX - 1);
    lap_sha256_add(stream, shard->documents,
                   (size_t)(shard->document_count + 1) * sizeof *shard->documents);
  }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
}

uint64_t lap_token_set_bytes(const lap_token_set *set) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < set->count; ++i)
    bytes += shard_bytes(set->shard[i]->token_count, set->shard[i]->document_count);
  return bytes;
}

lap_code lap_token_set_measure(const char *pattern, uint32_t sequence_length,
                               lap_token_set_size *size, lap_status *status) {
  *size = (lap_token_set_size){0};
  char **paths;
  size_t count;
  LAP_TRY(lap_paths_find(pattern, LAP_HDF5_SUFFIX, &paths, &count, status));
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    uint64_t tokens = 0, documents = 0;
    code = lap_token_shard_measure(paths[i], &tokens, &documents, status);
    if (code != LAP_OK) break;
    size->tokens += tokens;
    size->documents += documents;
    size->windows += lap_window_count(tokens, sequence_length);
    size->bytes += shard_bytes(tokens, documents);
    if (tokens > size->largest) size->largest = tokens;
  }
  lap_paths_release(paths, count);
  return code;
}

void lap_token_set_close(lap_token_set *set) {
  for (size_t i = 0; i < set->count; ++i) lap_token_shard_close(set->shard[i]);
  free(set->shard);
  *set = (lap_token_set){0};
}
