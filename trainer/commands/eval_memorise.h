/* eval_memorise: `eval --memorise`: how much of its training text a model says by heart.
 */
#ifndef LAP_TRAINER_COMMANDS_EVAL_MEMORISE_H
#define LAP_TRAINER_COMMANDS_EVAL_MEMORISE_H

#include "trainer/cli/session.h"
#include "trainer/commands/model_flags.h"

/* Collective, but for one rank alone. `seen`: shards that the model was trained on; `unseen`: held
 * out, the control. Prints the result. */
lap_code lap_eval_memorise(const lap_session *session, const lap_model_flags *flags,
                           const char *checkpoint, const char *seen, const char *unseen,
                           int64_t prompts, bool json, lap_status *status);

#endif
