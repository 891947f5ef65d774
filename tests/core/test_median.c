/* median: of odd and even numbers of values, in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/median.h"

static void as_many_lie_above_as_below(void **state) {
  (void)state;
  double one[] = {3}, two[] = {4, 1}, three[] = {9, -1, 2}, six[] = {5, 1, 7, 1, 2, 30};
  assert_float_equal(lap_median(one, 1), 3, 0);
  assert_float_equal(lap_median(two, 2), 2.5, 0);
  assert_float_equal(lap_median(three, 3), 2, 0);
  assert_float_equal(lap_median(six, 6), 3.5, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_many_lie_above_as_below),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
