/* measures: maps whose figures are known by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/attend/measures.h"

enum { T = 80, WINDOW = 8 };

typedef struct {
  float p[T * T];
  bool local[1];
  lap_attention_maps maps;
} one_map;

static void make(one_map *made, bool local) {
  memset(made, 0, sizeof *made);
  made->local[0] = local;
  made->maps = (lap_attention_maps){
      .layers = 1, .heads = 1, .length = T, .window = WINDOW, .local = made->local, .p = made->p};
  made->p[0] = 1;
}

static void a_head_that_looks_everywhere(void **state) {
  (void)state;
  one_map made;
  make(&made, false);
  double entropy = 0, distance = 0, bos = 0, in_window = 0;
  for (int i = 1; i < T; ++i) {
    for (int j = 0; j <= i; ++j) made.p[i * T + j] = 1 / (float)(i + 1);
    entropy += log1p(i) / (T - 1);
    distance += i / 2.0 / (T - 1);
    bos += 1.0 / (i + 1) / (T - 1);
    in_window += (i + 1 < WINDOW ? 1 : (double)WINDOW / (i + 1)) / (T - 1);
  }
  const lap_head_measures m = lap_head_measure(&made.maps, 0, 0, &(lap_name_pairs){0});
  assert_float_equal(m.entropy, entropy, 1e-5);
  assert_float_equal(m.distance, distance, 1e-4);
  assert_float_equal(m.bos, bos, 1e-6);
  assert_float_equal(m.in_window, in_window, 1e-5);
  assert_float_equal(m.beyond_window, 1 - in_window, 1e-5);
  assert_int_equal(m.pairs, 0);
  assert_true(isnan(m.name) && isnan(m.control));
}

/* Each query gives .5 to the key 20 before it, of which names are no better than others; but one
 * pair of names is special. */
static void names_are_held_against_the_same_distance(void **state) {
  (void)state;
  lap_name_pair pair[2] = {{.query = 50, .first = 30, .count = 2},
                           {.query = 60, .first = 57, .count = 1}};
  const lap_name_pairs pairs = {pair, 2};
  one_map made;
  make(&made, false);
  for (int i = 20; i < T; ++i) made.p[i * T + i - 20] = 0.25F;
  made.p[50 * T + 30] = 0.5F, made.p[50 * T + 31] = 0.125F;
  made.p[60 * T + 57] = 0.75F;
  lap_head_measures m = lap_head_measure(&made.maps, 0, 0, &pairs);
  assert_int_equal(m.pairs, 2);
  assert_float_equal(m.name, (0.625 + 0.75) / 2, 1e-6);
  /* At distance 20 every other query has .25, at 3 none has anything. */
  assert_float_equal(m.control, 0.25 / 2, 1e-6);

  /* A local head has but the second in sight. */
  make(&made, true);
  made.p[60 * T + 57] = 0.75F;
  m = lap_head_measure(&made.maps, 0, 0, &pairs);
  assert_int_equal(m.pairs, 1);
  assert_float_equal(m.name, 0.75, 1e-6);
  assert_float_equal(m.control, 0, 1e-6);
}

/* The nearest queries are the controls, and BOS is no key of theirs: marks on all others would
 * show. */
static void controls_are_the_nearest_queries(void **state) {
  (void)state;
  lap_name_pair pair[1] = {{.query = 40, .first = 30, .count = 1}};
  const lap_name_pairs pairs = {pair, 1};
  one_map made;
  make(&made, false);
  for (int i = 10; i < T; ++i)
    made.p[i * T + i - 10] =
        i >= 40 - LAP_NAME_CONTROLS / 2 && i <= 40 + LAP_NAME_CONTROLS / 2 ? 0.5F : 1;
  lap_head_measures m = lap_head_measure(&made.maps, 0, 0, &pairs);
  assert_float_equal(m.control, 0.5, 1e-6);
  /* A query at position 11 could look back 11 to BOS; the pair has no other control. */
  lap_name_pair late[1] = {{.query = T - 1, .first = 1, .count = 1}};
  m = lap_head_measure(&made.maps, 0, 0, &(lap_name_pairs){late, 1});
  assert_int_equal(m.pairs, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_head_that_looks_everywhere),
      cmocka_unit_test(names_are_held_against_the_same_distance),
      cmocka_unit_test(controls_are_the_nearest_queries),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
