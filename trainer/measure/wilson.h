/* wilson: a share with its interval of confidence 95 %, by Wilson's score, which holds for few and
 * for extreme ones.
 */
#ifndef LAP_TRAINER_MEASURE_WILSON_H
#define LAP_TRAINER_MEASURE_WILSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Puts the share correct / count, count > 0, into the object as `name`, and the ends of its
 * interval as `name`_low and `name`_high, all from 0 to 1; null where not `known`. */
void lap_wilson_json(json_t *object, const char *name, uint64_t correct, uint64_t count,
                     bool known);
/* The same as a line on stdout, in per cent. */
void lap_wilson_print(const char *name, uint64_t correct, uint64_t count);

#endif
