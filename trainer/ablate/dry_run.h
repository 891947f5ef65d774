/* dry_run: what a suite will take, before anything runs.
 *
 * Hours are those of `plan` on a hardware file; teaching and evaluating are counted by their FLOPs
 * at the rate of a training step of the base config. Token counts are those of the shards where
 * they are there already, else a quarter of the bytes of text.
 */
#ifndef LAP_TRAINER_ABLATE_DRY_RUN_H
#define LAP_TRAINER_ABLATE_DRY_RUN_H

#include <jansson.h>

#include "trainer/ablate/suite.h"

/* {"rows": [{"name", "kind", "done", "steps", "hours", "cache_bytes"}, ...], "total_hours",
 * "total_hours_left", "cache_bytes", ...}, a new reference; null where something is not known.
 * Nothing is written. As lap_graph_create; LAP_USAGE for a hardware file that does not fit. */
lap_code lap_dry_run(const lap_suite *suite, const char *out, const char *hardware, json_t **costs,
                     lap_status *status);

/* The same as a table on stdout. */
void lap_dry_run_print(const json_t *costs);

#endif
