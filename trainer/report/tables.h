/* tables: report.md, report.tex and curves.csv, all of them made of the report alone.
 */
#ifndef LAP_TRAINER_REPORT_TABLES_H
#define LAP_TRAINER_REPORT_TABLES_H

#include <jansson.h>
#include <stdio.h>

void lap_report_write_markdown(const json_t *report, FILE *out);
/* booktabs tables, to be read by \input: arms and comparisons by set and measure, by the length of
 * the context, and at the shared point of what was tuned. */
void lap_report_write_latex(const json_t *report, FILE *out);
/* One row a point: arm, seed, kind (train, eval), tokens, flops, loss, kl. */
void lap_report_write_curves(const json_t *report, FILE *out);

#endif
