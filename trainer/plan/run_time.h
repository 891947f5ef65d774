/* run_time: how long a planned training takes on a hardware file, and whether it fits there.
 */
#ifndef LAP_TRAINER_PLAN_RUN_TIME_H
#define LAP_TRAINER_PLAN_RUN_TIME_H

#include <jansson.h>

#include "trainer/plan/plan.h"
#include "trainer/plan/step_time.h"

typedef struct {
  const lap_hardware *hardware;
  lap_step_time measured; /* of a measured file */
  lap_chip_time chips;    /* of a chip's */
  double seconds_per_step, tokens_per_second;
  double hours;           /* of the schedule; 0: not known */
  double bytes, capacity; /* needed and there: of a node's ranks, or of a chip */
} lap_plan_time;

/* Ranks that a chip's file stands for: one a lane and shard. */
int lap_plan_time_chips(const lap_config *config);

/* `plan` is of train, made with as many ranks. LAP_USAGE as the functions of step_time.h. */
lap_code lap_plan_time_make(const lap_config *config, const lap_plan *plan,
                            const lap_hardware *hardware, lap_plan_time *time, lap_status *status);

void lap_plan_time_print(const lap_plan_time *time);
/* Owned by the caller. */
json_t *lap_plan_time_to_json(const lap_plan_time *time);

#endif
