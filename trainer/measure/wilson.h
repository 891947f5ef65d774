/* wilson: a share with its interval of confidence 95 %, by Wilson's score, which holds for few and
 * for extreme ones.
 */
#ifndef LAP_TRAINER_MEASURE_WILSON_H
#define LAP_TRAINER_MEASURE_WILSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

void lap_wilson_interval(uint64_t correct, uint64_t count, double *low, double *high);
/* Puts `name`, `name`_low and `name`_high into the object; null where not `known`. */
void lap_wilson_json(json_t *object, const char *name, uint64_t correct, uint64_t count,
                     bool known);
/* A line on stdout. */
void lap_wilson_print(const char *name, uint64_t correct, uint64_t count);

#endif
