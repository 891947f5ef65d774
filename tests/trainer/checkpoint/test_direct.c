/* direct: what was written is read, around the page cache and through it, whatever a file system
 * refuses, cuts short or interrupts. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/checkpoint/direct.h"

enum { BLOCK = LAP_DIRECT_BLOCK, LARGEST = 3 * BLOCK + 5000 };

/* --- a file system with faults, as strict as the strictest about alignment --- */

static struct {
  bool refuses_flag;  /* F_SETFL with O_DIRECT */
  bool refuses_bytes; /* reads and writes with the flag: EINVAL */
  int cut_short_at;   /* the n-th read or write takes 1000 bytes; the first is 1, 0: none */
  int interrupted_at; /* the n-th ends with EINTR */
  int fails_at;       /* the n-th fails with EIO */
  int calls, around;  /* reads and writes so far, and those around the cache */
} disk;

int __real_fcntl(int descriptor, int command, int flags);
int __wrap_fcntl(int descriptor, int command, int flags);
ssize_t __real_write(int descriptor, const void *bytes, size_t count);
ssize_t __wrap_write(int descriptor, const void *bytes, size_t count);
ssize_t __real_pread(int descriptor, void *bytes, size_t count, off_t offset);
ssize_t __wrap_pread(int descriptor, void *bytes, size_t count, off_t offset);

int __wrap_fcntl(int descriptor, int command, int flags) {
  if (command == F_SETFL && (flags & O_DIRECT) && disk.refuses_flag) {
    errno = EINVAL;
    return -1;
  }
  return __real_fcntl(descriptor, command, flags);
}

/* How much of the next call may be done; -1 with errno: nothing. */
static ssize_t granted(int descriptor, const void *bytes, size_t count, off_t offset) {
  const bool around = (__real_fcntl(descriptor, F_GETFL, 0) & O_DIRECT) != 0;
  const int call = ++disk.calls;
  const uint64_t all = (uint64_t)(uintptr_t)bytes | (uint64_t)count | (uint64_t)offset;
  errno = call == disk.interrupted_at                        ? EINTR
          : call == disk.fails_at                            ? EIO
          : around && (disk.refuses_bytes || all % 4096 > 0) ? EINVAL
                                                             : 0;
  if (errno != 0) return -1;
  disk.around += around;
  return call == disk.cut_short_at && count > 1000 ? 1000 : (ssize_t)count;
}

/* What is cut short cannot go around the real cache. */
ssize_t __wrap_write(int descriptor, const void *bytes, size_t count) {
  const ssize_t take = granted(descriptor, bytes, count, lseek(descriptor, 0, SEEK_CUR));
  if (take < 0) return take;
  const int flags = __real_fcntl(descriptor, F_GETFL, 0);
  __real_fcntl(descriptor, F_SETFL, flags & ~O_DIRECT);
  const ssize_t written = __real_write(descriptor, bytes, (size_t)take);
  __real_fcntl(descriptor, F_SETFL, flags);
  return written;
}

ssize_t __wrap_pread(int descriptor, void *bytes, size_t count, off_t offset) {
  const ssize_t take = granted(descriptor, bytes, count, offset);
  if (take < 0) return take;
  const int flags = __real_fcntl(descriptor, F_GETFL, 0);
  __real_fcntl(descriptor, F_SETFL, flags & ~O_DIRECT);
  const ssize_t got = __real_pread(descriptor, bytes, (size_t)take, offset);
  __real_fcntl(descriptor, F_SETFL, flags);
  return got;
}

/* --- files --- */

typedef struct {
  char *directory;
  unsigned char *bytes; /* [LARGEST] */
} world;

static int set_up(void **state) {
  static world w;
  memset(&disk, 0, sizeof disk);
  w.directory = scratch_create();
  w.bytes = lap_allocate(LARGEST, 1);
  for (uint32_t i = 0; i < LARGEST; ++i) w.bytes[i] = (unsigned char)(i * 2654435761u >> 24);
  *state = &w;
  return 0;
}

static int tear_down(void **state) {
  world *w = *state;
  scratch_remove(w->directory);
  free(w->bytes);
  return 0;
}

/* Appends `count` bytes, `step` at a time. */
static lap_code write_file(const world *w, size_t count, size_t step, lap_status *status) {
  const char *path = scratch_path(w->directory, "file");
  const int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  lap_direct_writer *writer = lap_direct_writer_create(descriptor, path, (int64_t)count);
  lap_code code = LAP_OK;
  for (size_t at = 0; at < count && code == LAP_OK; at += step)
    code = lap_direct_write(writer, w->bytes + at, count - at < step ? count - at : step, status);
  if (code == LAP_OK) code = lap_direct_writer_finish(writer, status);
  lap_direct_writer_destroy(writer);
  close(descriptor);
  return code;
}

static void assert_file_has(const world *w, size_t count) {
  size_t found;
  char *bytes = scratch_read(scratch_path(w->directory, "file"), &found);
  assert_int_equal(found, count);
  assert_memory_equal(bytes, w->bytes, count);
  free(bytes);
}

/* Reads all there is, at most `step` at a time, and compares it. */
static lap_code read_file(const world *w, int64_t count, int64_t step, lap_status *status) {
  const char *path = scratch_path(w->directory, "file");
  const int descriptor = open(path, O_RDONLY);
  lap_direct_reader *reader = lap_direct_reader_create(descriptor, path, count);
  lap_code code = LAP_OK;
  int64_t at = 0;
  for (size_t got = 1; got > 0; at += (int64_t)got) {
    const char *bytes = NULL;
    got = 0;
    code = lap_direct_read(reader, at, step, &bytes, &got, status);
    if (code != LAP_OK) break;
    assert_true((int64_t)got <= step);
    assert_memory_equal(bytes, w->bytes + at, got);
  }
  if (code == LAP_OK) assert_int_equal(at, count);
  lap_direct_reader_destroy(reader);
  close(descriptor);
  return code;
}

static void assert_round_trip(const world *w, size_t count, size_t step) {
  lap_status status;
  disk.calls = 0;
  assert_int_equal(write_file(w, count, step, &status), LAP_OK);
  assert_file_has(w, count);
  disk.calls = 0;
  assert_int_equal(read_file(w, (int64_t)count, (int64_t)step, &status), LAP_OK);
}

static const size_t sizes[] = {0, 1, 4095, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, LARGEST};

static void assert_all_round_trips(const world *w) {
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    assert_round_trip(w, sizes[i], LARGEST);
    assert_round_trip(w, sizes[i], 1000003);
  }
}

/* --- tests --- */

static void test_whole_blocks_go_around_the_cache(void **state) {
  assert_all_round_trips(*state);
  disk.around = 0;
  lap_status status;
  assert_int_equal(write_file(*state, LARGEST, 777777, &status), LAP_OK);
  assert_int_equal(disk.around, 3);
  disk.around = 0;
  assert_int_equal(read_file(*state, LARGEST, 777777, &status), LAP_OK);
  assert_int_equal(disk.around, 4); /* the end of the file may be asked for in a whole block */
}

static void test_a_file_system_may_refuse_the_flag(void **state) {
  disk.refuses_flag = true;
  assert_all_round_trips(*state);
  assert_int_equal(disk.around, 0);
}

static void test_a_file_system_may_refuse_the_bytes(void **state) {
  disk.refuses_bytes = true;
  assert_all_round_trips(*state);
  assert_int_equal(disk.around, 0);
}

static void test_calls_may_be_cut_short_or_interrupted(void **state) {
  for (int call = 1; call <= 6; ++call) {
    disk.cut_short_at = call;
    disk.interrupted_at = 0;
    assert_round_trip(*state, LARGEST, 1000003);
    disk.interrupted_at = call;
    disk.cut_short_at = call + 1;
    assert_round_trip(*state, LARGEST, 1000003);
  }
}

static void test_what_lies_before_is_read_again(void **state) {
  const world *w = *state;
  lap_status status;
  assert_int_equal(write_file(w, LARGEST, LARGEST, &status), LAP_OK);
  const char *path = scratch_path(w->directory, "file"), *bytes;
  const int descriptor = open(path, O_RDONLY);
  lap_direct_reader *reader = lap_direct_reader_create(descriptor, path, LARGEST);
  const int64_t places[] = {LARGEST - 10, 5, BLOCK + 1, BLOCK, LARGEST + 10, 2 * BLOCK - 3};
  const size_t counts[] = {10, 100, 100, 100, 0, 3};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
    size_t count;
    assert_int_equal(lap_direct_read(reader, places[i], 100, &bytes, &count, &status), LAP_OK);
    assert_int_equal(count, counts[i]);
    assert_memory_equal(bytes, w->bytes + (count > 0 ? places[i] : 0), count);
  }
  lap_direct_reader_destroy(reader);
  close(descriptor);
}

static void test_a_failure_is_told(void **state) {
  lap_status status;
  assert_int_equal(write_file(*state, LARGEST, LARGEST, &status), LAP_OK);
  for (int call = 1; call <= 4; ++call) {
    disk = (typeof(disk)){.fails_at = call};
    assert_refusal(write_file(*state, LARGEST, 1000003, &status), LAP_DATA, &status,
                   "file: ", "Input/output error");
    disk.calls = 0;
    disk.fails_at = 0;
    assert_int_equal(write_file(*state, LARGEST, LARGEST, &status), LAP_OK);
    disk = (typeof(disk)){.fails_at = call};
    assert_refusal(read_file(*state, LARGEST, 1000003, &status), LAP_DATA, &status,
                   "cannot be read back", "Input/output error");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_whole_blocks_go_around_the_cache, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_file_system_may_refuse_the_flag, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_file_system_may_refuse_the_bytes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_calls_may_be_cut_short_or_interrupted, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(test_what_lies_before_is_read_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_failure_is_told, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
