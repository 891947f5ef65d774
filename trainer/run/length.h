/* length: the length of a run, which may change on the way.
 *
 * A longer or shorter run has the same numbers as long as no learning rate behind it depended on
 * the length (lap_schedule_free_steps). Not collective.
 */
#ifndef LAP_TRAINER_RUN_LENGTH_H
#define LAP_TRAINER_RUN_LENGTH_H

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/run/inputs.h"

/* schedule.steps, schedule.tokens or schedule.epochs. */
bool lap_length_is_key(const char *key);
/* As lap_numbers_differ, keys of the length left out. */
bool lap_length_others_differ(const lap_numbers *then, const lap_numbers *now,
                              lap_numbers_difference *difference);

/* The length of a checkpoint's run beside that of this one. */
typedef struct {
  lap_config *then; /* config of the checkpoint; lap_length_close frees it */
  uint64_t total_then;
  bool matters; /* the checkpoint's state depends on it, or is past the end of this run */
} lap_length;

/* LAP_DATA where the checkpoint's config cannot be read; then there is nothing to close. */
lap_code lap_length_open(const lap_checkpoint *checkpoint, const lap_config *config,
                         const lap_inputs *inputs, lap_length *length, lap_status *status);
void lap_length_close(lap_length *length);

#endif
