/* measure: the bytes that rows would take in a file are those that they take in the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/teacher/synthetic.h"

enum { ROWS = 990 };

static uint64_t bytes_of_datasets(const char *path) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  H5G_info_t group;
  uint64_t bytes = 0;
  assert_true(H5Gget_info(file, &group) >= 0);
  for (hsize_t i = 0; i < group.nlinks; ++i) {
    char name[64];
    assert_true(H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name,
                                   H5P_DEFAULT) > 0);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    assert_true(dataset >= 0);
    bytes += H5Dget_storage_size(dataset);
    H5Dclose(dataset);
  }
  H5Fclose(file);
  return bytes;
}

static void what_is_measured_is_what_is_written(void **state) {
  (void)state;
  synthetic made;
  synthetic_create(&made, 2, ROWS);
  for (size_t s = 0; s < 2; ++s) {
    lap_cache_content content;
    synthetic_content(&made, s, &content);
    uint64_t bytes = 1; /* not added to */
    lap_status status = {0};
    assert_int_equal(
        lap_cache_measure(&made.schema, made.tokens.shard[s], &content, &bytes, &status), LAP_OK);
    assert_int_equal(H5Fget_obj_count((hid_t)H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    const char *path = synthetic_write(&made, s, "written.h5", &content);
    assert_true(bytes > 0);
    assert_int_equal(bytes, bytes_of_datasets(path));
    lap_cache_content_destroy(&content);
  }
  synthetic_destroy(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_measured_is_what_is_written)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
