#include "core/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/memory.h"

size_t lap_utf8_character(const char *text, size_t bytes) {
  assert(bytes > 0);
  const uint8_t *at = (const uint8_t *)text;
  if (at[0] < 0x80) return 1;
  const size_t length = at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
  if (at[0] < 0xC2 || at[0] > 0xF4 || length > bytes) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((at[i] & 0xC0) != 0x80) return 0;
  const int overlong = (at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xF0 && at[1] < 0x90);
  const int surrogate = at[0] == 0xED && at[1] >= 0xA0;
  const int beyond = at[0] == 0xF4 && at[1] >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

size_t lap_utf8_floor(const char *text, size_t cut) {
  size_t floor = cut;
  while (floor > 0 && cut - floor < 3 && ((uint8_t)text[floor] & 0xC0) == 0x80) --floor;
  return floor;
}

lap_code lap_text_open(const char *path, lap_text_reader *reader, lap_status *status) {
  *reader = (lap_text_reader){.path = path, .file = fopen(path, "rbe")};
  if (!reader->file)
    return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
  struct stat found;
  if (fstat(fileno(reader->file), &found) == 0 && S_ISDIR(found.st_mode)) {
    lap_text_close(reader);
    return lap_fail(status, LAP_DATA, "%s: is a directory; give text files", path);
  }
  return LAP_OK;
}

void lap_text_close(lap_text_reader *reader) {
  if (reader->file) fclose(reader->file);
  free(reader->line);
  *reader = (lap_text_reader){0};
}

/* `text` begins at byte `offset` of the file, on line `line`. */
static lap_code check_utf8(const char *path, uint64_t line, uint64_t offset, const char *text,
                           size_t bytes, lap_status *status) {
  for (size_t at = 0; at < bytes;) {
    if (text[at] == '\0')
      return lap_fail(status, LAP_DATA,
                      "%s: line %" PRIu64 " (byte %" PRIu64
                      "): a NUL byte; this is not a text file",
                      path, line, offset + at);
    const size_t length = lap_utf8_character(text + at, bytes - at);
    if (length == 0)
      return lap_fail(status, LAP_DATA,
                      "%s: line %" PRIu64 " (byte %" PRIu64
                      "): byte 0x%02X is not UTF-8; convert the file (iconv -t UTF-8)",
                      path, line, offset + at, (unsigned)(uint8_t)text[at]);
    if (text[at] == '\n') ++line;
    at += length;
  }
  return LAP_OK;
}

lap_code lap_text_line(lap_text_reader *reader, const char **line, size_t *bytes,
                       lap_status *status) {
  *line = NULL;
  *bytes = 0;
  errno = 0;
  const ssize_t length = getline(&reader->line, &reader->capacity, reader->file);
  if (length < 0) {
    if (feof(reader->file) && !ferror(reader->file)) return LAP_OK;
    return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", reader->path, strerror(errno));
  }
  const uint64_t offset = reader->offset;
  reader->offset += (uint64_t)length;
  ++reader->number;
  const size_t newline = length > 0 && reader->line[length - 1] == '\n';
  *bytes = (size_t)length - newline;
  *line = reader->line;
  return check_utf8(reader->path, reader->number, offset, *line, *bytes, status);
}

lap_code lap_text_rest(lap_text_reader *reader, char **text, size_t *bytes, lap_status *status) {
  size_t count = 0, capacity = 1 << 16, got;
  char *buffer = lap_allocate(capacity + 1, 1);
  while ((got = fread(buffer + count, 1, capacity - count, reader->file)) > 0) {
    count += got;
    if (count == capacity) buffer = lap_reallocate(buffer, (capacity *= 2) + 1, 1);
  }
  lap_code code = LAP_OK;
  if (ferror(reader->file))
    code = lap_fail(status, LAP_DATA, "%s: cannot be read: %s", reader->path, strerror(errno));
  else
    code = check_utf8(reader->path, reader->number + 1, reader->offset, buffer, count, status);
  if (code != LAP_OK) {
    free(buffer);
    return code;
  }
  buffer[count] = '\0';
  reader->offset += count;
  *text = buffer;
  *bytes = count;
  return LAP_OK;
}
