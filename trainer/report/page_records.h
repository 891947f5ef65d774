/* page_records: the parts of report.html that say what ran: arms, runs, hashes. Private to this
 * folder.
 */
#ifndef LAP_TRAINER_REPORT_PAGE_RECORDS_H
#define LAP_TRAINER_REPORT_PAGE_RECORDS_H

#include <jansson.h>
#include <stdio.h>

void lap_page_configurations(FILE *out, const json_t *report);
void lap_page_runs(FILE *out, const json_t *report);
/* How the numbers came about: variances and degrees of freedom of each primary comparison. */
void lap_page_workings(FILE *out, const json_t *report);
void lap_page_provenance(FILE *out, const json_t *report);

#endif
