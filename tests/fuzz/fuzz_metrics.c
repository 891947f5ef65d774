/* metrics.jsonl: summarised as inspect does, and read as a resumed run does. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "trainer/inspect/metrics.h"
#include "trainer/run/metrics.h"

void fuzz_one(const uint8_t *bytes, size_t count) {
  const char *path = fuzz_file(bytes, count);
  lap_status status;
  lap_report *report = lap_report_create(path);
  lap_inspect_metrics(NULL, path, report, &status);
  lap_report_destroy(report);
  int64_t step;
  double loss;
  lap_metrics_best_eval(path, &step, &loss, &status);
  /* Keeps every whole line: nothing is written unless the last one is cut. */
  if (count == 0 || bytes[count - 1] == '\n') lap_metrics_truncate(path, INT64_MAX, &status);
}
