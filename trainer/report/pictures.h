/* pictures: what a report shows, each an SVG of its own. None knows anything but the report.
 */
#ifndef LAP_TRAINER_REPORT_PICTURES_H
#define LAP_TRAINER_REPORT_PICTURES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

typedef enum { LAP_CURVE_TRAIN, LAP_CURVE_EVAL } lap_curve_kind;
typedef enum { LAP_BY_TOKENS, LAP_BY_FLOPS } lap_curve_by;

/* A line an arm: the mean over seeds, within the range of the seeds. False, and nothing is drawn,
 * where there are no such curves. */
bool lap_picture_curves(const json_t *report, lap_curve_kind kind, lap_curve_by by, bool standalone,
                        FILE *out);

/* All comparisons of a measure under each other: intervals, and a dot a seed. */
bool lap_picture_overview(const json_t *report, const json_t *measure, bool standalone, FILE *out);

/* One comparison: a row a seed, baseline and arm joined; beside it the differences with their
 * interval. False where no seed has both. */
bool lap_picture_pair(const json_t *report, const json_t *measure, const json_t *comparison,
                      bool standalone, FILE *out);

/* Loss over multiples of tokens, the line, and where it meets the arm. */
bool lap_picture_break_even(const json_t *report, bool standalone, FILE *out);

/* The i-th tuned key; NULL: no more. */
const char *lap_tuning_key(const json_t *report, size_t i);
/* Loss on dev over the factors of a tuned key. */
bool lap_picture_tuning(const json_t *report, const char *key, bool standalone, FILE *out);

/* The colour of an arm, 0 to LAP_COLORS - 1: its place among the arms. */
int lap_arm_color(const json_t *report, const char *arm);

#endif
