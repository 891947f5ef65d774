#include "trainer/report/number_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "trainer/report/json_file.h"

static const char NONE[] = "\xE2\x80\x93", MINUS[] = "\xE2\x88\x92";

/* Without "-0.0000". */
static const char *print(double value, const char *plus, char cell[LAP_CELL]) {
  const double rounded = round(value * 1e4) / 1e4;
  const char *sign = rounded < 0 ? MINUS : rounded > 0 ? plus : "";
  snprintf(cell, LAP_CELL, "%s%.4f", sign, fabs(rounded));
  return cell;
}

static const char *none(char cell[LAP_CELL]) {
  memcpy(cell, NONE, sizeof NONE);
  return cell;
}

const char *lap_cell_number(double value, char cell[LAP_CELL]) {
  return isfinite(value) ? print(value, "", cell) : none(cell);
}

const char *lap_cell_signed(double value, char cell[LAP_CELL]) {
  return isfinite(value) ? print(value, "+", cell) : none(cell);
}

const char *lap_cell_interval(const json_t *interval, char cell[LAP_CELL]) {
  char low[LAP_CELL], high[LAP_CELL];
  if (json_array_size(interval) != 2) return none(cell);
  print(json_number_value(json_array_get(interval, 0)), "", low);
  print(json_number_value(json_array_get(interval, 1)), "", high);
  snprintf(cell, LAP_CELL, "[%.28s, %.28s]", low, high);
  return cell;
}

const char *lap_cell_confidence(const json_t *report, char cell[LAP_CELL]) {
  snprintf(cell, LAP_CELL, "%.6g", 100 * lap_json_real(report, "confidence"));
  return cell;
}

const char *lap_cell_p(double value, char cell[LAP_CELL]) {
  if (!isfinite(value)) return none(cell);
  if (value < 1e-4)
    snprintf(cell, LAP_CELL, "< 0.0001");
  else
    snprintf(cell, LAP_CELL, "%.4f", value);
  return cell;
}

const char *lap_cell_hours(double value, char cell[LAP_CELL]) {
  if (!isfinite(value)) return none(cell);
  snprintf(cell, LAP_CELL, "%.3g", value);
  return cell;
}

const char *lap_cell_count(double value, char cell[LAP_CELL]) {
  static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
  if (!isfinite(value)) return none(cell);
  size_t unit = 0;
  while (fabs(value) >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
    value /= 1000;
    ++unit;
  }
  snprintf(cell, LAP_CELL, "%.3g%s", value, units[unit]);
  return cell;
}

void lap_csv_name(FILE *out, const char *name) {
  const bool is_quoted = strpbrk(name, ",\"\r\n");
  if (is_quoted) fputc('"', out);
  for (; *name; ++name) {
    if (*name == '"') fputc('"', out);
    fputc(*name, out);
  }
  if (is_quoted) fputc('"', out);
}
