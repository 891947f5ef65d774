/* parse_number: the grammar of the header against every short text, limits, and numbers that are
 * printed and read back. */
#include <math.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/parse_number.h"

/* Digits in groups; what integers must not begin with. */
#define DIGITS "[0-9](_?[0-9])*"
static const char real_grammar[] =
    "^-?(" DIGITS "[.]?(" DIGITS ")?|[.]" DIGITS ")([eE][-+]?[0-9]+)?$";
static const char octal_grammar[] = "^-?0_?[0-9]";
static const char printed_grammar[] = "^-?[0-9]+([.][0-9]+(e[-+][0-9]+)?)?$";

static bool matches(const regex_t *grammar, const char *text) {
  return regexec(grammar, text, 0, NULL, 0) == 0;
}

static void compile(regex_t *grammar, const char *text) {
  assert_int_equal(regcomp(grammar, text, REG_EXTENDED | REG_NOSUB), 0);
}

/* The value of a text of the grammar, which is short enough for a double to be exact. */
static double value_of(const char *text) {
  char plain[64], *end = plain;
  for (; *text; ++text)
    if (*text != '_') *end++ = *text;
  *end = '\0';
  return strtod(plain, NULL);
}

static void check_text(const regex_t *reals, const regex_t *octals, const char *text) {
  int64_t integer = -77;
  double real = -77;
  const bool has_value = matches(reals, text);
  const double value = has_value ? value_of(text) : NAN;
  const bool is_real = isfinite(value);
  const bool is_integer =
      is_real && floor(value) == value && fabs(value) < 0x1p63 && !matches(octals, text);
  if (lap_number_read_integer(text, &integer) != is_integer) fail_msg("'%s' as an integer", text);
  assert_true(integer == (is_integer ? (int64_t)value : -77));
  if (lap_number_read_real(text, &real) != is_real) fail_msg("'%s' as a real", text);
  assert_true(real == (is_real ? value : -77));
}

/* Every text of up to five of these characters. */
static void the_grammar_is_that_of_the_page(void **state) {
  (void)state;
  static const char letters[] = "019.-+eE x_";
  enum { LETTERS = sizeof letters - 1, LONGEST = 5 };
  regex_t reals, octals;
  compile(&reals, real_grammar);
  compile(&octals, octal_grammar);
  int count = 1;
  for (int length = 0; length <= LONGEST; ++length, count *= LETTERS)
    for (int number = 0; number < count; ++number) {
      char text[LONGEST + 1] = "";
      for (int i = 0, left = number; i < length; ++i, left /= LETTERS)
        text[i] = letters[left % LETTERS];
      check_text(&reals, &octals, text);
    }
  static const char *const others[] = {
      "inf",    "-inf",   "nan",   "infinity",  "0x10",   "0x1p3",  "1_000",
      "1,5",    "12\n",   "\t12",  "12 ",       "1e3.5",  "1e+",    "0b11",
      "1f",     "1d",     "١",     "1\xC2\xA0", "010",    "-010",   "00",
      "1.5e-3", "2.5E+4", ".5",    "-.5",       "5.",     "-5.e1",  "12345678901234",
      "1_000_", "1__000", "_1",    "1_000.5",   "1_e3",   "1e1_0",  "5_000_000",
      "2e12",   "1.5e0",  "1e400", "1e-400x",   "1.25e2", "1.25e1", "-7_2e+2"};
  for (size_t i = 0; i < sizeof others / sizeof *others; ++i)
    check_text(&reals, &octals, others[i]);
  regfree(&reals);
  regfree(&octals);
}

/* Where a double would no longer be exact. */
static void large_whole_numbers_are_read_to_the_unit(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t value;
  } cases[] = {{"9007199254740993e0", INT64_C(9007199254740993)},
               {"9_007_199_254_740_993", INT64_C(9007199254740993)},
               {"0.9007199254740993e16", INT64_C(9007199254740993)},
               {"9223372036854775807000e-3", INT64_MAX},
               {"-9.223372036854775808e18", INT64_MIN},
               {"1000000000000000000000000e-20", 10000},
               {"0e999999999999999999999", 0},
               {"0.000e-5", 0}};
  int64_t value;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    if (!lap_number_read_integer(cases[i].text, &value)) fail_msg("'%s'", cases[i].text);
    assert_true(value == cases[i].value);
  }
  static const char *const bad[] = {
      "9.2233720368547758075e18", "9223372036854775808000e-3", "1e19",  "1e99999999999999999999",
      "1e-99999999999999999999",  "9223372036854775807.1",     "1e-400"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i)
    if (lap_number_read_integer(bad[i], &value)) fail_msg("'%s' was read", bad[i]);
}

static void integers_end_where_64_bits_do(void **state) {
  (void)state;
  int64_t value = 5;
  assert_true(lap_number_read_integer("9223372036854775807", &value));
  assert_true(value == INT64_MAX);
  assert_true(lap_number_read_integer("-9223372036854775808", &value));
  assert_true(value == INT64_MIN);
  value = 5;
  assert_false(lap_number_read_integer("9223372036854775808", &value));
  assert_false(lap_number_read_integer("-9223372036854775809", &value));
  assert_false(lap_number_read_integer("100000000000000000000000000000", &value));
  assert_false(lap_number_read_integer("18446744073709551616", &value)); /* 2^64 */
  assert_int_equal(value, 5);
}

static void reals_are_finite(void **state) {
  (void)state;
  double value = 5;
  assert_true(lap_number_read_real("1.7976931348623157e308", &value));
  assert_true(value == 0x1.fffffffffffffp1023);
  value = 5;
  assert_false(lap_number_read_real("1.8e308", &value));
  assert_false(lap_number_read_real("-1e999999999999", &value));
  assert_true(value == 5);
  assert_true(lap_number_read_real("1e-999", &value)); /* no overflow: the nearest is 0 */
  assert_true(value == 0);
}

/* --- printing --- */

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static void check_printed(const regex_t *grammar, double value) {
  char text[LAP_NUMBER_TEXT];
  assert_ptr_equal(lap_number_print_real(value, text), text);
  double back;
  if (!lap_number_read_real(text, &back) || bits_of(back) != bits_of(value))
    fail_msg("%a is printed as %s", value, text);
  if (!matches(grammar, text)) fail_msg("%a is printed as %s", value, text);
  /* With one digit less it is another number. */
  int digits = 0;
  const char *first = text + strcspn(text, "123456789");
  for (const char *c = first; *c && *c != 'e'; ++c) digits += *c != '.';
  const char *point = strchr(text, '.');
  if (!point) /* zeros at the end of a whole number are not digits of it */
    for (const char *c = text + strlen(text) - 1; c > first && *c == '0'; --c) --digits;
  if (strstr(text, ".0e")) --digits;
  char shorter[LAP_NUMBER_TEXT];
  snprintf(shorter, sizeof shorter, "%.*g", digits - 1, value);
  if (digits > 1 && strtod(shorter, NULL) == value) fail_msg("%s is longer than %s", text, shorter);
}

static void what_is_printed_reads_back_as_the_same_bits(void **state) {
  (void)state;
  regex_t grammar;
  compile(&grammar, printed_grammar);
  static const double values[] = {0,
                                  -0.0,
                                  1,
                                  -1,
                                  0.1,
                                  1.0 / 3,
                                  1e15,
                                  1e16,
                                  1e17,
                                  123456.7,
                                  1e21,
                                  1e22,
                                  1e23,
                                  6e-3,
                                  0x1p-44,
                                  0x1p-1074,
                                  -1e-5,
                                  1e-4,
                                  2e300,
                                  0x1p53,
                                  0x1p63,
                                  3e5,
                                  0.30000000000000004,
                                  0x1.fffffffffffffp1023};
  for (size_t i = 0; i < sizeof values / sizeof *values; ++i) check_printed(&grammar, values[i]);
  uint64_t bits = 1;
  for (int i = 0; i < 40000; ++i) {
    bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (isfinite(value)) check_printed(&grammar, value);
    /* As people write them: few digits. */
    check_printed(&grammar, (double)(bits >> 50) / 1000);
    check_printed(&grammar, (double)(bits >> 50) * 1e-9);
  }
  regfree(&grammar);
}

static void known_numbers_are_printed_as_people_write_them(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *text;
  } cases[] = {{0.1, "0.1"},
               {1e-6, "1.0e-06"},
               {-1e-6, "-1.0e-06"},
               {50, "50"},
               {1.0 / 3, "0.3333333333333333"},
               {1e300, "1.0e+300"},
               {2.5e-7, "2.5e-07"},
               {0x1p-1074, "5.0e-324"},
               {-3 * 0x1p-1074, "-1.5e-323"},
               {0x1p-1030, "8.691694759794e-311"},
               {0.1 + 0.2, "0.30000000000000004"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char text[LAP_NUMBER_TEXT];
    assert_string_equal(lap_number_print_real(cases[i].value, text), cases[i].text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_grammar_is_that_of_the_page),
      cmocka_unit_test(large_whole_numbers_are_read_to_the_unit),
      cmocka_unit_test(integers_end_where_64_bits_do),
      cmocka_unit_test(reals_are_finite),
      cmocka_unit_test(what_is_printed_reads_back_as_the_same_bits),
      cmocka_unit_test(known_numbers_are_printed_as_people_write_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
