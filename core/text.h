/* text: reading the user's text files, which must be UTF-8 without NUL bytes.
 */
#ifndef LAP_CORE_TEXT_H
#define LAP_CORE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

/* The length in bytes (1 to 4) of the UTF-8 character at `text`, of which `bytes` > 0 are there; 0
 * where it is malformed, cut off, overlong, a surrogate or beyond U+10FFFF. */
size_t lap_utf8_character(const char *text, size_t bytes);

/* The largest cut <= `cut` that does not fall inside a UTF-8 character; text[cut] must be readable.
 */
size_t lap_utf8_floor(const char *text, size_t cut);

/* A file read line by line. Zero-initialise; memory grows to the longest line. */
typedef struct {
  const char *path; /* belongs to the caller */
  FILE *file;
  char *line;
  size_t capacity;
  uint64_t number; /* of the last line, from 1 */
  uint64_t offset; /* bytes read so far */
} lap_text_reader;

/* LAP_DATA naming the file and the system's reason (a directory is refused). */
lap_code lap_text_open(const char *path, lap_text_reader *reader, lap_status *status);
void lap_text_close(lap_text_reader *reader);

/* The next line without its "\n", in a buffer that lives until the next call; *line is NULL after
 * the last. LAP_DATA naming file, line and byte where the text is not UTF-8, has a NUL byte or
 * cannot be read. */
lap_code lap_text_line(lap_text_reader *reader, const char **line, size_t *bytes,
                       lap_status *status);

/* The rest of the file in one buffer owned by the caller, NUL-terminated. Errors as lap_text_line.
 */
lap_code lap_text_rest(lap_text_reader *reader, char **text, size_t *bytes, lap_status *status);

#endif
