/* export: what the writers of `lapidary export` are given, and what they say they have written.
 *
 * A writer makes `out`, where nothing is, from a model in memory: under a temporary name beside it,
 * synced and closed without error, and renamed when it is whole. It holds no second copy of the
 * weights. LAP_USAGE naming the key where the format cannot represent the model, LAP_DATA where it
 * cannot be written; then nothing is left.
 */
#ifndef LAP_TRAINER_EXPORT_EXPORT_H
#define LAP_TRAINER_EXPORT_EXPORT_H

#include <stdint.h>

#include "trainer/model/source.h"

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

/* One GGUF file for llama.cpp and the programs built on it: architecture gemma2, float32, and the
 * tokenizer; norms are stored as 1 + w. A vocabulary larger than the tokenizer's is filled up with
 * tokens of type unused, in a spelling that no text can have.
 *
 * llama.cpp does not follow everything that a config can say: for gemma2 it takes the scale of the
 * scores from head_dim (hidden_size / num_attention_heads where there are 46 layers), and always
 * soft-caps and alternates local and global layers. A model that says otherwise is refused, because
 * the file would load and give other numbers. So is a tokenizer that its "llama" tokenizer does not
 * follow: any but bpe with byte pieces, pieces of type unused, two pieces of one spelling. LAP_DATA
 * where the model has no tokenizer, or one that is damaged or larger than its vocabulary.
 *
 * Two texts llama.cpp reads in its own way, whatever the file says: U+2581 as a space, and the
 * spelling of a control piece ("<s>") as that piece, where there are pieces that add up to it;
 * `lapidary tokenizer` learns none, because none has letters beside signs. */
lap_code lap_export_gguf(const lap_export_request *request, lap_export_report *report,
                         lap_status *status);

#endif
