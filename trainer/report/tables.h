/* tables: report.md, report.tex and curves.csv, all of the report alone.
 */
#ifndef LAP_TRAINER_REPORT_TABLES_H
#define LAP_TRAINER_REPORT_TABLES_H

#include <jansson.h>
#include <stdio.h>

void lap_report_write_markdown(const json_t *report, FILE *out);
/* booktabs tables, to be read by \input: losses by set, comparisons, break-even. */
void lap_report_write_latex(const json_t *report, FILE *out);
/* One row a point: arm, seed, kind (train, eval), tokens, flops, loss, kl. */
void lap_report_write_curves(const json_t *report, FILE *out);

#endif
