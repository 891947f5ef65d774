/* record: the model that a step replays, and where the time of a step goes. */
#ifndef LAP_TRAINER_STEP_RECORD_H
#define LAP_TRAINER_STEP_RECORD_H

#include "autograd/gemma2/model.h"
#include "trainer/config/config.h"

typedef enum {
  LAP_PHASE_DATA,   /* reading windows and cache rows */
  LAP_PHASE_MODEL,  /* forward and backward */
  LAP_PHASE_SUM,    /* merging lanes held on this rank */
  LAP_PHASE_REDUCE, /* losses and gradients between ranks, waiting for the slowest included */
  LAP_PHASE_UPDATE, /* norm and AdamW */
  LAP_PHASE_GATHER, /* starting to send weights; waits for them are in LAP_PHASE_MODEL */
  LAP_PHASES
} lap_phase;

const char *lap_phase_name(lap_phase phase);

/* The model of the stepper; recorded without memory where `allocate` is false. */
lap_gemma2 *lap_stepper_record(const lap_config *config, lap_shard_range shards, int64_t teacher_k,
                               bool allocate);

#endif
