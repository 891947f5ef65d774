#include "trainer/inspect/losses.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { CELL = 32 };

/* NAN: there is no such number. */
static double number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *print_number(double value, char text[CELL]) {
  if (isnan(value)) return "-";
  snprintf(text, CELL, "%.4f", value);
  return text;
}

static const char *print_step(const json_t *line, char text[CELL]) {
  const json_t *step = json_object_get(line, "step");
  if (!json_is_integer(step)) return "-";
  snprintf(text, CELL, "%" PRId64, (int64_t)json_integer_value(step));
  return text;
}

static void add_row(lap_table *table, const json_t *result) {
  const json_t *step = json_object_get(result, "last_step");
  const json_t *last = json_object_get(json_object_get(result, "last_eval"), "eval");
  const json_t *best = json_object_get(result, "best_eval");
  const bool distilled = json_is_number(json_object_get(step, "kd"));
  char text[6][CELL];
  const char *const cells[] = {json_string_value(json_object_get(result, "path")),
                               print_step(step, text[0]),
                               print_number(distilled ? number(step, "loss") : NAN, text[1]),
                               print_number(number(step, "ce"), text[2]),
                               print_number(number(last, "loss"), text[3]),
                               print_number(number(json_object_get(best, "eval"), "loss"), text[4]),
                               print_step(best, text[5])};
  lap_table_add(table, cells);
}

lap_table *lap_losses_table(const json_t *results, const char **best) {
  static const char *const headers[] = {"run",      "step",          "objective", "cross-entropy",
                                        "held-out", "best held-out", "at step"};
  lap_table *table = lap_table_create(sizeof headers / sizeof *headers, headers);
  double lowest = INFINITY;
  size_t rows = 0;
  *best = NULL;
  for (size_t i = 0; i < json_array_size(results); ++i) {
    const json_t *result = json_array_get(results, i);
    if (!json_is_object(json_object_get(result, "last_step"))) continue;
    const json_t *line = json_object_get(result, "best_eval");
    const double loss = number(json_object_get(line, "eval"), "loss");
    if (loss < lowest) {
      lowest = loss;
      *best = json_string_value(json_object_get(result, "path"));
    }
    add_row(table, result);
    ++rows;
  }
  if (rows > 1) return table;
  lap_table_destroy(table);
  return NULL;
}
