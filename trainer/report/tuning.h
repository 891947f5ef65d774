/* tuning: what the arms' losses on dev were at each point of the grid that `ablate` has tried.
 */
#ifndef LAP_TRAINER_REPORT_TUNING_H
#define LAP_TRAINER_REPORT_TUNING_H

#include <jansson.h>
#include <stdio.h>

#include "core/status.h"
#include "trainer/report/study.h"

/* [{arm, point "optimizer.learning_rate=0.004", values {key: number}, factors {key: of the arm's
 * own value}, seeds, by_seed, loss (their mean, null where a run has diverged or is not there),
 * chosen}], from DIR/tune; arms in the order of the plan, points by the value of their first key.
 * Empty where nothing was tuned. */
lap_code lap_study_tuning(const lap_study *study, json_t **tuning, lap_status *status);

/* A row a seed at a point, for each tuned key. */
void lap_report_write_tuning(const json_t *report, FILE *out);

/* Its part of the page; nothing where it is empty. */
void lap_page_tuning(FILE *out, const json_t *report);

#endif
