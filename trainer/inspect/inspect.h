/* inspect: what a file or directory of lapidary is, and whether it is whole
 * (docs/design.md#commands).
 *
 * One function looks at one path. What it is, is decided by one table (inspect.c) from the content
 * where the content says it, else from the name; each kind has a function that reports on it and,
 * where asked to, verifies everything of it. Not collective: inspect runs alone.
 */
#ifndef LAP_TRAINER_INSPECT_INSPECT_H
#define LAP_TRAINER_INSPECT_INSPECT_H

#include "trainer/inspect/inspector.h"

/* Reports on one path. LAP_DATA, or LAP_USAGE for a config, naming the first problem; the report
 * then has what was found before it, and the problem. */
lap_code lap_inspect(const lap_inspector *inspector, const char *path, lap_report *report,
                     lap_status *status);

#endif
