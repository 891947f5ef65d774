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

#include <jansson.h>

#include "trainer/ablate/graph.h"

/* The plan of a suite whose token shards are there; `created` is its date. A new reference in
 * *plan. LAP_DATA where shards or the pilot cannot be read. */
lap_code lap_plan_file_make(const lap_graph *graph, const char *created, json_t **plan,
                            lap_status *status);

/* Writes suite.yaml, and plan.json with plan.sha256 or, where a plan is there, an amendment where
 * it is needed; *change is what the amendment says, malloc'ed, NULL: none. LAP_USAGE where the
 * plan that is there is of a smoke run and this one is not, or the other way round; LAP_DATA where
 * plan.json is not what plan.sha256 says. */
lap_code lap_plan_file_update(const lap_graph *graph, char **change, lap_status *status);

/* "2026-11-27T02:00:00Z", malloc'ed. */
char *lap_plan_file_now(void);

#endif
