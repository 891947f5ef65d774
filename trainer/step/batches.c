#include "trainer/step/batches.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/op/loss_row.h"
#include "core/memory.h"
#include "core/philox.h"

static uint32_t step_of(const lap_data *data) {
  return data->step ? data->step : data->sequence_length - 1;
}

uint64_t lap_data_window_count(const lap_data *data) {
  return data->synthetic
             ? data->synthetic->windows
             : lap_set_sliding_count(data->tokens, data->sequence_length, step_of(data));
}

lap_shard_window lap_data_window(const lap_data *data, uint64_t index) {
  return lap_set_sliding(data->tokens, data->sequence_length, step_of(data), index);
}

uint32_t lap_data_window_rows(const lap_data *data, lap_shard_window window, uint64_t *row) {
  return lap_sliding_rows(data->tokens->shard[window.shard], window.window, data->sequence_length,
                          step_of(data), row);
}

int64_t lap_data_teacher_k(const lap_data *data) {
  if (data->smoothing) return data->smoothing->vocab;
  if (data->synthetic) return data->synthetic->k;
  return data->cache ? lap_cache_schema_of(data->cache)->k : 0;
}

lap_micro_batch *lap_micro_batch_create(const lap_data *data, int64_t sequences) {
  lap_micro_batch *micro = lap_allocate(1, sizeof *micro);
  const int64_t length = data->sequence_length, k = lap_data_teacher_k(data);
  const size_t positions = (size_t)(sequences * length), slots = positions * (size_t)k;
  micro->tokens = lap_allocate(positions, sizeof(int32_t));
  micro->document_start = lap_allocate(positions, sizeof(int32_t));
  micro->targets = lap_allocate(positions, sizeof(int32_t));
  micro->loss_values = lap_allocate(4 * positions, sizeof(double));
  micro->losses = (lap_losses){.loss = micro->loss_values,
                               .ce = micro->loss_values + positions,
                               .kd = micro->loss_values + 2 * positions,
                               .kl = micro->loss_values + 3 * positions};
  const lap_smoothing *smoothing = data->smoothing;
  if (smoothing) { /* one row for all positions, which belongs to it */
    micro->teacher_tail = lap_allocate(positions, sizeof(float));
    micro->teacher_entropy = lap_allocate(positions, sizeof(double));
    for (size_t i = 0; i < positions; ++i) micro->teacher_entropy[i] = smoothing->entropy;
  } else if (k) {
    micro->teacher_ids = lap_allocate(slots, sizeof(int32_t));
    micro->teacher_probability = lap_allocate_aligned(slots, sizeof(float));
    micro->teacher_tail = lap_allocate(positions, sizeof(float));
    micro->teacher_entropy = lap_allocate(positions, sizeof(double));
    micro->counted_rows = lap_allocate(length, 1);
    if (data->cache) micro->rows = lap_cache_rows_create(data->cache, (uint32_t)length);
  }
  micro->batch = (lap_batch){
      .sequences = sequences,
      .length = length,
      .tokens = micro->tokens,
      .document_start = micro->document_start,
      .targets = micro->targets,
      .k = k,
      .teacher_ids = smoothing ? smoothing->ids : micro->teacher_ids,
      .teacher_probability = smoothing ? smoothing->probability : micro->teacher_probability,
      .one_row = smoothing != NULL,
      .teacher_tail = micro->teacher_tail,
      .teacher_entropy = micro->teacher_entropy};
  return micro;
}

int64_t lap_micro_batch_bytes(int64_t sequences, int64_t length, int64_t teacher_k, bool one_row) {
  const int64_t positions = sequences * length, slots = positions * teacher_k;
  const int64_t position = 3 * sizeof(int32_t) + 4 * sizeof(double); /* inputs, losses */
  if (!teacher_k) return positions * position;
  const int64_t taught = sizeof(float) + sizeof(double), slot = sizeof(int32_t) + sizeof(float);
  if (one_row) return positions * (position + taught);
  return positions * (position + taught) + slots * slot + length +
         lap_cache_rows_bytes(length, teacher_k);
}

void lap_micro_batch_destroy(lap_micro_batch *micro) {
  if (!micro) return;
  free(micro->tokens);
  free(micro->document_start);
  free(micro->targets);
  free(micro->loss_values);
  free(micro->teacher_ids);
  lap_release_aligned(micro->teacher_probability);
  free(micro->teacher_tail);
  free(micro->teacher_entropy);
  free(micro->counted_rows);
  lap_cache_rows_destroy(micro->rows);
  free(micro);
}

/* Row r of the stream stands at position 1 + r - row; the prefix and padding have no row. */
static lap_code fill_teacher(lap_micro_batch *micro, const lap_data *data, lap_shard_window w,
                             int64_t sequence, lap_status *status) {
  const int64_t length = micro->batch.length, k = micro->batch.k, at = sequence * length;
  uint64_t row;
  const uint32_t count = lap_data_window_rows(data, w, &row);
  for (uint32_t i = 0; i < count; ++i) micro->counted_rows[i] = micro->targets[at + 1 + i] >= 0;
  lap_cache *cache = lap_cache_of_epoch(data->cache, micro->epochs ? micro->epochs[sequence] : 0);
  LAP_TRY(lap_cache_read(cache, w.shard, row, count, micro->counted_rows, micro->rows, status));
  for (uint32_t i = 0; i < count && data->head > 0; ++i)
    lap_row_head_first(micro->rows->ids + i * k, micro->rows->probability + i * k, k, data->head);
  const size_t slots = (size_t)count * (size_t)k;
  memcpy(micro->teacher_ids + (at + 1) * k, micro->rows->ids, slots * sizeof(int32_t));
  memcpy(micro->teacher_probability + (at + 1) * k, micro->rows->probability,
         slots * sizeof(float));
  memcpy(micro->teacher_tail + at + 1, micro->rows->tail, count * sizeof(float));
  memcpy(micro->teacher_entropy + at + 1, micro->rows->bucket_entropy, count * sizeof(double));
  return LAP_OK;
}

/* --- synthetic --- */

static void fill_synthetic(lap_micro_batch *micro, const lap_synthetic *synthetic, int64_t sequence,
                           uint64_t window) {
  const int64_t length = micro->batch.length, k = synthetic->k, at = sequence * length;
  const uint64_t vocab = (uint64_t)synthetic->vocab_size;
  for (int64_t t = at; t < at + length; ++t) {
    const lap_random r = lap_philox(1, LAP_PURPOSE_BENCH, window, (uint64_t)(t - at));
    micro->tokens[t] = (int32_t)(r.word[0] % vocab);
    micro->targets[t] = t + 1 < at + length ? (int32_t)(r.word[1] % vocab) : LAP_UNCOUNTED;
    micro->document_start[t] = 0;
    if (!k) continue;
    /* Distinct ids, evenly spaced from a random one; kept mass 0.9, falling as 1 / (rank + 1). */
    const uint64_t stride = vocab / (uint64_t)k;
    double sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += 1.0 / (double)(i + 1);
    for (int64_t i = 0; i < k; ++i) {
      micro->teacher_ids[t * k + i] = (int32_t)((r.word[2] + (uint64_t)i * stride) % vocab);
      micro->teacher_probability[t * k + i] = (float)(0.9 / sum / (double)(i + 1));
    }
    micro->teacher_tail[t] = 0.1F;
    micro->teacher_entropy[t] = 0;
  }
  micro->counted += (uint32_t)length - 1;
}

lap_code lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data, const uint64_t *windows,
                              lap_status *status) {
  const int64_t length = micro->batch.length;
  micro->counted = 0;
  for (int64_t s = 0; s < micro->batch.sequences; ++s) {
    if (data->synthetic) {
      fill_synthetic(micro, data->synthetic, s, windows[s]);
      continue;
    }
    const lap_shard_window w = lap_data_window(data, windows[s]);
    const int64_t at = s * length;
    micro->counted += lap_sliding_fill(
        data->tokens->shard[w.shard], w.window, data->sequence_length, step_of(data),
        data->document_mask, micro->tokens + at, micro->targets + at, micro->document_start + at);
    if (data->cache) LAP_TRY(fill_teacher(micro, data, w, s, status));
  }
  return LAP_OK;
}
