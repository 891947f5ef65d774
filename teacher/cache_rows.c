#include "teacher/cache_rows.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "core/memory.h"
#include "dataset/tokenizer.h"
#include "teacher/cache_open.h"

/* How far a valid row may be from a distribution: rounding of stored values. */
static const float MOST_LOGPROB = 1e-3f;
static const double MOST_MASS_ERROR = 0.02;

void lap_duplicates_create(uint32_t vocab_size, lap_duplicates *seen) {
  *seen = (lap_duplicates){.vocab_size = vocab_size,
                           .stamp = lap_allocate(vocab_size, sizeof *seen->stamp)};
}

void lap_duplicates_destroy(lap_duplicates *seen) {
  free(seen->stamp);
  *seen = (lap_duplicates){0};
}

static void next_row(lap_duplicates *seen) {
  if (++seen->now != 0) return;
  memset(seen->stamp, 0, seen->vocab_size * sizeof *seen->stamp);
  seen->now = 1;
}

bool lap_row_counts(const lap_token_shard *tokens, uint64_t row) {
  return row + 1 < tokens->token_count && tokens->tokens[row] != LAP_EOS;
}

static lap_code check_logprob(const lap_row_place *place, uint32_t slot, float logprob,
                              lap_status *status) {
  if (logprob <= MOST_LOGPROB) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: logprob[%" PRIu64
                  "][%u] is %g; expected a natural logarithm of a "
                  "probability, at most 0 (-inf: unused slot)",
                  place->path, place->row, slot, (double)logprob);
}

static lap_code check_id(const lap_row_place *place, uint32_t slot, int64_t id,
                         lap_duplicates *seen, lap_status *status) {
  if (id < 0 || id >= seen->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "%s: ids[%" PRIu64 "][%u] is %" PRId64 "; expected 0 to %u (vocab_size - 1)",
                    place->path, place->row, slot, id, seen->vocab_size - 1);
  if (seen->stamp[id] == seen->now)
    return lap_fail(status, LAP_DATA,
                    "%s: ids[%" PRIu64 "] has %" PRId64
                    " twice (again in slot %u); expected "
                    "different ids, unused slots with logprob -inf",
                    place->path, place->row, id, slot);
  seen->stamp[id] = seen->now;
  return LAP_OK;
}

static lap_code check_masses(const lap_row_place *place, double kept, float tail,
                             lap_status *status) {
  if (!(tail >= 0 && tail <= 1))
    return lap_fail(status, LAP_DATA,
                    "%s: tail_mass[%" PRIu64
                    "] is %.9g; expected 0 to 1 (sum the rest, or clamp "
                    "what 1 - sum leaves)",
                    place->path, place->row, (double)tail);
  const double sum = kept + (double)tail;
  if (fabs(sum - 1) <= MOST_MASS_ERROR) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: row %" PRIu64
                  ": exp(logprob) and tail_mass sum to %.6f (%.6f + %.6f); "
                  "expected 1 within %g: natural logarithms, normalised over the whole vocabulary",
                  place->path, place->row, sum, kept, (double)tail, MOST_MASS_ERROR);
}

lap_code lap_cache_row_check(const lap_row_place *place, uint32_t k, const int64_t *stored_ids,
                             const float *logprob, float tail, lap_duplicates *seen, int32_t *ids,
                             float *probability, double *mass, lap_status *status) {
  next_row(seen);
  for (uint32_t i = 0; i < k; ++i) {
    ids[i] = -1;
    if (logprob[i] == -INFINITY) continue;
    LAP_TRY(check_logprob(place, i, logprob[i], status));
    LAP_TRY(check_id(place, i, stored_ids[i], seen, status));
    ids[i] = (int32_t)stored_ids[i];
  }
  memcpy(probability, logprob, k * sizeof *probability);
  *mass = (double)lap_vector_exp(probability, k, 0);
  return check_masses(place, *mass, tail, status);
}

/* With s = sum t + r: -sum (t/s) log(t/s) - (r/s) log(r/s) = log s - (sum t log t + r log r) / s.
 */
static double bucket_entropy(uint32_t k, const float *logprob, const float *probability, float tail,
                             double mass) {
  const double r = (double)tail, s = mass + r;
  double sum = r > 0 ? r * lap_scalar_log(r) : 0;
  for (uint32_t i = 0; i < k; ++i)
    if (probability[i] > 0) sum += (double)probability[i] * (double)logprob[i];
  return lap_scalar_log(s) - sum / s;
}

static lap_code check_optional(const lap_row_place *place, const lap_cache_raw *raw, uint32_t i,
                               lap_status *status) {
  if (raw->next_logprob && !(raw->next_logprob[i] <= MOST_LOGPROB))
    return lap_fail(status, LAP_DATA, "%s: next_logprob[%" PRIu64 "] is %g; expected at most 0",
                    place->path, place->row, (double)raw->next_logprob[i]);
  if (raw->entropy && !(raw->entropy[i] >= -MOST_LOGPROB && raw->entropy[i] < INFINITY))
    return lap_fail(status, LAP_DATA,
                    "%s: entropy[%" PRIu64 "] is %g; expected a number of nats, at least 0",
                    place->path, place->row, (double)raw->entropy[i]);
  return LAP_OK;
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

/* Row `from` of `raw` becomes row `at` of `rows`. */
static lap_code use_row(lap_cache *cache, const lap_row_place *place, const lap_cache_raw *raw,
                        uint32_t from, lap_cache_rows *rows, uint32_t at, lap_status *status) {
  const uint32_t k = rows->k;
  const float *logprob = raw->logprob + (size_t)from * k;
  float *probability = rows->probability + (size_t)at * k;
  const float tail = raw->tail_mass[from];
  double mass;
  LAP_TRY(lap_cache_row_check(place, k, raw->ids + (size_t)from * k, logprob, tail, &cache->seen,
                              rows->ids + (size_t)at * k, probability, &mass, status));
  LAP_TRY(check_optional(place, raw, from, status));
  rows->tail[at] = tail;
  if (cache->schema.codec == LAP_CODEC_TOPK)
    rows->bucket_entropy[at] = bucket_entropy(k, logprob, probability, tail, mass);
  else
    rows->bucket_entropy[at] = rows->entropy ? (double)rows->entropy[at] : NAN;
  return LAP_OK;
}

static lap_code read_block(lap_cache *cache, size_t shard, uint64_t row, uint32_t count,
                           const uint8_t *counted, lap_cache_rows *rows, uint32_t at,
                           lap_status *status) {
  const lap_cache_file *file;
  LAP_TRY(lap_cache_use_file(cache, shard, &file, status));
  lap_cache_raw raw = cache->raw;
  if (rows->next_logprob) raw.next_logprob = rows->next_logprob + at;
  if (rows->entropy) raw.entropy = rows->entropy + at;
  LAP_TRY(lap_cache_file_read(file, row, count, &raw, status));
  for (uint32_t i = 0; i < count; ++i) {
    const lap_row_place place = {file->file.path, row + i};
    const bool counts =
        counted ? counted[at + i] != 0 : lap_row_counts(cache->tokens->shard[shard], row + i);
    if (counts)
      LAP_TRY(use_row(cache, &place, &raw, i, rows, at + i, status));
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
