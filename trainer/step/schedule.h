/* schedule: the learning rate as a function of the step. */
#ifndef LAP_TRAINER_STEP_SCHEDULE_H
#define LAP_TRAINER_STEP_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "trainer/config/config.h"

/* Steps of the whole run: schedule.steps, or from tokens (inputs, padding included) or epochs over
 * `window_count` windows. LAP_USAGE where it comes to none, or to an absurd number. */
lap_code lap_schedule_total_steps(const lap_config *config, uint64_t window_count,
                                  uint64_t *total_steps, lap_status *status);

/* The learning rate of the update made in step `step` (0-based) of `total_steps`. Warm-up rises
 * linearly to the peak in warmup_steps; then, with x = i / n in step i, from 0, of n that remain,
 *   cosine    final + (1 - final) (1 + cos(pi x)) / 2       linear    1 - (1 - final) x
 *   constant  1                                             wsd       1, then linear to final in
 *                                                                     the last 10 % of all steps
 * times the peak. */
double lap_schedule_learning_rate(const lap_config *config, uint64_t step, uint64_t total_steps);
/* Whether the learning rate of this kind stays at its peak behind the warm-up, however long the run
 * is: constant, and wsd up to its decay. */
bool lap_schedule_is_level(lap_schedule_kind kind);
/* How many first steps have a learning rate that does not depend on total_steps: those of the
 * warm-up; with wsd all before the decay; with constant all (UINT64_MAX). */
uint64_t lap_schedule_free_steps(const lap_config *config, uint64_t total_steps);

#endif
