/* input_list: a file that a run reads and that has changed is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/memory.h"
#include "core/text.h"
#include "tests/scratch.h"
#include "trainer/run/input_list.h"

static lap_token_shard *shard_of(char *path, char digit) {
  lap_token_shard *shard = lap_allocate(1, sizeof *shard);
  shard->path = path;
  memset(shard->tokens_sha256, digit, LAP_SHA256_HEX - 1);
  return shard;
}

/* The list of a run that reads as many shards as `digits` has, each of tokens with that hash. */
static char *list_of(char tokenizer, const char *digits) {
  static char *const names[] = {"a.h5", "b.h5", "c.h5"};
  lap_token_shard *shards[3] = {NULL};
  lap_inputs inputs = {.train_tokens = {.shard = shards, .count = strlen(digits)}};
  memset(inputs.tokenizer_sha256, tokenizer, LAP_SHA256_HEX - 1);
  for (size_t i = 0; digits[i]; ++i) shards[i] = shard_of(names[i], digits[i]);
  const lap_config config = {.tokenizer = "M.model"};
  char *text = lap_input_list_print(&config, &inputs);
  for (size_t i = 0; digits[i]; ++i) free(shards[i]);
  return text;
}

static void assert_difference(const char *then, const char *now, const char *key,
                              const char *expected) {
  char *directory = scratch_create();
  if (then) scratch_write(directory, "inputs.json", then, strlen(then));
  char *found = lap_input_list_difference(directory, now, key);
  if (expected) {
    assert_non_null(found);
    assert_string_equal(found, expected);
  } else if (found) {
    fail_msg("expected nothing, found: %s", found);
  }
  free(found);
  scratch_remove(directory);
}

static void the_first_file_that_differs_is_named(void **state) {
  (void)state;
  char *then = list_of('1', "abc"), *changed = list_of('1', "adc"), *shorter = list_of('1', "ab");
  char *tokenizer = list_of('2', "abc");
  assert_difference(then, changed, "data.train_sha256",
                    "data.train: file 2 was b.h5 with SHA-256 bbbbbbbbbbbb... (of 3), and is b.h5 "
                    "with SHA-256 dddddddddddd... (of 3)");
  assert_difference(
      then, shorter, "data.train_sha256",
      "data.train: file 3 was c.h5 with SHA-256 cccccccccccc... (of 3), and is absent "
      "(of 2)");
  assert_difference(then, tokenizer, "tokenizer_sha256",
                    "tokenizer: file 1 was M.model with SHA-256 111111111111... (of 1), and is "
                    "M.model with SHA-256 222222222222... (of 1)");
  /* Of another list nothing is said: nothing of it differs. */
  assert_difference(then, tokenizer, "data.train_sha256", NULL);
  assert_difference(then, then, "data.train_sha256", NULL);
  free(then);
  free(changed);
  free(shorter);
  free(tokenizer);
}

/* A glob may find such files; json.h writes their paths so everywhere. */
static void a_path_that_is_no_text_is_named(void **state) {
  (void)state;
  char path[] = "caf\xE9.h5";
  lap_token_shard *was = shard_of(path, 'a'), *is = shard_of(path, 'b');
  const lap_config config = {.tokenizer = "M.model"};
  const lap_inputs before = {.train_tokens = {.shard = &was, .count = 1}};
  const lap_inputs after = {.train_tokens = {.shard = &is, .count = 1}};
  char *then = lap_input_list_print(&config, &before), *now = lap_input_list_print(&config, &after);
  assert_difference(
      then, now, "data.train_sha256",
      "data.train: file 1 was caf\xEF\xBF\xBD.h5 with SHA-256 aaaaaaaaaaaa... (of 1), "
      "and is caf\xEF\xBF\xBD.h5 with SHA-256 bbbbbbbbbbbb... (of 1)");
  free(then);
  free(now);
  free(was);
  free(is);
}

static void what_is_not_there_says_nothing(void **state) {
  (void)state;
  char *now = list_of('1', "abc");
  assert_difference(NULL, now, "data.train_sha256", NULL); /* of a version without the list */
  assert_difference(now, now, "teacher.cache_sha256", NULL);
  assert_difference(now, now, "seed", NULL);
  assert_difference(now, now, "_sha256", NULL);
  free(now);
}

/* As of every JSON file: a value takes many times its byte. */
static void a_list_of_too_many_values_is_not_read(void **state) {
  (void)state;
  char *now = list_of('1', "abc"), *then = NULL;
  size_t bytes;
  FILE *file = lap_open_text(&then, &bytes);
  fputs("{\"data.train\": [0", file);
  for (int i = 0; i < LAP_JSON_MOST_VALUES; ++i) fputs(",0", file);
  fputs("]}", file);
  lap_close_text(file, &then);
  assert_difference(then, now, "data.train_sha256", NULL);
  free(then);
  free(now);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_file_that_differs_is_named),
      cmocka_unit_test(a_path_that_is_no_text_is_named),
      cmocka_unit_test(what_is_not_there_says_nothing),
      cmocka_unit_test(a_list_of_too_many_values_is_not_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
