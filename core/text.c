#include "core/text.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

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

size_t lap_utf8_write(uint32_t code, char text[4]) {
  assert(code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF));
  const size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = length; i-- > 1; code >>= 6) text[i] = (char)(0x80 | (code & 0x3F));
  text[0] = (char)(lead[length] | code);
  return length;
}

/* How many bytes of a control character begin the text: of ASCII or, two, of Latin-1. */
static size_t control_bytes(const uint8_t *text) {
  if (text[0] == 0xC2 && text[1] >= 0x80 && text[1] < 0xA0) return 2;
  return text[0] == 0x7F || (text[0] < 0x20 && text[0] != '\n' && text[0] != '\t');
}

void lap_text_show_controls(const char *text, char *out, size_t size) {
  static const char digits[] = "0123456789abcdef";
  size_t written = 0;
  while (*text) {
    const size_t bytes = control_bytes((const uint8_t *)text), end = bytes ? bytes : 1;
    const size_t needed = bytes ? sizeof "\\x1b" - 1 : 1;
    if (written + end * needed >= size) break;
    for (size_t i = 0; i < end; ++i, ++text) {
      if (!bytes) {
        out[written++] = *text;
        continue;
      }
      const uint8_t byte = (uint8_t)*text;
      const char shown[] = {'\\', 'x', digits[byte / 16], digits[byte % 16]};
      memcpy(out + written, shown, sizeof shown);
      written += sizeof shown;
    }
  }
  out[written] = '\0';
}

size_t lap_utf8_clean(const char *text, size_t bytes) {
  size_t at = 0;
  while (at < bytes) {
    const size_t length = text[at] == '\0' ? 0 : lap_utf8_character(text + at, bytes - at);
    if (length == 0) break;
    at += length;
  }
  return at;
}

size_t lap_utf8_damage(const char *text, size_t bytes) {
  const uint8_t *at = (const uint8_t *)text;
  if (at[0] < 0xE0 || at[0] > 0xF4 || bytes < 2) return 1;
  /* Which second bytes can follow the first. */
  const uint8_t low = at[0] == 0xE0 ? 0xA0 : at[0] == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = at[0] == 0xED ? 0x9F : at[0] == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < low || at[1] > high) return 1;
  const bool third = at[0] >= 0xF0 && bytes > 2 && (at[2] & 0xC0) == 0x80;
  return third ? 3 : 2;
}

size_t lap_utf8_repair(const char *text, size_t bytes, char *out, uint64_t *replaced) {
  enum { REPLACEMENT_BYTES = sizeof LAP_REPLACEMENT - 1 };
  size_t written = 0;
  *replaced = 0;
  for (;;) {
    const size_t clean = lap_utf8_clean(text, bytes);
    memcpy(out + written, text, clean);
    written += clean;
    if (clean == bytes) return written;
    const size_t damage = lap_utf8_damage(text + clean, bytes - clean);
    memcpy(out + written, LAP_REPLACEMENT, REPLACEMENT_BYTES);
    written += REPLACEMENT_BYTES;
    ++*replaced;
    text += clean + damage;
    bytes -= clean + damage;
  }
}
