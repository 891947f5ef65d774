/* near_duplicates: the estimate is that of the sets of shingles, and repetitions are found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dataset/near_duplicates.h"

enum { WORDS = 200, TEXT = 4096 };

/* Words `first` ... of a made-up language; every `other_every`-th is another one (0: none). */
static size_t write_text(char *text, unsigned first, unsigned other_every) {
  size_t length = 0;
  for (unsigned i = 0; i < WORDS; ++i) {
    const bool other = other_every && i % other_every == other_every / 2;
    length += (size_t)snprintf(text + length, TEXT - length, "%s%u ", other ? "other" : "word",
                               (first + i) * 2654435761U % 100003);
  }
  return length;
}

/* Of 196 shingles, each other word spoils 5, but for the ends. */
static void the_estimate_is_the_jaccard_index(void **state) {
  (void)state;
  char one[TEXT], other[TEXT];
  const size_t bytes = write_text(one, 0, 0);
  const struct {
    unsigned every;
    double index;
  } cases[] = {{0, 1}, {100, 186. / 206}, {40, 171. / 221}, {20, 146. / 246}, {10, 96. / 296}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const size_t other_bytes = write_text(other, 0, cases[i].every);
    const double found = lap_near_duplicates_similarity(one, bytes, other, other_bytes);
    if (found < cases[i].index - .14 || found > cases[i].index + .14) /* three deviations */
      fail_msg("every %u: %g instead of %g", cases[i].every, found, cases[i].index);
  }
  const size_t other_bytes = write_text(other, 5000, 0);
  assert_true(lap_near_duplicates_similarity(one, bytes, other, other_bytes) < .03);
}

static void case_and_marks_do_not_count(void **state) {
  (void)state;
  static const char one[] = "In the beginning God created the heaven and the earth.";
  static const char other[] = "in the BEGINNING -- God created\nthe heaven, and the earth";
  assert_float_equal(lap_near_duplicates_similarity(one, strlen(one), other, strlen(other)), 1, 0);
}

/* Characters of `script`, three bytes each, all in one run; some are another one. */
static size_t write_run(char *text, unsigned first, unsigned script, unsigned other_every) {
  size_t length = 0;
  for (unsigned i = 0; i < 4 * WORDS; ++i) {
    const bool other = other_every && i % other_every == other_every / 2;
    const unsigned code = script + (other ? 63 : (first + i) * 2654435761U % 61);
    text[length++] = (char)(0xE0 | code >> 12);
    text[length++] = (char)(0x80 | (code >> 6 & 0x3F));
    text[length++] = (char)(0x80 | (code & 0x3F));
  }
  return length;
}

static void scripts_without_spaces_are_compared_too(void **state) {
  (void)state;
  static const unsigned scripts[] = {0x4E00, 0x3040, 0x0E00, 0x0E80, 0x0F00, 0x1000, 0x1780};
  char one[TEXT], other[TEXT];
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; ++i) {
    lap_near_duplicates *seen = lap_near_duplicates_create(.7);
    assert_false(lap_near_duplicates_repeats(seen, one, write_run(one, 0, scripts[i], 0)));
    assert_true(lap_near_duplicates_repeats(seen, other, write_run(other, 0, scripts[i], 400)));
    assert_false(lap_near_duplicates_repeats(seen, other, write_run(other, 7, scripts[i], 3)));
    lap_near_duplicates_destroy(seen);
  }
  static const char mixed[] = "GPT\xE3\x81\xAE\xE4\xB8\x80",
                    apart[] = "gpt \xE3\x81\xAE \xE4\xB8\x80.";
  assert_float_equal(lap_near_duplicates_similarity(mixed, strlen(mixed), apart, strlen(apart)), 1,
                     0);
}

static void repetitions_are_found(void **state) {
  (void)state;
  enum { DOCUMENTS = 3000 };
  char text[TEXT];
  lap_near_duplicates *seen = lap_near_duplicates_create(.8);
  for (unsigned i = 0; i < DOCUMENTS; ++i) { /* the table of bands grows several times */
    const size_t bytes = write_text(text, i * 1000, 0);
    assert_false(lap_near_duplicates_repeats(seen, text, bytes));
  }
  for (unsigned i = 0; i < DOCUMENTS; i += 100) {
    size_t bytes = write_text(text, i * 1000, 100);
    assert_true(lap_near_duplicates_repeats(seen, text, bytes));
    bytes = write_text(text, i * 1000, 10);
    assert_false(lap_near_duplicates_repeats(seen, text, bytes));
  }
  lap_near_duplicates_destroy(seen);
}

/* WORDS words, of which the first `shared` are those of every other end of the same `pair`. */
static size_t write_pair(char *text, unsigned pair, unsigned shared, unsigned end) {
  size_t length = 0;
  for (unsigned i = 0; i < WORDS; ++i)
    length += (size_t)snprintf(text + length, TEXT - length, "%x ",
                               (pair * WORDS + i + (i < shared ? 0 : end << 24)) * 2654435761U);
  return length;
}

/* At the threshold itself the estimate decides by chance; .1 above it nearly all are found, .1
 * below it nearly none. This is what split says of itself. */
static void about_half_of_the_pairs_at_the_threshold_are_found(void **state) {
  (void)state;
  enum { PAIRS = 500 };
  const struct {
    unsigned shared;
    double threshold, least, most; /* of the pairs */
  } cases[] = {{165, .8, 0, .03},  /* index 161 / 231 = .70 */
               {178, .8, .4, .6},  /* 174 / 218 = .80 */
               {190, .8, .97, 1},  /* 186 / 206 = .90 */
               {135, .5, .4, .6},  /* 131 / 261 = .50 */
               {151, .5, .95, 1}}; /* 147 / 245 = .60 */
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
    char one[TEXT], other[TEXT];
    int found = 0;
    for (unsigned pair = 0; pair < PAIRS; ++pair) {
      lap_near_duplicates *seen = lap_near_duplicates_create(cases[c].threshold);
      const size_t bytes = write_pair(one, pair, cases[c].shared, 0);
      const size_t other_bytes = write_pair(other, pair, cases[c].shared, 1);
      assert_false(lap_near_duplicates_repeats(seen, one, bytes));
      found += lap_near_duplicates_repeats(seen, other, other_bytes);
      lap_near_duplicates_destroy(seen);
    }
    if (found < cases[c].least * PAIRS || found > cases[c].most * PAIRS)
      fail_msg("%u words shared, at %g: %d of %d", cases[c].shared, cases[c].threshold, found,
               PAIRS);
  }
}

static void short_texts_repeat_when_they_are_equal(void **state) {
  (void)state;
  lap_near_duplicates *seen = lap_near_duplicates_create(.8);
  assert_false(lap_near_duplicates_repeats(seen, "one two", 7));
  assert_false(lap_near_duplicates_repeats(seen, "one three", 9));
  assert_false(lap_near_duplicates_repeats(seen, "...", 3));
  assert_false(lap_near_duplicates_repeats(seen, "", 0));
  assert_true(lap_near_duplicates_repeats(seen, "One, two!", 9));
  assert_true(lap_near_duplicates_repeats(seen, "...", 3));
  lap_near_duplicates_destroy(seen);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_estimate_is_the_jaccard_index),
      cmocka_unit_test(case_and_marks_do_not_count),
      cmocka_unit_test(scripts_without_spaces_are_compared_too),
      cmocka_unit_test(repetitions_are_found),
      cmocka_unit_test(about_half_of_the_pairs_at_the_threshold_are_found),
      cmocka_unit_test(short_texts_repeat_when_they_are_equal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
