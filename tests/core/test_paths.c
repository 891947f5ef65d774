/* paths: what a user writes means what a person would take it to mean, or is refused by name. */
#include <glob.h>
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

#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "tests/scratch.h"

static char *directory, *before;

/* glob that sees no file so many times, as where it has no memory to open a folder. */
static int blind_looks;

int __real_glob(const char *pattern, int flags, int (*failed)(const char *, int), glob_t *found);
int __wrap_glob(const char *pattern, int flags, int (*failed)(const char *, int), glob_t *found);
int __wrap_glob(const char *pattern, int flags, int (*failed)(const char *, int), glob_t *found) {
  return blind_looks-- > 0 ? GLOB_NOMATCH : __real_glob(pattern, flags, failed, found);
}

static const char *const files[] = {
    "a/1.h5", "a/2.h5", "a/.hidden.h5", "a/2.h5.tmp.7.0", "a/note.txt", "b/1.h5", "b/3.h5",
    /* folders with characters that globs, shells and command lines take for something else */
    "c[1]/x.h5", "c1/y.h5", "d*/x.h5", "de/y.h5", "{e,f}/x.h5", "e/y.h5", "f/z.h5", "g h/x y.h5",
    "\xC3\xA9/\xE6\xBC\xA2.h5", "k=v/x=1.h5", "back\\slash/x.h5", "[ab].h5", "out/train/t.h5",
    "out/eval/e.h5", "deep/er/part-1/x.h5", "deep/er/part-2/y.h5", "a~1/x.h5",
    "tab\tnew\nline/x.h5", "-dash/x.h5", "q?/x.h5", "qq/x.h5"};

static int make_files(void **state) {
  (void)state;
  directory = scratch_create();
  before = getcwd(NULL, 0);
  if (chdir(directory) != 0) return 1;
  lap_status status = {0};
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
    if (lap_file_write(files[i], "x", 1, &status) != LAP_OK) return 1;
  return mkdir("empty", 0777) || symlink("a", "link") || symlink("nowhere", "broken.h5");
}

static int remove_files(void **state) {
  (void)state;
  if (chdir(before) != 0) return 1;
  free(before);
  scratch_remove(directory);
  return 0;
}

/* The paths as one text, with blanks between them. */
static char *find(const char *text, const char *kind) {
  char **paths;
  size_t count;
  lap_status status = {0};
  if (lap_paths_find(text, kind, &paths, &count, &status) != LAP_OK)
    fail_msg("'%s': %s", text, status.message);
  char *all = lap_copy_string("");
  for (size_t i = 0; i < count; ++i) {
    char *longer = lap_format("%s%s%s", all, i ? " " : "", paths[i]);
    free(all);
    all = longer;
  }
  lap_paths_release(paths, count);
  return all;
}

static void assert_found(const char *text, const char *kind, const char *expected) {
  char *found = find(text, kind);
  if (strcmp(found, expected) != 0)
    fail_msg("'%s': found '%s', expected '%s'", text, found, expected);
  free(found);
}

static void what_exists_is_itself(void **state) {
  (void)state;
  static const char *const paths[] = {"a/1.h5",
                                      "c[1]/x.h5",
                                      "d*/x.h5",
                                      "{e,f}/x.h5",
                                      "g h/x y.h5",
                                      "k=v/x=1.h5",
                                      "back\\slash/x.h5",
                                      "[ab].h5",
                                      "a/note.txt",
                                      "\xC3\xA9/\xE6\xBC\xA2.h5",
                                      "tab\tnew\nline/x.h5",
                                      "-dash/x.h5",
                                      "q?/x.h5",
                                      "./a/1.h5",
                                      "a//1.h5"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; ++i) {
    assert_found(paths[i], ".h5", paths[i]);
    assert_found(paths[i], NULL, paths[i]);
  }
}

static void a_folder_means_its_files(void **state) {
  (void)state;
  static const struct {
    const char *text, *found;
  } cases[] = {
      {"a", "a/1.h5 a/2.h5"},
      {"a/", "a/1.h5 a/2.h5"},
      {"link", "link/1.h5 link/2.h5"},
      {"c[1]", "c[1]/x.h5"},
      {"d*", "d*/x.h5"},
      {"{e,f}", "{e,f}/x.h5"},
      {"g h", "g h/x y.h5"},
      {"k=v/", "k=v/x=1.h5"},
      {"out/train", "out/train/t.h5"},
      {"deep/er/part-?", "deep/er/part-1/x.h5 deep/er/part-2/y.h5"},
      {"{a,b}", "a/1.h5 b/1.h5 a/2.h5 b/3.h5"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_found(cases[i].text, ".h5", cases[i].found);
  assert_found("a", NULL, "a"); /* where no kind is wanted, a folder is a folder */
  assert_found("deep/er/*", NULL, "deep/er/part-1 deep/er/part-2");
  assert_found(".", ".h5", "./[ab].h5 ./broken.h5");
}

static void a_folder_that_could_not_be_read_is_read_again(void **state) {
  (void)state;
  blind_looks = 1;
  assert_found("a/*.h5", ".h5", "a/1.h5 a/2.h5");
  assert_int_equal(blind_looks, -1);
  blind_looks = 2;
  char **paths;
  size_t count;
  lap_status status = {0};
  assert_int_equal(lap_paths_find("a/*.h5", ".h5", &paths, &count, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "matches no file"));
  blind_looks = 0;
}

static void globs_and_braces(void **state) {
  (void)state;
  static const struct {
    const char *text, *found;
  } cases[] = {
      {"a/*.h5", "a/1.h5 a/2.h5"},
      {"[ab]/*.h5", "a/1.h5 b/1.h5 a/2.h5 b/3.h5"}, /* names first, then whole paths */
      {"{a,b}/1.h5", "a/1.h5 b/1.h5"},
      {"{b,a,b}/1.h5", "a/1.h5 b/1.h5"}, /* none twice */
      {"a/{1,*}.h5", "a/1.h5 a/2.h5"},
      {"{a/{1,2},b/3}.h5", "a/1.h5 a/2.h5 b/3.h5"},
      {"a{,}/1.h5", "a/1.h5"},
      {"{a,b}/{1,*}.h5", "a/1.h5 b/1.h5 a/2.h5 b/3.h5"},
      /* a folder that exists is itself at the beginning of a glob too */
      {"c[1]/*.h5", "c[1]/x.h5"},
      {"d*/*.h5", "d*/x.h5"},
      {"q?/*.h5", "q?/x.h5"},
      {"{e,f}/*.h5", "{e,f}/x.h5"},
      {"back\\slash/*.h5", "back\\slash/x.h5"},
      {"c[1]/{x,x}.h5", "c[1]/x.h5"},
      {"{c[1],k=v}/*.h5", "c[1]/x.h5 k=v/x=1.h5"},
      {"{\xC3\xA9,g h}/*.h5", "g h/x y.h5 \xC3\xA9/\xE6\xBC\xA2.h5"},
      /* and where it does not, it is a glob */
      {"?[[]1]/*.h5", "c[1]/x.h5"},
      {"c[12]/*.h5", "c1/y.h5"},
      {"d\\*/*.h5", "d*/x.h5"},
      {"{c1,de}/y.h5", "c1/y.h5 de/y.h5"},
      {"\\{e,f}/x.h5", "{e,f}/x.h5"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i)
    assert_found(cases[i].text, ".h5", cases[i].found);
}

static void assert_refused(const char *text, const char *kind, const char *message) {
  char **paths;
  size_t count;
  lap_status status = {0};
  const lap_code code = lap_paths_find(text, kind, &paths, &count, &status);
  if (code != LAP_DATA || strcmp(status.message, message) != 0)
    fail_msg("'%s': code %d, '%s' is not '%s'", text, code, status.message, message);
  assert_null(paths);
  assert_int_equal(count, 0);
}

static void a_text_that_matches_nothing_is_refused_by_name(void **state) {
  (void)state;
  assert_refused("nowhere", ".h5", "nowhere: cannot be opened: No such file or directory");
  assert_refused("a/1.h5/x", ".h5", "a/1.h5/x: cannot be opened: Not a directory");
  assert_refused("a/*.hdf5", ".h5", "a/*.hdf5: matches no file");
  assert_refused("nowhere/x/*.h5", ".h5",
                 "nowhere/x/*.h5: matches no file: there is no folder nowhere");
  assert_refused("a/nowhere/*.h5", ".h5",
                 "a/nowhere/*.h5: matches no file: there is no folder a/nowhere");
  assert_refused("empty", ".h5", "empty: this folder has no .h5 files");
  assert_refused("out", ".h5",
                 "out: this folder has no .h5 files; did you mean out/eval or out/train?");
  assert_refused("emp*", ".h5", "emp*: matches only folders without such files");
  assert_refused("{a,nowhere}/*.h5", ".h5",
                 "{a,nowhere}/*.h5: nowhere/*.h5: matches no file: there is no folder nowhere");
  assert_refused("a/{1,9}.h5", ".h5",
                 "a/{1,9}.h5: a/9.h5: cannot be opened: No such file or directory");
  assert_refused("{a", ".h5", "{a: cannot be opened: No such file or directory");
  assert_refused("a,b", ".h5",
                 "a,b: cannot be opened: No such file or directory; several paths are written in "
                 "braces: '{a,b}'");
  assert_refused("a/*.h5,b/*.h5", ".h5",
                 "a/*.h5,b/*.h5: matches no file; several paths are written in braces: "
                 "'{a/*.h5,b/*.h5}'");
  assert_refused("a,nowhere", ".h5", "a,nowhere: cannot be opened: No such file or directory");
  assert_refused("", ".h5", ": cannot be opened: No such file or directory");
}

static void hostile_texts_end_soon(void **state) {
  (void)state;
  char **paths;
  size_t count;
  lap_status status = {0};
  char *text = lap_copy_string("");
  for (int i = 0; i < 20; ++i) { /* a million texts */
    char *longer = lap_format("%s{a,b}", text);
    free(text);
    text = longer;
  }
  assert_int_equal(lap_paths_find(text, ".h5", &paths, &count, &status), LAP_DATA);
  free(text);
  enum { LENGTH = 100000 };
  text = lap_allocate(LENGTH + 1, 1);
  memset(text, '{', LENGTH);
  assert_int_equal(lap_paths_find(text, ".h5", &paths, &count, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "is longer than"));
  memset(text, ',', 2000);
  memset(text, '{', 1000);
  text[2000] = '\0';
  assert_int_equal(lap_paths_find(text, ".h5", &paths, &count, &status), LAP_DATA);
  free(text);
}

static void names_are_what_stands_behind_the_last_slash(void **state) {
  (void)state;
  assert_string_equal(lap_path_name("a/b/c.h5"), "c.h5");
  assert_string_equal(lap_path_name("c.h5"), "c.h5");
  assert_string_equal(lap_path_name("/c"), "c");
  assert_string_equal(lap_path_name("a/"), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_exists_is_itself),
      cmocka_unit_test(a_folder_means_its_files),
      cmocka_unit_test(globs_and_braces),
      cmocka_unit_test(a_folder_that_could_not_be_read_is_read_again),
      cmocka_unit_test(a_text_that_matches_nothing_is_refused_by_name),
      cmocka_unit_test(hostile_texts_end_soon),
      cmocka_unit_test(names_are_what_stands_behind_the_last_slash),
  };
  return cmocka_run_group_tests(tests, make_files, remove_files);
}
