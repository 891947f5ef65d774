/* plan_file: plan.json, what is promised before the first run, and its amendments.
 *
 * plan.json is written and hashed once the token shards are there, before any run: arms, seeds,
 * comparisons, endpoint, margin, sets, what is tuned. It never changes. A suite that promises
 * something else later appends an object to amendments.jsonl, with its date, and the newest whole
 * plan becomes plan.amended.json, where everything that plan.json does not have is marked
 * exploratory. docs/ablations.md has the format. Not collective.
 */
#ifndef LAP_TRAINER_ABLATE_PLAN_FILE_H
#define LAP_TRAINER_ABLATE_PLAN_FILE_H

#include "trainer/ablate/graph.h"

/* Writes suite.yaml, and plan.json with plan.sha256 or, where a plan is there, an amendment where
 * it is needed; *change is what the amendment says, malloc'ed, NULL: none. LAP_USAGE where the
 * plan that is there is of a smoke run and this one is not, or the other way round; LAP_DATA where
 * plan.json is not what plan.sha256 says, or shards or the pilot cannot be read. The token shards
 * must be there. */
lap_code lap_plan_file_update(const lap_graph *graph, char **change, lap_status *status);

#endif
