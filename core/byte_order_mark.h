/* byte_order_mark: what some editors put in front of UTF-8. */
#ifndef LAP_CORE_BYTE_ORDER_MARK_H
#define LAP_CORE_BYTE_ORDER_MARK_H

#include <stddef.h>
#include <string.h>

enum { LAP_BYTE_ORDER_MARK_BYTES = 3 };

/* The text without a byte order mark of UTF-8 at its beginning; *bytes is what is left. */
static inline const char *lap_skip_byte_order_mark(const char *text, size_t *bytes) {
  static const char mark[] = "\xEF\xBB\xBF";
  const size_t length = LAP_BYTE_ORDER_MARK_BYTES;
  if (*bytes < length || memcmp(text, mark, length) != 0) return text;
  *bytes -= length;
  return text + length;
}

#endif
