/* survey: many paths, each looked at as lap_inspect does, by several processes at once.
 *
 * Processes, not threads: HDF5 is not thread-safe, and one that crashes on a file takes only that
 * file with it. Not collective. */
#ifndef LAP_TRAINER_INSPECT_SURVEY_H
#define LAP_TRAINER_INSPECT_SURVEY_H

#include "trainer/inspect/inspector.h"

/* What is known of one path. */
typedef struct {
  char *kind, *summary; /* "" where it is none; owned */
  json_t *json;         /* the report; owned */
  lap_status status;    /* what is wrong with it */
} lap_survey_entry;

/* How many processes are worth while: one a core, no more than paths, and no more than have room in
 * half of the memory that is free now, by the size of the largest path (a checkpoint is loaded). */
int lap_survey_jobs(char *const *paths, size_t count);

/* Looks at all paths; entries [count] are in their order, released with lap_survey_release.
 * `jobs` 1: in this process. `done` is told how many have been looked at. */
void lap_survey(const lap_inspector *inspector, char *const *paths, size_t count, int jobs,
                void (*done)(void *context, int64_t looked_at), void *context,
                lap_survey_entry *entries);
void lap_survey_release(lap_survey_entry *entries, size_t count);

#endif
