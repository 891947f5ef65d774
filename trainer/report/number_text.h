/* number_text: numbers and small texts as people read them in tables: one way for every page.
 */
#ifndef LAP_TRAINER_REPORT_NUMBER_TEXT_H
#define LAP_TRAINER_REPORT_NUMBER_TEXT_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

enum { LAP_CELL = 64 };

/* Four decimals, with a true minus sign (U+2212); "–" where it is not a number. */
const char *lap_cell_number(double value, char cell[LAP_CELL]);
/* The same with a plus before what is above 0. */
const char *lap_cell_signed(double value, char cell[LAP_CELL]);
/* "[low, high]" of an array of two; "–" where there is none. */
const char *lap_cell_interval(const json_t *interval, char cell[LAP_CELL]);
/* "< 0.0001" or four decimals. */
const char *lap_cell_p(double value, char cell[LAP_CELL]);
/* The confidence of the report's intervals in per cent: "95", "99.9". */
const char *lap_cell_confidence(const json_t *report, char cell[LAP_CELL]);
/* Two digits or so: "3.25", "0.041". */
const char *lap_cell_hours(double value, char cell[LAP_CELL]);
/* A name as a field of CSV: in quotes where it has a comma, as those of grids have, a quote, which
 * is doubled, or an end of line. */
void lap_csv_name(FILE *out, const char *name);
/* Three digits: "1.2 M", "3.4 P". */
const char *lap_cell_count(double value, char cell[LAP_CELL]);

#endif
