#include "core/parse_number.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* The parts of a number: -WHOLE.FRACTIONeEXPONENT. Digits may have single underscores between. */
typedef struct {
  bool is_negative;
  const char *whole, *whole_end;
  const char *fraction, *fraction_end; /* the same where there is none */
  const char *exponent;                /* from its sign on; NULL: none */
} number_parts;

/* The end of a run of digits, which may be empty. */
static const char *skip_digits(const char *text) {
  const char *at = text;
  while (isdigit((unsigned char)*at) || (*at == '_' && at > text && isdigit((unsigned char)at[1])))
    ++at;
  return at;
}

/* Whether the whole text is a number. */
static bool split(const char *text, number_parts *parts) {
  *parts = (number_parts){.is_negative = *text == '-'};
  parts->whole = text + parts->is_negative;
  const char *end = parts->whole_end = skip_digits(parts->whole);
  parts->fraction = parts->fraction_end = end;
  if (*end == '.') {
    parts->fraction = end + 1;
    end = parts->fraction_end = skip_digits(parts->fraction);
  }
  if (parts->whole == parts->whole_end && parts->fraction == parts->fraction_end) return false;
  if (*end == 'e' || *end == 'E') {
    parts->exponent = end + 1;
    const char *digits = parts->exponent + (*parts->exponent == '+' || *parts->exponent == '-');
    end = skip_digits(digits);
    if (end == digits || memchr(digits, '_', (size_t)(end - digits))) return false;
  }
  return *end == '\0';
}

/* --- integers --- */

/* An integer read digit by digit, with as many zeros behind it as have not yet been needed: the
 * zeros of 1e400 or of 0.000 cost nothing. */
typedef struct {
  uint64_t magnitude;
  int64_t zeros;
  bool is_too_large;
} integer_digits;

static void append_digit(integer_digits *read, unsigned digit) {
  if (digit == 0) {
    read->zeros += read->magnitude > 0;
    return;
  }
  for (; read->zeros >= 0 && !read->is_too_large; --read->zeros)
    read->is_too_large = __builtin_mul_overflow(read->magnitude, 10, &read->magnitude);
  read->zeros = 0;
  if (__builtin_add_overflow(read->magnitude, digit, &read->magnitude)) read->is_too_large = true;
}

static void append_digits(integer_digits *read, const char *begin, const char *end) {
  for (const char *at = begin; at < end; ++at)
    if (*at != '_') append_digit(read, (unsigned)(*at - '0'));
}

static int64_t count_digits(const char *begin, const char *end) {
  int64_t count = 0;
  for (const char *at = begin; at < end; ++at) count += *at != '_';
  return count;
}

bool lap_number_read_integer(const char *text, int64_t *value) {
  number_parts parts;
  if (!split(text, &parts)) return false;
  if (*parts.whole == '0' && parts.whole_end - parts.whole > 1) return false;
  integer_digits read = {0};
  append_digits(&read, parts.whole, parts.whole_end);
  append_digits(&read, parts.fraction, parts.fraction_end);
  if (read.is_too_large) return false; /* before the magnitude, which has wrapped around */
  if (read.magnitude == 0) {
    *value = 0;
    return true;
  }
  enum { LARGEST_EXPONENT = 1000000 }; /* beyond it no digits of a text make up for it */
  const long exponent = parts.exponent ? strtol(parts.exponent, NULL, 10) : 0;
  if (exponent > LARGEST_EXPONENT || exponent < -LARGEST_EXPONENT) return false;
  const int64_t zeros = read.zeros + exponent - count_digits(parts.fraction, parts.fraction_end);
  if (zeros < 0) return false; /* less than whole */
  for (int64_t i = 0; i < zeros; ++i)
    if (__builtin_mul_overflow(read.magnitude, 10, &read.magnitude)) return false;
  if (read.magnitude > (uint64_t)INT64_MAX + parts.is_negative) return false;
  *value = parts.is_negative ? (int64_t)(0 - read.magnitude) : (int64_t)read.magnitude;
  return true;
}

/* --- reals --- */

bool lap_number_read_real(const char *text, double *value) {
  number_parts parts;
  if (!split(text, &parts)) return false;
  char *plain = lap_copy_string(text), *end = plain;
  for (const char *at = text; *at; ++at)
    if (*at != '_') *end++ = *at;
  *end = '\0';
  const double read = strtod(plain, NULL);
  free(plain);
  if (!isfinite(read)) return false;
  *value = read;
  return true;
}

const char *lap_number_print_real(double value, char text[LAP_NUMBER_TEXT]) {
  enum { FEWEST_DIGITS = 15, ENOUGH_DIGITS = 17 }; /* which subnormal numbers do not have */
  for (int digits = isnormal(value) ? FEWEST_DIGITS : 1; digits <= ENOUGH_DIGITS; ++digits) {
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
