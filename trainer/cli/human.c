#include "trainer/cli/human.h"

#include <math.h>
#include <stdio.h>

/* Three digits that matter: 1.23, 12.3, 123. */
static int decimals_of(double value) { return value < 9.995 ? 2 : value < 99.95 ? 1 : 0; }

static const char *scaled(double value, double step, const char *const *units, int unit_count,
                          char text[LAP_HUMAN_TEXT]) {
  const char *sign = value < 0 ? "-" : "";
  value = fabs(value);
  int unit = 0;
  /* What would be printed as 1000 belongs to the next unit. */
  for (; unit + 1 < unit_count && value >= (unit ? step - 0.5 : step); ++unit) value /= step;
  if (unit == 0)
    snprintf(text, LAP_HUMAN_TEXT, "%s%.0f%s", sign, value, units[0]);
  else
    snprintf(text, LAP_HUMAN_TEXT, "%s%.*f%s", sign, decimals_of(value), value, units[unit]);
  return text;
}

const char *lap_human_count(double count, char text[LAP_HUMAN_TEXT]) {
  static const char *const units[] = {"", " k", " M", " G", " T", " P"};
  return scaled(count, 1000, units, 6, text);
}

const char *lap_human_bytes(double bytes, char text[LAP_HUMAN_TEXT]) {
  static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
  return scaled(bytes, 1024, units, 6, text);
}

const char *lap_human_seconds(double seconds, char text[LAP_HUMAN_TEXT]) {
  enum { MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR, LONGEST_DAYS = 9999 };
  if (!isfinite(seconds) || seconds < 0) {
    snprintf(text, LAP_HUMAN_TEXT, "?");
  } else if (seconds < 0.00995) {
    snprintf(text, LAP_HUMAN_TEXT, "%.2g ms", 1e3 * seconds);
  } else if (seconds < 0.9995) {
    snprintf(text, LAP_HUMAN_TEXT, "%.0f ms", 1e3 * seconds);
  } else if (seconds < 59.95) {
    snprintf(text, LAP_HUMAN_TEXT, "%.1f s", seconds);
  } else if (seconds >= (double)LONGEST_DAYS * DAY) {
    snprintf(text, LAP_HUMAN_TEXT, "over %d d", LONGEST_DAYS);
  } else {
    const long whole = lround(seconds);
    if (whole < HOUR)
      snprintf(text, LAP_HUMAN_TEXT, "%ld min %02ld s", whole / MINUTE, whole % MINUTE);
    else if (whole < DAY)
      snprintf(text, LAP_HUMAN_TEXT, "%ld h %02ld min", whole / HOUR, whole % HOUR / MINUTE);
    else
      snprintf(text, LAP_HUMAN_TEXT, "%ld d %02ld h", whole / DAY, whole % DAY / HOUR);
  }
  return text;
}
