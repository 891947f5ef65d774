/* ablate: a whole suite, from its texts to the evaluations of every run (docs/ablations.md).
 *
 * Texts, tokenizer and shards first, then plan.json, then teacher, tuning, runs and evaluations.
 * Whatever was done stays done: the same call goes on after any kill, and a changed suite runs
 * again only what changed. Not collective: ranks are started by it.
 */
#ifndef LAP_TRAINER_ABLATE_ABLATE_H
#define LAP_TRAINER_ABLATE_ABLATE_H

#include <jansson.h>

#include "trainer/ablate/execute.h"
#include "trainer/ablate/graph.h"
#include "trainer/ablate/tune.h"

/* Adds the runs of all arms, seed by seed, so that pairs are complete early. `tuned` [arm_count]
 * are more changes of each arm; NULL: none. */
lap_code lap_ablate_add_runs(lap_graph *graph, const lap_changes *tuned, lap_status *status);

/* Adds the runs at the point that the compared arms share, of those arms whose best point is
 * another one. `tuned` NULL: of all compared arms, before it is known. */
lap_code lap_ablate_add_shared_runs(lap_graph *graph, const lap_tuned *tuned, lap_status *status);

/* What of a suite a call does. Parts are for queues, whose jobs run beside each other: first
 * LAP_PART_SHARED, then the runs, numbered seed by seed, each with its evaluations; a call of the
 * whole at the end finds all done, or does what is left. */
enum { LAP_PART_WHOLE = -1, LAP_PART_SHARED = -2 };

/* The number of runs of a suite: parts 0 to that - 1. */
size_t lap_ablate_runs(const lap_suite *suite);

/* In *result {"out", "runs", "done", "diverged", ...}, a new reference, also where some task has
 * failed. LAP_USAGE where another process works in `out` or on this run, or where a part comes
 * before what it needs; LAP_STOPPED after a request to stop, otherwise as lap_graph_create and
 * lap_execute. */
lap_code lap_ablate(const lap_suite *suite, const char *out, int64_t part,
                    const lap_execute_options *options, json_t **result, lap_status *status);

#endif
