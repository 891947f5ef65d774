#include "core/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/byte_order_mark.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "core/text.h"

static void *allocate(size_t bytes) { return lap_allocate((int64_t)bytes, 1); }

void lap_json_use_memory(void) { json_set_alloc_funcs(allocate, free); }

size_t lap_json_values(const char *text, size_t bytes) {
  size_t values = 1;
  bool in_string = false;
  for (size_t i = 0; i < bytes; ++i) {
    const char byte = text[i];
    if (byte == '"')
      in_string = !in_string;
    else if (in_string)
      i += byte == '\\'; /* what is escaped does not end the string */
    else
      values += byte == ',' || byte == '[' || byte == '{';
  }
  return values;
}

json_t *lap_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *lap_json_path(const char *path) {
  const size_t bytes = strlen(path);
  char *repaired = lap_allocate(3 * (int64_t)bytes + 1, 1);
  uint64_t replaced;
  json_t *text = json_stringn(repaired, lap_utf8_repair(path, bytes, repaired, &replaced));
  free(repaired);
  return text;
}

/* A number without a fraction stays one of the kind that may have one. */
static void write_real(double value, FILE *file) {
  char text[LAP_NUMBER_TEXT];
  lap_number_print_real(value, text);
  fputs(text, file);
  if (!strchr(text, '.')) fputs(".0", file);
}

static void write_name(const char *name, FILE *file) {
  json_t *string = json_string(name);
  json_dumpf(string, file, JSON_ENCODE_ANY);
  json_decref(string);
  fputs(": ", file);
}

bool lap_json_write(const json_t *value, FILE *file) {
  json_t *of = (json_t *)value, *inside;
  const char *name, *comma = "";
  size_t index;
  if (json_is_object(value)) {
    fputc('{', file);
    json_object_foreach(of, name, inside) {
      fputs(comma, file), comma = ", ";
      write_name(name, file);
      lap_json_write(inside, file);
    }
    fputc('}', file);
  } else if (json_is_array(value)) {
    fputc('[', file);
    json_array_foreach(of, index, inside) {
      fputs(comma, file), comma = ", ";
      lap_json_write(inside, file);
    }
    fputc(']', file);
  } else if (json_is_real(value)) {
    write_real(json_real_value(value), file);
  } else {
    json_dumpf(value, file, JSON_ENCODE_ANY);
  }
  return !ferror(file);
}

static lap_code parse_object(const char *path, const char *text, size_t bytes, json_t **object,
                             lap_status *status) {
  const size_t values = lap_json_values(text, bytes);
  if (values > LAP_JSON_MOST_VALUES)
    return lap_fail(status, LAP_DATA, "%s: has %zu values; expected at most %d", path, values,
                    LAP_JSON_MOST_VALUES);
  json_error_t error;
  json_t *read = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
  if (!read)
    return lap_fail(status, LAP_DATA, "%s:%d: is not valid JSON: %s", path, error.line, error.text);
  if (json_is_object(read)) {
    *object = read;
    return LAP_OK;
  }
  json_decref(read);
  return lap_fail(status, LAP_DATA, "%s: expected a JSON object", path);
}

lap_code lap_json_read_file(const char *path, size_t limit, json_t **object, lap_status *status) {
  char *text;
  size_t bytes;
  *object = NULL;
  LAP_TRY(lap_file_read(path, limit, &text, &bytes, status));
  const char *json = lap_skip_byte_order_mark(text, &bytes);
  const lap_code code = parse_object(path, json, bytes, object, status);
  free(text);
  return code;
}

lap_code lap_json_write_file(const char *path, const json_t *value, size_t flags,
                             lap_status *status) {
  char *text = json_dumps(value, flags), *line = lap_format("%s\n", text);
  const lap_code code = lap_file_write_alone(path, line, strlen(line), status);
  free(line);
  free(text);
  return code;
}
