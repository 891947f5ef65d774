/* read: what the writer and a file put together by hand hold comes back; no bytes whatsoever do
 * more than be refused. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
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
#include "core/philox.h"
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/gguf/read.h"
#include "trainer/gguf/write.h"

static char *directory;
static char path[512];

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  snprintf(path, sizeof path, "%s/file.gguf", directory);
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* --- files put together by hand --- */

/* Without lap_file_write's fsync: there are thousands. */
static void write_bytes(const void *bytes, size_t count) {
  scratch_write(directory, "file.gguf", bytes, count);
}

typedef struct {
  uint8_t bytes[4096];
  size_t count;
} made;

static void put(made *m, const void *bytes, size_t count) {
  assert_true(m->count + count <= sizeof m->bytes);
  memcpy(m->bytes + m->count, bytes, count);
  m->count += count;
}

static void put32(made *m, uint32_t value) { put(m, &value, sizeof value); }
static void put64(made *m, uint64_t value) { put(m, &value, sizeof value); }

static void put_text(made *m, const char *text) {
  put64(m, strlen(text));
  put(m, text, strlen(text));
}

static made header(uint32_t version, uint64_t tensors, uint64_t pairs) {
  made m = {.count = 0};
  put(&m, "GGUF", 4);
  put32(&m, version);
  put64(&m, tensors);
  put64(&m, pairs);
  return m;
}

static void put_tensor(made *m, const char *name, uint32_t type, uint64_t rows, uint64_t columns,
                       uint64_t offset) {
  put_text(m, name);
  put32(m, rows ? 2 : 1);
  put64(m, columns);
  if (rows) put64(m, rows);
  put32(m, type);
  put64(m, offset);
}

/* Pads to `alignment`, and adds `data` bytes of zeros. */
static void finish(made *m, size_t alignment, size_t data) {
  static const uint8_t zeros[4096];
  put(m, zeros, (alignment - m->count % alignment) % alignment);
  put(m, zeros, data);
  write_bytes(m->bytes, m->count);
}

static lap_gguf_file *open_file(void) {
  lap_status status = {0};
  lap_gguf_file *file;
  if (lap_gguf_open(path, &file, &status) != LAP_OK) fail_msg("%s", status.message);
  return file;
}

static void assert_refused(const char *fragment) {
  lap_status status = {0};
  lap_gguf_file *file;
  const lap_code code = lap_gguf_open(path, &file, &status);
  assert_refusal(code, LAP_DATA, &status, path, fragment);
  assert_null(file);
}

/* --- what comes back --- */

static void what_the_writer_wrote_comes_back(void **state) {
  (void)state;
  static const float matrix[6] = {1, -2.5f, 3e38f, 1e-45f, 0, 7}, norm[3] = {9, 8, 7};
  static const char *const texts[] = {"a", "", "\xE2\x96\x81the"};
  lap_gguf *gguf = lap_gguf_create();
  lap_gguf_add_string(gguf, "general.architecture", "gemma2");
  lap_gguf_add_uint32(gguf, "count", 4000000000U);
  lap_gguf_add_float32(gguf, "rate", 0.1f);
  lap_gguf_add_bool(gguf, "flag", true);
  lap_gguf_add_string_array(gguf, "pieces", texts, 3);
  lap_gguf_add_float32_array(gguf, "scores", norm, 3);
  lap_gguf_add_tensor(gguf, "w", 2, 3, matrix);
  lap_gguf_add_tensor(gguf, "n", 0, 3, norm);
  lap_status status = {0};
  assert_int_equal(lap_gguf_write(gguf, path, &status), LAP_OK);
  lap_gguf_destroy(gguf);

  lap_gguf_file *file = open_file();
  size_t count;
  assert_int_equal(lap_gguf_version(file), 3);
  assert_string_equal(lap_gguf_find(file, "general.architecture")->text, "gemma2");
  assert_int_equal(lap_gguf_find(file, "count")->unsigned_value, 4000000000U);
  assert_true(lap_gguf_find(file, "rate")->real == (double)0.1f);
  assert_true(lap_gguf_find(file, "flag")->boolean);
  assert_int_equal(lap_gguf_find(file, "pieces")->count, 3);
  assert_string_equal(lap_gguf_find(file, "pieces")->type, "string");
  assert_string_equal(lap_gguf_find(file, "scores")->type, "float32");
  assert_null(lap_gguf_find(file, "rat"));
  lap_gguf_pairs(file, &count);
  assert_int_equal(count, 6);
  const lap_gguf_tensor *tensor = lap_gguf_tensors(file, &count);
  assert_int_equal(count, 2);
  assert_string_equal(tensor[0].name, "w");
  assert_string_equal(tensor[0].type, "F32");
  assert_int_equal(tensor[0].dimensions, 2);
  assert_int_equal(tensor[0].shape[0], 2);
  assert_int_equal(tensor[0].shape[1], 3);
  assert_int_equal(tensor[0].bytes, 24);
  float values[4];
  assert_int_equal(lap_gguf_read_float(&tensor[0], 1, 4, values, &status), LAP_OK);
  assert_memory_equal(values, matrix + 1, sizeof values);
  assert_int_equal(lap_gguf_read_float(&tensor[1], 0, 3, values, &status), LAP_OK);
  assert_memory_equal(values, norm, 3 * sizeof *values);
  lap_gguf_close(file);
}

/* Types 0 to 12 in order: the narrow ones at the ends of their ranges. */
static void every_type_of_value_is_read(void **state) {
  (void)state;
  static const struct {
    uint32_t type, size;
    uint64_t bits;
    int64_t is;
  } integers[] = {{0, 1, 0xff, 255},
                  {1, 1, 0x80, -128},
                  {2, 2, 0xfffe, 65534},
                  {3, 2, 0x8000, -32768},
                  {4, 4, 1U << 31, INT64_C(1) << 31},
                  {5, 4, 0xffffffff, -1},
                  {10, 8, 77, 77},
                  {11, 8, UINT64_MAX, -1}};
  enum { INTEGERS = sizeof integers / sizeof *integers };
  made m = header(2, 0, INTEGERS + 1);
  for (int i = 0; i < INTEGERS; ++i) {
    char key[8];
    snprintf(key, sizeof key, "k%d", i);
    put_text(&m, key);
    put32(&m, integers[i].type);
    put(&m, &integers[i].bits, integers[i].size);
  }
  const double real = -1e300;
  put_text(&m, "real");
  put32(&m, 12);
  put(&m, &real, sizeof real);
  finish(&m, 1, 0);
  lap_gguf_file *file = open_file();
  assert_int_equal(lap_gguf_version(file), 2);
  for (int i = 0; i < INTEGERS; ++i) {
    char key[8];
    snprintf(key, sizeof key, "k%d", i);
    const lap_gguf_pair *pair = lap_gguf_find(file, key);
    assert_int_equal(pair->kind, integers[i].type % 2 ? LAP_GGUF_SIGNED : LAP_GGUF_UNSIGNED);
    assert_true(pair->signed_value == integers[i].is);
  }
  assert_true(lap_gguf_find(file, "real")->real == real);
  lap_gguf_close(file);
}

/* Quantised tensors, halves, and a type of the future: sizes and places. */
static void tensors_of_other_types_are_placed(void **state) {
  (void)state;
  made m = header(3, 4, 1);
  put_text(&m, "general.alignment");
  put32(&m, 4);
  put32(&m, 64);
  put_tensor(&m, "later", 12, 2, 256, 64); /* Q4_K: 2 blocks of 144 bytes */
  put_tensor(&m, "halves", 1, 0, 3, 0);
  put_tensor(&m, "unknown", 999, 0, 5, 384);
  put_tensor(&m, "brain", 30, 0, 2, 448);
  finish(&m, 64, 448 + 4);
  static const uint16_t halves[3] = {0x3c00, 0xc000, 0x0001}; /* 1, -2, 2^-24 */
  memcpy(m.bytes + m.count - 448 - 4, halves, sizeof halves);
  m.bytes[m.count - 2] = 0x80; /* 1, as the second bfloat16 */
  m.bytes[m.count - 1] = 0x3f;
  finish(&m, 1, 0);
  lap_gguf_file *file = open_file();
  size_t count;
  const lap_gguf_tensor *tensor = lap_gguf_tensors(file, &count);
  assert_int_equal(count, 4);
  assert_string_equal(tensor[0].name, "halves");
  assert_true(tensor[0].plain);
  assert_string_equal(tensor[1].type, "Q4_K");
  assert_int_equal(tensor[1].bytes, 288);
  assert_false(tensor[1].plain);
  assert_null(tensor[2].type);
  assert_int_equal(tensor[2].bytes, -1);
  lap_status status;
  float values[3];
  assert_int_equal(lap_gguf_read_float(&tensor[3], 0, 2, values, &status), LAP_OK);
  assert_true(values[0] == 0 && values[1] == 1);
  assert_int_equal(lap_gguf_read_float(&tensor[0], 0, 3, values, &status), LAP_OK);
  assert_true(values[0] == 1 && values[1] == -2 && values[2] == 0x1p-24F);
  lap_gguf_close(file);
}

/* In whatever order the file names them. */
static void an_empty_tensor_shares_its_place_with_what_follows(void **state) {
  (void)state;
  for (int empty_is_first = 0; empty_is_first < 2; ++empty_is_first) {
    made m = header(3, 2, 0);
    if (empty_is_first) put_tensor(&m, "empty", 0, 0, 0, 0);
    put_tensor(&m, "full", 0, 0, 8, 0);
    if (!empty_is_first) put_tensor(&m, "empty", 0, 0, 0, 0);
    finish(&m, 32, 32);
    lap_gguf_file *file = open_file();
    size_t count;
    const lap_gguf_tensor *tensor = lap_gguf_tensors(file, &count);
    assert_int_equal(count, 2);
    assert_string_equal(tensor[0].name, "empty");
    assert_int_equal(tensor[0].elements, 0);
    assert_int_equal(tensor[1].offset, tensor[0].offset);
    lap_gguf_close(file);
  }
}

/* --- refusals --- */

static void what_is_not_gguf_is_refused(void **state) {
  (void)state;
  made m = {.count = 0};
  finish(&m, 1, 0);
  assert_refused("ends in the middle of its header");
  put(&m, "GGML____________________", 24);
  finish(&m, 1, 0);
  assert_refused("does not begin with GGUF");
  m = (made){.count = 0};
  put(&m, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", 59);
  finish(&m, 1, 0);
  assert_refused("git lfs pull");
  m = header(1, 0, 0);
  finish(&m, 1, 0);
  assert_refused("version 1; lapidary reads 2 and 3");
  m = header(0x03000000, 0, 0);
  finish(&m, 1, 0);
  assert_refused("big-endian");
}

static void lengths_that_the_file_does_not_have_are_refused(void **state) {
  (void)state;
  made m = header(3, 0, UINT64_C(1) << 60);
  finish(&m, 1, 0);
  assert_refused("keys; the file has 24 bytes");
  m = header(3, UINT64_C(1) << 60, 0);
  finish(&m, 1, 0);
  assert_refused("tensors; the file has 24 bytes");
  m = header(3, 0, 1);
  put64(&m, UINT64_MAX);
  put(&m, "key and more", 12);
  finish(&m, 1, 0);
  assert_refused("a string of 18446744073709551615 bytes");
  m = header(3, 0, 1);
  put_text(&m, "a");
  put32(&m, 9);
  put32(&m, 4);
  put64(&m, UINT64_C(1) << 62);
  finish(&m, 1, 0);
  assert_refused("key 'a': 4611686018427387904 elements");
  m = header(3, 0, 1);
  put_text(&m, "a");
  put32(&m, 9);
  put32(&m, 8);
  put64(&m, 1);
  put64(&m, 5);
  finish(&m, 1, 0);
  assert_refused("5 bytes are announced where 0 are left");
}

static void malformed_pairs_are_refused(void **state) {
  (void)state;
  static const struct {
    uint32_t type;
    const char *says;
  } cases[] = {{13, "type 13; expected 0 to 12"}, {7, "a bool is 2"}, {9, "an array of arrays"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    made m = header(3, 0, 1);
    put_text(&m, "a");
    put32(&m, cases[i].type);
    put32(&m, cases[i].type == 9 ? 9 : 2);
    put64(&m, 0);
    finish(&m, 1, 0);
    assert_refused(cases[i].says);
  }
  made m = header(3, 0, 1);
  put64(&m, 0);
  put64(&m, 0);
  finish(&m, 1, 0);
  assert_refused("a key or name of 0 bytes");
  m = header(3, 0, 1);
  put64(&m, 3);
  put(&m, "a\0b", 3);
  put32(&m, 0);
  put(&m, "1", 1);
  finish(&m, 1, 0);
  assert_refused("a key or name of 3 bytes, with a NUL");
  static const uint32_t alignments[] = {0, 48, 1 << 21};
  for (size_t i = 0; i < sizeof alignments / sizeof *alignments; ++i) {
    m = header(3, 0, 1);
    put_text(&m, "general.alignment");
    put32(&m, 4);
    put32(&m, alignments[i]);
    finish(&m, 1, 0);
    assert_refused("general.alignment: expected a power of two up to 1048576");
  }
}

/* 65535 bytes are the longest name that the format allows. */
static void the_longest_key_has_65535_bytes(void **state) {
  (void)state;
  for (uint64_t length = 65535; length <= 65536; ++length) {
    const made before = header(3, 0, 1);
    char *bytes = lap_allocate((int64_t)(before.count + 8 + length + 5), 1);
    memcpy(bytes, before.bytes, before.count);
    memcpy(bytes + before.count, &length, sizeof length);
    memset(bytes + before.count + 8, 'k', length);
    write_bytes(bytes, before.count + 8 + length + 5); /* the value: 0, as uint8 */
    free(bytes);
    if (length == 65535)
      lap_gguf_close(open_file());
    else
      assert_refused("a key or name of 65536 bytes; expected 1 to 65535");
  }
}

static void tensors_that_do_not_fit_are_refused(void **state) {
  (void)state;
  static const struct {
    uint32_t type;
    uint64_t rows, columns, offset;
    const char *says;
  } cases[] = {{0, 0, 9, 0, "has 36 bytes, of which the file has 32; is it the whole file?"},
               {0, 0, 8, 4, "begins at byte 4 of the data; expected a multiple of 32"},
               {0, 0, 1, 1 << 20, "begins at byte 1048576 of the data"},
               {2, 3, 33, 0, "rows of 33 elements; Q4_0 needs a multiple of 32"},
               {0, UINT64_C(1) << 40, UINT64_C(1) << 40, 0, "more elements than can be counted"},
               {0, 0, UINT64_C(1) << 62, 0, "more elements than can be counted"},
               {0, 0, UINT64_MAX, 0, "more elements than can be counted"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    made m = header(3, 1, 0);
    put_tensor(&m, "w", cases[i].type, cases[i].rows, cases[i].columns, cases[i].offset);
    finish(&m, 32, 32);
    assert_refused(cases[i].says);
  }
  made m = header(3, 2, 0);
  put_tensor(&m, "a", 0, 0, 9, 0);
  put_tensor(&m, "b", 0, 0, 1, 32);
  finish(&m, 32, 64);
  assert_refused("tensor 'b': begins inside the tensor before it");
  m = header(3, 1, 0);
  put_text(&m, "deep");
  put32(&m, LAP_GGUF_DIMENSIONS + 1);
  for (int i = 0; i <= LAP_GGUF_DIMENSIONS; ++i) put64(&m, 1);
  put32(&m, 0);
  put64(&m, 0);
  finish(&m, 32, 32);
  assert_refused("tensor 'deep': has 5 dimensions; expected at most 4");
}

/* Of a good file: every beginning, and bytes changed at random. */
static void damaged_files_are_read_or_refused(void **state) {
  (void)state;
  what_the_writer_wrote_comes_back(NULL);
  size_t count;
  char *good = scratch_read(path, &count);
  lap_gguf_file *file;
  lap_status status;
  for (size_t length = 0; length < count - 20; ++length) { /* the last tensor has 12 of 32 bytes */
    write_bytes(good, length);
    assert_int_equal(lap_gguf_open(path, &file, &status), LAP_DATA);
  }
  char *bad = lap_allocate((int64_t)count, 1);
  for (uint64_t round = 0; round < 1000; ++round) {
    memcpy(bad, good, count);
    for (uint64_t i = 0; i < 1 + round % 3; ++i) {
      const lap_random chance = lap_philox(7, LAP_PURPOSE_BENCH, i, round);
      bad[chance.word[0] % count] = (char)chance.word[1];
    }
    write_bytes(bad, count);
    if (lap_gguf_open(path, &file, &status) == LAP_OK)
      lap_gguf_close(file);
    else
      assert_non_null(strstr(status.message, path));
  }
  free(bad);
  free(good);
}

/* A disk that gets full on the way: files of this process may not grow. The message names the file
 * that was asked for, not the one it would have been made of. */
static void a_full_disk_is_said_of_the_file_that_was_asked_for(void **state) {
  (void)state;
  const char *full = scratch_path(directory, "full.gguf");
  char *expected = lap_format("%s: cannot be written", full);
  const int files = scratch_count(directory);
  scratch_limit_files(16);
  lap_status status = {0};
  lap_gguf *gguf = lap_gguf_create();
  lap_gguf_add_string(gguf, "general.architecture", "gemma2");
  const lap_code code = lap_gguf_write(gguf, full, &status);
  lap_gguf_destroy(gguf);
  scratch_limit_files(0);
  assert_int_equal(code, LAP_DATA);
  if (strncmp(status.message, expected, strlen(expected)) != 0) fail_msg("%s", status.message);
  assert_int_equal(scratch_count(directory), files);
  free(expected);
}

static void what_is_not_a_regular_file_is_refused(void **state) {
  (void)state;
  lap_gguf_file *file;
  lap_status status;
  assert_int_equal(lap_gguf_open(directory, &file, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "expected a regular file"));
  assert_int_equal(lap_gguf_open("/nowhere/x.gguf", &file, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "No such file"));
  enum { LONGEST_SECONDS = 20 };
  const char *pipe = scratch_path(directory, "pipe");
  assert_int_equal(mkfifo(pipe, 0666), 0);
  alarm(LONGEST_SECONDS); /* where the reader waits for somebody to write into the pipe */
  assert_int_equal(lap_gguf_open(pipe, &file, &status), LAP_DATA);
  alarm(0);
  assert_non_null(strstr(status.message, "expected a regular file"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_the_writer_wrote_comes_back),
      cmocka_unit_test(every_type_of_value_is_read),
      cmocka_unit_test(tensors_of_other_types_are_placed),
      cmocka_unit_test(an_empty_tensor_shares_its_place_with_what_follows),
      cmocka_unit_test(what_is_not_gguf_is_refused),
      cmocka_unit_test(lengths_that_the_file_does_not_have_are_refused),
      cmocka_unit_test(malformed_pairs_are_refused),
      cmocka_unit_test(the_longest_key_has_65535_bytes),
      cmocka_unit_test(tensors_that_do_not_fit_are_refused),
      cmocka_unit_test(damaged_files_are_read_or_refused),
      cmocka_unit_test(a_full_disk_is_said_of_the_file_that_was_asked_for),
      cmocka_unit_test(what_is_not_a_regular_file_is_refused),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
