/* analysis: from a study to report.json (docs/report.md has its schema), of which every page,
 * table and picture is made.
 */
#ifndef LAP_TRAINER_REPORT_ANALYSIS_H
#define LAP_TRAINER_REPORT_ANALYSIS_H

#include <jansson.h>

#include "core/status.h"
#include "trainer/report/study.h"

/* A new reference. LAP_DATA naming the key of the plan that names what is not there. */
lap_code lap_study_analyse(const lap_study *study, json_t **report, lap_status *status);

/* The report on run directories without a plan: arms of one run, curves and last numbers, no
 * statistics. An arm is called as its directory, with as many of those above it as tell them apart.
 * LAP_USAGE for one that is given twice. */
lap_code lap_runs_analyse(const char *const *directories, size_t count, json_t **report,
                          lap_status *status);

#endif
