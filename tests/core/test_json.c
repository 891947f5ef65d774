/* json: the count of values is never less than what a parser would make; what is written reads back
 * as the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/json.h"
#include "core/memory.h"
#include "tests/scratch.h"

static size_t count(const char *text) { return lap_json_values(text, strlen(text)); }

static void values_are_counted_outside_of_strings(void **state) {
  (void)state;
  assert_int_equal(count(""), 1);
  assert_int_equal(count("5"), 1);
  assert_int_equal(count("[1, 2, 3]"), 4);
  assert_int_equal(count("{\"a\": [], \"b\": {}}"), 5);
  assert_int_equal(count("\"a,b[c{\""), 1);
  assert_int_equal(count("[\"a\\\",[\", 1]"), 3);
  assert_int_equal(count("[\"a\\\\\",[1]]"), 4);
  assert_int_equal(count("\"never ended, [[["), 1);
  assert_int_equal(lap_json_values("[\"\\", 3), 2);
}

static size_t parsed_values(const json_t *value) {
  size_t values = 1, index;
  const char *key;
  json_t *inside;
  json_array_foreach((json_t *)value, index, inside) values += parsed_values(inside);
  json_object_foreach((json_t *)value, key, inside) values += parsed_values(inside);
  return values;
}

static void it_is_never_fewer_than_are_parsed(void **state) {
  (void)state;
  static const char letters[] = "[]{}\"\\,:1a ";
  int parsed = 0;
  srand(5);
  for (int trial = 0; trial < 2000000; ++trial) {
    char text[12];
    const size_t bytes = 1 + (size_t)rand() % sizeof text;
    for (size_t i = 0; i < bytes; ++i) text[i] = letters[(size_t)rand() % (sizeof letters - 1)];
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY, NULL);
    if (!value) continue;
    ++parsed;
    assert_true(parsed_values(value) <= lap_json_values(text, bytes));
    json_decref(value);
  }
  assert_true(parsed > 1000);
}

static char *written(const json_t *value) {
  char *text;
  size_t bytes;
  FILE *file = open_memstream(&text, &bytes);
  assert_true(lap_json_write(value, file));
  fclose(file);
  return text;
}

static void numbers_are_written_shortest_and_lose_nothing(void **state) {
  (void)state;
  static const char plain[] =
      "{\"a\": [0.1, 3.0, -2, 1.0e-06, 6.430087280694072, null, true], \"b \\\"\": {\"c\": "
      "\"d\\n\"}, "
      "\"e\": {}, \"f\": []}";
  json_t *value = json_loads(plain, 0, NULL);
  char *text = written(value);
  assert_string_equal(text, plain);
  free(text);
  json_decref(value);
  srand(6);
  for (int trial = 0; trial < 100000; ++trial) {
    const double number = (double)rand() / (1 + rand());
    json_t *real = json_real(number);
    char *one = written(real);
    assert_true(strtod(one, NULL) == number);
    free(one);
    json_decref(real);
  }
}

static void a_file_that_takes_nothing_is_told(void **state) {
  (void)state;
  FILE *full = fopen("/dev/full", "w");
  assert_non_null(full);
  setvbuf(full, NULL, _IONBF, 0);
  json_t *value = json_pack("{s:f}", "a", 0.5);
  assert_false(lap_json_write(value, full));
  json_decref(value);
  fclose(full);
}

static void paths_of_any_bytes_are_text(void **state) {
  (void)state;
  static const char *const cases[][2] = {{"a/b", "a/b"},
                                         {"", ""},
                                         {"\xC3\xA4", "\xC3\xA4"},
                                         {"a\xFF/\xC3", "a\xEF\xBF\xBD/\xEF\xBF\xBD"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    json_t *text = lap_json_path(cases[i][0]);
    assert_non_null(text);
    assert_string_equal(json_string_value(text), cases[i][1]);
    json_decref(text);
  }
}

static void an_object_replaces_a_file_as_a_whole(void **state) {
  (void)state;
  char *directory = scratch_create();
  lap_status status = {0};
  static const char old[] = "{\"much\": \"longer than what follows\"}";
  const char *path = scratch_write(directory, "a.json", old, sizeof old - 1);
  scratch_write(directory, "a.json.tmp.17.0", "{", 1); /* of a writer that was killed */
  json_t *value = json_pack("{s:i, s:s}", "a", 1, "b", "c");
  assert_int_equal(lap_json_write_file(path, value, JSON_COMPACT, &status), LAP_OK);
  size_t count;
  char *text = scratch_read(path, &count);
  assert_string_equal(text, "{\"a\":1,\"b\":\"c\"}\n");
  assert_int_equal(scratch_count(directory), 1);
  free(text);
  assert_int_equal(lap_json_write_file("/dev/null/a.json", value, 0, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "/dev/null"));
  json_decref(value);
  scratch_remove(directory);
}

static void files_that_hold_no_object_are_refused_with_their_line(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"[1]", "a.json: expected a JSON object"},
      {"{\"a\": 1,\n\"a\": 2}", "a.json:2: is not valid JSON: duplicate"},
      {"", "a.json:1: is not valid JSON"},
  };
  char *directory = scratch_create();
  lap_status status = {0};
  json_t *object;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const char *path = scratch_write(directory, "a.json", cases[i][0], strlen(cases[i][0]));
    assert_int_equal(lap_json_read_file(path, 100, &object, &status), LAP_DATA);
    assert_non_null(strstr(status.message, cases[i][1]));
    assert_null(object);
  }
  const char *path = scratch_write(directory, "a.json", "\xEF\xBB\xBF{\"a\": 1}", 11);
  assert_int_equal(lap_json_read_file(path, 10, &object, &status), LAP_DATA); /* too long */
  assert_int_equal(lap_json_read_file(path, 11, &object, &status), LAP_OK);
  assert_int_equal(json_integer_value(json_object_get(object, "a")), 1);
  json_decref(object);
  char *many = lap_format("[%0*d", LAP_JSON_MOST_VALUES, 0);
  memset(many, '[', strlen(many));
  path = scratch_write(directory, "a.json", many, strlen(many));
  assert_int_equal(lap_json_read_file(path, strlen(many), &object, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "a.json: has 2097154 values; expected at most 2097152"));
  free(many);
  scratch_remove(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_counted_outside_of_strings),
      cmocka_unit_test(it_is_never_fewer_than_are_parsed),
      cmocka_unit_test(numbers_are_written_shortest_and_lose_nothing),
      cmocka_unit_test(paths_of_any_bytes_are_text),
      cmocka_unit_test(a_file_that_takes_nothing_is_told),
      cmocka_unit_test(an_object_replaces_a_file_as_a_whole),
      cmocka_unit_test(files_that_hold_no_object_are_refused_with_their_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
