/* examine_cache: ranks that see the same files read each once, ranks with copies read their own,
 * and all know what one has found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "dataset/hdf5_file.h"
#include "mpi/transport/agree.h"
#include "tests/mpi/world.h"
#include "tests/scratch.h"
#include "tests/teacher/synthetic.h"
#include "trainer/model/examine_cache.h"

enum { FILES = 5, ROWS = 200 };

/* --- how many files this rank reads whole --- */

static int64_t begun;

lap_code __real_lap_hdf5_try_begin(const char *path, lap_sandbox_task task, const void *context,
                                   size_t result_bytes, lap_sandbox_child **child,
                                   lap_status *status);
lap_code __wrap_lap_hdf5_try_begin(const char *path, lap_sandbox_task task, const void *context,
                                   size_t result_bytes, lap_sandbox_child **child,
                                   lap_status *status);
lap_code __wrap_lap_hdf5_try_begin(const char *path, lap_sandbox_task task, const void *context,
                                   size_t result_bytes, lap_sandbox_child **child,
                                   lap_status *status) {
  ++begun;
  return __real_lap_hdf5_try_begin(path, task, context, result_bytes, child, status);
}

static int64_t begun_by_all(lap_comm *comm) {
  int64_t *all = lap_allocate(lap_comm_size(comm), sizeof *all), sum = 0;
  lap_gather_all(comm, &begun, sizeof begun, all);
  for (int r = 0; r < lap_comm_size(comm); ++r) sum += all[r];
  free(all);
  return sum;
}

/* --- the caches --- */

/* Files of this rank; or those of rank 0, which every rank sees. */
typedef struct {
  lap_comm *comm;
  synthetic made;       /* of this rank */
  char *directory;      /* of the files that are used */
  lap_token_set tokens; /* of them */
  lap_cache *cache;
} fixture;

/* What is wrong with the fourth file of the cache. */
typedef enum { WHOLE, NO_DISTRIBUTION, OTHER_ROWS } damage;

/* By another program, since ours would not write the row. */
static void write_damaged(const synthetic *made, damage kind) {
  for (size_t s = 0; s < FILES; ++s) {
    plain_cache plain;
    char name[32];
    snprintf(name, sizeof name, "cache-%zu.h5", s);
    plain_create(made, s, &plain);
    if (s == 3 && kind == NO_DISTRIBUTION)
      plain.logprob[synthetic_row(made, s) * SYNTHETIC_K] = 1; /* above certainty */
    if (s == 3 && kind == OTHER_ROWS)
      plain.rows_sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    plain_write(scratch_path(made->directory, name), &plain);
    plain_destroy(&plain);
  }
}

static void start(fixture *f, lap_comm *comm, bool shared, damage kind) {
  lap_status status = {0};
  *f = (fixture){.comm = comm};
  synthetic_create(&f->made, FILES, ROWS);
  if (kind != WHOLE)
    write_damaged(&f->made, kind);
  else
    synthetic_write_all(&f->made);
  if (!shared || lap_comm_rank(comm) == 0) f->directory = lap_copy_string(f->made.directory);
  if (shared) f->directory = lap_broadcast_text(comm, f->directory);
  lap_barrier(comm); /* all files are there */
  status.code = lap_token_set_open(scratch_path(f->directory, "tokens-*.h5"), &f->tokens, &status);
  if (status.code == LAP_OK)
    status.code = lap_cache_find(scratch_path(f->directory, "cache-*.h5"), &f->tokens,
                                 &f->made.expectation, &f->cache, &status);
  assert_everywhere(comm, status.code != LAP_OK);
  begun = 0;
}

static void finish(fixture *f) {
  lap_barrier(f->comm); /* nobody reads any more */
  lap_cache_close(f->cache);
  lap_token_set_close(&f->tokens);
  synthetic_destroy(&f->made);
  free(f->directory);
}

static lap_code examine(fixture *f, lap_status *status) {
  *status = (lap_status){0};
  return lap_examine_cache(f->comm, 2, &f->made.expectation, f->cache, status);
}

/* As one process alone has it. */
static void assert_content(const fixture *f) {
  lap_cache *alone;
  char expected[LAP_SHA256_HEX], found[LAP_SHA256_HEX];
  lap_status status = {0};
  assert_int_equal(lap_cache_open(scratch_path(f->directory, "cache-*.h5"), &f->tokens,
                                  &f->made.expectation, &alone, &status),
                   LAP_OK);
  assert_int_equal(lap_cache_content_sha256(alone, expected, &status), LAP_OK);
  assert_int_equal(lap_cache_content_sha256(f->cache, found, &status), LAP_OK);
  assert_string_equal(found, expected);
  lap_cache_close(alone);
}

/* --- what they do --- */

static void assert_files_read(lap_comm *comm, bool shared, int64_t expected) {
  fixture f;
  lap_status status;
  start(&f, comm, shared, WHOLE);
  assert_int_equal(examine(&f, &status), LAP_OK);
  assert_int_equal(begun_by_all(comm), expected);
  assert_content(&f);
  finish(&f);
}

static void each_file_is_read_once(void **state) { assert_files_read(*state, true, FILES); }

static void copies_are_read_by_those_who_have_them(void **state) {
  assert_files_read(*state, false, FILES * lap_comm_size(*state));
}

static void what_one_rank_finds_all_know(void **state) {
  fixture f;
  lap_status status;
  start(&f, *state, true, NO_DISTRIBUTION);
  assert_int_equal(examine(&f, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "cache-3.h5"));
  assert_int_equal(strstr(status.message, "rank ") != NULL, lap_comm_size(f.comm) > 1);
  finish(&f);
}

/* Each rank has a copy, and that of the last is damaged; `named` is that rank in a message. */
static void start_copies(fixture *f, lap_comm *comm, damage kind, char named[32]) {
  const int last = lap_comm_size(comm) - 1;
  snprintf(named, 32, "rank %d on ", last);
  start(f, comm, false, lap_comm_rank(comm) == last ? kind : WHOLE);
}

static void so_of_a_copy_that_one_rank_has(void **state) {
  fixture f;
  lap_status status;
  char named[32];
  start_copies(&f, *state, NO_DISTRIBUTION, named);
  assert_int_equal(examine(&f, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "cache-3.h5"));
  assert_true(lap_comm_size(f.comm) == 1 || strncmp(status.message, named, strlen(named)) == 0);
  finish(&f);
}

/* Whose copy it is, and which file. */
static void rows_that_changed_in_one_copy_are_named(void **state) {
  fixture f;
  lap_status status;
  char named[32];
  start_copies(&f, *state, OTHER_ROWS, named);
  const lap_code code = examine(&f, &status);
  if (lap_comm_size(f.comm) == 1) {
    assert_int_equal(code, LAP_OK);
    assert_non_null(strstr(lap_cache_notice(f.cache), "cache-3.h5: its rows_sha256 is "));
  } else {
    assert_int_equal(code, LAP_USAGE);
    const char *at = strstr(status.message, named);
    assert_non_null(at);
    assert_non_null(strstr(at, "rows of cache-3.h5 that do not match its rows_sha256"));
  }
  finish(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_file_is_read_once),
      cmocka_unit_test(copies_are_read_by_those_who_have_them),
      cmocka_unit_test(what_one_rank_finds_all_know),
      cmocka_unit_test(so_of_a_copy_that_one_rank_has),
      cmocka_unit_test(rows_that_changed_in_one_copy_are_named),
  };
  return cmocka_run_group_tests(tests, world_start, world_finish);
}
