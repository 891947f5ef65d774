#include "dataset/windows.h"

#include <assert.h>

#include "dataset/set_documents.h"
#include "dataset/special_ids.h"

uint64_t lap_sliding_count(uint64_t token_count, uint32_t sequence_length, uint32_t step) {
  assert(sequence_length >= 2 && step >= 1 && step < sequence_length);
  const uint64_t rows = sequence_length - 1;
  if (token_count <= rows) return token_count > 0;
  return 1 + (token_count - rows + step - 1) / step;
}

uint64_t lap_window_count(uint64_t token_count, uint32_t sequence_length) {
  return lap_sliding_count(token_count, sequence_length, sequence_length - 1);
}

uint32_t lap_sliding_rows(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                          uint32_t step, uint64_t *row) {
  assert(window < lap_sliding_count(shard->token_count, sequence_length, step));
  const uint64_t rows = sequence_length - 1;
  *row = window * step;
  const uint64_t left = shard->token_count - *row;
  return (uint32_t)(left < rows ? left : rows);
}

uint32_t lap_window_rows(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                         uint64_t *row) {
  return lap_sliding_rows(shard, window, sequence_length, sequence_length - 1, row);
}

static void fill_document_start(const lap_token_shard *shard, uint64_t row, uint32_t rows,
                                int32_t *document_start) {
  /* The prefix stands for what the window's first document left behind, unless it begins here. */
  int32_t start = shard->tokens[row] == LAP_BOS ? 1 : 0;
  uint64_t document = lap_shard_document(shard, row);
  for (uint32_t i = 0; i < rows; ++i) {
    while (document + 1 < shard->document_count && shard->documents[document + 1] <= row + i) {
      ++document;
      start = (int32_t)(1 + i);
    }
    document_start[1 + i] = start;
  }
}

uint32_t lap_sliding_fill(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                          uint32_t step, bool document_mask, int32_t *inputs, int32_t *targets,
                          int32_t *document_start) {
  uint64_t row;
  const uint32_t rows = lap_sliding_rows(shard, window, sequence_length, step, &row);
  /* The rows before it are counted by the windows before. */
  const uint64_t fresh = window > 0 ? row - step + sequence_length - 1 : row;
  uint32_t counted = 0;
  inputs[0] = LAP_BOS;
  targets[0] = LAP_UNCOUNTED;
  for (uint32_t i = 0; i < rows; ++i) {
    const uint64_t r = row + i;
    const bool counts = r >= fresh && r + 1 < shard->token_count && shard->tokens[r] != LAP_EOS;
    inputs[1 + i] = (int32_t)shard->tokens[r];
    targets[1 + i] = counts ? (int32_t)shard->tokens[r + 1] : LAP_UNCOUNTED;
    counted += counts;
  }
  for (uint32_t i = 1 + rows; i < sequence_length; ++i) {
    inputs[i] = LAP_PAD;
    targets[i] = LAP_UNCOUNTED;
  }
  for (uint32_t i = 0; i < sequence_length; ++i)
    document_start[i] = document_mask && i > rows ? (int32_t)i : 0;
  if (document_mask) fill_document_start(shard, row, rows, document_start);
  return counted;
}

uint32_t lap_window_fill(const lap_token_shard *shard, uint64_t window, uint32_t sequence_length,
                         bool document_mask, int32_t *inputs, int32_t *targets,
                         int32_t *document_start) {
  return lap_sliding_fill(shard, window, sequence_length, sequence_length - 1, document_mask,
                          inputs, targets, document_start);
}

uint64_t lap_set_sliding_count(const lap_token_set *set, uint32_t sequence_length, uint32_t step) {
  uint64_t count = 0;
  for (size_t i = 0; i < set->count; ++i)
    count += lap_sliding_count(set->shard[i]->token_count, sequence_length, step);
  return count;
}

uint64_t lap_set_window_count(const lap_token_set *set, uint32_t sequence_length) {
  return lap_set_sliding_count(set, sequence_length, sequence_length - 1);
}

lap_shard_window lap_set_sliding(const lap_token_set *set, uint32_t sequence_length, uint32_t step,
                                 uint64_t index) {
  for (size_t i = 0; i < set->count; ++i) {
    const uint64_t count = lap_sliding_count(set->shard[i]->token_count, sequence_length, step);
    if (index < count) return (lap_shard_window){.shard = i, .window = index};
    index -= count;
  }
  assert(!"a window beyond the last of the set");
  return (lap_shard_window){0};
}
