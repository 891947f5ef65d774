/* suggest: the nearest word by a distance that is computed here as it is defined, by trying
 * everything. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/suggest.h"

static int least(int a, int b) { return a < b ? a : b; }

/* The fewest edits that make `b` of `a`, no letter being touched again after a swap. */
static int distance(const char *a, const char *b) {
  if (!*a) return (int)strlen(b);
  if (!*b) return (int)strlen(a);
  int fewest = distance(a + 1, b + 1) + (*a != *b);
  fewest = least(fewest, distance(a + 1, b) + 1);
  fewest = least(fewest, distance(a, b + 1) + 1);
  if (a[1] && b[1] && a[0] == b[1] && a[1] == b[0])
    fewest = least(fewest, distance(a + 2, b + 2) + 1);
  return fewest;
}

/* One edit for three letters, two for five, three for eight. */
static int allowed(const char *word) {
  const size_t letters = strlen(word);
  return letters < 5 ? 1 : letters < 8 ? 2 : 3;
}

static const char *after_dot(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot ? dot + 1 : name;
}

/* Edits from a word to a candidate, INT_MAX where the word cannot mean it; a wrong section counts
 * as one edit more. */
static int edits_to(const char *word, const char *candidate) {
  const int whole = distance(word, candidate);
  const int edits = whole <= allowed(word) ? whole : INT_MAX;
  if (!strchr(candidate, '.')) return edits;
  const int part = distance(after_dot(word), after_dot(candidate));
  return part <= allowed(after_dot(word)) ? least(edits, part + 1) : edits;
}

static void the_nearest_word_is_found_by_any_edits(void **state) {
  (void)state;
  enum { WORDS = 60, LONGEST = 8 };
  static const char letters[] = "abab.";
  char words[WORDS][LONGEST + 1] = {0};
  const char *candidates[WORDS];
  uint64_t bits = 7;
  for (int w = 0; w < WORDS; ++w) {
    bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const int length = (int)(bits >> 60) % LONGEST + 1;
    for (int i = 0; i < length; ++i) words[w][i] = letters[(bits >> (8 + 5 * i)) % 5];
    candidates[w] = words[w];
  }
  int found = 0, absent = 0;
  for (int w = 0; w < WORDS; ++w) {
    /* All the others, and pairs of them. */
    for (int first = 0; first < WORDS; first += 2) {
      const int a = edits_to(words[w], candidates[first]);
      const int b = edits_to(words[w], candidates[first + 1]);
      const char *expected = a == INT_MAX && b == INT_MAX ? NULL
                             : a <= b                     ? candidates[first]
                                                          : candidates[first + 1];
      const char *suggested = lap_suggest(words[w], candidates + first, 2);
      if (suggested != expected)
        fail_msg("'%s' of '%s' and '%s'", words[w], candidates[first], candidates[first + 1]);
      *(suggested ? &found : &absent) += 1;
    }
    const char *suggested = lap_suggest(words[w], candidates, WORDS);
    assert_string_equal(suggested, words[w]);
  }
  assert_true(found > 100 && absent > 100);
}

static void suggestions_are_near_or_absent(void **state) {
  (void)state;
  static const char *const words[] = {"train", "teach", "tokenize", "tokenizer", "a.seed"};
  assert_string_equal(lap_suggest("tarin", words, 5), "train");
  assert_string_equal(lap_suggest("tokeniser", words, 5), "tokenizer");
  assert_string_equal(lap_suggest("sed", words, 5), "a.seed");
  assert_string_equal(lap_suggest("b.seed", words, 5), "a.seed");
  assert_null(lap_suggest("quux", words, 5));
  assert_null(lap_suggest("", words, 5));
  assert_null(lap_suggest("train", words, 0));
  /* The right section is the better guess, wherever it stands. */
  static const char *const sections[] = {"a.steps", "b.steps", "c.steps"};
  assert_string_equal(lap_suggest("b.step", sections, 3), "b.steps");
  assert_string_equal(lap_suggest("x.y.steps", sections, 3), "a.steps");
  /* So is a name of the right section that has the word in it. */
  static const char *const keys[] = {"a.steps", "a.every", "b.every_steps", "b.best_of_all"};
  assert_string_equal(lap_suggest("b.steps", keys, 4), "b.every_steps");
  assert_string_equal(lap_suggest("b.every", keys, 4), "b.every_steps");
  assert_string_equal(lap_suggest("b.best", keys, 4), "b.best_of_all");
  assert_string_equal(lap_suggest("b.of_all", keys, 4), "b.best_of_all");
  assert_string_equal(lap_suggest("steps", keys, 4), "a.steps");
  assert_null(lap_suggest("b.bes", keys, 4));
  assert_null(lap_suggest("b.", keys, 4));
}

/* Longer than anything meant: no suggestion, and no array overrun (run under ASan). */
static void very_long_words_are_not_compared(void **state) {
  (void)state;
  char longest[1000];
  for (size_t length = 60; length < 70; ++length) {
    memset(longest, 'x', length);
    longest[length] = '\0';
    const char *const same[] = {"y", longest}, *const shorter[] = {"y", longest + 1};
    assert_true((lap_suggest(longest, same, 2) == longest) == (length <= 64));
    assert_true((lap_suggest(longest, shorter, 2) == longest + 1) == (length <= 64));
    assert_true((lap_suggest(longest + 1, same, 2) == longest) == (length <= 64));
  }
  memset(longest, 'x', sizeof longest - 1);
  longest[sizeof longest - 1] = '\0';
  const char *const words[] = {"train", longest};
  assert_null(lap_suggest(longest, words, 2));
  assert_null(lap_suggest("train.", &words[1], 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_nearest_word_is_found_by_any_edits),
      cmocka_unit_test(suggestions_are_near_or_absent),
      cmocka_unit_test(very_long_words_are_not_compared),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
