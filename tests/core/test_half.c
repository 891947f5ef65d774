/* half: all 65536 patterns of both formats; HDF5's own conversion is the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <hdf5.h>
#include <math.h>

#include "core/half.h"

enum { PATTERNS = 1 << 16 };

/* A format of 16 bits with this many of them in its exponent. */
static void compare(size_t exponent_bits, size_t bias,
                    void (*unpack)(const uint16_t *packed, int64_t count, float *x)) {
  static uint16_t packed[PATTERNS];
  static float ours[PATTERNS], reference[PATTERNS];
  const size_t mantissa_bits = 15 - exponent_bits;
  for (int i = 0; i < PATTERNS; ++i) packed[i] = (uint16_t)i;
  unpack(packed, PATTERNS, ours);
  memcpy(reference, packed, sizeof packed);
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  assert_true(H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits) >= 0);
  assert_true(H5Tset_size(type, 2) >= 0 && H5Tset_ebias(type, bias) >= 0);
  assert_true(H5Tconvert(type, H5T_NATIVE_FLOAT, PATTERNS, reference, NULL, H5P_DEFAULT) >= 0);
  H5Tclose(type);
  for (int i = 0; i < PATTERNS; ++i) {
    if (isnan(reference[i]))
      assert_true(isnan(ours[i]) && (signbit(ours[i]) != 0) == (i >= 1 << 15));
    else
      assert_memory_equal(&ours[i], &reference[i], sizeof *ours);
  }
}

static void every_half_is_unpacked_as_hdf5_does_it(void **state) {
  (void)state;
  compare(5, 15, lap_float16_unpack);
}

static void every_bfloat16_is_unpacked_as_hdf5_does_it(void **state) {
  (void)state;
  compare(8, 127, lap_bfloat16_unpack);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_is_unpacked_as_hdf5_does_it),
      cmocka_unit_test(every_bfloat16_is_unpacked_as_hdf5_does_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
