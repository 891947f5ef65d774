/* losses: the losses of several runs beside each other, from what inspect reported on each. */
#ifndef LAP_TRAINER_INSPECT_LOSSES_H
#define LAP_TRAINER_INSPECT_LOSSES_H

#include <jansson.h>

#include "trainer/cli/table.h"

/* A table with a row for each run directory and metrics.jsonl of `results` (an array of
 * lap_report_json) that has steps, in their order; NULL where there are fewer than two. *best is
 * the path with the lowest held-out cross-entropy, which belongs to the results; NULL: none. */
lap_table *lap_losses_table(const json_t *results, const char **best);

#endif
