/* half: exact; HDF5's own conversion is the judge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "core/half.h"
#include "teacher/cache_file.h"

enum { HALVES = 1 << 16 };

static void every_half_is_unpacked_as_hdf5_does_it(void **state) {
  (void)state;
  static uint16_t half[HALVES];
  static float ours[HALVES], theirs[HALVES];
  for (int i = 0; i < HALVES; ++i) half[i] = (uint16_t)i;
  lap_half_unpack(half, HALVES, ours);
  memcpy(theirs, half, sizeof half);
  const hid_t type = lap_cache_half_type();
  assert_true(H5Tconvert(type, H5T_NATIVE_FLOAT, HALVES, theirs, NULL, H5P_DEFAULT) >= 0);
  H5Tclose(type);
  for (int i = 0; i < HALVES; ++i) {
    if (isnan(theirs[i]))
      assert_true(isnan(ours[i]));
    else
      assert_memory_equal(&ours[i], &theirs[i], sizeof *ours);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_is_unpacked_as_hdf5_does_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
