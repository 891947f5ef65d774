/* text: UTF-8, checked and repaired.
 */
#ifndef LAP_CORE_TEXT_H
#define LAP_CORE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* U+FFFD, which stands for what is not text. */
#define LAP_REPLACEMENT "\xEF\xBF\xBD"

/* The length in bytes (1 to 4) of the UTF-8 character at `text`, of which `bytes` > 0 are there; 0
 * where it is malformed, cut off, overlong, a surrogate or beyond U+10FFFF. */
size_t lap_utf8_character(const char *text, size_t bytes);

/* The largest cut <= `cut` that does not fall inside a UTF-8 character; text[cut] must be readable.
 */
size_t lap_utf8_floor(const char *text, size_t cut);

/* Writes the character U+`code`, which must not be a surrogate or beyond U+10FFFF, to `text` and
 * returns its length, 1 to 4. */
size_t lap_utf8_write(uint32_t code, char text[4]);

/* Writes the text to `out` [size > 0], NUL-terminated and cut to fit, with every control character
 * that could command a terminal, so all but newline and tab, as its bytes: \x1b. A file's names
 * and texts come from anybody. */
void lap_text_show_controls(const char *text, char *out, size_t size);

/* How many bytes from the beginning are UTF-8 without a NUL. */
size_t lap_utf8_clean(const char *text, size_t bytes);

/* The length of what one U+FFFD replaces at `text`, which does not begin a clean character: a NUL,
 * or as much as could have begun a character (1 to 3 bytes), as the Unicode Standard recommends and
 * Python and browsers do it. */
size_t lap_utf8_damage(const char *text, size_t bytes);

/* Writes the text with every damage replaced by U+FFFD to `out`, which has room for 3 * bytes, and
 * returns its length; *replaced is how many there were. */
size_t lap_utf8_repair(const char *text, size_t bytes, char *out, uint64_t *replaced);

#endif
