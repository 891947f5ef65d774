/* page: report.html, one file without scripts or anything from a network.
 *
 * A cell with a number of the report has its place there as `data-at`, a JSON pointer (RFC 6901):
 * what the page shows can be held to report.json.
 */
#ifndef LAP_TRAINER_REPORT_PAGE_H
#define LAP_TRAINER_REPORT_PAGE_H

#include <jansson.h>
#include <stdio.h>

void lap_report_write_page(const json_t *report, FILE *out);

#endif
