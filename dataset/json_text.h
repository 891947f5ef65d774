/* json_text: the one string of a JSON line that is the document.
 *
 * By hand, and not with jansson, because only one value of the line matters: jansson refuses the
 * whole line for a NaN, a 1e999, a number of more than 64 bits or a \u0000 beside the text, all of
 * which Python and others write, and it builds every value (250 bytes for "{}") to give us one.
 * Here everything but the wanted string is passed over: its brackets and its strings must balance,
 * and that is all. Fuzzed by tests/fuzz/fuzz_documents.c.
 */
#ifndef LAP_DATASET_JSON_TEXT_H
#define LAP_DATASET_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  LAP_JSON_FOUND,
  LAP_JSON_BROKEN, /* no whole JSON object */
  LAP_JSON_NO_KEY, /* an object without the key */
  LAP_JSON_NO_TEXT /* the value is not a string */
} lap_json_outcome;

typedef struct {
  lap_json_outcome outcome;
  size_t column;      /* broken: the byte, from 1, at which the line stops being an object */
  const char *reason; /* broken: e.g. "the object does not end" */
  size_t bytes;       /* found: of the text in `out` */
  uint64_t replaced;  /* found: \u0000 and lone surrogates, which became U+FFFD */
} lap_json_text;

/* The string under `key` at the top level of the object; the last one where there are several.
 * Escapes are decoded; bytes are taken as they are, UTF-8 or not. `out` has room for the line's
 * length. */
lap_json_text lap_json_find_text(const char *line, size_t bytes, const char *key, char *out);

/* The keys of the object for people, "id, body, ...", as far as they fit: what a message shows
 * where the wanted one is not there. */
void lap_json_list_keys(const char *line, size_t bytes, char *list, size_t size);

#endif
