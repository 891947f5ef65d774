#include "core/parse_number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_digits(const char *text) {
  while (isdigit((unsigned char)*text)) ++text;
  return text;
}

bool lap_number_read_integer(const char *text, int64_t *value) {
  const char *digits = text + (*text == '-');
  const char *end = skip_digits(digits);
  if (end == digits || *end != '\0') return false;
  if (*digits == '0' && end - digits > 1) return false; /* 010 is eight to some readers */
  errno = 0;
  const int64_t read = strtoll(text, NULL, 10);
  if (errno == ERANGE) return false;
  *value = read;
  return true;
}

static bool looks_real(const char *text) {
  const char *whole = text + (*text == '-');
  const char *end = skip_digits(whole);
  long digits = end - whole;
  if (*end == '.') {
    const char *fraction = end + 1;
    end = skip_digits(fraction);
    digits += end - fraction;
  }
  if (digits == 0) return false;
  if (*end == 'e' || *end == 'E') {
    const char *exponent = end + 1;
    exponent += *exponent == '+' || *exponent == '-';
    end = skip_digits(exponent);
    if (end == exponent) return false;
  }
  return *end == '\0';
}

bool lap_number_read_real(const char *text, double *value) {
  if (!looks_real(text)) return false;
  const double read = strtod(text, NULL);
  if (!isfinite(read)) return false;
  *value = read;
  return true;
}

const char *lap_number_print_real(double value, char text[LAP_NUMBER_TEXT]) {
  enum { FEWEST_DIGITS = 15, ENOUGH_DIGITS = 17 };
  for (int digits = FEWEST_DIGITS; digits <= ENOUGH_DIGITS; ++digits) {
    snprintf(text, LAP_NUMBER_TEXT, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  char *exponent = strchr(text, 'e');
  if (exponent && !strchr(text, '.')) {
    memmove(exponent + 2, exponent, strlen(exponent) + 1);
    memcpy(exponent, ".0", 2);
  }
  return text;
}
