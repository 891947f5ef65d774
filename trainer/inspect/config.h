/* config: what inspect says of configs: valid or not, what they are enough for, the resolved form.
 */
#ifndef LAP_TRAINER_INSPECT_CONFIG_H
#define LAP_TRAINER_INSPECT_CONFIG_H

#include "trainer/inspect/inspector.h"

/* Sets the report's summary. LAP_USAGE naming the first problem. */
lap_code lap_inspect_config(const lap_inspector *inspector, const char *path, lap_report *report,
                            lap_status *status);

#endif
