#include "dataset/text_reader.h"

#include <stdlib.h>
#include <string.h>

#include "core/byte_order_mark.h"
#include "core/memory.h"

enum { READ_BYTES = 64 << 10 };

lap_code lap_text_open(const char *path, lap_text_reader *reader, lap_status *status) {
  *reader = (lap_text_reader){.path = path};
  return lap_input_open(path, &reader->file, status);
}

void lap_text_close(lap_text_reader *reader) {
  lap_input_close(reader->file);
  free(reader->buffer);
  *reader = (lap_text_reader){0};
}

/* Reads more behind what is there; ended is set where there is none. */
static lap_code read_more(lap_text_reader *reader, lap_status *status) {
  if (reader->begin > 0) {
    memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
    reader->end -= reader->begin;
    reader->begin = 0;
  }
  if (reader->capacity - reader->end < READ_BYTES) {
    reader->capacity = 2 * reader->capacity + READ_BYTES;
    reader->buffer = lap_reallocate(reader->buffer, (int64_t)reader->capacity, 1);
  }
  size_t count;
  LAP_TRY(lap_input_read(reader->file, reader->buffer + reader->end, reader->capacity - reader->end,
                         &count, status));
  reader->end += count;
  reader->ended = count == 0;
  return LAP_OK;
}

lap_code lap_text_peek(lap_text_reader *reader, size_t bytes, const char **text, size_t *count,
                       lap_status *status) {
  while (!reader->ended && reader->end - reader->begin < bytes) LAP_TRY(read_more(reader, status));
  *text = reader->buffer + reader->begin;
  *count = reader->end - reader->begin;
  return LAP_OK;
}

static lap_code skip_mark(lap_text_reader *reader, lap_status *status) {
  const char *text;
  size_t count;
  if (reader->begun) return LAP_OK;
  reader->begun = true;
  LAP_TRY(lap_text_peek(reader, LAP_BYTE_ORDER_MARK_BYTES, &text, &count, status));
  reader->begin += (size_t)(lap_skip_byte_order_mark(text, &count) - text);
  return LAP_OK;
}

lap_code lap_text_line(lap_text_reader *reader, const char **line, size_t *bytes,
                       lap_status *status) {
  *line = NULL;
  *bytes = 0;
  LAP_TRY(skip_mark(reader, status));
  for (size_t seen = 0;;) {
    const char *text = reader->buffer + reader->begin;
    const size_t there = reader->end - reader->begin;
    if (reader->after_cr && there > 0) {
      reader->begin += text[0] == '\n';
      reader->after_cr = false;
      continue;
    }
    while (seen < there && text[seen] != '\n' && text[seen] != '\r') ++seen;
    if (seen == there && !reader->ended) {
      LAP_TRY(read_more(reader, status));
      continue;
    }
    if (there == 0) return LAP_OK;
    const bool broken = seen < there;
    reader->after_cr = broken && text[seen] == '\r';
    reader->begin += seen + broken;
    ++reader->number;
    *line = text;
    *bytes = seen;
    return LAP_OK;
  }
}

lap_code lap_text_rest(lap_text_reader *reader, const char **text, size_t *bytes,
                       lap_status *status) {
  LAP_TRY(skip_mark(reader, status));
  while (!reader->ended) LAP_TRY(read_more(reader, status));
  char *to = reader->buffer + reader->begin;
  *text = to;
  for (size_t at = reader->begin; at < reader->end; ++at) {
    const char byte = reader->buffer[at];
    if (!(byte == '\n' && reader->after_cr)) *to++ = byte == '\r' ? '\n' : byte;
    reader->after_cr = byte == '\r';
  }
  *bytes = (size_t)(to - *text);
  reader->begin = reader->end;
  return LAP_OK;
}
