#include "trainer/run/time_limit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/ask_program.h"
#include "core/clock.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/human.h"

double lap_time_limit_parse(const char *text, double now) {
  static const char key[] = " EndTime=";
  const char *found = strstr(text, key);
  struct tm parts = {.tm_isdst = -1};
  if (!found || !strptime(found + strlen(key), "%Y-%m-%dT%H:%M:%S", &parts)) return -1;
  const double left = difftime(mktime(&parts), 0) - now;
  return left > 0 ? left : -1;
}

/* What scontrol calls this job, malloc'ed; NULL outside Slurm. A task of an array has a number of
 * its own, but the last one to start has that of the whole array, which would name all tasks. */
static char *own_job(void) {
  const char *job = getenv("SLURM_JOB_ID"), *array = getenv("SLURM_ARRAY_JOB_ID"),
             *task = getenv("SLURM_ARRAY_TASK_ID");
  if (job && array && task) return lap_format("%s_%s", array, task);
  return job ? lap_copy_string(job) : NULL;
}

static const double patience_seconds = 10; /* with scontrol */

/* What is left of this job of Slurm; -1: not known. */
static double ask_slurm(void) {
  char text[8192], *job = own_job();
  if (!job) return -1;
  /* A user may want the times of Slurm's commands in another form. */
  const char *const arguments[] = {
      "env", "-u", "SLURM_TIME_FORMAT", "scontrol", "show", "job", "-o", job, NULL};
  const bool told = lap_ask_program(arguments, patience_seconds, text, sizeof text);
  free(job);
  return told ? lap_time_limit_parse(text, (double)time(NULL)) : -1;
}

lap_time_limit lap_time_limit_find(const lap_session *session, double max_hours,
                                   double leave_before) {
  static const double most_of_the_rest = 0.25;
  lap_time_limit limit = {max_hours > 0 ? session->started + max_hours * 3600 : INFINITY};
  lap_comm_set_patience(session->comm, 2 * patience_seconds);
  double left = session->root && leave_before > 0 ? ask_slurm() : -1;
  lap_broadcast(session->comm, &left, sizeof left, 0);
  lap_comm_set_patience(session->comm, 0);
  if (left < 0) return limit;
  const double end = left - fmin(leave_before, most_of_the_rest * left);
  char job[LAP_HUMAN_TEXT], run[LAP_HUMAN_TEXT];
  lap_console_say(session->console, "job        ends in %s, says scontrol; the run stops in %s",
                  lap_human_seconds(left, job), lap_human_seconds(end, run));
  limit.end = fmin(limit.end, lap_clock_seconds() + end);
  return limit;
}

bool lap_time_limit_is_over(const lap_time_limit *limit) {
  return lap_clock_seconds() >= limit->end;
}
