/* A config as people write it: paths of any characters, lists of them, numbers with exponents and
 * underscores, files of other editors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/config/load.h"
#include "trainer/config/value.h"

static lap_config *load(const char *text, size_t bytes, const char *override) {
  lap_config *config;
  lap_status status = {0};
  if (lap_config_parse("c.yaml", text, bytes, &override, override != NULL, &config, &status) !=
      LAP_OK)
    fail_msg("'%s' '%s': %s", text, override ? override : "", status.message);
  return config;
}

/* The sources as "PATH weight, PATH weight". */
static char *sources_of(const lap_config *config) {
  char *all = lap_copy_string("");
  for (size_t i = 0; i < config->data.train_count; ++i) {
    char *longer = lap_format("%s%s%s %g", all, i ? ", " : "", config->data.train[i].path,
                              config->data.train[i].weight);
    free(all);
    all = longer;
  }
  return all;
}

static void assert_sources(const char *text, const char *override, const char *expected) {
  lap_config *config = load(text, strlen(text), override);
  char *found = sources_of(config);
  assert_string_equal(found, expected);
  /* What is printed is read back as the same. */
  char *printed = lap_config_print(config);
  lap_config *again = load(printed, strlen(printed), NULL);
  char *back = sources_of(again);
  assert_string_equal(back, expected);
  free(found);
  free(back);
  free(printed);
  lap_config_destroy(config);
  lap_config_destroy(again);
}

static void sources_are_globs_or_entries(void **state) {
  (void)state;
  static const struct {
    const char *text, *override, *sources;
  } cases[] = {
      {"data: {train: a}\n", NULL, "a 1"},
      {"data: {train: [a, b]}\n", NULL, "a 1, b 1"},
      {"data:\n  train:\n  - 'a/*.h5'\n  - {path: b, weight: 3}\n  - {path: c}\n", NULL,
       "a/*.h5 1, b 3, c 1"},
      {"data: {train: '{a,b}/*.h5'}\n", NULL, "{a,b}/*.h5 1"},
      {"", "data.train={a,b}/*.h5", "{a,b}/*.h5 1"},
      {"", "data.train=[ab]/*.h5", "[ab]/*.h5 1"},
      {"", "data.train=[a, 'b c']", "a 1, b c 1"},
      {"", "data.train=[a, {path: b, weight: 2_000.5e-1}]", "a 1, b 200.05"},
      {"", "data.train='a b'", "a b 1"},
      {"", "data.train=a=b/x=1.h5", "a=b/x=1.h5 1"},
      {"", "data.train=[x]/y[1]", "[x]/y[1] 1"}, /* it exists */
      {"", "data.train='quoted'.h5", "'quoted'.h5 1"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_sources(cases[i].text, cases[i].override, cases[i].sources);
}

static void keys_of_one_path_take_it_as_it_stands(void **state) {
  (void)state;
  static const char *const paths[] = {
      "[x]/run", "{a,b}", "{seed=1}/run", "[x]/y[1]", "a b", "\xC3\xA9/\xE6\xBC\xA2", "a=b"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; ++i) {
    char *override = lap_format("run_dir=%s", paths[i]);
    lap_config *config = load("", 0, override);
    assert_string_equal(config->run_dir, paths[i]);
    lap_config_destroy(config);
    free(override);
  }
}

static void whole_numbers_are_integers(void **state) {
  (void)state;
  static const struct {
    const char *written;
    int64_t value;
  } cases[] = {{"1e6", 1000000},       {"2e12", INT64_C(2000000000000)},
               {"5_000_000", 5000000}, {"2.5e3", 2500},
               {"1.0E+2", 100},        {"1_0e1", 100},
               {"123000e-3", 123}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    char *line = lap_format("schedule: {tokens: %s}\n", cases[i].written);
    char *override = lap_format("schedule.tokens=%s", cases[i].written);
    lap_config *by_file = load(line, strlen(line), NULL), *by_line = load("", 0, override);
    assert_true(by_file->schedule.tokens == cases[i].value);
    assert_true(by_line->schedule.tokens == cases[i].value);
    lap_config_destroy(by_file);
    lap_config_destroy(by_line);
    free(line);
    free(override);
  }
  lap_config *others = load("", 0, "mesh={data: 1.6e1}");
  assert_int_equal(others->mesh.data, 16);
  lap_config_destroy(others);
}

static const char text[] = "seed: 3\nmodel:\n  rope_theta: 1_000.5\nrun_dir: runs/a # here\n";

static void assert_read(const char *bytes, size_t count) {
  lap_config *config = load(bytes, count, NULL);
  assert_int_equal(config->seed, 3);
  assert_true(config->model.rope_theta == 1000.5);
  assert_string_equal(config->run_dir, "runs/a");
  lap_config_destroy(config);
}

/* The text with other line ends, behind a byte order mark or not. */
static void editors_of_any_system_will_do(void **state) {
  (void)state;
  static const char *const ends[] = {"\n", "\r\n", "\r"};
  for (int mark = 0; mark < 2; ++mark)
    for (int end = 0; end < 3; ++end) {
      char *written = lap_copy_string(mark ? "\xEF\xBB\xBF" : "");
      for (const char *at = text; *at; ++at) {
        char *longer =
            *at == '\n' ? lap_format("%s%s", written, ends[end]) : lap_format("%s%c", written, *at);
        free(written);
        written = longer;
      }
      assert_read(written, strlen(written));
      free(written);
    }
}

static void utf16_is_named(void **state) {
  (void)state;
  static const char little[] = "\xFF\xFEs\0e\0e\0d\0", big[] = "\xFE\xFF\0s\0e\0e\0d";
  const char *const both[] = {little, big};
  for (int i = 0; i < 2; ++i) {
    lap_config *config;
    lap_status status = {0};
    assert_int_equal(lap_config_parse("c.yaml", both[i], 10, NULL, 0, &config, &status), LAP_USAGE);
    assert_non_null(strstr(status.message, "c.yaml:1: is UTF-16; save it as UTF-8"));
  }
}

static char *directory, *before;

static int make_paths(void **state) {
  (void)state;
  directory = scratch_create();
  before = getcwd(NULL, 0);
  if (chdir(directory) != 0) return 1;
  scratch_write(directory, "'quoted'.h5", "", 0);
  return mkdir("[x]", 0777) || mkdir("[x]/y[1]", 0777);
}

static int remove_paths(void **state) {
  (void)state;
  if (chdir(before) != 0) return 1;
  free(before);
  scratch_remove(directory);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sources_are_globs_or_entries),
      cmocka_unit_test(keys_of_one_path_take_it_as_it_stands),
      cmocka_unit_test(whole_numbers_are_integers),
      cmocka_unit_test(editors_of_any_system_will_do),
      cmocka_unit_test(utf16_is_named),
  };
  return cmocka_run_group_tests(tests, make_paths, remove_paths);
}
