#include "trainer/measure/choices_file.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/byte_order_mark.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

#define MOST_BYTES ((size_t)1 << 30)

void lap_choices_release(lap_choices *choices) {
  for (size_t i = 0; i < choices->count; ++i) {
    free(choices->item[i].context);
    for (size_t c = 0; c < choices->item[i].choices; ++c) free(choices->item[i].choice[c]);
    free(choices->item[i].choice);
  }
  free(choices->item);
  free(choices->path);
  *choices = (lap_choices){0};
}

static lap_code read_choices(const json_t *list, lap_choice_item *item, lap_status *status) {
  const size_t count = json_array_size(list);
  if (!json_is_array(list) || count < 2 || count > LAP_MOST_CHOICES)
    return lap_fail(status, LAP_DATA, "\"choices\" must be a list of 2 to %d texts",
                    LAP_MOST_CHOICES);
  item->choice = lap_allocate((int64_t)count, sizeof *item->choice);
  for (size_t c = 0; c < count; ++c) {
    const json_t *choice = json_array_get(list, c);
    if (!json_is_string(choice) || json_string_length(choice) == 0)
      return lap_fail(status, LAP_DATA, "choice %zu must be a text that is not empty", c);
    for (size_t other = 0; other < c; ++other)
      if (strcmp(item->choice[other], json_string_value(choice)) == 0)
        return lap_fail(status, LAP_DATA, "choices %zu and %zu are the same text", other, c);
    item->choice[item->choices++] = lap_copy_string(json_string_value(choice));
  }
  return LAP_OK;
}

static lap_code read_item(const json_t *object, lap_choice_item *item, lap_status *status) {
  const json_t *context = json_object_get(object, "context");
  const json_t *answer = json_object_get(object, "answer");
  if (!json_is_string(context)) return lap_fail(status, LAP_DATA, "\"context\" must be a text");
  item->context = lap_copy_string(json_string_value(context));
  LAP_TRY(read_choices(json_object_get(object, "choices"), item, status));
  if (!json_is_integer(answer) || json_integer_value(answer) < 0 ||
      json_integer_value(answer) >= (json_int_t)item->choices)
    return lap_fail(status, LAP_DATA, "\"answer\" must be the index of a choice, 0 to %zu",
                    item->choices - 1);
  item->answer = (size_t)json_integer_value(answer);
  const json_t *seen = json_object_get(object, "seen");
  if (seen && (!json_is_integer(seen) || json_integer_value(seen) < 0))
    return lap_fail(status, LAP_DATA, "\"seen\" must be how often the answer was planted");
  item->seen = seen ? json_integer_value(seen) : -1;
  return LAP_OK;
}

static lap_code read_line(const char *text, size_t bytes, lap_choice_item *item,
                          lap_status *status) {
  if (lap_json_values(text, bytes) > LAP_JSON_MOST_VALUES)
    return lap_fail(status, LAP_DATA, "too many values");
  json_error_t error;
  json_t *object = json_loadb(text, bytes, 0, &error);
  if (!object)
    return lap_fail(status, LAP_DATA, "not JSON: %s, column %d", error.text, error.column);
  const lap_code code = json_is_object(object)
                            ? read_item(object, item, status)
                            : lap_fail(status, LAP_DATA, "must be an object {...}");
  json_decref(object);
  return code;
}

lap_code lap_choices_read(const char *path, lap_choices *choices, lap_status *status) {
  *choices = (lap_choices){0};
  char *whole;
  size_t bytes, capacity = 0, line = 0;
  LAP_TRY(lap_file_read(path, MOST_BYTES, &whole, &bytes, status));
  const char *text = lap_skip_byte_order_mark(whole, &bytes);
  choices->path = lap_copy_string(path);
  lap_code code = LAP_OK;
  for (size_t begin = 0; begin < bytes && code == LAP_OK;) {
    const char *end = memchr(text + begin, '\n', bytes - begin);
    const size_t length = end ? (size_t)(end - (text + begin)) : bytes - begin;
    ++line;
    if (choices->count == capacity) {
      capacity = 2 * capacity + 256;
      choices->item = lap_reallocate(choices->item, (int64_t)capacity, sizeof *choices->item);
    }
    choices->item[choices->count] = (lap_choice_item){.line = line};
    code = read_line(text + begin, length, &choices->item[choices->count++], status);
    if (code != LAP_OK) code = lap_fail_context(status, "%s:%zu", path, line);
    begin += length + 1;
  }
  free(whole);
  if (code == LAP_OK && choices->count == 0)
    code = lap_fail(status, LAP_DATA, "%s: has no line", path);
  if (code != LAP_OK) lap_choices_release(choices);
  return code;
}
