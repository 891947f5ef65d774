/* safetensors: what is written comes back, and no bytes whatsoever do more than be refused. */
#include <math.h>
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
#include "core/philox.h"
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/hf/safetensors.h"

static char *directory;
static char path[512];

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  snprintf(path, sizeof path, "%s/file.safetensors", directory);
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

/* Without lap_file_write's fsync: there are thousands. */
static void write_bytes(const void *bytes, size_t count) {
  scratch_write(directory, "file.safetensors", bytes, count);
}

/* A file of a header that announces `announced` bytes (its own length: -1) and zeroed data. */
static void write_file(const char *header, size_t length, long announced, size_t data_bytes) {
  char *bytes = lap_allocate(8 + length + data_bytes, 1);
  const uint64_t count = announced < 0 ? length : (uint64_t)announced;
  memcpy(bytes, &count, sizeof count);
  memcpy(bytes + 8, header, length);
  write_bytes(bytes, 8 + length + data_bytes);
  free(bytes);
}

static lap_safetensors *open_file(void) {
  lap_status status = {0};
  lap_safetensors *file;
  if (lap_safetensors_open(path, &file, &status) != LAP_OK) fail_msg("%s", status.message);
  return file;
}

static void assert_refused(const char *fragment) {
  lap_status status = {0};
  lap_safetensors *file;
  const lap_code code = lap_safetensors_open(path, &file, &status);
  assert_refusal(code, LAP_DATA, &status, path, fragment);
  assert_null(file);
}

/* --- round trip --- */

static const double wide[] = {0.1, -1e300, 5e-324};
static const float narrow[] = {0.1f, -2.5f, 1e-45f, 3e38f, 7, 8};
static const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x03ff, 0x0400, 0x7c00};
static const uint16_t brain[] = {0x3f80, 0xc0a0, 0x0001, 0x7f7f};
static const int64_t longs[] = {-1, INT64_C(1) << 40};
static const int32_t words[] = {INT32_MIN, INT32_MAX};
static const int16_t shorts[] = {-300, 300};
static const int8_t signed_bytes[] = {-128, 127};
static const uint8_t unsigned_bytes[] = {0, 255};
static const uint16_t unsigned_shorts[] = {0, 65535};
static const uint32_t unsigned_words[] = {INT32_MAX, UINT32_MAX};
static const uint64_t unsigned_longs[] = {7, UINT64_MAX};

static const lap_safetensors_source sources[] = {
    {"unsigned", LAP_DTYPE_U8, 1, {2}, unsigned_bytes},
    {"bytes", LAP_DTYPE_I8, 1, {2}, signed_bytes},
    {"shorts", LAP_DTYPE_I16, 1, {2}, shorts},
    {"words", LAP_DTYPE_I32, 1, {2}, words},
    {"longs", LAP_DTYPE_I64, 2, {1, 2}, longs},
    {"unsigned shorts", LAP_DTYPE_U16, 1, {2}, unsigned_shorts},
    {"unsigned words", LAP_DTYPE_U32, 1, {2}, unsigned_words},
    {"unsigned longs", LAP_DTYPE_U64, 1, {2}, unsigned_longs},
    {"quarter", LAP_DTYPE_F8_E4M3, 1, {2}, unsigned_bytes},
    {"complex", LAP_DTYPE_C64, 1, {1}, unsigned_longs},
    {"brain", LAP_DTYPE_BF16, 1, {4}, brain},
    {"half", LAP_DTYPE_F16, 1, {7}, half},
    {"narrow", LAP_DTYPE_F32, 3, {1, 2, 3}, narrow},
    {"wide", LAP_DTYPE_F64, 1, {3}, wide},
    {"truth", LAP_DTYPE_BOOL, 1, {2}, unsigned_bytes},
    {"empty", LAP_DTYPE_F32, 2, {0, 5}, NULL},
    {"scalar", LAP_DTYPE_F32, 0, {0}, narrow},
};
enum { SOURCES = sizeof sources / sizeof *sources };

static void write_sources(void) {
  lap_status status = {0};
  if (lap_safetensors_write(path, sources, SOURCES, &status) != LAP_OK)
    fail_msg("%s", status.message);
}

static void what_is_written_comes_back(void **state) {
  (void)state;
  write_sources();
  lap_safetensors *file = open_file();
  lap_status status = {0};
  size_t count;
  const lap_safetensors_tensor *all = lap_safetensors_tensors(file, &count);
  assert_int_equal(count, SOURCES);
  for (size_t i = 1; i < count; ++i) assert_true(strcmp(all[i - 1].name, all[i].name) < 0);
  for (size_t i = 0; i < SOURCES; ++i) {
    const lap_safetensors_tensor *tensor = lap_safetensors_find(file, sources[i].name);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, sources[i].dtype);
    assert_int_equal(
        lap_safetensors_check_shape(tensor, sources[i].dimensions, sources[i].shape, &status),
        LAP_OK);
    assert_int_equal(tensor->offset % (int64_t)lap_dtype_size(tensor->dtype), 0);
  }
  assert_null(lap_safetensors_find(file, "absent"));
  assert_null(lap_safetensors_find(file, "__metadata__"));
  double d[3];
  float f[6];
  int32_t n[2];
  assert_int_equal(
      lap_safetensors_read_double(lap_safetensors_find(file, "wide"), 0, 3, d, &status), LAP_OK);
  assert_memory_equal(d, wide, sizeof wide);
  assert_int_equal(
      lap_safetensors_read_float(lap_safetensors_find(file, "narrow"), 0, 6, f, &status), LAP_OK);
  assert_memory_equal(f, narrow, sizeof narrow);
  assert_int_equal(
      lap_safetensors_read_float(lap_safetensors_find(file, "narrow"), 4, 2, f, &status), LAP_OK);
  assert_memory_equal(f, narrow + 4, 2 * sizeof *f);
  assert_int_equal(lap_safetensors_read_float(lap_safetensors_find(file, "wide"), 0, 1, f, &status),
                   LAP_OK);
  assert_true(f[0] == 0.1f);
  static const struct {
    const char *name;
    int32_t first, second;
  } integers[] = {{"words", INT32_MIN, INT32_MAX},
                  {"shorts", -300, 300},
                  {"bytes", -128, 127},
                  {"unsigned shorts", 0, 65535},
                  {"unsigned", 0, 255}};
  for (size_t i = 0; i < sizeof integers / sizeof *integers; ++i) {
    const lap_safetensors_tensor *tensor = lap_safetensors_find(file, integers[i].name);
    assert_int_equal(lap_safetensors_read_int32(tensor, 0, 2, n, &status), LAP_OK);
    assert_int_equal(n[0], integers[i].first);
    assert_int_equal(n[1], integers[i].second);
  }
  lap_safetensors_close(file);
}

static void half_precision_is_widened_exactly(void **state) {
  (void)state;
  write_sources();
  lap_safetensors *file = open_file();
  lap_status status = {0};
  static const double half_values[] = {1, -2, 0x1p-24, 65504, 1023 * 0x1p-24, 0x1p-14, INFINITY};
  double d[7];
  float f[7];
  const lap_safetensors_tensor *tensor = lap_safetensors_find(file, "half");
  assert_int_equal(lap_safetensors_read_double(tensor, 0, 7, d, &status), LAP_OK);
  assert_int_equal(lap_safetensors_read_float(tensor, 0, 7, f, &status), LAP_OK);
  for (int i = 0; i < 7; ++i) {
    assert_true(d[i] == half_values[i]);
    assert_true((double)f[i] == half_values[i]);
  }
  static const double brain_values[] = {1, -5, 0x1p-133, 0x1.fep127};
  tensor = lap_safetensors_find(file, "brain");
  assert_int_equal(lap_safetensors_read_double(tensor, 0, 4, d, &status), LAP_OK);
  for (int i = 0; i < 4; ++i) assert_true(d[i] == brain_values[i]);
  lap_safetensors_close(file);
}

static void values_of_another_kind_are_refused(void **state) {
  (void)state;
  write_sources();
  lap_safetensors *file = open_file();
  lap_status status = {0};
  float f[7];
  int32_t n[7];
  assert_int_equal(
      lap_safetensors_read_float(lap_safetensors_find(file, "words"), 0, 2, f, &status), LAP_DATA);
  assert_non_null(strstr(status.message,
                         "tensor 'words': expected floating-point numbers, found "
                         "dtype I32"));
  assert_int_equal(lap_safetensors_read_int32(lap_safetensors_find(file, "half"), 0, 2, n, &status),
                   LAP_DATA);
  assert_int_equal(
      lap_safetensors_read_int32(lap_safetensors_find(file, "truth"), 0, 2, n, &status), LAP_DATA);
  assert_int_equal(
      lap_safetensors_read_int32(lap_safetensors_find(file, "longs"), 0, 2, n, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "'longs': element 1 is 1099511627776"));
  assert_int_equal(
      lap_safetensors_read_int32(lap_safetensors_find(file, "unsigned words"), 0, 2, n, &status),
      LAP_DATA);
  assert_non_null(strstr(status.message, "'unsigned words': element 1 is 4294967295"));
  assert_int_equal(
      lap_safetensors_read_int32(lap_safetensors_find(file, "unsigned longs"), 0, 2, n, &status),
      LAP_DATA);
  assert_int_equal(
      lap_safetensors_read_float(lap_safetensors_find(file, "quarter"), 0, 2, f, &status),
      LAP_DATA);
  assert_int_equal(
      lap_safetensors_read_int32(lap_safetensors_find(file, "quarter"), 0, 2, n, &status),
      LAP_DATA);
  static const int64_t shape[] = {3, 2, 1};
  assert_int_equal(
      lap_safetensors_check_shape(lap_safetensors_find(file, "narrow"), 3, shape, &status),
      LAP_DATA);
  assert_non_null(strstr(status.message, "expected shape [3, 2, 1], found [1, 2, 3]"));
  lap_safetensors_close(file);
}

static void a_large_tensor_is_read_across_chunks(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  static float values[COUNT], read[COUNT];
  for (int i = 0; i < COUNT; ++i) values[i] = (float)i;
  const lap_safetensors_source source = {"x", LAP_DTYPE_F32, 1, {COUNT}, values};
  lap_status status = {0};
  assert_int_equal(lap_safetensors_write(path, &source, 1, &status), LAP_OK);
  lap_safetensors *file = open_file();
  const lap_safetensors_tensor *tensor = lap_safetensors_find(file, "x");
  assert_int_equal(lap_safetensors_read_float(tensor, 0, COUNT, read, &status), LAP_OK);
  assert_memory_equal(read, values, sizeof values);
  assert_int_equal(truncate(path, 40000), 0); /* under the reader's feet */
  assert_int_equal(lap_safetensors_read_float(tensor, 0, COUNT, read, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "became shorter"));
  lap_safetensors_close(file);
}

static void the_written_header_is_what_others_expect(void **state) {
  (void)state;
  const lap_safetensors_source pair[] = {{"b", LAP_DTYPE_F32, 1, {2}, narrow},
                                         {"a", LAP_DTYPE_F32, 2, {1, 1}, narrow}};
  lap_status status = {0};
  assert_int_equal(lap_safetensors_write(path, pair, 2, &status), LAP_OK);
  char *text;
  size_t count;
  assert_int_equal(lap_file_read(path, 4096, &text, &count, &status), LAP_OK);
  static const char expected[] =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[0,4]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}";
  uint64_t length;
  memcpy(&length, text, sizeof length);
  assert_int_equal(length % 8, 0);
  assert_int_equal(count, 8 + length + 12);
  assert_memory_equal(text + 8, expected, sizeof expected - 1);
  for (size_t i = sizeof expected - 1; i < length; ++i) assert_int_equal(text[8 + i], ' ');
  free(text);
}

static void a_failed_write_leaves_nothing(void **state) {
  (void)state;
  char *file = lap_format("%s/file", directory), *below = lap_format("%s/file/x", directory);
  char *taken = lap_format("%s/taken", directory);
  lap_status status = {0};
  assert_int_equal(lap_file_write(file, "x", 1, &status), LAP_OK);
  assert_int_equal(lap_safetensors_write(below, sources, SOURCES, &status), LAP_DATA);
  assert_non_null(strstr(status.message, file));
  assert_int_equal(mkdir(taken, 0777), 0); /* a directory cannot be replaced by a file */
  assert_int_equal(lap_safetensors_write(taken, sources, SOURCES, &status), LAP_DATA);
  assert_int_equal(rmdir(taken), 0);
  char *temporary = lap_format("%s.tmp.%d.0", taken, (int)getpid());
  assert_false(lap_file_exists(temporary));
  free(temporary);
  free(taken);
  free(below);
  free(file);
}

/* A disk that gets full on the way: files of this process may not grow. The message names the file
 * that was asked for, not the one it would have been made of. */
static void a_full_disk_is_said_of_the_file_that_was_asked_for(void **state) {
  (void)state;
  const char *full = scratch_path(directory, "full");
  char *expected = lap_format("%s: cannot be written", full);
  const int files = scratch_count(directory);
  scratch_limit_files(16);
  lap_status status = {0};
  const lap_code code = lap_safetensors_write(full, sources, SOURCES, &status);
  scratch_limit_files(0);
  assert_int_equal(code, LAP_DATA);
  if (strncmp(status.message, expected, strlen(expected)) != 0) fail_msg("%s", status.message);
  assert_int_equal(scratch_count(directory), files);
  free(expected);
}

/* --- hostile files --- */

#define TENSOR(fields) "{\"x\":{" fields "}}"
#define F32(shape, offsets) \
  TENSOR("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets)

static void malformed_headers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data_bytes;
    const char *fragment;
  } bad[] = {
      {"", 0, "does not begin with {"},
      {" {}", 0, "does not begin with {"},
      {"[]", 0, "does not begin with {"},
      {"{", 0, "header is not valid"},
      {"{}x", 0, "header is not valid"},
      {"{\"x\":1}", 0, "tensor 'x': expected exactly dtype, shape and data_offsets"},
      {"{\"x\\u0000y\":1}", 0, "header is not valid"},
      {"{\"\xff\":1}", 0, "header is not valid"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "'__metadata__': expected an object of strings"},
      {"{\"__metadata__\":[]}", 0, "'__metadata__': expected an object of strings"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate"},
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
       "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
       8, "duplicate"},
      {TENSOR("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4,
       "duplicate"},
      {TENSOR("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "expected exactly"},
      {TENSOR("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1"), 4,
       "expected exactly"},
      {TENSOR("\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "expected exactly"},
      {TENSOR("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "unknown dtype 'F31'"},
      {F32("1", "[0,4]"), 4, "expected a shape"},
      {F32("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "at most 8 dimensions"},
      {F32("[-1]", "[0,4]"), 4, "dimension 0 of its shape is not a count"},
      {F32("[1,1.0]", "[0,4]"), 4, "dimension 1 of its shape is not a count"},
      {F32("[\"1\"]", "[0,4]"), 4, "is not a count"},
      {F32("[4294967296,4294967296]", "[0,4]"), 4, "more elements than can be counted"},
      {F32("[4611686018427387904]", "[0,0]"), 0, "do not have that size"},
      {F32("[99999999999999999999]", "[0,4]"), 4, "header is not valid"},
      {F32("[1]", "[0]"), 4, "data_offsets of two integers"},
      {F32("[1]", "[0,4,8]"), 4, "data_offsets of two integers"},
      {F32("[1]", "{}"), 4, "data_offsets of two integers"},
      {F32("[1]", "[0,4.0]"), 4, "data_offsets of two integers"},
      {F32("[1]", "[-4,0]"), 4, "data_offsets are [-4, 0]"},
      {F32("[1]", "[4,0]"), 4, "data_offsets are [4, 0]"},
      {F32("[2]", "[0,8]"), 4, "the file has 4 bytes of data"},
      {F32("[1]", "[0,9223372036854775807]"), 4, "the file has 4 bytes of data"},
      {F32("[2]", "[0,4]"), 4, "2 elements of F32 do not have that size"},
      {F32("[1]", "[4,8]"), 8, "begins at byte 4 of the data; expected 0"},
      {F32("[1]", "[0,4]"), 5, "has 5 bytes of data, of which its tensors own 4"},
      {"{}", 1, "of which its tensors own 0"},
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
       "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
       8, "'y' begins at byte 4 of the data; expected 8"},
      {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
       "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
       12, "'y' begins at byte 8 of the data; expected 4"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    write_file(bad[i].header, strlen(bad[i].header), -1, bad[i].data_bytes);
    assert_refused(bad[i].fragment);
  }
  static const char *const good[] = {"{}", "{}   ", "{\"__metadata__\":{\"a\":\"b\"}}",
                                     F32("[0,9]", "[0,0]")};
  for (size_t i = 0; i < sizeof good / sizeof *good; ++i) {
    write_file(good[i], strlen(good[i]), -1, 0);
    lap_safetensors_close(open_file());
  }
}

static void a_wrong_header_length_is_refused_before_memory_is_taken(void **state) {
  (void)state;
  write_bytes("", 0);
  assert_refused("is 0 bytes long");
  write_bytes("1234567", 7);
  assert_refused("is 7 bytes long");
  write_file("{}", 2, 3, 0);
  assert_refused("announce a header of 3 bytes");
  write_file("{}", 2, 1L << 62, 0);
  assert_refused("announce a header");
  write_file("{}", 2, 100000001, 0);
  assert_int_equal(truncate(path, INT64_C(1) << 32), 0); /* long enough, by a hole */
  assert_refused("a header at most 100000000");
}

/* What a clone without Git LFS has. */
static void a_file_that_was_not_fetched_is_called_so(void **state) {
  (void)state;
  static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n";
  write_bytes(pointer, sizeof pointer - 1);
  assert_refused("git lfs pull");
  write_bytes(pointer, 30);
  assert_refused("announce a header");
}

static void deep_nesting_is_refused(void **state) {
  (void)state;
  enum { DEPTH = 1 << 20 };
  char *header = lap_allocate(DEPTH + 6, 1);
  memcpy(header, "{\"x\":", 5);
  memset(header + 5, '[', DEPTH);
  write_file(header, DEPTH + 5, -1, 0);
  free(header);
  assert_refused("header is not valid");
}

static void a_header_of_millions_of_values_is_refused_unparsed(void **state) {
  (void)state;
  enum { LENGTH = 10 << 20 };
  char *header = lap_allocate(LENGTH, 1);
  for (int i = 0; i < LENGTH; ++i) header[i] = i % 2 ? ',' : '1';
  memcpy(header, "{\"x\":[", 6);
  write_file(header, LENGTH, -1, 0);
  free(header);
  assert_refused("5242880 values; expected at most 2097152");
}

static void what_is_not_a_regular_file_is_refused(void **state) {
  (void)state;
  unlink(path);
  assert_refused("cannot be opened");
  assert_int_equal(mkdir(path, 0777), 0);
  assert_refused("expected a regular file");
  assert_int_equal(rmdir(path), 0);
  assert_int_equal(mkfifo(path, 0666), 0);
  assert_refused("expected a regular file");
  assert_int_equal(unlink(path), 0);
}

/* Reads every value of every tensor in every way. */
static void read_everything(const lap_safetensors *file) {
  size_t count;
  lap_status status = {0};
  const lap_safetensors_tensor *all = lap_safetensors_tensors(file, &count);
  for (size_t i = 0; i < count; ++i) {
    const size_t elements = (size_t)all[i].elements;
    double *values = lap_allocate(elements, sizeof *values);
    lap_safetensors_read_double(&all[i], 0, all[i].elements, values, &status);
    lap_safetensors_read_float(&all[i], 0, all[i].elements, (float *)values, &status);
    lap_safetensors_read_int32(&all[i], 0, all[i].elements, (int32_t *)values, &status);
    free(values);
  }
}

/* Files that differ from a valid one by a few bytes; under the sanitizers, reading outside shows.
 */
static void random_damage_never_does_more_than_be_refused(void **state) {
  (void)state;
  enum { ROUNDS = 3000 };
  static const char letters[] = "0123456789-.,:[]{}\"\\ eFIU\n";
  write_sources();
  char *original;
  size_t length;
  lap_status status = {0};
  assert_int_equal(lap_file_read(path, 1 << 20, &original, &length, &status), LAP_OK);
  char *damaged = lap_allocate(length, 1);
  int accepted = 0, refused = 0;
  for (uint64_t round = 0; round < ROUNDS; ++round) {
    const lap_random draw = lap_philox(7, LAP_PURPOSE_BENCH, 1, round);
    size_t kept = length;
    memcpy(damaged, original, length);
    for (uint32_t i = 0; i <= draw.word[0] % 3; ++i) {
      const lap_random at = lap_philox(7, LAP_PURPOSE_BENCH, 2 + i, round);
      damaged[at.word[0] % length] =
          at.word[1] % 4 ? letters[at.word[2] % (sizeof letters - 1)] : (char)at.word[2];
    }
    if (draw.word[1] % 8 == 0) kept = draw.word[2] % length;
    write_bytes(damaged, kept);
    lap_safetensors *file;
    status = (lap_status){0};
    const lap_code code = lap_safetensors_open(path, &file, &status);
    if (code == LAP_OK) {
      ++accepted;
      read_everything(file);
      lap_safetensors_close(file);
    } else {
      ++refused;
      assert_int_equal(code, LAP_DATA);
      assert_non_null(strstr(status.message, path));
    }
  }
  assert_true(accepted > 0 && refused > ROUNDS / 2);
  free(damaged);
  free(original);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_comes_back),
      cmocka_unit_test(half_precision_is_widened_exactly),
      cmocka_unit_test(values_of_another_kind_are_refused),
      cmocka_unit_test(a_large_tensor_is_read_across_chunks),
      cmocka_unit_test(the_written_header_is_what_others_expect),
      cmocka_unit_test(a_failed_write_leaves_nothing),
      cmocka_unit_test(a_full_disk_is_said_of_the_file_that_was_asked_for),
      cmocka_unit_test(malformed_headers_are_refused),
      cmocka_unit_test(a_wrong_header_length_is_refused_before_memory_is_taken),
      cmocka_unit_test(a_file_that_was_not_fetched_is_called_so),
      cmocka_unit_test(deep_nesting_is_refused),
      cmocka_unit_test(a_header_of_millions_of_values_is_refused_unparsed),
      cmocka_unit_test(what_is_not_a_regular_file_is_refused),
      cmocka_unit_test(random_damage_never_does_more_than_be_refused),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
