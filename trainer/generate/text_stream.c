#include "trainer/generate/text_stream.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/text.h"

static void give(lap_text_stream *stream, const char *bytes, size_t count) {
  if (stream->bytes + count > stream->capacity) {
    stream->capacity = 2 * (stream->bytes + count);
    stream->text = lap_reallocate(stream->text, stream->capacity, 1);
  }
  memcpy(stream->text + stream->bytes, bytes, count);
  stream->bytes += count;
}

/* Whether more bytes could make a character of these. What may follow a lead byte is a range, so
 * trying the smallest and the largest continuation is enough. */
static bool may_begin_character(const char *bytes, size_t count) {
  for (int last = 0x80; last <= 0xBF; last += 0x3F)
    for (size_t length = count + 1; length <= 4; ++length) {
      char candidate[4];
      memcpy(candidate, bytes, count);
      memset(candidate + count, last, length - count);
      if (lap_utf8_character(candidate, length) == length) return true;
    }
  return false;
}

/* Gives out the held bytes as far as they are decided. */
static void flush_held(lap_text_stream *stream, bool more_may_come) {
  while (stream->held_count > 0) {
    size_t used = lap_utf8_character(stream->held, stream->held_count);
    if (used > 0) {
      give(stream, stream->held, used);
    } else if (more_may_come && may_begin_character(stream->held, stream->held_count)) {
      return;
    } else {
      give(stream, LAP_REPLACEMENT, sizeof LAP_REPLACEMENT - 1);
      used = 1;
    }
    stream->held_count -= used;
    memmove(stream->held, stream->held + used, stream->held_count);
  }
}

size_t lap_text_stream_push(lap_text_stream *stream, const char *bytes, size_t count) {
  const size_t before = stream->bytes;
  for (size_t i = 0; i < count; ++i) {
    stream->held[stream->held_count++] = bytes[i];
    flush_held(stream, true);
  }
  return stream->bytes - before;
}

size_t lap_text_stream_finish(lap_text_stream *stream) {
  const size_t before = stream->bytes;
  flush_held(stream, false);
  return stream->bytes - before;
}

void lap_text_stream_release(lap_text_stream *stream) {
  free(stream->text);
  *stream = (lap_text_stream){0};
}
