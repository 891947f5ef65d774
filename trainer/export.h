/* export: what the writers of `lapidary export` are given, and what they say they have written.
 *
 * A writer makes `out`, where nothing is, from a model in memory: under a temporary name beside it,
 * synced and closed without error, and renamed when it is whole. It holds no second copy of the
 * weights. LAP_USAGE naming the key where the format cannot represent the model, LAP_DATA where it
 * cannot be written; then nothing is left.
 */
#ifndef LAP_TRAINER_EXPORT_H
#define LAP_TRAINER_EXPORT_H

#include <stdint.h>

#include "trainer/model_source.h"

typedef struct {
  const lap_model_source *model; /* with weights */
  const char *out;               /* without a slash at its end */
  int64_t shard_bytes; /* most bytes of weights in one file, where the format has several */
} lap_export_request;

typedef struct {
  int64_t bytes; /* of weights */
  int files;     /* of weights */
} lap_export_report;

/* A Hugging Face directory: config.json, generation_config.json, model.safetensors or its shards
 * with model.safetensors.index.json, and where the model has a tokenizer tokenizer.model,
 * tokenizer.json and tokenizer_config.json. */
lap_code lap_export_hf(const lap_export_request *request, lap_export_report *report,
                       lap_status *status);

#endif
