/* model_flags: the flags of commands that run a trained model over windows of tokens, on one rank
 * or many: eval and teach.
 */
#ifndef LAP_TRAINER_COMMANDS_MODEL_FLAGS_H
#define LAP_TRAINER_COMMANDS_MODEL_FLAGS_H

#include "trainer/cli/command.h"
#include "trainer/model/sharded.h"

typedef struct {
  int64_t sequence_length; /* 0: as in the model's training */
  int64_t threads;         /* of a rank; 1 unless given: the caller sets it */
  lap_model_layout layout;
} lap_model_flags;

extern const lap_flag lap_flags_of_model[];

/* *length becomes that of --sequence-length, or of the model's training. LAP_USAGE where neither
 * says it, or where it exceeds the model's max_position_embeddings. */
lap_code lap_model_flags_length(const lap_model_flags *flags, const lap_config *config,
                                uint32_t *length, lap_status *status);

#endif
