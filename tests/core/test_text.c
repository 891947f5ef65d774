/* text: every sequence of three bytes against UTF-8 as an encoder defines it; lines, rests, and
 * files that are not text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/text.h"
#include "tests/scratch.h"

static char *directory;

static int make_directory(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int remove_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* --- characters --- */

enum { LAST_CHARACTER = 0x10FFFF };

static bool is_surrogate(uint32_t character) { return character >= 0xD800 && character <= 0xDFFF; }

/* The shortest form, as Unicode has it; returns its length. */
static size_t encode(uint32_t c, uint8_t bytes[4]) {
  if (c < 0x80) {
    bytes[0] = (uint8_t)c;
    return 1;
  }
  const size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; --i, c >>= 6) bytes[i] = (uint8_t)(0x80 + c % 64);
  bytes[0] = (uint8_t)((0xF0 << (4 - length)) + (int)c);
  return length;
}

static size_t length_of(const uint8_t *bytes, size_t count) {
  return lap_utf8_character((const char *)bytes, count);
}

/* Cut off, it is none; what follows it does not matter. */
static void every_character_has_its_length(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= LAST_CHARACTER; ++c) {
    if (is_surrogate(c)) continue;
    uint8_t bytes[6] = {0, 0, 0, 0, 0xFF, 0xFF};
    const size_t length = encode(c, bytes);
    assert_int_equal(length_of(bytes, length), length);
    bytes[length] = 0xBF;
    assert_int_equal(length_of(bytes, length + 1), length);
    for (size_t cut = 1; cut < length; ++cut) assert_int_equal(length_of(bytes, cut), 0);
  }
}

/* A set of byte sequences, one bit each. */
static bool has(const uint8_t *set, uint32_t sequence) {
  return set[sequence / 8] >> sequence % 8 & 1;
}

static void nothing_else_is_a_character(void **state) {
  (void)state;
  uint8_t *pairs = calloc(1 << 13, 1), *triples = calloc(1 << 21, 1);
  for (uint32_t c = 0x80; c < 0x10000; ++c) {
    uint8_t bytes[4];
    if (is_surrogate(c)) continue;
    const size_t length = encode(c, bytes);
    uint32_t sequence = 0;
    for (size_t i = 0; i < length; ++i) sequence = sequence << 8 | bytes[i];
    (length == 2 ? pairs : triples)[sequence / 8] |= (uint8_t)(1 << sequence % 8);
  }
  for (uint32_t sequence = 0; sequence < 1 << 24; ++sequence) {
    const uint8_t bytes[3] = {(uint8_t)(sequence >> 16), (uint8_t)(sequence >> 8),
                              (uint8_t)sequence};
    const size_t expected = bytes[0] < 0x80             ? 1
                            : has(pairs, sequence >> 8) ? 2
                            : has(triples, sequence)    ? 3
                                                        : 0;
    if (length_of(bytes, 3) != expected) fail_msg("%06X", sequence);
  }
  free(pairs);
  free(triples);
}

/* Four bytes are one where an encoder makes them. */
static void four_bytes_are_one_character_or_none(void **state) {
  (void)state;
  static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x81, 0xBE, 0xBF, 0xC0, 0xFF};
  for (int first = 0xF0; first <= 0xFF; ++first)
    for (int second = 0; second <= 0xFF; ++second)
      for (int third = 0; third < 8; ++third)
        for (int fourth = 0; fourth < 8; ++fourth) {
          const uint8_t bytes[4] = {(uint8_t)first, (uint8_t)second, edges[third], edges[fourth]};
          uint8_t again[4];
          const uint32_t c = ((uint32_t)first & 7) << 18 | ((uint32_t)second & 63) << 12 |
                             (bytes[2] & 63U) << 6 | (bytes[3] & 63U);
          const bool is_one = c >= 0x10000 && c <= LAST_CHARACTER && encode(c, again) == 4 &&
                              memcmp(bytes, again, 4) == 0;
          assert_int_equal(length_of(bytes, 4), is_one ? 4 : 0);
        }
}

static void a_cut_moves_to_the_start_of_its_character(void **state) {
  (void)state;
  const char text[] = "a\xC3\xA9\xE6\xBC\xA2z\xF0\x9F\x99\x82\xC3\xA9";
  static const size_t floors[] = {0, 1, 1, 3, 3, 3, 6, 7, 7, 7, 7, 11, 11, 13};
  for (size_t cut = 0; cut < sizeof text; ++cut)
    assert_int_equal(lap_utf8_floor(text, cut), floors[cut]);
  /* No character is longer: what continues nothing holds a cut up no further. */
  assert_int_equal(lap_utf8_floor("\x80\x80\x80\x80\x80\x80", 5), 2);
}

/* --- lines --- */

static lap_text_reader open_text(const char *text, size_t bytes) {
  lap_text_reader reader;
  lap_status status = {0};
  static char path[1024];
  snprintf(path, sizeof path, "%s", scratch_write(directory, "text", text, bytes));
  if (lap_text_open(path, &reader, &status) != LAP_OK) fail_msg("%s", status.message);
  return reader;
}

static void expect_line(lap_text_reader *reader, const char *expected) {
  const char *line;
  size_t bytes;
  lap_status status = {0};
  if (lap_text_line(reader, &line, &bytes, &status) != LAP_OK) fail_msg("%s", status.message);
  if (!expected) {
    assert_null(line);
    assert_int_equal(bytes, 0);
    return;
  }
  assert_non_null(line);
  assert_int_equal(bytes, strlen(expected));
  assert_memory_equal(line, expected, bytes);
}

static void lines_come_without_their_ends(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int lines;
    const char *line[4];
  } cases[] = {{"", 0, {NULL}},
               {"\n", 1, {""}},
               {"one", 1, {"one"}},
               {"one\n", 1, {"one"}},
               {"one\n\ntwo\r\nthr\xC3\xA9"
                "e",
                4,
                {"one", "", "two\r",
                 "thr\xC3\xA9"
                 "e"}}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_text_reader reader = open_text(cases[i].text, strlen(cases[i].text));
    for (int line = 0; line < cases[i].lines; ++line) {
      expect_line(&reader, cases[i].line[line]);
      assert_int_equal(reader.number, line + 1);
    }
    expect_line(&reader, NULL);
    expect_line(&reader, NULL);
    assert_int_equal(reader.number, cases[i].lines);
    assert_int_equal(reader.offset, strlen(cases[i].text));
    lap_text_close(&reader);
    assert_null(reader.file);
  }
}

static void the_rest_begins_where_the_lines_have_ended(void **state) {
  (void)state;
  enum { LONG = 300000 };
  char *text = malloc(LONG + 8);
  memcpy(text, "first\n", 6);
  for (int i = 0; i < LONG; ++i) text[6 + i] = i % 100 == 99 ? '\n' : (char)('a' + i % 26);
  for (int lines = 0; lines < 3; ++lines) {
    lap_text_reader reader = open_text(text, LONG + 6);
    const char *line;
    size_t length, bytes;
    char *rest;
    lap_status status = {0};
    for (int i = 0; i < lines; ++i)
      assert_int_equal(lap_text_line(&reader, &line, &length, &status), LAP_OK);
    const size_t before = lines == 0 ? 0 : lines == 1 ? 6 : 106;
    assert_int_equal(lap_text_rest(&reader, &rest, &bytes, &status), LAP_OK);
    assert_int_equal(bytes, LONG + 6 - before);
    assert_memory_equal(rest, text + before, bytes);
    assert_int_equal(rest[bytes], '\0');
    assert_int_equal(reader.offset, LONG + 6);
    free(rest);
    expect_line(&reader, NULL);
    lap_text_close(&reader);
  }
  free(text);
}

/* Exactly as much as the buffer holds at first, and a byte less or more. */
static void a_rest_of_any_length_is_whole(void **state) {
  (void)state;
  enum { FIRST = 1 << 16 };
  char *text = malloc(2 * FIRST + 2);
  memset(text, 'x', 2 * FIRST + 2);
  for (int doubled = 1; doubled <= 2; ++doubled)
    for (int more = -1; more <= 1; ++more) {
      const size_t expected = (size_t)(doubled * FIRST + more);
      lap_text_reader reader = open_text(text, expected);
      char *rest;
      size_t bytes;
      lap_status status = {0};
      assert_int_equal(lap_text_rest(&reader, &rest, &bytes, &status), LAP_OK);
      assert_int_equal(bytes, expected);
      assert_int_equal(strlen(rest), expected);
      free(rest);
      lap_text_close(&reader);
    }
  free(text);
}

/* --- what is not text --- */

/* The message of the first failure, by lines or as a rest after `lines` lines. */
static void assert_not_text(const char *text, size_t bytes, int lines, const char *says) {
  lap_text_reader reader = open_text(text, bytes);
  const char *line;
  char *rest = NULL;
  size_t length;
  lap_status status = {0};
  lap_code code = LAP_OK;
  for (int i = 0; i < lines && code == LAP_OK; ++i)
    code = lap_text_line(&reader, &line, &length, &status);
  if (code == LAP_OK) code = lap_text_rest(&reader, &rest, &length, &status);
  assert_int_equal(code, LAP_DATA);
  if (!strstr(status.message, says) || !strstr(status.message, reader.path))
    fail_msg("'%s' does not say '%s'", status.message, says);
  lap_text_close(&reader);
}

static void what_is_not_text_is_named_by_line_and_byte(void **state) {
  (void)state;
  for (int lines = 0; lines < 4; ++lines) {
    assert_not_text("ab\ncd\ne\xC3\xA9\xFFg\n", 12, lines,
                    "line 3 (byte 9): byte 0xFF is not UTF-8");
    assert_not_text("ab\ncd\nef\0g\n", 11, lines, "line 3 (byte 8): a NUL byte");
    assert_not_text("\xE6\xBC", 2, lines, "line 1 (byte 0): byte 0xE6 is not UTF-8");
    assert_not_text("\n\n\xE6\xBC\n", 5, lines, "line 3 (byte 2): byte 0xE6 is not UTF-8");
  }
}

static void what_cannot_be_opened_or_read_is_named(void **state) {
  (void)state;
  lap_text_reader reader;
  lap_status status = {0};
  const char *missing = scratch_path(directory, "missing");
  assert_int_equal(lap_text_open(missing, &reader, &status), LAP_DATA);
  assert_non_null(strstr(status.message, missing));
  assert_non_null(strstr(status.message, "No such file"));
  lap_text_close(&reader);
  assert_int_equal(lap_text_open(directory, &reader, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "is a directory"));
  /* The first page of a process is not mapped: reading it is an error. */
  for (int as_line = 0; as_line < 2; ++as_line) {
    const char *line;
    char *rest;
    size_t bytes;
    assert_int_equal(lap_text_open("/proc/self/mem", &reader, &status), LAP_OK);
    assert_int_equal(as_line ? lap_text_line(&reader, &line, &bytes, &status)
                             : lap_text_rest(&reader, &rest, &bytes, &status),
                     LAP_DATA);
    assert_non_null(strstr(status.message, "/proc/self/mem: cannot be read: "));
    lap_text_close(&reader);
  }
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_character_has_its_length),
      cmocka_unit_test(nothing_else_is_a_character),
      cmocka_unit_test(four_bytes_are_one_character_or_none),
      cmocka_unit_test(a_cut_moves_to_the_start_of_its_character),
      IN_DIRECTORY(lines_come_without_their_ends),
      IN_DIRECTORY(the_rest_begins_where_the_lines_have_ended),
      IN_DIRECTORY(a_rest_of_any_length_is_whole),
      IN_DIRECTORY(what_is_not_text_is_named_by_line_and_byte),
      IN_DIRECTORY(what_cannot_be_opened_or_read_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
