/* text: every sequence of three bytes against UTF-8 as an encoder defines it, and what is repaired.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/text.h"

enum { LAST_CHARACTER = 0x10FFFF };

static bool is_surrogate(uint32_t character) { return character >= 0xD800 && character <= 0xDFFF; }

/* The shortest form, as Unicode has it; returns its length. */
static size_t encode(uint32_t c, uint8_t bytes[4]) {
  if (c < 0x80) {
    bytes[0] = (uint8_t)c;
    return 1;
  }
  const size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; --i, c >>= 6) bytes[i] = (uint8_t)(0x80 + c % 64);
  bytes[0] = (uint8_t)((0xF0 << (4 - length)) + (int)c);
  return length;
}

static size_t length_of(const uint8_t *bytes, size_t count) {
  return lap_utf8_character((const char *)bytes, count);
}

/* Cut off, it is none; what follows it does not matter. */
static void every_character_has_its_length(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= LAST_CHARACTER; ++c) {
    if (is_surrogate(c)) continue;
    uint8_t bytes[6] = {0, 0, 0, 0, 0xFF, 0xFF};
    const size_t length = encode(c, bytes);
    assert_int_equal(length_of(bytes, length), length);
    bytes[length] = 0xBF;
    assert_int_equal(length_of(bytes, length + 1), length);
    for (size_t cut = 1; cut < length; ++cut) assert_int_equal(length_of(bytes, cut), 0);
  }
}

/* A set of byte sequences, one bit each. */
static bool has(const uint8_t *set, uint32_t sequence) {
  return set[sequence / 8] >> sequence % 8 & 1;
}

static void nothing_else_is_a_character(void **state) {
  (void)state;
  uint8_t *pairs = calloc(1 << 13, 1), *triples = calloc(1 << 21, 1);
  for (uint32_t c = 0x80; c < 0x10000; ++c) {
    uint8_t bytes[4];
    if (is_surrogate(c)) continue;
    const size_t length = encode(c, bytes);
    uint32_t sequence = 0;
    for (size_t i = 0; i < length; ++i) sequence = sequence << 8 | bytes[i];
    (length == 2 ? pairs : triples)[sequence / 8] |= (uint8_t)(1 << sequence % 8);
  }
  for (uint32_t sequence = 0; sequence < 1 << 24; ++sequence) {
    const uint8_t bytes[3] = {(uint8_t)(sequence >> 16), (uint8_t)(sequence >> 8),
                              (uint8_t)sequence};
    const size_t expected = bytes[0] < 0x80             ? 1
                            : has(pairs, sequence >> 8) ? 2
                            : has(triples, sequence)    ? 3
                                                        : 0;
    if (length_of(bytes, 3) != expected) fail_msg("%06X", sequence);
  }
  free(pairs);
  free(triples);
}

/* Four bytes are a character where an encoder makes them. */
static void four_bytes_are_one_character_or_none(void **state) {
  (void)state;
  static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x81, 0xBE, 0xBF, 0xC0, 0xFF};
  for (int first = 0xF0; first <= 0xFF; ++first)
    for (int second = 0; second <= 0xFF; ++second)
      for (int third = 0; third < 8; ++third)
        for (int fourth = 0; fourth < 8; ++fourth) {
          const uint8_t bytes[4] = {(uint8_t)first, (uint8_t)second, edges[third], edges[fourth]};
          uint8_t again[4];
          const uint32_t c = ((uint32_t)first & 7) << 18 | ((uint32_t)second & 63) << 12 |
                             (bytes[2] & 63U) << 6 | (bytes[3] & 63U);
          const bool is_one = c >= 0x10000 && c <= LAST_CHARACTER && encode(c, again) == 4 &&
                              memcmp(bytes, again, 4) == 0;
          assert_int_equal(length_of(bytes, 4), is_one ? 4 : 0);
        }
}

static void a_cut_moves_to_the_start_of_its_character(void **state) {
  (void)state;
  const char text[] = "a\xC3\xA9\xE6\xBC\xA2z\xF0\x9F\x99\x82\xC3\xA9";
  static const size_t floors[] = {0, 1, 1, 3, 3, 3, 6, 7, 7, 7, 7, 11, 11, 13};
  for (size_t cut = 0; cut < sizeof text; ++cut)
    assert_int_equal(lap_utf8_floor(text, cut), floors[cut]);
  /* No character is longer: what continues nothing holds a cut up no further. */
  assert_int_equal(lap_utf8_floor("\x80\x80\x80\x80\x80\x80", 5), 2);
}

static void characters_are_written_as_an_encoder_writes_them(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= LAST_CHARACTER; ++c) {
    if (is_surrogate(c)) continue;
    uint8_t expected[4];
    char text[4];
    assert_int_equal(lap_utf8_write(c, text), encode(c, expected));
    assert_memory_equal(text, expected, encode(c, expected));
  }
}

#define R LAP_REPLACEMENT

/* The right sides are Python's bytes.decode("utf-8", "replace"), but for NUL. */
static void damage_is_replaced_as_the_standard_recommends(void **state) {
  (void)state;
  static const struct {
    const char *text, *repaired;
    uint64_t replaced;
  } cases[] = {
      {"", "", 0},
      {"caf\xC3\xA9", "caf\xC3\xA9", 0},
      {"caf\xE9", "caf" R, 1},
      {"\xE9t\xE9", R "t" R, 2},
      {"\xC3", R, 1},
      {"\xC0\xAF", R R, 2},
      {"\xE2\x82", R, 1},
      {"\xE2\x82z", R "z", 1},
      {"\xE0\x80\xAF", R R R, 3},
      {"\xED\xA0\x80", R R R, 3},
      {"\xED\x9F\xBF", "\xED\x9F\xBF", 0},
      {"\xF0\x9F\x99", R, 1},
      {"\xF0\x9F\x99\xC3\xA9", R "\xC3\xA9", 1},
      {"\xF0\x8F\x80\x80", R R R R, 4},
      {"\xF4\x90\x80\x80", R R R R, 4},
      {"\xF4\x8F\xBF", R, 1},
      {"\xF5\x80\xFF\xFE", R R R R, 4},
      {"\x80\x80", R R, 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const size_t bytes = strlen(cases[i].text);
    char *out = malloc(3 * bytes + 1);
    uint64_t replaced;
    const size_t written = lap_utf8_repair(cases[i].text, bytes, out, &replaced);
    assert_int_equal(written, strlen(cases[i].repaired));
    assert_memory_equal(out, cases[i].repaired, written);
    assert_int_equal(replaced, cases[i].replaced);
    assert_int_equal(lap_utf8_clean(out, written), written);
    assert_int_equal(lap_utf8_clean(cases[i].text, bytes) == bytes, replaced == 0);
    free(out);
  }
  char out[9];
  uint64_t replaced;
  assert_int_equal(lap_utf8_repair("a\0b", 3, out, &replaced), 5);
  assert_memory_equal(out, "a" R "b", 5);
  assert_int_equal(replaced, 1);
}

static void controls_are_shown_and_commands_none(void **state) {
  (void)state;
  static const struct {
    const char *text, *shown;
  } cases[] = {
      {"", ""},
      {"two\nlines\tand \xC3\xA9 \xE6\xBC\xA2", "two\nlines\tand \xC3\xA9 \xE6\xBC\xA2"},
      {"\x1b[31m\a\x7f\r\x01", "\\x1b[31m\\x07\\x7f\\x0d\\x01"},
      {"\xC2\x9b"
       "2J \xC2\xA0 \xC2",
       "\\xc2\\x9b"
       "2J \xC2\xA0 \xC2"},
  };
  char shown[64];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_text_show_controls(cases[i].text, shown, sizeof shown);
    assert_string_equal(shown, cases[i].shown);
  }
  lap_text_show_controls("abc\x1b", shown, 7); /* as much as fits, whole */
  assert_string_equal(shown, "abc");
  lap_text_show_controls("abc\x1b", shown, 8);
  assert_string_equal(shown, "abc\\x1b");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_character_has_its_length),
      cmocka_unit_test(nothing_else_is_a_character),
      cmocka_unit_test(four_bytes_are_one_character_or_none),
      cmocka_unit_test(a_cut_moves_to_the_start_of_its_character),
      cmocka_unit_test(characters_are_written_as_an_encoder_writes_them),
      cmocka_unit_test(damage_is_replaced_as_the_standard_recommends),
      cmocka_unit_test(controls_are_shown_and_commands_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
