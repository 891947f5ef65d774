/* memorise: the distance between two texts, by hand and against the definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "trainer/measure/memorise.h"

static int64_t smallest(int64_t a, int64_t b, int64_t c) {
  const int64_t low = a < b ? a : b;
  return low < c ? low : c;
}

/* The definition, which tries everything. */
static int64_t slowly(const int32_t *a, int64_t n, const int32_t *b, int64_t m) {
  if (n == 0 || m == 0) return n + m;
  if (a[0] == b[0]) return slowly(a + 1, n - 1, b + 1, m - 1);
  return 1 + smallest(slowly(a + 1, n - 1, b, m), slowly(a, n, b + 1, m - 1),
                      slowly(a + 1, n - 1, b + 1, m - 1));
}

static void by_hand(void **state) {
  (void)state;
  const int32_t kitten[] = {'k', 'i', 't', 't', 'e', 'n'};
  const int32_t sitting[] = {'s', 'i', 't', 't', 'i', 'n', 'g'};
  assert_int_equal(lap_edit_distance(kitten, 6, sitting, 7), 3);
  assert_int_equal(lap_edit_distance(kitten, 6, kitten, 6), 0);
  assert_int_equal(lap_edit_distance(kitten, 0, sitting, 7), 7);
  assert_int_equal(lap_edit_distance(kitten, 6, sitting, 0), 6);
}

static void random_ones_as_the_definition_has_them(void **state) {
  (void)state;
  srand(1);
  for (int trial = 0; trial < 500; ++trial) {
    int32_t a[7], b[7];
    for (int i = 0; i < 7; ++i) a[i] = rand() % 3, b[i] = rand() % 3;
    const int64_t n = rand() % 8, m = rand() % 8;
    assert_int_equal(lap_edit_distance(a, n, b, m), slowly(a, n, b, m));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_hand),
      cmocka_unit_test(random_ones_as_the_definition_has_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
