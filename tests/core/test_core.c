/* core: known answers of the hashes and the random function, and messages that arrive whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/philox.h"
#include "core/status.h"

static void xxh3_has_the_known_answer(void **state) {
  (void)state;
  assert_true(lap_xxh3("", 0) == UINT64_C(0x2d06800538d394c2));
  char bytes[1000] = {0};
  const uint64_t zeros = lap_xxh3(bytes, sizeof bytes);
  bytes[999] = 1;
  assert_true(lap_xxh3(bytes, sizeof bytes) != zeros);
}

static void sha256_has_the_known_answer(void **state) {
  (void)state;
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256("abc", 3, digest);
  lap_sha256_hex(digest, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void tokens_hash_as_little_endian_uint32(void **state) {
  (void)state;
  const uint32_t tokens[2] = {0x00636261, 2};
  char hex[LAP_SHA256_HEX], expected[LAP_SHA256_HEX];
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256("abc\0\2\0\0\0", 8, digest);
  lap_sha256_hex(digest, expected);
  lap_tokens_sha256(tokens, 2, hex);
  assert_string_equal(hex, expected);
}

/* Random123's own known answer for counter 0, key 0 (kat_vectors: philox4x32 10). */
static void philox_has_the_known_answer(void **state) {
  (void)state;
  const uint64_t seed = (uint64_t)LAP_PURPOSE_ORDER * UINT64_C(0x9E3779B97F4A7C15);
  const lap_random random = lap_philox(seed, LAP_PURPOSE_ORDER, 0, 0);
  assert_int_equal(random.word[0], 0x6627e8d5);
  assert_int_equal(random.word[1], 0xe169c58d);
  assert_int_equal(random.word[2], 0xbc57ac4c);
  assert_int_equal(random.word[3], 0x9b00dbd8);
}

static void every_coordinate_of_philox_counts(void **state) {
  (void)state;
  const lap_random base = lap_philox(1, LAP_PURPOSE_ORDER, 2, 3);
  const lap_random other[] = {
      lap_philox(2, LAP_PURPOSE_ORDER, 2, 3),
      lap_philox(1, LAP_PURPOSE_INIT, 2, 3),
      lap_philox(1, LAP_PURPOSE_ORDER, 3, 3),
      lap_philox(1, LAP_PURPOSE_ORDER, 2, 4),
      lap_philox(1, LAP_PURPOSE_ORDER, 2 | UINT64_C(1) << 40, 3),
  };
  for (size_t i = 0; i < sizeof other / sizeof *other; ++i)
    assert_memory_not_equal(&base, &other[i], sizeof base);
  const double uniform = lap_uniform(base);
  assert_true(uniform >= 0 && uniform < 1);
}

static void a_context_goes_before_the_message(void **state) {
  (void)state;
  lap_status status = {0};
  assert_int_equal(lap_fail(&status, LAP_DATA, "row %d", 7), LAP_DATA);
  assert_int_equal(lap_fail_context(&status, "file %s", "a.h5"), LAP_DATA);
  assert_string_equal(status.message, "file a.h5: row 7");
}

/* Names in files of strangers reach messages. */
static void a_message_commands_no_terminal(void **state) {
  (void)state;
  lap_status status = {0};
  lap_fail(&status, LAP_DATA, "tensor '%s'", "\x1b]0;t\a");
  lap_fail_context(&status, "%s", "a\rb");
  assert_string_equal(status.message, "a\\x0db: tensor '\\x1b]0;t\\x07'");
}

static void a_long_message_is_cut_not_overrun(void **state) {
  (void)state;
  lap_status status = {0};
  char text[2 * LAP_MESSAGE_SIZE];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  lap_fail(&status, LAP_USAGE, "%s", text);
  assert_int_equal(strlen(status.message), LAP_MESSAGE_SIZE - 1);
  lap_fail_context(&status, "%s", text);
  assert_int_equal(strlen(status.message), LAP_MESSAGE_SIZE - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(xxh3_has_the_known_answer),
      cmocka_unit_test(sha256_has_the_known_answer),
      cmocka_unit_test(tokens_hash_as_little_endian_uint32),
      cmocka_unit_test(philox_has_the_known_answer),
      cmocka_unit_test(every_coordinate_of_philox_counts),
      cmocka_unit_test(a_context_goes_before_the_message),
      cmocka_unit_test(a_message_commands_no_terminal),
      cmocka_unit_test(a_long_message_is_cut_not_overrun),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
