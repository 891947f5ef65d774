/* text_reader: a file of text, line by line.
 *
 * A line ends with LF, CRLF or CR, which may stand beside each other in one file; a byte order mark
 * at the beginning of the file is no part of it. What the lines hold is not looked at.
 */
#ifndef LAP_DATASET_TEXT_READER_H
#define LAP_DATASET_TEXT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "dataset/input_file.h"

/* Zero-initialise; memory grows to the longest line. */
typedef struct {
  const char *path; /* belongs to the caller */
  lap_input_file *file;
  char *buffer;
  size_t begin, end, capacity; /* what is read and not yet given out */
  bool ended;                  /* the file has no more than that */
  bool after_cr;               /* an LF that comes next belongs to the last line */
  bool begun;                  /* the byte order mark has been dealt with */
  uint64_t number;             /* of the last line, from 1 */
} lap_text_reader;

/* Errors as lap_input_open. */
lap_code lap_text_open(const char *path, lap_text_reader *reader, lap_status *status);
void lap_text_close(lap_text_reader *reader);

/* The next line without its end, in a buffer that lives until the next call; *line is NULL after
 * the last. Errors as lap_input_read. */
lap_code lap_text_line(lap_text_reader *reader, const char **line, size_t *bytes,
                       lap_status *status);

/* All that is left, each line end an LF, in the same buffer. */
lap_code lap_text_rest(lap_text_reader *reader, const char **text, size_t *bytes,
                       lap_status *status);

/* What is read so far, at least `bytes` where the file has them; nothing is taken. */
lap_code lap_text_peek(lap_text_reader *reader, size_t bytes, const char **text, size_t *count,
                       lap_status *status);

#endif
