#include "core/json.h"

#include <math.h>

#include <stdbool.h>
#include <stdlib.h>

#include "core/memory.h"

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
