/* page_parts: tables and figures of report.html. Private to this folder.
 */
#ifndef LAP_TRAINER_REPORT_PAGE_PARTS_H
#define LAP_TRAINER_REPORT_PAGE_PARTS_H

#include <jansson.h>
#include <stdio.h>

/* <table> in its scrolling box, with a row of headers; those that begin with '#' are of numbers. */
void lap_page_table(FILE *out, const char *const *headers, size_t count);
void lap_page_table_end(FILE *out);

/* Cells of a row: a number or interval with its place in the report. */
void lap_page_number(FILE *out, const json_t *object, const char *key, const char *place);
void lap_page_signed(FILE *out, const json_t *object, const char *key, const char *place);
void lap_page_interval(FILE *out, const json_t *object, const char *key, const char *place);
/* A cell with what each seed gave: the array `by_seed` of the object at `place`. */
void lap_page_seeds(FILE *out, const json_t *object, const char *place);
/* An arm's name with the dot of its colour. */
void lap_page_arm(FILE *out, const json_t *report, const char *arm);
void lap_page_text(FILE *out, const char *kind, const char *text);

/* The tables of a measure: arms, and comparisons. `place` is the measure's,
 * "/sets/0/measures/1". */
void lap_page_arms(FILE *out, const json_t *report, const json_t *measure, const char *place);
void lap_page_comparisons(FILE *out, const json_t *report, const json_t *measure,
                          const char *place);

#endif
