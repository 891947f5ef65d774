/* text_stream: what comes out is whole characters, and the same however the bytes were cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/text.h"
#include "trainer/generate/text_stream.h"

#define REPLACED "\xEF\xBF\xBD"

static void assert_text(const lap_text_stream *stream, const char *expected, size_t bytes) {
  assert_int_equal(stream->bytes, bytes);
  if (bytes) assert_memory_equal(stream->text, expected, bytes);
}

static void a_character_waits_for_its_last_byte(void **state) {
  (void)state;
  const char text[] = "a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x99\x82z";
  const size_t given[] = {1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 1};
  lap_text_stream stream = {0};
  for (size_t i = 0; i < strlen(text); ++i)
    assert_int_equal(lap_text_stream_push(&stream, text + i, 1), given[i]);
  assert_int_equal(lap_text_stream_finish(&stream), 0);
  assert_text(&stream, text, strlen(text));
  lap_text_stream_release(&stream);
}

typedef struct {
  const char *bytes, *text;
  size_t undecided; /* of the text, given out only at the end */
} broken_text;

/* Bytes that cannot become a character leave as soon as that is certain. */
static void invalid_sequences_are_replaced_byte_by_byte(void **state) {
  (void)state;
  static const broken_text cases[] = {
      {"\x80", REPLACED, 0},
      {"\xFF", REPLACED, 0},
      {"\xC0", REPLACED, 0}, /* only overlong forms begin with it */
      {"\xF5", REPLACED, 0},
      {"\xC3", REPLACED, 3},
      {"\xC3z", REPLACED "z", 0},
      {"\xC3\xC3\xA9", REPLACED "\xC3\xA9", 0},
      {"\xE6\xBC", REPLACED REPLACED, 6},
      {"\xE6\xBCz", REPLACED REPLACED "z", 0},
      {"\xE6\xF0\x9F\x99\x82", REPLACED "\xF0\x9F\x99\x82", 0},
      {"\xE0\x80", REPLACED REPLACED, 0}, /* overlong */
      {"\xED\xA0", REPLACED REPLACED, 0}, /* a surrogate */
      {"\xED\x9F", REPLACED REPLACED, 6}, /* may still become U+D7FF */
      {"\xF0\x8F", REPLACED REPLACED, 0}, /* overlong */
      {"\xF4\x90", REPLACED REPLACED, 0}, /* beyond U+10FFFF */
      {"\xF4\x8F\xBF", REPLACED REPLACED REPLACED, 9},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    lap_text_stream stream = {0};
    const size_t expected = strlen(cases[i].text);
    const size_t pushed = lap_text_stream_push(&stream, cases[i].bytes, strlen(cases[i].bytes));
    if (pushed != expected - cases[i].undecided) fail_msg("case %d: gave %d", (int)i, (int)pushed);
    assert_int_equal(lap_text_stream_finish(&stream), cases[i].undecided);
    assert_text(&stream, cases[i].text, expected);
    assert_int_equal(lap_text_stream_finish(&stream), 0);
    lap_text_stream_release(&stream);
  }
}

static void nul_bytes_pass(void **state) {
  (void)state;
  lap_text_stream stream = {0};
  assert_int_equal(lap_text_stream_push(&stream, "a\0b", 3), 3);
  assert_text(&stream, "a\0b", 3);
  lap_text_stream_release(&stream);
}

/* Random bytes of the kinds that matter, whole and cut at random. */
static void any_bytes_cut_anywhere_give_the_same_utf8(void **state) {
  (void)state;
  static const uint8_t kinds[] = {'a',  0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC3,
                                  0xE0, 0xE6, 0xED, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF};
  uint32_t random = 1;
  for (int round = 0; round < 2000; ++round) {
    char bytes[40];
    lap_text_stream whole = {0}, cut = {0};
    for (size_t i = 0; i < sizeof bytes; ++i) {
      random = random * 1664525u + 1013904223u;
      bytes[i] = (char)kinds[(random >> 16) % sizeof kinds];
    }
    lap_text_stream_push(&whole, bytes, sizeof bytes);
    lap_text_stream_finish(&whole);
    for (size_t at = 0, piece; at < sizeof bytes; at += piece) {
      random = random * 1664525u + 1013904223u;
      piece = (random >> 16) % 5 + 1;
      if (piece > sizeof bytes - at) piece = sizeof bytes - at;
      lap_text_stream_push(&cut, bytes + at, piece);
    }
    lap_text_stream_finish(&cut);
    assert_text(&cut, whole.text, whole.bytes);
    for (size_t at = 0, length; at < whole.bytes; at += length) {
      length = lap_utf8_character(whole.text + at, whole.bytes - at);
      assert_true(length > 0);
    }
    lap_text_stream_release(&whole);
    lap_text_stream_release(&cut);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_character_waits_for_its_last_byte),
      cmocka_unit_test(invalid_sequences_are_replaced_byte_by_byte),
      cmocka_unit_test(nul_bytes_pass),
      cmocka_unit_test(any_bytes_cut_anywhere_give_the_same_utf8),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
