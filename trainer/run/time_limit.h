/* time_limit: when a run stops by the clock: after --max-hours, or before its batch job ends. */
#ifndef LAP_TRAINER_RUN_TIME_LIMIT_H
#define LAP_TRAINER_RUN_TIME_LIMIT_H

#include "trainer/cli/session.h"

typedef struct {
  double end; /* of lap_clock_seconds; INFINITY: none */
} lap_time_limit;

/* Collective. `max_hours` count from the start of the session, before any data is read; 0: no
 * limit. Within a job of Slurm (SLURM_JOB_ID), rank 0 asks `scontrol` once when the job ends, waits
 * some seconds for the answer at most, and says when the run stops: leave_before seconds earlier,
 * or after three quarters of what is left of the job where that is later. A task of an array asks
 * for itself. `leave_before` 0: nobody asks. No answer: no limit. */
lap_time_limit lap_time_limit_find(const lap_session *session, double max_hours,
                                   double leave_before);
/* Not collective: clocks differ. */
bool lap_time_limit_is_over(const lap_time_limit *limit);

/* The seconds from `now` to the EndTime in what `scontrol show job -o` prints, in local time; -1:
 * none there. */
double lap_time_limit_parse(const char *text, double now);

#endif
