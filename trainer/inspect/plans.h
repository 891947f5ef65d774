/* plans: what inspect says of suites, which `ablate` reads, and of hardware files, which `plan`
 * reads: valid or not, and what they describe. */
#ifndef LAP_TRAINER_INSPECT_PLANS_H
#define LAP_TRAINER_INSPECT_PLANS_H

#include "trainer/inspect/inspector.h"

/* Each sets the report's summary. LAP_USAGE naming the first problem, as the command that reads
 * the file does. Whether what a suite names is there is for `ablate --dry-run` to say. */
lap_code lap_inspect_suite(const lap_inspector *inspector, const char *path, lap_report *report,
                           lap_status *status);
lap_code lap_inspect_hardware(const lap_inspector *inspector, const char *path, lap_report *report,
                              lap_status *status);

#endif
