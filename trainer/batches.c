#include "trainer/batches.h"

#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"

lap_micro_batch *lap_micro_batch_create(const lap_data *data, int64_t sequences) {
  lap_micro_batch *micro = lap_allocate(1, sizeof *micro);
  const int64_t length = data->sequence_length;
  const int64_t k = data->cache ? lap_cache_schema_of(data->cache)->k : 0;
  const size_t positions = (size_t)(sequences * length), slots = positions * (size_t)k;
  micro->tokens = lap_allocate(positions, sizeof(int32_t));
  micro->first = lap_allocate(positions, sizeof(int32_t));
  micro->targets = lap_allocate(positions, sizeof(int32_t));
  micro->loss_values = lap_allocate(4 * positions, sizeof(double));
  micro->losses = (lap_losses){.loss = micro->loss_values,
                               .ce = micro->loss_values + positions,
                               .kd = micro->loss_values + 2 * positions,
                               .kl = micro->loss_values + 3 * positions};
  if (k) {
    micro->teacher_ids = lap_allocate(slots, sizeof(int32_t));
    micro->teacher_probability = lap_allocate_aligned(slots, sizeof(float));
    micro->teacher_tail = lap_allocate(positions, sizeof(float));
    micro->teacher_entropy = lap_allocate(positions, sizeof(double));
    micro->counted_rows = lap_allocate((size_t)length, 1);
    micro->rows = lap_cache_rows_create(data->cache, (uint32_t)length);
  }
  micro->batch = (lap_batch){.sequences = sequences,
                             .length = length,
                             .tokens = micro->tokens,
                             .first = micro->first,
                             .targets = micro->targets,
                             .k = k,
                             .teacher_ids = micro->teacher_ids,
                             .teacher_probability = micro->teacher_probability,
                             .teacher_tail = micro->teacher_tail,
                             .teacher_entropy = micro->teacher_entropy};
  return micro;
}

void lap_micro_batch_destroy(lap_micro_batch *micro) {
  if (!micro) return;
  free(micro->tokens);
  free(micro->first);
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

/* A sequence with nothing to learn from: each position is padding that sees itself. */
static void fill_padding(lap_micro_batch *micro, int64_t sequence) {
  const int64_t length = micro->batch.length, at = sequence * length;
  for (int64_t t = 0; t < length; ++t) {
    micro->tokens[at + t] = 0;
    micro->first[at + t] = (int32_t)t;
    micro->targets[at + t] = LAP_UNCOUNTED;
  }
}

/* Row r of the stream stands at position 1 + r - row; the prefix and padding have no row. */
static lap_code fill_teacher(lap_micro_batch *micro, const lap_data *data, lap_window_place place,
                             int64_t sequence, lap_status *status) {
  const int64_t length = micro->batch.length, k = micro->batch.k, at = sequence * length;
  uint64_t row;
  const uint32_t count = lap_window_rows(data->tokens->shard[place.shard], place.window,
                                         data->sequence_length, &row);
  for (uint32_t i = 0; i < count; ++i) micro->counted_rows[i] = micro->targets[at + 1 + i] >= 0;
  LAP_TRY(lap_cache_read(data->cache, place.shard, row, count, micro->counted_rows, micro->rows,
                         status));
  const size_t slots = (size_t)count * (size_t)k;
  memcpy(micro->teacher_ids + (at + 1) * k, micro->rows->ids, slots * sizeof(int32_t));
  memcpy(micro->teacher_probability + (at + 1) * k, micro->rows->probability,
         slots * sizeof(float));
  memcpy(micro->teacher_tail + at + 1, micro->rows->tail, count * sizeof(float));
  memcpy(micro->teacher_entropy + at + 1, micro->rows->bucket_entropy, count * sizeof(double));
  return LAP_OK;
}

lap_code lap_micro_batch_fill(lap_micro_batch *micro, const lap_data *data, const uint64_t *windows,
                              lap_status *status) {
  const int64_t length = micro->batch.length;
  micro->counted = 0;
  for (int64_t s = 0; s < micro->batch.sequences; ++s) {
    if (windows[s] == LAP_NO_WINDOW) {
      fill_padding(micro, s);
      continue;
    }
    const lap_window_place place =
        lap_set_window(data->tokens, data->sequence_length, windows[s]);
    const int64_t at = s * length;
    micro->counted += lap_window_fill(data->tokens->shard[place.shard], place.window,
                                      data->sequence_length, data->document_mask,
                                      micro->tokens + at, micro->targets + at, micro->first + at);
    if (data->cache) LAP_TRY(fill_teacher(micro, data, place, s, status));
  }
  return LAP_OK;
}
