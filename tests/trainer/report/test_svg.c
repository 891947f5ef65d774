/* Names in pictures: short enough, and not the same where they were not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/report/svg.h"

static void a_short_name_stays(void **state) {
  (void)state;
  char text[LAP_SVG_NAME];
  assert_string_equal(lap_svg_name("", 10, text), "");
  assert_string_equal(lap_svg_name("next-token", 10, text), "next-token");
  assert_string_equal(lap_svg_name("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 4, text),
                      "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9");
}

static void a_long_name_keeps_both_ends(void **state) {
  (void)state;
  char text[LAP_SVG_NAME];
  assert_string_equal(lap_svg_name("next-token!", 10, text), "nex\xE2\x80\xA6token!");
  assert_string_equal(lap_svg_name("small,objective.distill_weight=1", 21, text),
                      "small,o\xE2\x80\xA6till_weight=1");
  assert_string_equal(lap_svg_name("small,objective.distill_weight=0", 21, text),
                      "small,o\xE2\x80\xA6till_weight=0");
}

static void no_letter_is_cut(void **state) {
  (void)state;
  char text[LAP_SVG_NAME];
  assert_string_equal(lap_svg_name("\xC3\xA9\xC3\xA8"
                                   "abcd\xC3\xBC\xE2\x82\xAC",
                                   6, text),
                      "\xC3\xA9\xC3\xA8\xE2\x80\xA6"
                      "d\xC3\xBC\xE2\x82\xAC");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_short_name_stays),
      cmocka_unit_test(a_long_name_keeps_both_ends),
      cmocka_unit_test(no_letter_is_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
