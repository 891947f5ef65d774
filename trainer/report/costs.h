/* costs: break-even in tokens and in hours, and what a plan could have found.
 */
#ifndef LAP_TRAINER_REPORT_COSTS_H
#define LAP_TRAINER_REPORT_COSTS_H

#include <jansson.h>

#include "core/status.h"
#include "trainer/report/study.h"

/* Null where the plan has no break_even. LAP_DATA where it names arms that are not there. */
lap_code lap_study_break_even(const lap_study *study, json_t **object, lap_status *status);

/* {training_hours, cache_hours} of what arms learn from: of cores, from shared tasks or the plan;
 * null where not known. Caches for evaluations and a judge are not in it. */
json_t *lap_study_teacher_hours(const lap_study *study);

/* The plan's minimum_detectable_effect, with what it leaves open filled in: the 80 % limit of the
 * standard deviation, and the effect by it. Null where there was no pilot. */
json_t *lap_study_detectable(const lap_study *study);

#endif
