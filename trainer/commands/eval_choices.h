/* eval_choices: `eval --choices`: how often a model chooses the right one of several continuations.
 */
#ifndef LAP_TRAINER_COMMANDS_EVAL_CHOICES_H
#define LAP_TRAINER_COMMANDS_EVAL_CHOICES_H

#include "trainer/cli/session.h"
#include "trainer/commands/model_flags.h"

/* Collective. Reads `path`, scores it by the model at `checkpoint`, prints the result. `unigram`:
 * token shards for the baseline; NULL: none. */
lap_code lap_eval_choices(const lap_session *session, const lap_model_flags *flags,
                          const char *checkpoint, const char *path, const char *unigram, bool json,
                          lap_status *status);

#endif
