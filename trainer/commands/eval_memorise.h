/* eval_memorise: `eval --memorise`: how much of its training text a model says by heart.
 */
#ifndef LAP_TRAINER_COMMANDS_EVAL_MEMORISE_H
#define LAP_TRAINER_COMMANDS_EVAL_MEMORISE_H

#include "trainer/cli/session.h"
#include "trainer/commands/model_flags.h"

typedef struct {
  const char *checkpoint;
  const char *seen;   /* shards that the model was trained on */
  const char *unseen; /* held-out ones, the control */
  int64_t prompts;    /* of each */
  bool json;
} lap_eval_memorise_request;

/* For one process alone (lap_session_alone). Prints the result. */
lap_code lap_eval_memorise(const lap_session *session, const lap_model_flags *flags,
                           const lap_eval_memorise_request *request, lap_status *status);

#endif
