#include "trainer/commands/model_flags.h"

#include <inttypes.h>
#include <stddef.h>

const lap_flag lap_flags_of_model[] = {
    {.name = "sequence-length",
     .value = "T",
     .integer = {2, 1 << 24},
     .offset = offsetof(lap_model_flags, sequence_length),
     .help = "inputs of a window [as in the model's training]"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 4096},
     .offset = offsetof(lap_model_flags, threads),
     .help = "threads of a rank [1]"},
    {.name = "model-shards",
     .value = "M",
     .integer = {1, 1 << 16},
     .offset = offsetof(lap_model_flags, layout.model_shards),
     .help = "model shards [as in the model's training]"},
    {.name = "model-ranks",
     .value = "R",
     .integer = {1, 1 << 16},
     .offset = offsetof(lap_model_flags, layout.model_ranks),
     .help = "ranks that share the shards [the fewest that fit]"},
    {0}};

lap_code lap_model_flags_length(const lap_model_flags *flags, const lap_config *config,
                                uint32_t *length, lap_status *status) {
  *length =
      (uint32_t)(flags->sequence_length ? flags->sequence_length : config->data.sequence_length);
  const int64_t most = config->model.max_position_embeddings;
  if (*length > most)
    return lap_fail(status, LAP_USAGE,
                    "--sequence-length: %u exceeds model.max_position_embeddings, %" PRId64,
                    *length, most);
  if (*length >= 2) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "the model does not say how long its windows were: give --sequence-length");
}
