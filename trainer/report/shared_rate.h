/* shared_rate: the compared arms at one point of what was tuned, beside each at its own best.
 *
 * `ablate` writes which point that is, and where its runs lie, to DIR/tune/shared.json. What they
 * say is descriptive: the plan's verdicts are of the arms at their own best.
 */
#ifndef LAP_TRAINER_REPORT_SHARED_RATE_H
#define LAP_TRAINER_REPORT_SHARED_RATE_H

#include <jansson.h>
#include <stdio.h>

#include "core/status.h"
#include "trainer/report/study.h"

/* {factors, mean_dev_loss, set, changes {arm: {key: value}}, runs {arm: directory}, measure, as of
 * the endpoint}; null where nothing was tuned. A new reference. */
lap_code lap_study_shared_rate(const lap_study *study, json_t **object, lap_status *status);

/* "optimizer.learning_rate x 2" of a report's shared_rate; malloc'ed. */
char *lap_shared_rate_name(const json_t *shared_rate);

/* Its part of the page; nothing where there is none. */
void lap_page_shared_rate(FILE *out, const json_t *report);

#endif
