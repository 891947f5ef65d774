/* config_help: every key is described, and what is said about it is what the loader does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/config/help.h"
#include "trainer/config/key_text.h"
#include "trainer/config/load.h"
#include "trainer/config/page.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"

enum { LONGEST_LINE = 110 };

static void check(bool holds, const lap_config_key *key, const char *rule) {
  if (!holds) fail_msg("%s: %s", key->name, rule);
}

static void every_key_is_described(void **state) {
  (void)state;
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i) {
    const lap_config_key *key = &keys[i];
    const char *type = lap_config_type_text(key);
    const bool is_number = !strcmp(type, "integer") || !strcmp(type, "number");
    check(key->meaning && strlen(key->meaning) > 10, key, "a meaning is missing");
    check(key->meaning[strlen(key->meaning) - 1] == '.', key, "a meaning is made of sentences");
    check(!strchr(key->meaning, '|'), key, "| would end the cell of a table");
    check(!key->fallback || !key->derived, key, "a default is a value or words, not both");
    check(lap_config_is_required(key) == (key->needs != 0), key,
          "required are the keys of lap_config_needs and no others");
    check(key->example || key->fallback, key, "an example is missing");
    check(!key->unit || is_number, key, "only a number has a unit");
    check((key->words != NULL) == (key->kind == LAP_KEY_WORD), key, "only a word has words");
    check(is_number == (key->minimum < key->maximum), key, "only a number has a range");
  }
}

/* integer_in_range compares with the bounds as integers, both included. */
static void bounds_of_integers_are_integers_in_range(void **state) {
  (void)state;
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  for (size_t i = 0; i < count; ++i) {
    const lap_config_key *key = &keys[i];
    if (strcmp(lap_config_type_text(key), "integer") != 0) continue;
    check(key->lower == LAP_FROM && key->upper == LAP_TO, key, "bounds are in range");
    check((double)(int64_t)key->minimum == key->minimum, key, "the minimum is an integer");
    check((double)(int64_t)key->maximum == key->maximum, key, "the maximum is an integer");
    if (key->kind == LAP_KEY_SMALL) check(key->maximum <= INT32_MAX, key, "fits an int");
  }
}

static void sections_are_those_of_the_keys_in_their_order(void **state) {
  (void)state;
  size_t count, section_count, seen = 0;
  const lap_config_key *keys = lap_config_schema(&count);
  const lap_config_section *sections = lap_config_sections(&section_count);
  const char *section = "";
  for (size_t i = 0; i < count; ++i) {
    const char *own = lap_config_section_of(&keys[i]);
    check((*own != '\0') == (strchr(keys[i].name, '.') != NULL), &keys[i],
          "its section is not in the table of sections");
    if (*own && strcmp(own, section) != 0) assert_string_equal(own, sections[seen++].name);
    section = own;
  }
  assert_int_equal(seen, section_count);
  assert_true(lap_config_is_section("model"));
  assert_false(lap_config_is_section("mode") || lap_config_is_section("seed"));
  assert_string_equal(lap_config_own_name(&keys[lap_config_find("mesh.data")]), "data");
  assert_string_equal(lap_config_own_name(&keys[lap_config_find("seed")]), "seed");
}

static void ranges_read_like_this(void **state) {
  (void)state;
  static const struct {
    const char *key, *type, *range, *otherwise;
  } cases[] = {
      {"seed", "integer", "0 to 9e18", "1"},
      {"model.vocab_size", "integer", "2 to 16777216", "required"},
      {"model.attn_logit_softcapping", "number", "1e-06 to 1e30, or null", "50"},
      {"optimizer.beta1", "number", "0 to below 1", "0.9"},
      {"mesh.shard", "word", "none, optimizer, gradients, full", "optimizer"},
      {"data.document_mask", "boolean", "true or false", "true"},
      {"init", "text", "", "random"},
      {"data.train", "text or list", "", "required"},
      {"optimizer.learning_rate", "number", "above 0, at most 1000",
       "min(6e-3, 0.5 / model.hidden_size)"},
  };
  size_t count;
  const lap_config_key *keys = lap_config_schema(&count);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const lap_config_key *key = &keys[lap_config_find(cases[i].key)];
    char *range = lap_config_range_text(key);
    assert_string_equal(lap_config_type_text(key), cases[i].type);
    assert_string_equal(range, cases[i].range);
    assert_string_equal(lap_config_default_text(key), cases[i].otherwise);
    free(range);
  }
}

static void first_sentences_end_at_their_full_stop(void **state) {
  (void)state;
  assert_int_equal(lap_config_first_sentence("One. Two."), strlen("One"));
  assert_int_equal(lap_config_first_sentence("About 0.5 of it."), strlen("About 0.5 of it"));
}

/* The example of the page is a config, and its lines fit a screen. */
static void the_example_loads(void **state) {
  (void)state;
  char *page = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&page, &size);
  lap_config_page_print(out);
  fclose(out);
  static const char fence[] = "```yaml\n";
  char *example = strstr(strstr(page, "## A full example"), fence);
  assert_non_null(example);
  example += strlen(fence);
  *strstr(example, "```") = '\0';
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("example", example, strlen(example), NULL, 0, &config, &status) != LAP_OK)
    fail_msg("%s", status.message);
  if (lap_config_require(config, LAP_NEEDS_ALL, &status) != LAP_OK) fail_msg("%s", status.message);
  lap_config_destroy(config);
  for (const char *line = example; *line; line += strcspn(line, "\n") + 1)
    if (strcspn(line, "\n") > LONGEST_LINE) fail_msg("too long: %.120s", line);
  free(page);
}

/* JSON is YAML: what is printed as JSON loads as the same config. */
static void a_config_as_json_is_the_same_config(void **state) {
  (void)state;
  static const char *const overrides[] = {
      "run_dir=a \"b\" \xE6\xBC\xA2 \\",
      "data.train=[{path: a, weight: 0.1}, {path: b}]",
      "optimizer.clip_norm=1e-300",
      "seed=9000000000000000000",
      "model.final_logit_softcapping=null",
      "model.num_hidden_layers=3",
      "model.layer_types=[full_attention, sliding_attention, full_attention]",
      "mesh.shard=full",
      "checkpoint.keep_best=true",
      "schedule.tokens=17"};
  enum { OVERRIDES = sizeof overrides / sizeof *overrides };
  lap_config *first, *second;
  lap_status status = {0};
  assert_int_equal(lap_config_parse("c", "", 0, overrides, OVERRIDES, &first, &status), LAP_OK);
  json_t *object = lap_config_to_json(first);
  char *text = json_dumps(object, 0);
  if (lap_config_parse("json", text, strlen(text), NULL, 0, &second, &status) != LAP_OK)
    fail_msg("%s", status.message);
  char *printed = lap_config_print(first), *again = lap_config_print(second);
  assert_string_equal(printed, again);
  assert_string_equal(json_string_value(json_object_get(json_object_get(object, "mesh"), "shard")),
                      "full");
  assert_true(json_is_null(json_object_get(json_object_get(object, "model"), "head_dim")));
  free(printed);
  free(again);
  free(text);
  json_decref(object);
  lap_config_destroy(first);
  lap_config_destroy(second);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_key_is_described),
      cmocka_unit_test(bounds_of_integers_are_integers_in_range),
      cmocka_unit_test(sections_are_those_of_the_keys_in_their_order),
      cmocka_unit_test(ranges_read_like_this),
      cmocka_unit_test(first_sentences_end_at_their_full_stop),
      cmocka_unit_test(the_example_loads),
      cmocka_unit_test(a_config_as_json_is_the_same_config),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
