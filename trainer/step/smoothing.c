#include "trainer/step/smoothing.h"

#include <stdlib.h>

#include "autograd/kernel/scalar.h"
#include "core/memory.h"
#include "dataset/special_ids.h"

typedef struct {
  uint64_t count;
  int32_t id;
} counted_id;

/* Counts of row [vocab], each 1 for uniform; returns their sum. */
static uint64_t count_ids(lap_smoothing_kind kind, const lap_token_set *tokens, int64_t vocab,
                          counted_id *row) {
  for (int64_t i = 0; i < vocab; ++i)
    row[i] = (counted_id){kind == LAP_SMOOTHING_UNIFORM, (int32_t)i};
  if (kind == LAP_SMOOTHING_UNIFORM) return (uint64_t)vocab;
  uint64_t all = 0;
  for (size_t s = 0; s < tokens->count; ++s)
    for (uint64_t i = 0; i < tokens->shard[s]->token_count; ++i) {
      if (tokens->shard[s]->tokens[i] == LAP_BOS) continue;
      ++row[tokens->shard[s]->tokens[i]].count;
      ++all;
    }
  return all;
}

static double probability_of(const counted_id *row, int64_t i, double all) {
  return all > 0 ? (double)row[i].count / all : 0;
}

static int by_falling_count(const void *a, const void *b) {
  const counted_id *one = a, *other = b;
  if (one->count != other->count) return one->count > other->count ? -1 : 1;
  return one->id < other->id ? -1 : 1;
}

lap_smoothing *lap_smoothing_create(lap_smoothing_kind kind, const lap_token_set *tokens,
                                    int64_t vocab, bool most_probable_first) {
  if (kind == LAP_SMOOTHING_NONE) return NULL;
  lap_smoothing *made = lap_allocate(1, sizeof *made);
  made->vocab = vocab;
  made->ids = lap_allocate(vocab, sizeof *made->ids);
  made->probability = lap_allocate_aligned((size_t)vocab, sizeof *made->probability);
  counted_id *row = lap_allocate(vocab, sizeof *row);
  const double all = (double)count_ids(kind, tokens, vocab, row);
  for (int64_t i = 0; i < vocab; ++i) {
    const double p = probability_of(row, i, all);
    if (p > 0) made->entropy -= p * lap_scalar_log(p);
  }
  if (most_probable_first) qsort(row, (size_t)vocab, sizeof *row, by_falling_count);
  for (int64_t i = 0; i < vocab; ++i) {
    made->ids[i] = row[i].id;
    made->probability[i] = (float)probability_of(row, i, all);
  }
  free(row);
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
