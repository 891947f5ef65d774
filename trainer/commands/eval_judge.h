/* eval_judge: `eval --judge`: what another model thinks of what a model says.
 */
#ifndef LAP_TRAINER_COMMANDS_EVAL_JUDGE_H
#define LAP_TRAINER_COMMANDS_EVAL_JUDGE_H

#include "trainer/cli/session.h"
#include "trainer/commands/model_flags.h"

typedef struct {
  const char *checkpoint, *judge; /* what lap_model_open takes */
  const char *tokens;             /* held-out shards, of which the prompts are */
  const char *table;              /* file for what was found of each prompt; NULL: none */
  int64_t prompts;
  bool json;
} lap_eval_judge_request;

/* For one process alone (lap_session_alone). Prints the result. */
lap_code lap_eval_judge(const lap_session *session, const lap_model_flags *flags,
                        const lap_eval_judge_request *request, lap_status *status);

#endif
