#include "trainer/commands/model_flags.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "trainer/commands/precision_flag.h"
#include "trainer/commands/ranks.h"

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
    {.name = "watchdog-seconds",
     .value = "S",
     .real = {1, 1e9},
     .offset = offsetof(lap_model_flags, watchdog_seconds),
     .help = "a rank that is stopped or stuck for longer ends the job with exit code 76 [300]"},
    LAP_FLAG_PRECISION(offsetof(lap_model_flags, precision)),
    {.name = "document-mask",
     .value = "true|false",
     .offset = offsetof(lap_model_flags, document_mask),
     .help = "attention stops at the start of a document [as in the model's training; true where a "
             "Hugging Face directory does not say it]"},
    LAP_FLAG_NO_IDLE_RANKS(offsetof(lap_model_flags, no_idle_ranks)),
    {0}};

double lap_model_flags_watchdog(const lap_model_flags *flags) {
  return flags->watchdog_seconds > 0 ? flags->watchdog_seconds : LAP_WATCHDOG_SECONDS;
}

lap_code lap_model_flags_employ(const lap_model_flags *flags, const lap_session *session,
                                bool *idle, lap_status *status) {
  const int ranks = lap_comm_size(session->comm), sharing = (int)flags->layout.model_ranks;
  /* Whether the ranks of a replica divide the model's shards is found when it is opened. */
  const lap_mesh mesh = {1, ranks, sharing ? sharing : 1};
  char why[64];
  snprintf(why, sizeof why, "--model-ranks %d divides no more of them", sharing);
  return lap_ranks_employ(session, &mesh, sharing, why, flags->no_idle_ranks, idle, status);
}

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

lap_code lap_model_flags_apply(const lap_model_flags *flags, lap_config *config,
                               lap_status *status) {
  const char *mask = flags->document_mask;
  LAP_TRY(lap_precision_flag_apply(flags->precision, config, status));
  if (!mask) return LAP_OK;
  if (strcmp(mask, "true") != 0 && strcmp(mask, "false") != 0)
    return lap_fail(status, LAP_USAGE, "--document-mask: expected true or false, found '%s'", mask);
  config->data.document_mask = strcmp(mask, "true") == 0;
  return LAP_OK;
}

lap_code lap_sliding_window_apply(int64_t window, lap_config *config, lap_status *status) {
  lap_gemma2_config *model = &config->model;
  if (window == 0) return LAP_OK;
  bool slides = false;
  for (int64_t layer = 0; layer < model->num_hidden_layers; ++layer)
    slides = slides || model->sliding[layer];
  if (!slides)
    return lap_fail(status, LAP_USAGE,
                    "--sliding-window: the model has no layer of sliding_attention; leave it out");
  model->sliding_window = window;
  return LAP_OK;
}
