#include "dataset/json_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/byte_order_mark.h"
#include "core/text.h"

typedef struct {
  const char *begin, *at, *end;
  const char *reason; /* NULL: nothing wrong so far */
} scanner;

static bool fail(scanner *s, const char *reason) {
  if (!s->reason) s->reason = reason;
  return false;
}

static void skip_space(scanner *s) {
  while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
    ++s->at;
}

static bool take(scanner *s, char byte, const char *missing) {
  skip_space(s);
  if (s->at == s->end || *s->at != byte) return fail(s, missing);
  ++s->at;
  return true;
}

static int hex_of(char byte) {
  if (byte >= '0' && byte <= '9') return byte - '0';
  const char lower = (char)(byte | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four digits behind "\u" at `at`, or -1. */
static int32_t unit_at(const scanner *s, const char *at) {
  int32_t unit = 0;
  if (s->end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
  for (int i = 2; i < 6; ++i) {
    const int digit = hex_of(at[i]);
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

/* Decodes \u and its four digits, or two of them that are one character, and goes past. */
static bool take_unicode(scanner *s, char **out, uint64_t *replaced) {
  const int32_t unit = unit_at(s, s->at);
  if (unit < 0) return fail(s, "\\u without four hexadecimal digits");
  s->at += 6;
  uint32_t code = (uint32_t)unit;
  if (unit >= 0xD800 && unit < 0xDC00) {
    const int32_t low = unit_at(s, s->at);
    if (low >= 0xDC00 && low < 0xE000) {
      code = 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
      s->at += 6;
    }
  }
  if (code == 0 || (code >= 0xD800 && code < 0xE000)) {
    code = 0xFFFD;
    ++*replaced;
  }
  *out += lap_utf8_write(code, *out);
  return true;
}

static bool take_escape(scanner *s, char **out, uint64_t *replaced) {
  static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
  if (s->end - s->at < 2) return fail(s, "a string does not end");
  if (s->at[1] == 'u') return take_unicode(s, out, replaced);
  const char *name = memchr(names, s->at[1], sizeof names - 1);
  if (!name) return fail(s, "an escape that JSON does not have");
  *(*out)++ = bytes[name - names];
  s->at += 2;
  return true;
}

/* Decodes the string at `at` to `out`. What is decoded is never longer than what it is decoded
 * from. */
static bool take_string(scanner *s, char *out, size_t *bytes, uint64_t *replaced) {
  char *to = out;
  *replaced = 0;
  if (!take(s, '"', "expected a string")) return false;
  while (s->at < s->end && *s->at != '"') {
    if (*s->at != '\\')
      *to++ = *s->at++;
    else if (!take_escape(s, &to, replaced))
      return false;
  }
  *bytes = (size_t)(to - out);
  return take(s, '"', "a string does not end");
}

static bool skip_string(scanner *s) {
  for (++s->at; s->at < s->end && *s->at != '"'; ++s->at)
    if (*s->at == '\\' && s->at + 1 < s->end) ++s->at;
  return take(s, '"', "a string does not end");
}

/* Goes past one value of any kind: to the comma or brace behind it. */
static bool skip_value(scanner *s) {
  size_t depth = 0;
  skip_space(s);
  const char *begin = s->at;
  while (s->at < s->end) {
    const char byte = *s->at;
    if (byte == '"') {
      if (!skip_string(s)) return false;
      continue;
    }
    if (depth == 0 && (byte == ',' || byte == '}' || byte == ']')) break;
    if (byte == '{' || byte == '[') ++depth;
    if (byte == '}' || byte == ']') --depth;
    ++s->at;
  }
  if (s->at == s->end) return fail(s, "the object does not end");
  return s->at > begin || fail(s, "expected a value");
}

/* Takes the byte order mark that stands within a file where several were joined. */
static bool begin_object(scanner *s) {
  size_t bytes = (size_t)(s->end - s->at);
  s->at = lap_skip_byte_order_mark(s->at, &bytes);
  return take(s, '{', "expected a JSON object");
}

/* Goes on to the next member; false at the end of the object, or where something is wrong. `first`
 * is whether none has been taken. */
static bool next_member(scanner *s, bool first) {
  skip_space(s);
  if (s->at == s->end) return fail(s, "the object does not end");
  if (*s->at == '}') {
    ++s->at;
    skip_space(s);
    if (s->at < s->end) fail(s, "something stands behind the object");
    return false;
  }
  return first || take(s, ',', "expected a comma");
}

lap_json_text lap_json_find_text(const char *line, size_t bytes, const char *key, char *out) {
  scanner s = {.begin = line, .at = line, .end = line + bytes};
  lap_json_text found = {.outcome = LAP_JSON_NO_KEY};
  const size_t key_bytes = strlen(key);
  bool ok = begin_object(&s);
  for (bool first = true; ok && next_member(&s, first); first = false) {
    /* The key goes where the text found so far ends: together they are no longer than the line. */
    char *name = out + found.bytes;
    size_t name_bytes;
    uint64_t replaced;
    ok = take_string(&s, name, &name_bytes, &replaced) && take(&s, ':', "expected a colon");
    if (!ok) break;
    skip_space(&s);
    if (name_bytes != key_bytes || memcmp(name, key, key_bytes) != 0) {
      ok = skip_value(&s);
    } else if (s.at < s.end && *s.at == '"') {
      found.outcome = LAP_JSON_FOUND;
      ok = take_string(&s, out, &found.bytes, &found.replaced);
    } else {
      found = (lap_json_text){.outcome = LAP_JSON_NO_TEXT};
      ok = skip_value(&s);
    }
  }
  if (s.reason)
    return (lap_json_text){
        .outcome = LAP_JSON_BROKEN, .column = (size_t)(s.at - s.begin) + 1, .reason = s.reason};
  return found;
}

void lap_json_list_keys(const char *line, size_t bytes, char *list, size_t size) {
  scanner s = {.begin = line, .at = line, .end = line + bytes};
  size_t used = 0;
  list[0] = '\0';
  bool ok = begin_object(&s);
  for (bool first = true; ok && next_member(&s, first); first = false) {
    skip_space(&s);
    const char *name = s.at;
    ok = s.at < s.end && *s.at == '"' && skip_string(&s);
    const size_t length = (size_t)(s.at - name);
    ok = ok && take(&s, ':', "") && skip_value(&s);
    if (!ok) break;
    if (used + length + 8 > size || lap_utf8_clean(name, length) != length) {
      snprintf(list + used, size - used, "%s...", used ? ", " : "");
      return;
    }
    used +=
        (size_t)snprintf(list + used, size - used, "%s%.*s", used ? ", " : "", (int)length, name);
  }
}
