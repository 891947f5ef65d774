#include "trainer/cli/table.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

struct lap_table {
  size_t columns, rows; /* row 0 has the headers */
  char **cells;         /* [rows * columns] */
};

lap_table *lap_table_create(size_t columns, const char *const *headers) {
  lap_table *table = lap_allocate(1, sizeof *table);
  table->columns = columns;
  lap_table_add(table, headers);
  return table;
}

void lap_table_add(lap_table *table, const char *const *cells) {
  const size_t first = table->rows * table->columns;
  table->cells = lap_reallocate(table->cells, first + table->columns, sizeof *table->cells);
  for (size_t i = 0; i < table->columns; ++i) table->cells[first + i] = lap_copy_string(cells[i]);
  ++table->rows;
}

void lap_table_destroy(lap_table *table) {
  if (!table) return;
  for (size_t i = 0; i < table->rows * table->columns; ++i) free(table->cells[i]);
  free(table->cells);
  free(table);
}

/* Columns on the screen: UTF-8 characters, not bytes. */
static size_t width_of(const char *text) {
  size_t width = 0;
  for (; *text; ++text) width += ((unsigned char)*text & 0xC0) != 0x80;
  return width;
}

static bool looks_numeric(const char *text) {
  text += *text == '-' || *text == '+';
  return isdigit((unsigned char)*text);
}

static bool is_missing(const char *text) { return !*text || strcmp(text, "-") == 0; }

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last) {
  const int padding = (int)(width - width_of(text));
  if (right)
    fprintf(out, "%*s%s", padding, "", text);
  else
    fprintf(out, "%s%*s", text, last ? 0 : padding, "");
  fputs(last ? "\n" : "  ", out);
}

void lap_table_print(const lap_table *table, FILE *out) {
  size_t *width = lap_allocate(table->columns, sizeof *width);
  bool *right = lap_allocate(table->columns, sizeof *right);
  for (size_t column = 0; column < table->columns; ++column) {
    right[column] = table->rows > 1;
    for (size_t row = 0; row < table->rows; ++row) {
      const char *cell = table->cells[row * table->columns + column];
      if (width_of(cell) > width[column]) width[column] = width_of(cell);
      if (row > 0 && !is_missing(cell) && !looks_numeric(cell)) right[column] = false;
    }
  }
  for (size_t row = 0; row < table->rows; ++row)
    for (size_t column = 0; column < table->columns; ++column)
      print_cell(out, table->cells[row * table->columns + column], width[column], right[column],
                 column + 1 == table->columns);
  free(width);
  free(right);
}
