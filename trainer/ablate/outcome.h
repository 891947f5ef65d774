/* outcome: what a child has said: the object on the last line of its output, the end of its log.
 */
#ifndef LAP_TRAINER_ABLATE_OUTCOME_H
#define LAP_TRAINER_ABLATE_OUTCOME_H

#include <stdint.h>

#include "trainer/ablate/task.h"

/* How long the steps of a training took: those that its last child made, and those that children
 * before it made, which were killed or stopped. 0 and 0 for other tasks. */
typedef struct {
  double seconds, seconds_before;
} lap_outcome_time;

/* Keeps the last line of out.txt as the task's result: LAP_DATA where it is no object. That of a
 * training gets `seconds_before` too. The result of a run that has diverged says no more than that;
 * a cache has none. */
lap_code lap_outcome_keep(const lap_task *task, bool diverged, lap_outcome_time *took,
                          lap_status *status);

/* Whether the child of an earlier call had ended well: its result, its last word, is there. Then it
 * is kept. */
lap_code lap_outcome_salvage(const lap_task *task, bool *was_whole, lap_outcome_time *took,
                             lap_status *status);

/* Documents that a task of texts has left out; 0 for other tasks. */
int64_t lap_outcome_near_duplicates(const lap_task *task);

/* The last lines of a log, malloc'ed, "" where there is none. */
char *lap_outcome_last_lines(const char *log);

#endif
