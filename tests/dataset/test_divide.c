/* divide: every document is on one side or left out, and no side has what is near to another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "dataset/divide.h"
#include "tests/refusal.h"
#include "tests/scratch.h"

enum { DOCUMENTS = 200, WORDS = 30 };

/* Documents of a line each; every fifth is the one before with another last word. */
static char *make_text(size_t documents) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  for (unsigned i = 0; i < documents; ++i) {
    const unsigned as = i % 5 == 4 ? i - 1 : i;
    for (unsigned j = 0; j < WORDS; ++j) fprintf(out, "w%u ", (as * 7919 + j * 104729) % 99991);
    fprintf(out, "end%u\n", i);
  }
  fclose(out);
  return text;
}

static lap_code divide(const char *folder, const char *text, lap_divide_options options,
                       lap_divide_counts *counts, lap_status *status) {
  const char *const inputs[] = {scratch_write(folder, "text.txt", text, strlen(text))};
  options.text.inputs = inputs;
  options.text.input_count = 1;
  options.text.documents = "line";
  options.out = folder;
  return lap_divide(&options, counts, status);
}

static size_t lines_of(const char *folder, const char *name) {
  size_t bytes, lines = 0;
  char *text = scratch_read(scratch_path(folder, name), &bytes);
  for (size_t i = 0; i < bytes; ++i) lines += text[i] == '\n';
  free(text);
  return lines;
}

static void the_sides_are_the_text_without_near_duplicates(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  const lap_divide_options options = {.dev = .1, .test = .2, .near_duplicates = .8};
  lap_divide_counts counts;
  lap_status status;
  assert_int_equal(divide(folder, text, options, &counts, &status), LAP_OK);
  assert_int_equal(counts.repeated, DOCUMENTS / 5);
  uint64_t documents = 0, bytes = 0;
  for (int side = 0; side < LAP_SIDES; ++side) {
    documents += counts.side[side].documents;
    bytes += counts.side[side].bytes;
  }
  assert_int_equal(documents, DOCUMENTS - DOCUMENTS / 5);
  assert_int_equal(bytes + counts.repeated_bytes, strlen(text) - DOCUMENTS); /* without "\n" */
  assert_in_range(counts.side[LAP_SIDE_DEV].documents, 13, 19);
  assert_in_range(counts.side[LAP_SIDE_TEST].documents, 28, 36);
  assert_int_equal(lines_of(folder, "train.jsonl"), counts.side[LAP_SIDE_TRAIN].documents);
  assert_int_equal(lines_of(folder, "dev.jsonl"), counts.side[LAP_SIDE_DEV].documents);
  assert_int_equal(lines_of(folder, "test.jsonl"), counts.side[LAP_SIDE_TEST].documents);
  free(text);
  scratch_remove(folder);
}

static void what_is_near_to_text_apart_is_left_out(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  lap_divide_options options = {.near_duplicates = .8, .limit = 2000};
  lap_divide_counts counts, others;
  lap_status status;
  assert_int_equal(divide(folder, text, options, &counts, &status), LAP_OK);
  const uint64_t first = counts.side[LAP_SIDE_TRAIN].documents;
  assert_in_range(first, 5, 30); /* the beginning of the text */
  assert_int_equal(first + counts.repeated + counts.beyond, DOCUMENTS);
  const char *const apart[] = {scratch_path(folder, "apart.jsonl")};
  assert_int_equal(rename(scratch_path(folder, "train.jsonl"), apart[0]), 0);
  options.limit = 0;
  options.apart = apart;
  options.apart_count = 1;
  assert_int_equal(divide(folder, text, options, &others, &status), LAP_OK);
  assert_int_equal(others.side[LAP_SIDE_TRAIN].documents, DOCUMENTS - DOCUMENTS / 5 - first);
  const char *train = scratch_path(folder, "train.jsonl");
  assert_int_equal(remove(train), 0);
  options.near_duplicates = 0, options.apart_count = 0;
  assert_int_equal(divide(folder, text, options, &others, &status), LAP_OK);
  assert_int_equal(others.side[LAP_SIDE_TRAIN].documents, DOCUMENTS);
  assert_int_equal(rename(train, apart[0]), 0); /* the text itself */
  options.near_duplicates = .8, options.apart_count = 1;
  const lap_code code = divide(folder, text, options, &others, &status);
  assert_refusal(code, LAP_DATA, &status, "text.txt: no text is left: all of its 200 documents",
                 "apart.jsonl");
  free(text);
  scratch_remove(folder);
}

static void texts_apart_that_keep_nothing_apart_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *content, *found;
  } bad[] = {
      {"plain text\n", "apart.jsonl: line 1: "},
      {"{\"text\": \"one\"}\n{\"body\": \"two\"}\n", "line 2: there is nothing under the key"},
      {"{\"text\": 7}\n", "line 1: the value under the key \"text\" is not a string"},
      {"", "apart.jsonl: no text was found"},
      {"{\"text\": \"\"}\n", "apart.jsonl: no text was found"}};
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  const char *const apart[] = {scratch_path(folder, "apart.jsonl")};
  lap_divide_options options = {.near_duplicates = .8, .apart = apart, .apart_count = 1};
  lap_divide_counts counts;
  lap_status status;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    scratch_write(folder, "apart.jsonl", bad[i].content, strlen(bad[i].content));
    const lap_code code = divide(folder, text, options, &counts, &status);
    assert_refusal(code, LAP_DATA, &status, bad[i].found, "as split writes them");
  }
  options.near_duplicates = 0;
  const lap_code code = divide(folder, text, options, &counts, &status);
  assert_refusal(code, LAP_USAGE, &status, "near-duplicates: expected 0.5 to 1", "found 0");
  assert_int_equal(scratch_count(folder), 2); /* the text and the text apart */
  free(text);
  scratch_remove(folder);
}

static void a_similarity_at_which_most_pairs_are_missed_is_refused(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  lap_divide_options options = {.near_duplicates = .49};
  lap_divide_counts counts;
  lap_status status;
  const lap_code code = divide(folder, text, options, &counts, &status);
  assert_refusal(code, LAP_USAGE, &status, "expected 0, or 0.5 to 1", "found 0.49");
  options.near_duplicates = .5;
  assert_int_equal(divide(folder, text, options, &counts, &status), LAP_OK);
  free(text);
  scratch_remove(folder);
}

static void nothing_is_overwritten(void **state) {
  (void)state;
  static const char *const names[] = {"train.jsonl", "dev.jsonl", "test.jsonl"};
  char *text = make_text(DOCUMENTS);
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char *folder = scratch_create();
    lap_divide_counts counts;
    lap_status status;
    scratch_write(folder, names[i], "{}\n", 3);
    const lap_code code =
        divide(folder, text, (lap_divide_options){.near_duplicates = .8}, &counts, &status);
    assert_refusal(code, LAP_USAGE, &status, names[i], "nothing is overwritten");
    assert_int_equal(scratch_count(folder), 2); /* it and the text */
    scratch_remove(folder);
  }
  free(text);
}

/* Beside the temporary file of train, which gets its name last. */
static void what_a_kill_between_two_names_left_is_made_again(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  const lap_divide_options options = {.dev = .1, .test = .1, .near_duplicates = .8};
  lap_divide_counts counts;
  lap_status status;
  scratch_write(folder, "test.jsonl", "{}\n", 3);
  scratch_write(folder, "dev.jsonl", "{}\n", 3);
  scratch_write(folder, "train.jsonl.tmp.4711.0", "{}\n", 3);
  assert_int_equal(divide(folder, text, options, &counts, &status), LAP_OK);
  assert_int_equal(scratch_count(folder), 4); /* the text and the sides */
  assert_int_not_equal(counts.side[LAP_SIDE_TEST].documents, 0);
  scratch_write(folder, "train.jsonl.tmp.4711.0", "{}\n", 3);
  const lap_code code = divide(folder, text, options, &counts, &status);
  assert_refusal(code, LAP_USAGE, &status, "train.jsonl", "nothing is overwritten");
  free(text);
  scratch_remove(folder);
}

/* A disk that gets full: files of this process may not grow. */
static void a_full_disk_is_said_and_leaves_nothing(void **state) {
  (void)state;
  enum { SMALL = 128 }; /* less than the buffer of a stream: seen when the file is closed */
  static const char text[] =
      "one two three four five six seven\n"
      "eight nine ten eleven twelve thirteen\n"
      "fourteen fifteen sixteen seventeen\n"
      "eighteen nineteen twenty twenty-one\n";
  char *folder = scratch_create();
  lap_divide_counts counts;
  lap_status status;
  scratch_write(folder, "text.txt", text, strlen(text));
  scratch_limit_files(SMALL);
  const char *const inputs[] = {scratch_path(folder, "text.txt")};
  const lap_divide_options options = {
      .text = {.inputs = inputs, .input_count = 1, .documents = "line"}, .out = folder};
  const lap_code code = lap_divide(&options, &counts, &status);
  scratch_limit_files(0);
  assert_refusal(code, LAP_DATA, &status, "/train.jsonl: cannot be written", "File too large");
  assert_int_equal(scratch_count(folder), 1); /* the text */
  scratch_remove(folder);
}

/* Another program writes on, or cuts off, the text that has been read once. */
typedef struct {
  const char *path;
  const char *appended; /* NULL: all but the beginning is cut off */
  bool is_done;
} change;

static void change_text(void *context, const lap_progress_state *state) {
  change *c = context;
  const bool reads_first = strcmp(state->step, "look for near-duplicates") == 0;
  if (c->is_done || !reads_first || state->done < state->total) return;
  c->is_done = true;
  FILE *file = fopen(c->path, c->appended ? "a" : "r+");
  assert_non_null(file);
  if (!c->appended) assert_int_equal(ftruncate(fileno(file), 200), 0);
  for (int i = 0; c->appended && i < 5000; ++i) fprintf(file, "%s %d\n", c->appended, i);
  fclose(file);
}

static void a_text_that_changes_meanwhile_is_refused(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(DOCUMENTS);
  for (int cut = 0; cut < 2; ++cut)
    for (int held_out = 0; held_out < 2; ++held_out) {
      change c = {scratch_path(folder, "text.txt"), cut ? NULL : "a new document", false};
      const lap_progress_hook hook = {change_text, &c};
      const lap_divide_options options = {
          .text.hook = &hook, .near_duplicates = .8, .dev = held_out ? .1 : 0};
      lap_divide_counts counts;
      lap_status status;
      const lap_code code = divide(folder, text, options, &counts, &status);
      assert_refusal(code, LAP_DATA, &status, "text.txt: has changed while it was read",
                     "split it when nothing writes to it");
      assert_int_equal(scratch_count(folder), 1); /* the text alone */
    }
  free(text);
  scratch_remove(folder);
}

static void too_little_text_is_refused(void **state) {
  (void)state;
  char *folder = scratch_create(), *text = make_text(LAP_FEWEST_DOCUMENTS);
  lap_divide_options options = {.dev = .1, .test = .2, .near_duplicates = .8};
  lap_divide_counts counts;
  lap_status status;
  lap_code code = divide(folder, text, options, &counts, &status);
  assert_refusal(code, LAP_USAGE, &status, "16 documents", "at least 20 are needed");
  assert_int_equal(scratch_count(folder), 1); /* the text alone */
  options.near_duplicates = 0;
  assert_int_equal(divide(folder, text, options, &counts, &status), LAP_OK);
  options.dev = .9;
  code = divide(folder, text, options, &counts, &status);
  assert_refusal(code, LAP_USAGE, &status, "dev and test",
                 "less than 1 together, found 0.9 and 0.2");
  free(text);
  scratch_remove(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_sides_are_the_text_without_near_duplicates),
      cmocka_unit_test(what_is_near_to_text_apart_is_left_out),
      cmocka_unit_test(texts_apart_that_keep_nothing_apart_are_refused),
      cmocka_unit_test(a_similarity_at_which_most_pairs_are_missed_is_refused),
      cmocka_unit_test(nothing_is_overwritten),
      cmocka_unit_test(what_a_kill_between_two_names_left_is_made_again),
      cmocka_unit_test(a_full_disk_is_said_and_leaves_nothing),
      cmocka_unit_test(a_text_that_changes_meanwhile_is_refused),
      cmocka_unit_test(too_little_text_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
