/* damage: what happens to a file of ours on disk or under way is noticed, and nothing crashes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/philox.h"
#include "teacher/cache_open.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"

/* HDF5 1.10 loses memory of its own when it meets damaged metadata; LeakSanitizer asks here what
 * not to report. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libhdf5"; }

enum { ROWS = 600, FLIPS = 300, CUTS = 100 };

typedef struct {
  synthetic made;
  char *image; /* of the whole cache file */
  size_t size;
  char intact[LAP_SHA256_HEX];
} fixture;

/* Opens the file, validates all rows and hashes them, as a run would. */
static lap_code digest(const synthetic *made, const char *path, char hex[LAP_SHA256_HEX],
                       lap_status *status) {
  lap_cache *cache;
  *status = (lap_status){0};
  LAP_TRY(lap_cache_open(path, &made->tokens, &made->expectation, &cache, status));
  lap_cache_rows *rows = lap_cache_rows_create(cache, ROWS);
  lap_code code = lap_cache_read(cache, 0, 0, ROWS, NULL, rows, status);
  if (code == LAP_OK) code = lap_cache_content_sha256(cache, hex, status);
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
  return code;
}

static int make(void **state) {
  static fixture f;
  synthetic_create(&f.made, 1, ROWS);
  synthetic_write_all(&f.made);
  const char *path = scratch_path(f.made.directory, "cache-00000.h5");
  f.image = scratch_read(path, &f.size);
  lap_status status;
  if (digest(&f.made, path, f.intact, &status) != LAP_OK) return -1;
  *state = &f;
  return 0;
}

static int unmake(void **state) {
  fixture *f = *state;
  free(f->image);
  synthetic_destroy(&f->made);
  return 0;
}

static void a_flipped_bit_is_found_or_changes_nothing(void **state) {
  const fixture *f = *state;
  int found = 0;
  for (uint64_t n = 0; n < FLIPS; ++n) {
    const lap_random random = lap_philox(7, LAP_PURPOSE_BENCH, 0, n);
    const size_t at = random.word[0] % f->size;
    const char bit = (char)(1 << random.word[1] % 8);
    f->image[at] ^= bit;
    const char *path = scratch_write(f->made.directory, "flipped.h5", f->image, f->size);
    f->image[at] ^= bit;
    char hex[LAP_SHA256_HEX];
    lap_status status;
    const lap_code code = digest(&f->made, path, hex, &status);
    if (code == LAP_OK) {
      if (strcmp(hex, f->intact) != 0) fail_msg("a flip at byte %zu went unnoticed", at);
      continue;
    }
    assert_int_equal(code, LAP_DATA);
    if (!strstr(status.message, "flipped.h5")) fail_msg("no file in \"%s\"", status.message);
    ++found;
  }
  assert_true(found > FLIPS / 2);
}

static void a_file_cut_off_anywhere_is_refused(void **state) {
  const fixture *f = *state;
  for (size_t n = 0; n < CUTS; ++n) {
    const char *path = scratch_write(f->made.directory, "cut.h5", f->image, f->size * n / CUTS);
    char hex[LAP_SHA256_HEX];
    lap_status status;
    assert_int_equal(digest(&f->made, path, hex, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "cut.h5"));
  }
}

static void the_writer_leaves_nothing_but_the_file(void **state) {
  const fixture *f = *state;
  assert_int_equal(scratch_count(f->made.directory), 4); /* tokens, cache, flipped, cut */
}

/* A file that is replaced while it is closed in between must still be what was opened. */
static void a_file_replaced_during_the_run_is_noticed(void **state) {
  (void)state;
  enum { SHARDS = 66 };
  synthetic made;
  synthetic_create(&made, SHARDS, 50);
  const char *pattern = synthetic_write_all(&made);
  lap_cache *cache;
  lap_status status = {0};
  assert_int_equal(lap_cache_open(pattern, &made.tokens, &made.expectation, &cache, &status),
                   LAP_OK);
  lap_cache_rows *rows = lap_cache_rows_create(cache, 1);
  for (size_t s = 0; s < SHARDS; ++s)
    assert_int_equal(lap_cache_read(cache, s, 5, 1, NULL, rows, &status), LAP_OK);
  lap_cache_content content;
  synthetic_content(&made, 1, &content);
  synthetic_write(&made, 1, "cache-00000.h5", &content); /* the cache of another shard */
  lap_cache_content_destroy(&content);
  assert_int_equal(lap_cache_read(cache, 0, 5, 1, NULL, rows, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "replaced"));
  assert_non_null(strstr(status.message, "cache-00000.h5"));
  lap_cache_rows_destroy(rows);
  lap_cache_close(cache);
  synthetic_destroy(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_flipped_bit_is_found_or_changes_nothing),
      cmocka_unit_test(a_file_cut_off_anywhere_is_refused),
      cmocka_unit_test(the_writer_leaves_nothing_but_the_file),
      cmocka_unit_test(a_file_replaced_during_the_run_is_noticed),
  };
  return cmocka_run_group_tests(tests, make, unmake);
}
