/* end_ids: what ends a text is read as transformers reads it, whichever file says it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/hf/end_ids.h"

enum { VOCABULARY = 400 };

static char *directory;

static int set_up(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static void write_text(const char *name, const char *text) {
  scratch_write(directory, name, text, strlen(text));
}

/* `expected` is what eos_token_id would be. */
static void assert_ends(const char *expected) {
  lap_status status = {0};
  lap_end_ids ends;
  if (lap_hf_end_ids_read(directory, VOCABULARY, &ends, &status) != LAP_OK)
    fail_msg("%s", status.message);
  json_t *value = lap_hf_end_ids_to_json(&ends);
  char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
  assert_string_equal(text, expected);
  free(text);
  json_decref(value);
}

static void generation_config_comes_before_config(void **state) {
  (void)state;
  assert_ends("1"); /* neither is there */
  write_text("config.json", "{\"eos_token_id\": [107, 1, 107]}");
  assert_ends("[1,107]");
  write_text("generation_config.json", "{\"eos_token_id\": null}");
  assert_ends("[1,107]");
  write_text("generation_config.json", "{\"eos_token_id\": 12}");
  assert_ends("[1,12]");
  write_text("generation_config.json", "{\"eos_token_id\": 1}");
  assert_ends("1");
  write_text("generation_config.json", "{\"eos_token_id\": [399, 400, 256001, 1]}");
  assert_ends("[1,399]");
}

static void what_is_no_id_is_refused(void **state) {
  (void)state;
  static const char *const wrong[] = {"-1", "\"107\"", "[1, null]", "[[1]]", "1.0", "{}"};
  lap_status status;
  lap_end_ids ends;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; ++i) {
    char text[64];
    snprintf(text, sizeof text, "{\"eos_token_id\": %s}", wrong[i]);
    write_text("generation_config.json", text);
    status = (lap_status){0};
    assert_refusal(lap_hf_end_ids_read(directory, VOCABULARY, &ends, &status), LAP_DATA, &status,
                   "generation_config.json", "eos_token_id: expected the id");
  }
  write_text("generation_config.json",
             "{\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]}");
  status = (lap_status){0};
  assert_refusal(lap_hf_end_ids_read(directory, VOCABULARY, &ends, &status), LAP_DATA, &status,
                 "generation_config.json", "at most 16 ids");
  write_text("generation_config.json", "{");
  status = (lap_status){0};
  assert_refusal(lap_hf_end_ids_read(directory, VOCABULARY, &ends, &status), LAP_DATA, &status,
                 "generation_config.json", "not valid JSON");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(generation_config_comes_before_config),
      TEST(what_is_no_id_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
