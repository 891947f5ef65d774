#include "trainer/report/json_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

enum { MOST_BYTES = 1 << 30 };

static json_t *parse(const char *text, size_t bytes, json_error_t *error) {
  if (lap_json_values(text, bytes) > LAP_JSON_MOST_VALUES) {
    *error = (json_error_t){.line = 1, .text = "too many values"};
    return NULL;
  }
  return json_loadb(text, bytes, JSON_REJECT_DUPLICATES, error);
}

lap_code lap_json_file_read(const char *directory, const char *name, bool must_exist,
                            json_t **object, lap_status *status) {
  char *path = lap_format("%s/%s", directory, name);
  lap_code code = LAP_OK;
  *object = NULL;
  if (must_exist || lap_file_exists(path))
    code = lap_json_read_file(path, MOST_BYTES, object, status);
  free(path);
  return code;
}

lap_code lap_json_lines_read(const char *directory, const char *name, json_t **lines,
                             lap_status *status) {
  char *path = lap_format("%s/%s", directory, name), *text = NULL;
  size_t bytes = 0;
  lap_code code = LAP_OK;
  *lines = json_array();
  if (lap_file_exists(path)) code = lap_file_read(path, MOST_BYTES, &text, &bytes, status);
  const char *newline;
  int number = 0;
  for (const char *line = text;
       line && code == LAP_OK && (newline = memchr(line, '\n', (size_t)(text + bytes - line)));
       line = newline + 1) {
    json_error_t error = {.text = "not an object"};
    json_t *object = parse(line, (size_t)(newline - line), &error);
    ++number;
    if (json_is_object(object))
      json_array_append(*lines, object);
    else
      code =
          lap_fail(status, LAP_DATA, "%s:%d: expected a JSON object: %s", path, number, error.text);
    json_decref(object);
  }
  if (code != LAP_OK) {
    json_decref(*lines);
    *lines = NULL;
  }
  free(text);
  free(path);
  return code;
}

const char *lap_json_text(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

double lap_json_real(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

int64_t lap_json_integer(const json_t *object, const char *key) {
  return json_integer_value(json_object_get(object, key));
}

bool lap_json_flag(const json_t *object, const char *key) {
  return json_is_true(json_object_get(object, key));
}

const json_t *lap_json_find(const json_t *array, const char *key, const char *text, size_t *index) {
  for (size_t i = 0; i < json_array_size(array); ++i) {
    const json_t *element = json_array_get(array, i);
    if (strcmp(lap_json_text(element, key), text) != 0) continue;
    if (index) *index = i;
    return element;
  }
  return NULL;
}
