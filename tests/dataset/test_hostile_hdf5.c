/* hostile_hdf5: files on which HDF5 1.10 itself crashes, loops or wants all memory: a message, no
 * more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hdf5.h>

#include "dataset/hdf5_file.h"
#include "dataset/token_shard.h"
#include "tests/scratch.h"

static const char HEX[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static int make_directory(void **state) {
  *state = scratch_create();
  return 0;
}

static int remove_directory(void **state) {
  scratch_remove(*state);
  return 0;
}

static void write_attribute(hid_t file, const char *name, hid_t type, const void *value) {
  const hid_t space = H5Screate(H5S_SCALAR);
  const hid_t id = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Awrite(id, type, value) >= 0);
  H5Aclose(id);
  H5Sclose(space);
}

static void write_text(hid_t file, const char *name, const char *text) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  write_attribute(file, name, type, &text);
  H5Tclose(type);
}

/* A shard as h5py writes it, up to its datasets: texts lie in the global heap. */
static hid_t create_shard(const char *path) {
  const int64_t version = 1, vocab_size = 10;
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  write_text(file, "format", "lapidary-tokens");
  write_attribute(file, "format_version", H5T_NATIVE_INT64, &version);
  write_attribute(file, "vocab_size", H5T_NATIVE_INT64, &vocab_size);
  write_text(file, "tokenizer_sha256", HEX);
  write_text(file, "tokens_sha256", HEX);
  return file;
}

static void assert_refused(const char *path, const char *says) {
  lap_token_shard *shard;
  lap_status status = {0};
  assert_int_equal(lap_token_shard_open(path, &shard, &status), LAP_DATA);
  assert_null(shard);
  if (!strstr(status.message, path) || !strstr(status.message, says))
    fail_msg("\"%s\" does not say \"%s\"", status.message, says);
}

/* Sets the size of the first object of the global heap: 16 bytes of the heap's header, then index,
 * reference count and four more bytes. */
static const char *with_heap_object_of(const char *directory, uint64_t size) {
  static const char signature[] = "GCOL";
  enum { HEADER = 16, SIZE = 8 };
  const char *path = scratch_path(directory, "heap.h5");
  H5Fclose(create_shard(path));
  size_t count, at = 0;
  char *bytes = scratch_read(path, &count);
  while (at + HEADER < count && memcmp(bytes + at, signature, 4) != 0) ++at;
  assert_true(at + HEADER + 2 * SIZE < count);
  memcpy(bytes + at + HEADER + SIZE, &size, sizeof size);
  path = scratch_write(directory, "heap.h5", bytes, count);
  free(bytes);
  return path;
}

static void a_heap_that_makes_hdf5_loop_is_refused(void **state) {
  const uint64_t ends_where_it_begins = UINT64_MAX - 15;
  assert_refused(with_heap_object_of(*state, ends_where_it_begins), "HDF5 did not finish with it");
}

static void a_heap_that_makes_hdf5_read_beyond_it_is_refused(void **state) {
  assert_refused(with_heap_object_of(*state, 900 << 20), "HDF5 crashed on it");
}

static const char *with_tokens(const char *directory, hsize_t count, hsize_t chunk) {
  const char *path = scratch_path(directory, "claims.h5");
  const hid_t file = create_shard(path), creation = H5Pcreate(H5P_DATASET_CREATE);
  const hid_t space = H5Screate_simple(1, &count, NULL);
  H5Pset_chunk(creation, 1, &chunk);
  const hid_t id =
      H5Dcreate2(file, "tokens", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(id >= 0); /* not a token of it is written */
  H5Dclose(id);
  H5Sclose(space);
  H5Pclose(creation);
  H5Fclose(file);
  return path;
}

static void a_small_file_cannot_claim_all_memory(void **state) {
  assert_refused(with_tokens(*state, UINT64_C(1) << 30, 1 << 16), "needs more than");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_heap_that_makes_hdf5_loop_is_refused),
      cmocka_unit_test(a_heap_that_makes_hdf5_read_beyond_it_is_refused),
      cmocka_unit_test(a_small_file_cannot_claim_all_memory),
  };
  return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
