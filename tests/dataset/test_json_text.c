/* json_text: the one string of a JSON line, whatever stands beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/json_text.h"

static lap_json_text find(const char *line, const char *key, char *out) {
  /* A copy of its own: reading or writing past the end shows under a sanitizer. */
  const size_t bytes = strlen(line);
  char *copy = malloc(bytes + 1), *text = malloc(bytes + 1);
  memcpy(copy, line, bytes);
  const lap_json_text found = lap_json_find_text(copy, bytes, key, text);
  if (found.outcome == LAP_JSON_FOUND) {
    assert_true(found.bytes <= bytes);
    memcpy(out, text, found.bytes);
    out[found.bytes] = '\0';
  }
  free(copy);
  free(text);
  return found;
}

static void assert_text(const char *line, const char *expected, uint64_t replaced) {
  char out[512];
  const lap_json_text found = find(line, "text", out);
  if (found.outcome != LAP_JSON_FOUND)
    fail_msg("%s: %s (column %zu)", line, found.reason ? found.reason : "no text", found.column);
  assert_string_equal(out, expected);
  assert_int_equal(found.replaced, replaced);
}

static void assert_outcome(const char *line, lap_json_outcome outcome) {
  char out[512];
  if (find(line, "text", out).outcome != outcome) fail_msg("%s", line);
}

static void what_stands_beside_the_text_does_not_matter(void **state) {
  (void)state;
  const char *const beside[] = {
      "\"a\": NaN",
      "\"a\": -Infinity",
      "\"a\": 1e999",
      "\"a\": 18446744073709551616123456789",
      "\"a\": \"\\u0000 \\ud800 \\q \\u12\"",
      "\"a\": {\"text\": \"inner\", \"b\": [1, {\"c\": \"}]\\\"\"}, NaN]}",
      "\"a\": [[[[[[]]]]]]",
      "\"a\": undefined",
      "\"a\": 0x1F",
      "\"a\": 'single'",
      "\"a\": 1, \"a\": 2",
      "\"\": null",
      "\"a\": \"caf\xE9\"",
      "\"a\": true",
  };
  for (size_t i = 0; i < sizeof beside / sizeof *beside; ++i) {
    char line[256];
    snprintf(line, sizeof line, "{%s, \"text\": \"day\"}", beside[i]);
    assert_text(line, "day", 0);
    snprintf(line, sizeof line, " {\"text\":\"day\" ,\t%s} ", beside[i]);
    assert_text(line, "day", 0);
  }
}

static void a_string_is_decoded(void **state) {
  (void)state;
  assert_text("{\"text\": \"\"}", "", 0);
  assert_text("{\"text\": \"a\\n\\t\\\"\\\\\\/\\b\\f\\r\"}", "a\n\t\"\\/\b\f\r", 0);
  assert_text("{\"text\": \"\\u0041\\u00e9\\u6f22\\uD83D\\uDE42\"}",
              "A\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x99\x82", 0);
  assert_text("{\"text\": \"a\tb\"}", "a\tb", 0);
  assert_text("{\"text\": \"first\", \"text\": \"last\"}", "last", 0);
  assert_text("{\"t\\u0065xt\": \"escaped key\"}", "escaped key", 0);
  assert_text("\xEF\xBB\xBF{\"text\": \"after a mark\"}", "after a mark", 0);
}

static void what_is_not_text_becomes_the_replacement_character(void **state) {
  (void)state;
#define R "\xEF\xBF\xBD"
  assert_text("{\"text\": \"a\\u0000b\"}", "a" R "b", 1);
  assert_text("{\"text\": \"\\ud83d\"}", R, 1);
  assert_text("{\"text\": \"\\ude42\\ud83dx\"}", R R "x", 2);
  assert_text("{\"text\": \"\\ud83d\\ud83d\\ude42\"}", R "\xF0\x9F\x99\x82", 1);
  assert_text("{\"text\": \"\\ud83d\\u0041\"}", R "A", 1);
#undef R
}

static void other_lines_say_what_they_are(void **state) {
  (void)state;
  assert_outcome("{}", LAP_JSON_NO_KEY);
  assert_outcome("{\"txt\": \"a\"}", LAP_JSON_NO_KEY);
  assert_outcome("{\"a\": {\"text\": \"inner\"}}", LAP_JSON_NO_KEY);
  assert_outcome("{\"text\": null}", LAP_JSON_NO_TEXT);
  assert_outcome("{\"text\": 5}", LAP_JSON_NO_TEXT);
  assert_outcome("{\"text\": [\"a\"]}", LAP_JSON_NO_TEXT);
  assert_outcome("{\"text\": \"a\", \"text\": null}", LAP_JSON_NO_TEXT);
  const char *const broken[] = {"[1]",
                                "text",
                                "\"text\"",
                                "null",
                                "{",
                                "{\"text\"",
                                "{\"text\":",
                                "{\"text\": \"a",
                                "{\"text\": ",
                                "{\"text\": \"a\"",
                                "{\"text\": \"\\u12\"}",
                                "{\"text\": \"\\x\"}",
                                "{\"text\": }",
                                "{\"text\" \"a\"}",
                                "{\"text\": \"a\"} {",
                                "{\"text\": \"a\\",
                                "{text: 1}",
                                "{\"a\": [1}",
                                "{\"a\": 1 ,, \"text\": \"b\"}"};
  for (size_t i = 0; i < sizeof broken / sizeof *broken; ++i)
    assert_outcome(broken[i], LAP_JSON_BROKEN);
}

static void the_keys_are_listed_as_far_as_they_fit(void **state) {
  (void)state;
  char list[24];
  const char line[] = "{\"id\": 1, \"body\": {\"x\": 2}, \"more than fits\": 3}";
  lap_json_list_keys(line, strlen(line), list, sizeof list);
  assert_string_equal(list, "\"id\", \"body\", ...");
  lap_json_list_keys("{}", 2, list, sizeof list);
  assert_string_equal(list, "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_stands_beside_the_text_does_not_matter),
      cmocka_unit_test(a_string_is_decoded),
      cmocka_unit_test(what_is_not_text_becomes_the_replacement_character),
      cmocka_unit_test(other_lines_say_what_they_are),
      cmocka_unit_test(the_keys_are_listed_as_far_as_they_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
