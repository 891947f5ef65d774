/* run: what inspect says of run directories and their run.json. */
#ifndef LAP_TRAINER_INSPECT_RUN_H
#define LAP_TRAINER_INSPECT_RUN_H

#include "trainer/inspect/inspector.h"

/* Each sets the report's summary. LAP_DATA naming the first problem. */
lap_code lap_inspect_run(const lap_inspector *inspector, const char *path, lap_report *report,
                         lap_status *status);
lap_code lap_inspect_run_json(const lap_inspector *inspector, const char *path, lap_report *report,
                              lap_status *status);

#endif
