/* eval_choices: `eval --choices`: how often a model chooses the right one of several continuations.
 */
#ifndef LAP_TRAINER_COMMANDS_EVAL_CHOICES_H
#define LAP_TRAINER_COMMANDS_EVAL_CHOICES_H

#include "trainer/cli/session.h"
#include "trainer/commands/model_flags.h"

typedef struct {
  const char *checkpoint, *path;
  const char *unigram;    /* token shards for the baseline; NULL: none */
  const char *table;      /* file for what was made of each item; NULL: none */
  int64_t sliding_window; /* 0: as in the model's training */
  bool json;
} lap_eval_choices_request;

/* Collective. Reads `path`, scores it by the model at `checkpoint`, prints the result. */
lap_code lap_eval_choices(const lap_session *session, const lap_model_flags *flags,
                          const lap_eval_choices_request *request, lap_status *status);

#endif
