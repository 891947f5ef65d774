/* parts: finished parts stay finished; damaged, cut and foreign ones count as missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "teacher/parts.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

/* 32 rows a window, 2048 a part: two whole parts and one of 904 rows. */
enum { ROWS = 5000, PART_ROWS = LAP_PART_WINDOWS * (SYNTHETIC_LENGTH - 1), PARTS = 3 };

typedef struct {
  synthetic made;
  lap_cache_content content;
  char directory[1024];
  lap_parts *parts;
} fixture;

static lap_parts *create(const fixture *f, const lap_cache_schema *schema, const char *identity) {
  lap_parts *parts;
  lap_status status = {0};
  if (lap_parts_create(f->directory, schema, f->made.tokens.shard[0], identity, &parts, &status) !=
      LAP_OK)
    fail_msg("%s", status.message);
  return parts;
}

static void write_part(const fixture *f, uint64_t part) {
  const uint64_t row = part * PART_ROWS, slot = row * SYNTHETIC_K;
  const lap_cache_content rows = {.ids = f->content.ids + slot,
                                  .logprob = f->content.logprob + slot,
                                  .tail_mass = f->content.tail_mass + row,
                                  .next_logprob = f->content.next_logprob + row,
                                  .entropy = f->content.entropy + row};
  lap_status status = {0};
  if (lap_parts_write(f->parts, part, &rows, &status) != LAP_OK) fail_msg("%s", status.message);
}

static int make(void **state) {
  static fixture f;
  synthetic_create(&f.made, 1, ROWS);
  synthetic_content(&f.made, 0, &f.content);
  snprintf(f.directory, sizeof f.directory, "%s/out/parts", f.made.directory);
  f.parts = create(&f, &f.made.schema, "weights 1");
  for (uint64_t part = 0; part < PARTS; ++part) write_part(&f, part);
  *state = &f;
  return 0;
}

static int unmake(void **state) {
  fixture *f = *state;
  lap_parts_destroy(f->parts);
  lap_cache_content_destroy(&f->content);
  synthetic_destroy(&f->made);
  return 0;
}

/* The path of a part's file: the one whose name ends so. */
static const char *file_of(const fixture *f, uint64_t part) {
  char name[64];
  snprintf(name, sizeof name, "%.16s-%06d.part", f->made.tokens.shard[0]->tokens_sha256, (int)part);
  return scratch_path(f->directory, name);
}

static void parts_cover_all_rows_once(void **state) {
  const fixture *f = *state;
  assert_int_equal(lap_parts_count(f->parts), PARTS);
  uint64_t next_row = 0, next_window = 0;
  for (uint64_t part = 0; part < PARTS; ++part) {
    uint64_t row, window;
    const uint32_t rows = lap_parts_rows(f->parts, part, &row);
    const uint32_t windows = lap_parts_windows(f->parts, part, &window);
    assert_int_equal(row, next_row);
    assert_int_equal(window, next_window);
    next_row += rows;
    next_window += windows;
  }
  assert_int_equal(next_row, ROWS);
  assert_int_equal(next_window, (ROWS + 31) / 32);
}

static void finished_parts_become_the_content(void **state) {
  const fixture *f = *state;
  lap_cache_content content;
  lap_status status = {0};
  assert_int_equal(lap_parts_assemble(f->parts, &content, &status), LAP_OK);
  assert_memory_equal(content.ids, f->content.ids, ROWS * SYNTHETIC_K * 4);
  assert_memory_equal(content.logprob, f->content.logprob, ROWS * SYNTHETIC_K * 4);
  assert_memory_equal(content.tail_mass, f->content.tail_mass, ROWS * 4);
  assert_memory_equal(content.next_logprob, f->content.next_logprob, ROWS * 4);
  assert_memory_equal(content.entropy, f->content.entropy, ROWS * 4);
  lap_cache_content_destroy(&content);
}

static void a_missing_part_is_named_and_made_again(void **state) {
  const fixture *f = *state;
  unlink(file_of(f, 1));
  assert_true(lap_parts_have(f->parts, 0));
  assert_false(lap_parts_have(f->parts, 1));
  lap_cache_content content;
  lap_status status = {0};
  assert_int_equal(lap_parts_assemble(f->parts, &content, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "000001.part"));
  assert_null(content.ids);
  write_part(f, 1);
  assert_true(lap_parts_have(f->parts, 1));
}

static void any_changed_byte_and_any_cut_makes_it_missing(void **state) {
  const fixture *f = *state;
  size_t size;
  char *image = scratch_read(file_of(f, 2), &size);
  const char *name = strrchr(file_of(f, 2), '/') + 1;
  for (size_t n = 0; n < 200; ++n) {
    const size_t at = n < 100 ? n : n * 7919 * 31 % size;
    image[at] ^= 4;
    scratch_write(f->directory, name, image, size);
    image[at] ^= 4;
    if (lap_parts_have(f->parts, 2)) fail_msg("a change at byte %zu went unnoticed", at);
    scratch_write(f->directory, name, image, size * n / 200);
    if (lap_parts_have(f->parts, 2)) fail_msg("%zu bytes of %zu are no part", size * n / 200, size);
  }
  image = realloc(image, size + 1);
  scratch_write(f->directory, name, image, size + 1);
  assert_false(lap_parts_have(f->parts, 2));
  scratch_write(f->directory, name, image, size);
  assert_true(lap_parts_have(f->parts, 2));
  free(image);
}

/* What a kill leaves: a temporary file beside, which is not a part, and which the next writer
 * removes, so that nothing keeps the directory when its parts are removed. */
static void what_a_kill_leaves_is_not_a_part_and_is_removed(void **state) {
  const fixture *f = *state;
  size_t size;
  char *image = scratch_read(file_of(f, 0), &size);
  char partial[2048];
  snprintf(partial, sizeof partial, "%s.tmp.17.0", file_of(f, 0));
  assert_int_equal(rename(file_of(f, 0), partial), 0);
  assert_int_equal(truncate(partial, (off_t)size / 2), 0);
  assert_false(lap_parts_have(f->parts, 0));
  write_part(f, 0);
  assert_true(lap_parts_have(f->parts, 0));
  assert_int_equal(access(partial, F_OK), -1);
  lap_status status = {0};
  assert_int_equal(lap_parts_remove(f->parts, &status), LAP_OK);
  assert_int_equal(scratch_count(f->directory), -1);
  free(image);
}

static void parts_of_anything_else_are_missing(void **state) {
  const fixture *f = *state;
  lap_parts *other = create(f, &f->made.schema, "weights 2");
  assert_false(lap_parts_have(other, 0));
  lap_parts_destroy(other);
  lap_cache_schema changed[5];
  for (int i = 0; i < 5; ++i) changed[i] = f->made.schema;
  changed[0].k = 4;
  changed[1].document_mask = false;
  changed[2].codec = LAP_CODEC_SAMPLED;
  strcpy(changed[3].teacher, "other");
  changed[4].sequence_length = 65;
  for (int i = 0; i < 5; ++i) {
    other = create(f, &changed[i], "weights 1");
    assert_false(lap_parts_have(other, 0));
    lap_parts_destroy(other);
  }
  other = create(f, &f->made.schema, "weights 1");
  assert_true(lap_parts_have(other, 0));
  lap_parts_destroy(other);
}

/* The file of one part under the name of another, even with as many rows. */
static void a_part_under_another_name_is_missing(void **state) {
  const fixture *f = *state;
  assert_int_equal(rename(file_of(f, 0), file_of(f, 1)), 0);
  assert_false(lap_parts_have(f->parts, 0));
  assert_false(lap_parts_have(f->parts, 1));
}

static void a_directory_in_the_place_of_a_part_is_an_error_not_a_crash(void **state) {
  const fixture *f = *state;
  unlink(file_of(f, 0));
  assert_int_equal(mkdir(file_of(f, 0), 0777), 0);
  assert_false(lap_parts_have(f->parts, 0));
  lap_status status = {0};
  assert_int_equal(lap_parts_write(f->parts, 0, &f->content, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "000000.part"));
  assert_int_equal(lap_parts_remove(f->parts, &status), LAP_DATA);
}

static void removing_leaves_what_is_not_ours(void **state) {
  const fixture *f = *state;
  lap_status status = {0};
  scratch_write(f->directory, "note.txt", "x", 1);
  assert_int_equal(lap_parts_remove(f->parts, &status), LAP_OK);
  assert_int_equal(scratch_count(f->directory), 1);
  unlink(scratch_path(f->directory, "note.txt"));
  assert_int_equal(lap_parts_remove(f->parts, &status), LAP_OK);
  assert_int_equal(scratch_count(f->directory), -1);
  assert_int_equal(lap_parts_remove(f->parts, &status), LAP_OK); /* by another rank, too */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(parts_cover_all_rows_once, make, unmake),
      cmocka_unit_test_setup_teardown(finished_parts_become_the_content, make, unmake),
      cmocka_unit_test_setup_teardown(a_missing_part_is_named_and_made_again, make, unmake),
      cmocka_unit_test_setup_teardown(any_changed_byte_and_any_cut_makes_it_missing, make, unmake),
      cmocka_unit_test_setup_teardown(what_a_kill_leaves_is_not_a_part_and_is_removed, make,
                                      unmake),
      cmocka_unit_test_setup_teardown(parts_of_anything_else_are_missing, make, unmake),
      cmocka_unit_test_setup_teardown(a_part_under_another_name_is_missing, make, unmake),
      cmocka_unit_test_setup_teardown(a_directory_in_the_place_of_a_part_is_an_error_not_a_crash,
                                      make, unmake),
      cmocka_unit_test_setup_teardown(removing_leaves_what_is_not_ours, make, unmake),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
