/* json_file: JSON files of ours, read whole; and the members of objects that may lack them.
 */
#ifndef LAP_TRAINER_REPORT_JSON_FILE_H
#define LAP_TRAINER_REPORT_JSON_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* DIRECTORY/NAME as an object. Where there is no such file: *object is NULL, and that is LAP_DATA
 * if it `must_exist`. LAP_DATA too where it is not a JSON object. */
lap_code lap_json_file_read(const char *directory, const char *name, bool must_exist,
                            json_t **object, lap_status *status);

/* The whole lines of DIRECTORY/NAME, one object each, as an array; empty where there is no file. A
 * last line without its line break is still being written, and left out. */
lap_code lap_json_lines_read(const char *directory, const char *name, json_t **lines,
                             lap_status *status);

/* "" where it is not a text. */
const char *lap_json_text(const json_t *object, const char *key);
/* NAN where it is not a number. */
double lap_json_real(const json_t *object, const char *key);
int64_t lap_json_integer(const json_t *object, const char *key);
bool lap_json_flag(const json_t *object, const char *key);

/* The element of an array whose `key` is `text`; *index (may be NULL) is its place. NULL: none. */
const json_t *lap_json_find(const json_t *array, const char *key, const char *text, size_t *index);

#endif
