/* cache: what inspect says of teacher caches. */
#ifndef LAP_TRAINER_INSPECT_CACHE_H
#define LAP_TRAINER_INSPECT_CACHE_H

#include "trainer/inspect/inspector.h"

/* Sets the report's summary. LAP_DATA naming the first problem. */
lap_code lap_inspect_cache(const lap_inspector *inspector, const char *path, lap_report *report,
                           lap_status *status);

#endif
