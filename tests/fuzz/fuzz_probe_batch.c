/* Batches of probe: safetensors whose values a model will use as indices. */
#include "fuzz.h"
#include "trainer/probe/probe.h"

static void check_batch(const lap_probe_batch *batch, const lap_gemma2_config *model) {
  const int64_t positions = batch->sequences * batch->length;
  FUZZ_REQUIRE(positions > 0 && batch->length <= model->max_position_embeddings);
  for (int64_t i = 0; i < positions; ++i) {
    FUZZ_REQUIRE(batch->tokens[i] >= 0 && batch->tokens[i] < model->vocab_size);
    FUZZ_REQUIRE(batch->targets[i] >= -1 && batch->targets[i] < model->vocab_size);
  }
  for (int64_t i = 0; i < positions * batch->k; ++i) {
    FUZZ_REQUIRE(batch->teacher_ids[i] >= -1 && batch->teacher_ids[i] < model->vocab_size);
    FUZZ_REQUIRE(batch->teacher_ids[i] < 0 || batch->teacher_probability[i] > 0);
  }
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  const lap_gemma2_config model = {.vocab_size = 16, .max_position_embeddings = 64};
  lap_probe_batch *batch;
  lap_status status;
  if (lap_probe_batch_read(fuzz_file(bytes, count), &model, &batch, &status) != LAP_OK) return;
  check_batch(batch, &model);
  lap_probe_batch_destroy(batch);
}
