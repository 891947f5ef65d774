/* metrics: metrics.jsonl, the record of a run (docs/design.md#metrics): one JSON object a line,
 * flushed.
 *
 * Not collective: rank 0 writes.
 */
#ifndef LAP_TRAINER_RUN_METRICS_H
#define LAP_TRAINER_RUN_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/directory_lock.h"
#include "core/status.h"

/* One step, in the order of its keys; what is not finite is written as null. */
typedef struct {
  int64_t step;            /* 1 after the first update */
  int64_t tokens;          /* inputs seen since the start of the run */
  double loss, ce, kd, kl; /* means over counted positions; NAN where there is no teacher, or
                            * no such position */
  double grad_norm;        /* before clipping */
  double learning_rate;
  double seconds; /* of this step */
  double tokens_per_second;
  double communication_seconds; /* waited for in this step */
  int64_t skipped;              /* steps without an update since the start of the run */
  double spike;                 /* deviations of the loss above the mean (spikes.h); written as
                                 * loss_spike_sigmas where it is not 0 */
} lap_metrics_step;

typedef struct lap_metrics lap_metrics;

/* Opens for appending; made, durably, where it is missing. LAP_DATA naming the file. `lock` (NULL:
 * none) outlives it: its fence is asked before each line. */
lap_code lap_metrics_open(const char *path, const lap_directory_lock *lock, lap_metrics **metrics,
                          lap_status *status);
/* LAP_DATA where something that was appended cannot be brought to the file. */
lap_code lap_metrics_close(lap_metrics *metrics, lap_status *status);

/* LAP_DATA where the file cannot be written; LAP_USAGE where another job has taken over, whose
 * file it is then: nothing is written, and what is said is what lap_directory_lock_check says. */
lap_code lap_metrics_append(lap_metrics *metrics, const lap_metrics_step *step, lap_status *status);
/* {"step": S, "tokens": N, "eval": {...}}; `eval` stays the caller's. */
lap_code lap_metrics_append_eval(lap_metrics *metrics, int64_t step, int64_t tokens, json_t *eval,
                                 lap_status *status);

/* Brings what was appended to disk, before a checkpoint counts that lies behind it. LAP_DATA. */
lap_code lap_metrics_sync(lap_metrics *metrics, lap_status *status);

/* --- reading, when a run goes on --- */

/* A file's lines, one after the other: text[begin, end) is the one at hand, with its newline. */
typedef struct {
  char *text;
  size_t bytes, begin, end;
  long number;   /* of the line, from 1 */
  json_t *value; /* what it is; NULL: no JSON, or more values than a file may have */
} lap_metrics_lines;

/* No file: no lines. LAP_DATA where it cannot be read; then there is nothing to close. */
lap_code lap_metrics_lines_open(const char *path, lap_metrics_lines *lines, lap_status *status);
/* Goes to the next whole line; false: there is none. A last line that a kill has cut is none. */
bool lap_metrics_lines_next(lap_metrics_lines *lines);
void lap_metrics_lines_close(lap_metrics_lines *lines);

/* Drops what lies past `last_step`: lines with a larger step, and a last line that a kill has cut.
 * A machine that stops may leave any of the lines since the last lap_metrics_sync: a line that is
 * none goes with all behind it where `last_step` is before it. The rest is kept byte for byte, in a
 * new file, renamed. No file: nothing to do. LAP_DATA naming the line where a whole line before
 * `last_step` is not a metrics line. Call before lap_metrics_open. */
lap_code lap_metrics_truncate(const char *path, int64_t last_step, lap_status *status);

/* The evaluation with the lowest loss, the first of equal ones, for a run that goes on. None, or no
 * file: *step -1, *loss infinite. LAP_DATA where the file cannot be read; lines that are not
 * evaluations are ignored. */
lap_code lap_metrics_best_eval(const char *path, int64_t *step, double *loss, lap_status *status);

/* Whether the file has the line of a step, and that of its evaluation. No file: neither. LAP_DATA
 * where it cannot be read. */
lap_code lap_metrics_find(const char *path, int64_t step, bool *made, bool *evaluated,
                          lap_status *status);
/* The largest step that it has a line of; 0: none, or no file. LAP_DATA where it cannot be read. */
lap_code lap_metrics_last_step(const char *path, int64_t *step, lap_status *status);

#endif
