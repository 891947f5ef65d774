/* parse_number: numbers as people write them in configs and on the command line, read strictly.
 *
 * The whole text must be the number: no blanks, no octal or hexadecimal, no inf or nan. Single
 * underscores between digits group them: 5_000_000. What is printed reads back as the same bits.
 */
#ifndef LAP_CORE_PARSE_NUMBER_H
#define LAP_CORE_PARSE_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

enum { LAP_NUMBER_TEXT = 40 };

/* A number of the kind below whose value is whole and within int64_t, read exactly: 12, -3,
 * 5_000_000, 1e6, 2.5e3; not 1.5, 010 (which is eight to some readers), 1e19. False: *value is
 * untouched. */
bool lap_number_read_integer(const char *text, int64_t *value);

/* An integer or a decimal fraction, either with an exponent: 3, -0.5, .5, 1e-3, 2.5E+4; finite.
 * False: *value is untouched. */
bool lap_number_read_real(const char *text, double *value);

/* The shortest decimal that reads back as `value` (finite). An exponent always follows a decimal
 * point, 1.0e-06, because other YAML readers take 1e-06 for a word. Returns `text`. */
const char *lap_number_print_real(double value, char text[LAP_NUMBER_TEXT]);

#endif
