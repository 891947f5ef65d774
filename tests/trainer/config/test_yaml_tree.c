/* yaml_tree: what is read keeps its lines, and hostile text is refused with a line, quickly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/config/yaml_tree.h"

static void nodes_keep_text_style_and_line(void **state) {
  (void)state;
  static const char text[] = "a: 1\nb:\n  - x\n  - '2'\n  - {c: ~}\nd:\n";
  lap_yaml_node *root;
  lap_status status = {0};
  assert_int_equal(lap_yaml_parse("f", text, sizeof text - 1, &root, &status), LAP_OK);
  assert_int_equal(root->kind, LAP_YAML_MAPPING);
  assert_int_equal(root->count, 3);
  assert_string_equal(root->key[1], "b");
  assert_int_equal(root->key_line[1], 2);
  const lap_yaml_node *list = root->child[1];
  assert_int_equal(list->kind, LAP_YAML_LIST);
  assert_int_equal(list->count, 3);
  assert_string_equal(list->child[1]->text, "2");
  assert_true(list->child[1]->quoted);
  assert_false(list->child[0]->quoted);
  assert_int_equal(list->child[1]->line, 4);
  assert_true(lap_yaml_is_null(list->child[2]->child[0]));
  assert_true(lap_yaml_is_null(root->child[2]));
  assert_false(lap_yaml_is_null(root->child[0]));
  lap_yaml_destroy(root);
}

static void a_node_is_described_with_its_quotes_and_no_half_character(void **state) {
  (void)state;
  static const char text[] = "[5, '5', ~, [1, 2], {a: 1}, '~']";
  static const char *const words[] = {"'5'",         "'5' in quotes", "null",
                                      "a list of 2", "a mapping",     "'~' in quotes"};
  char described[LAP_YAML_WORDS];
  lap_yaml_node *root;
  lap_status status = {0};
  assert_int_equal(lap_yaml_parse("f", text, sizeof text - 1, &root, &status), LAP_OK);
  for (size_t i = 0; i < root->count; ++i)
    assert_string_equal(lap_yaml_describe(root->child[i], described), words[i]);
  lap_yaml_destroy(root);
  /* 59 letters, then one of two bytes, of which there is room for the first. */
  enum { LETTERS = 59 };
  char longest[LETTERS + 8], expected[LETTERS + 24];
  memset(longest, 'x', LETTERS);
  strcpy(longest + LETTERS, "\xC3\xA9x");
  snprintf(expected, sizeof expected, "'%.*s'... in quotes", LETTERS, longest);
  root = lap_yaml_scalar(longest, true, 1);
  assert_string_equal(lap_yaml_describe(root, described), expected);
  lap_yaml_destroy(root);
}

static void nothing_is_an_empty_mapping(void **state) {
  (void)state;
  static const char *const texts[] = {"", "\n# only a comment\n", "---\n", "null\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
    lap_yaml_node *root;
    lap_status status = {0};
    assert_int_equal(lap_yaml_parse("f", texts[i], strlen(texts[i]), &root, &status), LAP_OK);
    assert_int_equal(root->kind, LAP_YAML_MAPPING);
    assert_int_equal(root->count, 0);
    lap_yaml_destroy(root);
  }
}

/* Of processor time: a slow machine or a sanitizer passes, libyaml's own 30 s does not. */
enum { LONGEST_SECONDS = 5 };

static void assert_refused(const char *text, size_t bytes, const char *fragment) {
  lap_yaml_node *root;
  lap_status status = {0};
  assert_int_equal(lap_yaml_parse("f.yaml", text, bytes, &root, &status), LAP_USAGE);
  assert_null(root);
  if (!strstr(status.message, fragment)) fail_msg("'%s' lacks '%s'", status.message, fragment);
}

static void hostile_text_is_refused_with_its_line(void **state) {
  (void)state;
  static const struct {
    const char *text, *fragment;
  } bad[] = {
      {"a: 1\nb: *x\n", "f.yaml:2: anchors"},
      {"a: &x 1\n", "f.yaml:1: anchors"},
      {"a: 1\nb: !!int 3\n", "f.yaml:2: tags"},
      {"%TAG ! tag:x,2000:\n---\na: 1\n", "directives"},
      {"a: 1\n---\nb: 2\n", "f.yaml:2: a second document"},
      {"a: 1\nb: 2\na: 3\n", "f.yaml:3: duplicate key 'a', first given on line 1"},
      {"a: {b: 1, b: 2}\n", "duplicate key 'b'"},
      {"? [a]\n: 1\n", "a key must be a word"},
      {"a: 1\nb: \xff\n", "f.yaml:2: not valid YAML"},
      {"a: \"\\0\"\n", "NUL"},
      {"\"a\\0\": 1\n", "NUL"},
      {"a: 1\nb: [1, 2\n", "not valid YAML"},
      {"a: 1\n b: 2\n", "not valid YAML"},
      {"\xff\xfe"
       "a\0:\0",
       "UTF-16"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i)
    assert_refused(bad[i].text, strlen(bad[i].text), bad[i].fragment);
  assert_refused("a: \0b", 5, "not valid YAML");
}

static char *repeat(const char *piece, size_t count, size_t *bytes) {
  const size_t length = strlen(piece);
  *bytes = length * count;
  char *text = lap_allocate(*bytes + 1, 1);
  for (size_t i = 0; i < count; ++i) memcpy(text + i * length, piece, length);
  return text;
}

static void bombs_are_refused_in_no_time(void **state) {
  (void)state;
  static const struct {
    const char *piece, *fragment;
    size_t count;
  } bombs[] = {
      {"[", "nested deeper", 200000},      {"{a: ", "nested deeper", 50000},
      {"- ", "nested deeper", 100000},     {"[\n", "nested deeper", 100000},
      {"- x\n", "more than 20000", 60000}, {"x", "at most", LAP_YAML_MAX_BYTES + 1},
      {"['[',\n", "nested deeper", 40000},
  };
  for (size_t i = 0; i < sizeof bombs / sizeof *bombs; ++i) {
    size_t bytes;
    char *text = repeat(bombs[i].piece, bombs[i].count, &bytes);
    const clock_t start = clock();
    assert_refused(text, bytes, bombs[i].fragment);
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > LONGEST_SECONDS) fail_msg("'%s' took %.1f s", bombs[i].piece, seconds);
    free(text);
  }
}

/* The search for duplicates takes the square of the number of keys. */
static void a_thousand_keys_are_read_and_not_one_more(void **state) {
  (void)state;
  char *text = lap_allocate(LAP_YAML_MAX_NODES, sizeof "k20000: 1\n");
  size_t bytes = 0, whole = 0;
  for (int i = 0; i < LAP_YAML_MAX_NODES - 1; ++i) {
    if (i == LAP_YAML_MAX_KEYS) whole = bytes;
    bytes += (size_t)sprintf(text + bytes, "k%d: 1\n", i);
  }
  lap_yaml_node *root;
  lap_status status = {0};
  assert_int_equal(lap_yaml_parse("f", text, whole, &root, &status), LAP_OK);
  assert_int_equal(root->count, LAP_YAML_MAX_KEYS);
  lap_yaml_destroy(root);
  assert_refused(text, bytes, "f.yaml:1001: more than 1000 keys");
  free(text);
}

/* libyaml compares each with all before it. */
static void directives_are_counted_before_they_are_read(void **state) {
  (void)state;
  enum { DIRECTIVES = LAP_YAML_MAX_DIRECTIVES + 1 };
  char text[DIRECTIVES * sizeof "%TAG !00! t\n"];
  size_t bytes = 0, whole = 0;
  for (int i = 0; i < DIRECTIVES; ++i) {
    whole = bytes;
    bytes += (size_t)sprintf(text + bytes, "%%TAG !%d! t\n", i);
  }
  assert_refused(text, bytes, "f.yaml:17: more than 16 lines begin with %");
  assert_refused(text, whole, "not valid YAML");
}

/* Every truncation of a text with every construct either parses or is refused; run under ASan. */
static void no_truncation_breaks_the_reader(void **state) {
  (void)state;
  static const char text[] =
      "a: {b: [1, 'x', \"y\\n\"], c: |\n  block\n  text\n}\nd: >\n  folded\ne:\n- - 1\n  - ? k\n   "
      " : v\n";
  for (size_t bytes = 0; bytes < sizeof text; ++bytes) {
    lap_yaml_node *root;
    lap_status status = {0};
    if (lap_yaml_parse("f", text, bytes, &root, &status) == LAP_OK)
      assert_non_null(root);
    else
      assert_null(root);
    lap_yaml_destroy(root);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nodes_keep_text_style_and_line),
      cmocka_unit_test(a_node_is_described_with_its_quotes_and_no_half_character),
      cmocka_unit_test(nothing_is_an_empty_mapping),
      cmocka_unit_test(hostile_text_is_refused_with_its_line),
      cmocka_unit_test(bombs_are_refused_in_no_time),
      cmocka_unit_test(a_thousand_keys_are_read_and_not_one_more),
      cmocka_unit_test(directives_are_counted_before_they_are_read),
      cmocka_unit_test(no_truncation_breaks_the_reader),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
