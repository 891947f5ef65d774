/* json_values: how much memory a JSON text may cost, told before it is parsed.
 *
 * A value of three bytes, "{},", takes some 250 bytes once jansson has parsed it: what bounds the
 * memory of a parser is the number of values, not that of bytes.
 */
#ifndef LAP_DATASET_JSON_VALUES_H
#define LAP_DATASET_JSON_VALUES_H

#include <stddef.h>

/* For whole files and lines of them: half a gigabyte at worst. */
enum { LAP_JSON_MOST_VALUES = 1 << 21 };

/* No fewer than the values of a JSON text: one, and one for each comma, bracket and brace that
 * opens, outside of strings. Any bytes will do. */
size_t lap_json_values(const char *text, size_t bytes);

#endif
