/* Names in pictures: short enough, and not the same where they were not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
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
}

static void a_long_name_of_a_grid_keeps_its_values(void **state) {
  (void)state;
  char text[LAP_SVG_NAME];
  assert_string_equal(lap_svg_name("small,seed=1", 21, text), "small,seed=1");
  assert_string_equal(lap_svg_name("small,objective.distill_weight=1", 21, text), "small,1");
  assert_string_equal(
      lap_svg_name("taught,teacher=w256-long,objective.distill_weight=0.25", 24, text),
      "taught,w256-long,0.25");
  assert_string_equal(lap_svg_name("taught,teacher=other-domain,weight=1", 12, text),
                      "taug\xE2\x80\xA6omain,1");
  assert_string_equal(lap_svg_name("a,b=c,d,e=f", 7, text), "a,c,d,f");
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

static void what_xml_does_not_have_is_replaced(void **state) {
  (void)state;
  char *text = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  lap_svg_escape(out, "a\x01<b>\t\x1f");
  lap_close_text(out, &text);
  assert_string_equal(text, "a\xEF\xBF\xBD&lt;b&gt;\t\xEF\xBF\xBD");
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_short_name_stays),
      cmocka_unit_test(a_long_name_keeps_both_ends),
      cmocka_unit_test(a_long_name_of_a_grid_keeps_its_values),
      cmocka_unit_test(no_letter_is_cut),
      cmocka_unit_test(what_xml_does_not_have_is_replaced),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
