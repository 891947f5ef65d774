/* resolve: checks between keys, defaults that depend on other keys, and the keys that a command
 * cannot do without.
 */
#ifndef LAP_TRAINER_CONFIG_RESOLVE_H
#define LAP_TRAINER_CONFIG_RESOLVE_H

#include "core/status.h"
#include "trainer/config/config.h"

/* All checks between keys; fills learning_rate, distill_weight, gemm and micro_sequences where they
 * are not given. Called when a config is loaded. LAP_USAGE naming the key. */
lap_code lap_config_resolve(lap_config *config, lap_status *status);

/* Where batch.micro_sequences is not given: the largest divisor of the sequences of a lane that is
 * at most `most`. */
void lap_config_limit_micro_sequences(lap_config *config, int64_t most);

/* `needs` are lap_config_needs. LAP_USAGE naming the first key that is missing and where it
 * belongs. */
lap_code lap_config_require(const lap_config *config, unsigned needs, lap_status *status);

/* What objective.tail has to fit. */
typedef struct {
  const char *name;  /* where the teacher is, for messages */
  const char *codec; /* by its name */
  int64_t head; /* first slots of a row that are the most probable ids: of stratified; else 0 */
  bool dense;   /* every id is kept */
} lap_config_teacher;

/* Resolves objective.tail: where it is not given, ghost for the topk codec, none for the others,
 * for which ghost is none. LAP_USAGE naming the key, the teacher and what to do: a temperature
 * other than 1 without the topk codec and a renormalise rule; renormalise_both with a drawn codec;
 * decoupled with another teacher than a dense or a stratified one, or without a head. */
lap_code lap_config_resolve_tail(lap_config *config, const lap_config_teacher *teacher,
                                 lap_status *status);

/* Where schedule.warmup_steps is not given, it is `steps`: that of the run that is gone on with. */
void lap_config_settle_warmup(lap_config *config, int64_t steps);
/* Resolves schedule.warmup_steps: where it is not given, 5 % of total_steps, rounded down.
 * LAP_USAGE where a given one exceeds total_steps. */
lap_code lap_config_resolve_warmup(lap_config *config, int64_t total_steps, lap_status *status);

#endif
