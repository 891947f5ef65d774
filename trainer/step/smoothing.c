#include "trainer/step/smoothing.h"

#include <stdlib.h>

#include "autograd/kernel/scalar.h"
#include "core/memory.h"
#include "dataset/special_ids.h"

/* Counts [vocab], each 1 for uniform; returns their sum. */
static uint64_t count_ids(lap_smoothing_kind kind, const lap_token_set *tokens, int64_t vocab,
                          uint64_t *counts) {
  for (int64_t i = 0; i < vocab; ++i) counts[i] = kind == LAP_SMOOTHING_UNIFORM;
  if (kind == LAP_SMOOTHING_UNIFORM) return (uint64_t)vocab;
  uint64_t all = 0;
  for (size_t s = 0; s < tokens->count; ++s)
    for (uint64_t i = 0; i < tokens->shard[s]->token_count; ++i) {
      if (tokens->shard[s]->tokens[i] == LAP_BOS) continue;
      ++counts[tokens->shard[s]->tokens[i]];
      ++all;
    }
  return all;
}

lap_smoothing *lap_smoothing_create(lap_smoothing_kind kind, const lap_token_set *tokens,
                                    int64_t vocab) {
  if (kind == LAP_SMOOTHING_NONE) return NULL;
  lap_smoothing *made = lap_allocate(1, sizeof *made);
  made->vocab = vocab;
  made->ids = lap_allocate(vocab, sizeof *made->ids);
  made->probability = lap_allocate_aligned((size_t)vocab, sizeof *made->probability);
  uint64_t *counts = lap_allocate(vocab, sizeof *counts);
  const double all = (double)count_ids(kind, tokens, vocab, counts);
  for (int64_t i = 0; i < vocab; ++i) {
    const double p = all > 0 ? (double)counts[i] / all : 0;
    made->ids[i] = (int32_t)i;
    made->probability[i] = (float)p;
    if (p > 0) made->entropy -= p * lap_scalar_log(p);
  }
  free(counts);
  return made;
}

int64_t lap_smoothing_bytes(lap_smoothing_kind kind, int64_t vocab) {
  return kind == LAP_SMOOTHING_NONE ? 0 : vocab * (int64_t)(sizeof(int32_t) + sizeof(float));
}

void lap_smoothing_destroy(lap_smoothing *smoothing) {
  if (!smoothing) return;
  free(smoothing->ids);
  lap_release_aligned(smoothing->probability);
  free(smoothing);
}
