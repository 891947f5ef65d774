#include "tests/autograd/batch.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/philox.h"
#include "tests/autograd/numbers.h"

static int64_t below(uint64_t stream, uint64_t index, int64_t limit) {
  return (int64_t)(lap_philox(3, LAP_PURPOSE_BENCH, stream, index).word[0] % (uint64_t)limit);
}

static void set_documents(test_batch *b, uint64_t seed) {
  for (int64_t s = 0; s < b->sequences; ++s)
    for (int64_t t = 0; t < b->length; ++t) {
      const int64_t row = s * b->length + t;
      const int starts = t == 0 || below(seed + 1, (uint64_t)row, 9) == 0;
      b->document_start[row] = starts ? (int32_t)t : b->document_start[row - 1];
    }
}

/* Distinct ids by walking the vocabulary with a stride that shares no factor with it. */
static void set_ids(test_batch *b, int64_t row, uint64_t seed) {
  int64_t stride = 1 + below(seed + 2, (uint64_t)row, b->vocab);
  for (int64_t divisor = 2; divisor <= stride; ++divisor)
    if (stride % divisor == 0 && b->vocab % divisor == 0) stride = 1, divisor = 1;
  const int target_kept = row % 2 == 0 && b->targets[row] >= 0;
  const int64_t start = target_kept ? b->targets[row] : below(seed + 3, (uint64_t)row, b->vocab);
  for (int64_t i = 0; i < b->k; ++i)
    b->ids[row * b->k + i] = (int32_t)((start + i * stride) % b->vocab);
}

static void set_probabilities(test_batch *b, int64_t row, uint64_t seed) {
  double *t = b->probability + row * b->k, sum = 0;
  int32_t *ids = b->ids + row * b->k;
  for (int64_t i = 0; i < b->k; ++i) {
    const uint64_t index = (uint64_t)(row * b->k + i);
    if (b->k < b->vocab && i % 5 == 4) {
      ids[i] = -1;
      t[i] = i % 2 ? NAN : 7;
      continue;
    }
    t[i] = exp(3 * test_uniform(seed + 4, index));
    sum += t[i];
  }
  b->tail[row] = b->k == b->vocab || row % 7 == 3 ? 0 : 0.05 + 0.1 * (double)(row % 5);
  for (int64_t i = 0; i < b->k; ++i)
    if (ids[i] >= 0)
      t[i] *= (1 - b->tail[row]) * (1 + 0.01 * test_uniform(seed + 5, (uint64_t)row)) / sum;
}

void test_batch_set_entropy(test_batch *b) {
  for (int64_t row = 0; row < b->sequences * b->length; ++row) {
    const double r = b->tail[row];
    double s = r, entropy = 0;
    for (int64_t i = row * b->k; i < (row + 1) * b->k; ++i)
      if (b->ids[i] >= 0) s += b->probability[i];
    for (int64_t i = row * b->k; i < (row + 1) * b->k; ++i)
      if (b->ids[i] >= 0 && b->probability[i] > 0)
        entropy -= b->probability[i] / s * log(b->probability[i] / s);
    if (r > 0) entropy -= r / s * log(r / s);
    b->entropy[row] = entropy;
  }
}

test_batch *test_batch_create(int64_t sequences, int64_t length, int64_t vocab, int64_t k,
                              uint64_t seed) {
  test_batch *b = lap_allocate(1, sizeof *b);
  const int64_t rows = sequences * length;
  *b = (test_batch){.sequences = sequences, .length = length, .vocab = vocab, .k = k};
  b->tokens = lap_allocate(rows, sizeof(int32_t));
  b->document_start = lap_allocate(rows, sizeof(int32_t));
  b->targets = lap_allocate(rows, sizeof(int32_t));
  b->ids = lap_allocate(rows * k, sizeof(int32_t));
  b->probability = lap_allocate(rows * k, sizeof(double));
  b->tail = lap_allocate(rows, sizeof(double));
  b->entropy = lap_allocate(rows, sizeof(double));
  set_documents(b, seed);
  for (int64_t row = 0; row < rows; ++row) {
    b->tokens[row] = (int32_t)below(seed + 6, (uint64_t)row, vocab);
    b->targets[row] = (int32_t)below(seed + 7, (uint64_t)row, vocab);
    if (row > 0 && below(seed + 8, (uint64_t)row, 8) == 0) b->targets[row] = -1;
    set_ids(b, row, seed);
    set_probabilities(b, row, seed);
  }
  test_batch_set_entropy(b);
  return b;
}

void test_batch_destroy(test_batch *b) {
  if (!b) return;
  free(b->tokens), free(b->document_start), free(b->targets), free(b->ids);
  free(b->probability), free(b->tail), free(b->entropy);
  free(b);
}

void test_batch_one_document(test_batch *b) {
  for (int64_t row = 0; row < b->sequences * b->length; ++row) b->document_start[row] = 0;
}

lap_gemma2_config test_small_model(int64_t layers) {
  lap_gemma2_config config = {.vocab_size = 23,
                              .hidden_size = 7,
                              .intermediate_size = 11,
                              .num_hidden_layers = layers,
                              .num_attention_heads = 4,
                              .num_key_value_heads = 2,
                              .head_dim = 6,
                              .sliding_window = 3,
                              .query_pre_attn_scalar = 5,
                              .attn_logit_softcapping = 3,
                              .final_logit_softcapping = 4,
                              .rope_theta = 100,
                              .rms_norm_eps = 1e-3,
                              .max_position_embeddings = 64};
  for (int layer = 0; layer < LAP_MAX_LAYERS; ++layer) config.sliding[layer] = layer % 2 == 0;
  return config;
}
