/* half: exact one way, nearest-even the other; HDF5's own conversion is the judge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "teacher/cache_file.h"
#include "teacher/half.h"

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

static void every_half_comes_back_from_its_float(void **state) {
  (void)state;
  static uint16_t half[HALVES], again[HALVES];
  static float x[HALVES];
  for (int i = 0; i < HALVES; ++i) half[i] = (uint16_t)i;
  lap_half_unpack(half, HALVES, x);
  lap_half_pack(x, HALVES, again);
  for (int i = 0; i < HALVES; ++i)
    if (!isnan(x[i])) assert_int_equal(again[i], half[i]);
}

/* The nearest of two neighbours, and the even one in the middle, wherever in the range. */
static void floats_go_to_the_nearest_half_and_ties_to_even(void **state) {
  (void)state;
  for (uint32_t low = 0; low < 0x7bff; ++low) {
    const uint16_t pair[2] = {(uint16_t)low, (uint16_t)(low + 1)};
    float ends[2];
    lap_half_unpack(pair, 2, ends);
    const float middle = (ends[0] + ends[1]) / 2;
    const float x[3] = {nextafterf(middle, 0), middle, nextafterf(middle, INFINITY)};
    uint16_t packed[3];
    lap_half_pack(x, 3, packed);
    assert_int_equal(packed[0], low);
    assert_int_equal(packed[1], low & 1 ? low + 1 : low);
    assert_int_equal(packed[2], low + 1);
  }
}

static void what_does_not_fit_is_infinite_and_nan_stays(void **state) {
  (void)state;
  const float x[6] = {65519.0f, 65520.0f, -1e30f, -INFINITY, NAN, -0.0f};
  uint16_t packed[6];
  lap_half_pack(x, 6, packed);
  assert_int_equal(packed[0], 0x7bff);
  assert_int_equal(packed[1], 0x7c00);
  assert_int_equal(packed[2], 0xfc00);
  assert_int_equal(packed[3], 0xfc00);
  assert_true((packed[4] & 0x7c00) == 0x7c00 && (packed[4] & 0x3ff) != 0);
  assert_int_equal(packed[5], 0x8000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_is_unpacked_as_hdf5_does_it),
      cmocka_unit_test(every_half_comes_back_from_its_float),
      cmocka_unit_test(floats_go_to_the_nearest_half_and_ties_to_even),
      cmocka_unit_test(what_does_not_fit_is_infinite_and_nan_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
