/* write: the files of a report.
 */
#ifndef LAP_TRAINER_REPORT_WRITE_H
#define LAP_TRAINER_REPORT_WRITE_H

#include <jansson.h>

#include "core/status.h"

/* Writes report.json, report.md, report.tex, report.html, curves.csv, tuning.csv and the pictures
 * as SVG files to `directory`. The same report gives the same bytes. */
lap_code lap_report_write(const json_t *report, const char *directory, lap_status *status);

#endif
