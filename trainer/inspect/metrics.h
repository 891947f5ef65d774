/* metrics: a metrics.jsonl, read through once. */
#ifndef LAP_TRAINER_INSPECT_METRICS_H
#define LAP_TRAINER_INSPECT_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "trainer/inspect/inspector.h"

typedef struct {
  uint64_t lines, steps, evals;              /* whole lines; of steps; of evaluations */
  json_t *last_step, *last_eval, *best_eval; /* lines; NULL: none; the best has the lowest loss */
  bool cut;                                  /* ends inside a line: a kill, or a run that goes on */
} lap_metrics_summary;

/* LAP_DATA naming file and line where a whole line is not a metrics line, or its step is before
 * that of the line above. */
lap_code lap_metrics_summarise(const char *path, lap_metrics_summary *summary, lap_status *status);
void lap_metrics_summary_release(lap_metrics_summary *summary);

/* The facts last_step, last_eval and best_eval. */
void lap_metrics_report(const lap_metrics_summary *summary, lap_report *report);

/* What inspect says of the file by itself; sets the report's summary. */
lap_code lap_inspect_metrics(const lap_inspector *inspector, const char *path, lap_report *report,
                             lap_status *status);

#endif
