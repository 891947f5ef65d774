/* precision_flag: --precision of commands that run a trained model.
 */
#ifndef LAP_TRAINER_COMMANDS_PRECISION_FLAG_H
#define LAP_TRAINER_COMMANDS_PRECISION_FLAG_H

#include "trainer/cli/command.h"
#include "trainer/config/config.h"

/* A text at this offset of the destination; NULL: not given. */
#define LAP_FLAG_PRECISION(at)                                                          \
  {                                                                                     \
    .name = "precision", .value = "P", .offset = (at),                                  \
    .help = "of products and weights: float32 or bfloat16 [as in the model's training]" \
  }

/* The config of the model takes what the flag says; bfloat16 means gemm lapidary. LAP_USAGE for
 * another word. */
lap_code lap_precision_flag_apply(const char *word, lap_config *config, lap_status *status);

#endif
