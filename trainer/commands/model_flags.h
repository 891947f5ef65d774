/* model_flags: the flags of commands that run a trained model over windows of tokens, on one rank
 * or many: eval and teach.
 */
#ifndef LAP_TRAINER_COMMANDS_MODEL_FLAGS_H
#define LAP_TRAINER_COMMANDS_MODEL_FLAGS_H

#include "trainer/cli/session.h"
#include "trainer/model/sharded.h"

typedef struct {
  int64_t sequence_length; /* 0: as in the model's training */
  int64_t threads;         /* of a rank; 1 unless given: the caller sets it */
  lap_model_layout layout;
  bool no_idle_ranks;
  double watchdog_seconds;               /* 0: LAP_WATCHDOG_SECONDS */
  const char *precision, *document_mask; /* NULL: as in the model's training */
} lap_model_flags;

extern const lap_flag lap_flags_of_model[];

/* What lap_session_run is to be told. */
double lap_model_flags_watchdog(const lap_model_flags *flags);
/* Collective. As lap_ranks_employ: any number of replicas has work, but replicas are whole. */
lap_code lap_model_flags_employ(const lap_model_flags *flags, const lap_session *session,
                                bool *idle, lap_status *status);

/* *length becomes that of --sequence-length, or of the model's training. LAP_USAGE where neither
 * says it, or where it exceeds the model's max_position_embeddings. */
lap_code lap_model_flags_length(const lap_model_flags *flags, const lap_config *config,
                                uint32_t *length, lap_status *status);

/* The config of the model takes what --precision and --document-mask say. LAP_USAGE for other
 * words. */
lap_code lap_model_flags_apply(const lap_model_flags *flags, lap_config *config,
                               lap_status *status);

/* The config of the model takes a window of its sliding_attention layers other than that of its
 * training; 0: stays. LAP_USAGE where the model has no such layer. */
lap_code lap_sliding_window_apply(int64_t window, lap_config *config, lap_status *status);

#endif
