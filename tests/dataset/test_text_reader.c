/* text_reader: lines, an unfinished last line, and what cannot be read. Line ends and packed files
 * are tested with documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/text_reader.h"
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
    const char *line[5];
  } cases[] = {{"", 0, {NULL}},
               {"\n", 1, {""}},
               {"one", 1, {"one"}},
               {"one\n", 1, {"one"}},
               {"one\n\ntwo\r\rthr\xC3\xA9"
                "e",
                5,
                {"one", "", "two", "",
                 ("thr\xC3\xA9"
                  "e")}}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_text_reader reader = open_text(cases[i].text, strlen(cases[i].text));
    for (int line = 0; line < cases[i].lines; ++line) {
      expect_line(&reader, cases[i].line[line]);
      assert_int_equal(reader.number, line + 1);
    }
    expect_line(&reader, NULL);
    expect_line(&reader, NULL);
    assert_int_equal(reader.number, cases[i].lines);
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
    const char *rest;
    lap_status status = {0};
    for (int i = 0; i < lines; ++i)
      assert_int_equal(lap_text_line(&reader, &line, &length, &status), LAP_OK);
    const size_t before = lines == 0 ? 0 : lines == 1 ? 6 : 106;
    assert_int_equal(lap_text_rest(&reader, &rest, &bytes, &status), LAP_OK);
    assert_int_equal(bytes, LONG + 6 - before);
    assert_memory_equal(rest, text + before, bytes);
    expect_line(&reader, NULL);
    lap_text_close(&reader);
  }
  free(text);
}

/* Exactly as much as the buffer holds at first, and a byte less or more. */
static void a_rest_of_any_length_is_whole(void **state) {
  (void)state;
  enum { FIRST = 64 << 10 };
  char *text = malloc(2 * FIRST + 2);
  memset(text, 'x', 2 * FIRST + 2);
  for (size_t held = FIRST; held <= 2 * FIRST; held += FIRST)
    for (size_t expected = held - 1; expected <= held + 1; ++expected) {
      lap_text_reader reader = open_text(text, expected);
      const char *rest;
      size_t bytes;
      lap_status status = {0};
      assert_int_equal(lap_text_rest(&reader, &rest, &bytes, &status), LAP_OK);
      assert_int_equal(bytes, expected);
      assert_memory_equal(rest, text, expected);
      lap_text_close(&reader);
    }
  free(text);
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
  assert_int_equal(lap_text_open("/proc/self/mem", &reader, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/proc/self/mem: cannot be read: "));
  lap_text_close(&reader);
}

static void a_look_takes_nothing(void **state) {
  (void)state;
  lap_text_reader reader = open_text("\xEF\xBB\xBFone\ntwo", 10);
  const char *text;
  size_t count;
  lap_status status = {0};
  assert_int_equal(lap_text_peek(&reader, 4, &text, &count, &status), LAP_OK);
  assert_int_equal(count, 10);
  assert_int_equal(lap_text_peek(&reader, 1000, &text, &count, &status), LAP_OK);
  assert_memory_equal(text, "\xEF\xBB\xBFone", 6);
  expect_line(&reader, "one");
  expect_line(&reader, "two");
  expect_line(&reader, NULL);
  lap_text_close(&reader);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_DIRECTORY(lines_come_without_their_ends),
      IN_DIRECTORY(the_rest_begins_where_the_lines_have_ended),
      IN_DIRECTORY(a_rest_of_any_length_is_whole),
      IN_DIRECTORY(what_cannot_be_opened_or_read_is_named),
      IN_DIRECTORY(a_look_takes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
