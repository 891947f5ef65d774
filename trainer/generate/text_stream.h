/* text_stream: text that arrives in tokens, given out in whole UTF-8 characters.
 *
 * With byte fallback a token may be one byte of a character. What could still become a character is
 * held back until it has; a byte that cannot becomes U+FFFD. So what is given out is always UTF-8,
 * and the same however the bytes were cut.
 */
#ifndef LAP_TRAINER_GENERATE_TEXT_STREAM_H
#define LAP_TRAINER_GENERATE_TEXT_STREAM_H

#include <stddef.h>

/* Zero-initialise. */
typedef struct {
  char held[4]; /* the beginning of a character */
  size_t held_count;
  char *text; /* everything given out so far, not NUL-terminated */
  size_t bytes, capacity;
} lap_text_stream;

/* Takes `count` bytes. What can be given out is appended to stream->text; returns how many bytes
 * that is. */
size_t lap_text_stream_push(lap_text_stream *stream, const char *bytes, size_t count);

/* No more bytes will come: what is held back becomes U+FFFD. Returns as push. */
size_t lap_text_stream_finish(lap_text_stream *stream);

void lap_text_stream_release(lap_text_stream *stream);

#endif
