/* json: what several rooms need around jansson.
 *
 * The memory that a JSON text may cost is bounded before it is parsed. A value of three bytes,
 * "{},", takes some 250 bytes once jansson has parsed it: the number of values bounds the memory of
 * a parser, not the number of bytes.
 */
#ifndef LAP_CORE_JSON_H
#define LAP_CORE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "core/status.h"

/* For whole files and lines of them: half a gigabyte at worst. */
enum { LAP_JSON_MOST_VALUES = 1 << 21 };

/* Has jansson take its memory from core/memory.h. Where there is none it would give NULL, and what
 * it was asked to write would come out incomplete. Before its first use. */
void lap_json_use_memory(void);

/* No fewer than the values of a JSON text: one, and one for each comma, bracket and brace that
 * opens, outside of strings. Any bytes will do. */
size_t lap_json_values(const char *text, size_t bytes);

/* A finite number, otherwise null. A new reference. */
json_t *lap_json_number(double value);

/* A path, or another text of the user's that may be any bytes: what is not UTF-8 becomes U+FFFD. A
 * new reference, never NULL. */
json_t *lap_json_path(const char *path);

/* A value as one line, without a newline, whose numbers are the shortest that read back as the
 * same: jansson writes 0.1 as 0.10000000000000001, or loses digits. False: the file has an error.
 */
bool lap_json_write(const json_t *value, FILE *file);

/* The object that a file of at most `limit` bytes holds; a byte order mark is passed over, a key
 * that is given twice refused. *object is the caller's, NULL on failure. LAP_DATA naming the file
 * and, where it is not JSON, the line. */
lap_code lap_json_read_file(const char *path, size_t limit, json_t **object, lap_status *status);

/* lap_file_write_alone of a value as json_dumps prints it with `flags`, and a newline. */
lap_code lap_json_write_file(const char *path, const json_t *value, size_t flags,
                             lap_status *status);

#endif
