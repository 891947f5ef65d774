#include "trainer/audit/dense_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "core/memory.h"

lap_dense_rows *lap_dense_rows_create(lap_cache *cache) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  lap_dense_rows *rows = lap_allocate(1, sizeof *rows);
  *rows =
      (lap_dense_rows){.data = {.tokens = lap_cache_tokens(cache),
                                .sequence_length = schema->sequence_length,
                                .document_mask = schema->document_mask},
                       .cache = cache,
                       .logprob = lap_allocate_aligned(
                           (int64_t)schema->sequence_length * schema->vocab_size, sizeof(float)),
                       .read = lap_cache_rows_create(cache, schema->sequence_length)};
  rows->window = lap_micro_batch_create(&rows->data, 1);
  return rows;
}

void lap_dense_rows_destroy(lap_dense_rows *rows) {
  if (!rows) return;
  lap_micro_batch_destroy(rows->window);
  lap_cache_rows_destroy(rows->read);
  lap_release_aligned(rows->logprob);
  free(rows);
}

/* Row i of those that were read, into `logprob` [V]. */
static void scatter(const lap_cache_rows *read, uint32_t i, uint32_t vocab, float *logprob) {
  const int32_t *ids = read->ids + (size_t)i * read->k;
  const float *probability = read->probability + (size_t)i * read->k;
  double sum = 0;
  for (uint32_t j = 0; j < read->k; ++j) sum += (double)probability[j];
  for (uint32_t id = 0; id < vocab; ++id) logprob[id] = -INFINITY;
  for (uint32_t j = 0; j < read->k; ++j)
    if (ids[j] >= 0 && probability[j] > 0)
      logprob[ids[j]] = (float)lap_scalar_log((double)probability[j] / sum);
}

lap_code lap_dense_rows_fill(lap_dense_rows *rows, uint64_t index, lap_status *status) {
  const uint32_t vocab = lap_cache_schema_of(rows->cache)->vocab_size;
  LAP_TRY(lap_micro_batch_fill(rows->window, &rows->data, &index, status));
  const lap_shard_window w = lap_data_window(&rows->data, index);
  rows->rows = lap_data_window_rows(&rows->data, w, &rows->first_row);
  rows->stream = lap_draw_stream(rows->data.tokens->shard[w.shard]->tokens_sha256);
  LAP_TRY(
      lap_cache_read(rows->cache, w.shard, rows->first_row, rows->rows, NULL, rows->read, status));
#pragma omp parallel for schedule(static)
  for (uint32_t i = 0; i < rows->rows; ++i)
    if (rows->window->targets[1 + i] >= 0)
      scatter(rows->read, i, vocab, rows->logprob + (size_t)(1 + i) * vocab);
  return LAP_OK;
}

lap_draw_key lap_dense_rows_key(const lap_dense_rows *rows, int64_t t, uint64_t seed) {
  return (lap_draw_key){seed, rows->stream, rows->first_row + (uint64_t)t - 1};
}

lap_code lap_dense_rows_check(const lap_cache *cache, const lap_cache *other, lap_status *status) {
  const lap_cache_schema *a = lap_cache_schema_of(cache), *b = lap_cache_schema_of(other);
  const char *path = lap_cache_path(cache, 0), *other_path = lap_cache_path(other, 0);
  if (a->codec != LAP_CODEC_TOPK || a->k != a->vocab_size)
    return lap_fail(status, LAP_DATA,
                    "--dense: %s is %s and keeps %u of %u ids; expected every id: make it by teach "
                    "--codec topk --k %u",
                    path, lap_codec_name(a->codec), a->k, a->vocab_size, a->vocab_size);
  if (a->vocab_size != b->vocab_size || a->sequence_length != b->sequence_length ||
      a->document_mask != b->document_mask)
    return lap_fail(status, LAP_DATA,
                    "--dense: %s has vocab_size %u, sequence_length %u, document_mask %d, but "
                    "--cache %s has %u, %u, %d; teach both alike",
                    path, a->vocab_size, a->sequence_length, a->document_mask, other_path,
                    b->vocab_size, b->sequence_length, b->document_mask);
  if (a->teacher_sha256[0] && b->teacher_sha256[0] && strcmp(a->teacher_sha256, b->teacher_sha256))
    return lap_fail(status, LAP_DATA,
                    "--dense: %s is by teacher_sha256 %.12s..., but --cache %s by %.12s...; teach "
                    "both with one teacher",
                    path, a->teacher_sha256, other_path, b->teacher_sha256);
  return LAP_OK;
}
