/* names: which words of a text are names that it repeats, and in which tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/attend/names.h"

/* A token for each character; BOS is token 0. */
static lap_name_pairs find(const char *text, const char *names) {
  enum { MOST = 256 };
  size_t piece_bytes[MOST] = {0};
  const size_t bytes = strlen(text);
  assert_true(bytes < MOST);
  for (size_t i = 1; i <= bytes; ++i) piece_bytes[i] = 1;
  return lap_name_pairs_find(text, bytes, piece_bytes, (int64_t)bytes + 1, names);
}

static int64_t count_of(const char *text, const char *names) {
  lap_name_pairs pairs = find(text, names);
  const int64_t count = pairs.count;
  lap_name_pairs_release(&pairs);
  return count;
}

static void a_repeated_name_looks_back_to_its_last_occurrence(void **state) {
  (void)state;
  lap_name_pairs pairs = find("to Ruth; but Ruth, and Ruth", NULL);
  assert_int_equal(pairs.count, 2);
  for (int i = 0; i < 2; ++i) assert_string_equal(pairs.pair[i].name, "Ruth");
  assert_int_equal(pairs.pair[0].first, 4); /* "to " is 3 tokens, BOS one */
  assert_int_equal(pairs.pair[0].count, 4);
  assert_int_equal(pairs.pair[0].query, 17); /* its last letter */
  assert_int_equal(pairs.pair[1].first, 14);
  assert_int_equal(pairs.pair[1].query, 27);
  lap_name_pairs_release(&pairs);
}

static void what_is_no_name_is_left_out(void **state) {
  (void)state;
  assert_int_equal(count_of("The man and The woman and the child", NULL), 0); /* written small */
  assert_int_equal(count_of("But why. But how, But who", NULL), 0); /* begins clauses alone */
  assert_int_equal(count_of("so I and I and I", NULL), 0);
  assert_int_equal(count_of("of Saul and of Saulus", NULL), 0);
  assert_int_equal(count_of("of Saul", NULL), 0);
  assert_int_equal(count_of("", NULL), 0);
  assert_int_equal(count_of("Saul. And Saul", NULL), 1); /* once within a clause is enough */
  assert_int_equal(count_of("of J\xC3\xB6rg and of J\xC3\xB6rg", NULL), 1);
}

static void given_names_are_taken_as_they_are(void **state) {
  (void)state;
  assert_int_equal(count_of("the man saw the man, the Man", "man"), 1);
  assert_int_equal(count_of("a b a b a", "a,b"), 3);
  assert_int_equal(count_of("a b a b a", "ab,c"), 0);
  assert_int_equal(count_of("a b a b a", ""), 0);
}

static void a_token_may_have_more_than_a_word(void **state) {
  (void)state;
  /* <s> | "Ann" | " an" | "d A" | "nn" */
  const size_t pieces[] = {0, 3, 3, 3, 2};
  lap_name_pairs pairs = lap_name_pairs_find("Ann and Ann", 11, pieces, 5, NULL);
  assert_int_equal(pairs.count, 1);
  assert_int_equal(pairs.pair[0].first, 1);
  assert_int_equal(pairs.pair[0].count, 1);
  assert_int_equal(pairs.pair[0].query, 4);
  lap_name_pairs_release(&pairs);
  /* One token has both: it cannot look at an earlier one. */
  const size_t whole[] = {0, 11};
  pairs = lap_name_pairs_find("Ann and Ann", 11, whole, 2, NULL);
  assert_int_equal(pairs.count, 0);
  /* Tokens that are not of this text. */
  pairs = lap_name_pairs_find("Ann and Ann", 11, pieces, 4, NULL);
  assert_int_equal(pairs.count, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_repeated_name_looks_back_to_its_last_occurrence),
      cmocka_unit_test(what_is_no_name_is_left_out),
      cmocka_unit_test(given_names_are_taken_as_they_are),
      cmocka_unit_test(a_token_may_have_more_than_a_word),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
