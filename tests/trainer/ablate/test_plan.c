/* amendment, tune: what a plan adds is found and marked, and grids grow where the best lies at an
 * edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/ablate/amendment.h"
#include "trainer/ablate/tune.h"

static const char FIRST[] =
    "{'created': 'monday', 'seeds': [1, 2], 'margin': 0.02, 'measures': ['loss'], 'endpoint': "
    "{'set': 'test'}, 'arms': [{'name': 'a', 'changes': {}, 'config_sha256': 'x', 'runs': "
    "[{'seed': 1}, {'seed': 2}], 'exploratory': false}, {'name': 'b', 'changes': {'k': '1'}, "
    "'config_sha256': 'y', 'runs': [{'seed': 1}, {'seed': 2}], 'exploratory': false}], 'compare': "
    "[{'arm': 'b', 'baseline': 'a', 'exploratory': false}]}";

static json_t *parse(const char *text) {
  char *json = strdup(text);
  for (char *quote = json; (quote = strchr(quote, '\''));) *quote = '"';
  json_t *object = json_loads(json, 0, NULL);
  free(json);
  assert_non_null(object);
  return object;
}

static bool is_exploratory(const json_t *plan, const char *list, size_t index) {
  return json_is_true(
      json_object_get(json_array_get(json_object_get(plan, list), index), "exploratory"));
}

static void the_same_promise_is_no_amendment(void **state) {
  (void)state;
  json_t *first = parse(FIRST), *again = parse(FIRST);
  json_object_set_new(again, "created", json_string("tuesday"));
  assert_null(lap_amendment_between(first, again));
  lap_amendment_mark(first, again);
  assert_false(is_exploratory(again, "arms", 0));
  assert_false(is_exploratory(again, "compare", 0));
  json_decref(first);
  json_decref(again);
}

static void what_is_added_is_exploratory(void **state) {
  (void)state;
  json_t *first = parse(FIRST), *plan = parse(FIRST);
  json_t *arms = json_object_get(plan, "arms"), *b = json_array_get(arms, 1);
  json_object_set_new(b, "config_sha256", json_string("z"));
  json_array_append_new(arms, parse("{'name': 'c', 'changes': {}, 'config_sha256': 'w'}"));
  json_array_append_new(json_object_get(plan, "seeds"), json_integer(3));
  json_array_append_new(json_object_get(json_array_get(arms, 0), "runs"), parse("{'seed': 3}"));
  json_array_append_new(json_object_get(plan, "compare"), parse("{'arm': 'c', 'baseline': 'a'}"));
  lap_amendment_mark(first, plan);
  assert_false(is_exploratory(plan, "arms", 0));
  assert_true(is_exploratory(plan, "arms", 1)); /* another config */
  assert_true(is_exploratory(plan, "arms", 2));
  assert_true(is_exploratory(plan, "compare", 0)); /* of an arm that is another */
  assert_true(is_exploratory(plan, "compare", 1));
  const json_t *runs = json_object_get(json_array_get(arms, 0), "runs");
  assert_null(json_object_get(json_array_get(runs, 0), "exploratory"));
  assert_true(json_is_true(json_object_get(json_array_get(runs, 2), "exploratory")));
  json_t *amendment = lap_amendment_between(first, plan);
  assert_non_null(amendment);
  assert_string_equal(json_string_value(json_object_get(amendment, "change")),
                      "arm changed: b; arm added: c; seed added: 3; comparison added: c - a");
  assert_int_equal(json_array_size(json_object_get(amendment, "arms")), 2);
  json_decref(amendment);
  json_decref(first);
  json_decref(plan);
}

static void other_rules_make_all_comparisons_exploratory(void **state) {
  (void)state;
  json_t *first = parse(FIRST), *plan = parse(FIRST);
  json_object_set_new(plan, "margin", json_real(.5));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  assert_false(is_exploratory(plan, "arms", 0));
  json_t *amendment = lap_amendment_between(first, plan);
  assert_string_equal(json_string_value(json_object_get(amendment, "change")), "changed: margin");
  json_decref(amendment);
  json_decref(first);
  json_decref(plan);
}

static void other_files_in_the_place_of_given_ones_do_too(void **state) {
  (void)state;
  json_t *first = parse(FIRST), *plan = parse(FIRST);
  json_object_set_new(plan, "inputs_sha256", parse("{'train': '1'}"));
  lap_amendment_mark(first, plan); /* an older plan does not say what they were */
  assert_false(is_exploratory(plan, "compare", 0));
  assert_null(lap_amendment_between(first, plan));
  json_object_set_new(first, "inputs_sha256", parse("{'train': '2'}"));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  json_t *amendment = lap_amendment_between(first, plan);
  assert_string_equal(json_string_value(json_object_get(amendment, "change")),
                      "changed: inputs_sha256");
  json_decref(amendment);
  json_decref(first);
  json_decref(plan);
}

/* The plan's sets name who judges; `teachers` says which model that is. */
static void another_judge_does_too(void **state) {
  (void)state;
  json_t *first = parse(FIRST), *plan = parse(FIRST);
  json_t *const both[] = {first, plan};
  for (size_t i = 0; i < 2; ++i) {
    json_object_set_new(both[i], "sets", parse("[{'name': 'judge', 'judge': 'critic'}]"));
    json_object_set_new(both[i], "teachers",
                        parse("[{'name': 'other', 'directory': 'x'}, {'name': 'critic', "
                              "'directory': 'shared/model-1'}]"));
  }
  json_t *teachers = json_object_get(plan, "teachers");
  json_object_set_new(json_array_get(teachers, 0), "directory", json_string("y"));
  lap_amendment_mark(first, plan); /* of whom arms learn they say themselves */
  assert_false(is_exploratory(plan, "compare", 0));
  json_object_set_new(json_array_get(teachers, 1), "directory", json_string("shared/model-2"));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  json_t *amendment = lap_amendment_between(first, plan);
  assert_string_equal(json_string_value(json_object_get(amendment, "change")), "changed: judge");
  json_decref(amendment);
  json_decref(first);
  json_decref(plan);
}

/* Three arms; both comparisons are with a. */
static json_t *family(void) {
  json_t *plan = parse(FIRST);
  json_array_append_new(json_object_get(plan, "arms"),
                        parse("{'name': 'c', 'changes': {}, 'config_sha256': 'w'}"));
  json_array_append_new(json_object_get(plan, "compare"), parse("{'arm': 'c', 'baseline': 'a'}"));
  return plan;
}

static void what_is_taken_away_makes_all_comparisons_exploratory(void **state) {
  (void)state;
  json_t *first = family(), *plan = family();
  json_array_remove(json_object_get(plan, "compare"), 1);
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0)); /* the family is smaller than was promised */
  assert_false(is_exploratory(plan, "arms", 0));
  json_decref(plan);
  plan = family(); /* an arm that is another one takes its comparison out of the family too */
  json_object_set_new(json_array_get(json_object_get(plan, "arms"), 2), "config_sha256",
                      json_string("v"));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  json_decref(plan);
  plan = parse(FIRST); /* an arm that is in no comparison has a part in the pooled variance */
  json_t *more = parse(FIRST);
  json_array_append_new(json_object_get(more, "arms"), parse("{'name': 'd', 'changes': {}}"));
  lap_amendment_mark(more, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  json_decref(more);
  json_decref(plan);
  plan = family();
  json_array_remove(json_object_get(plan, "seeds"), 1);
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 0));
  json_decref(plan);
  plan = family();
  json_array_append_new(json_object_get(plan, "seeds"), json_integer(3));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "compare", 1));
  json_decref(plan);
  json_decref(first);
}

static void an_arm_with_a_cache_of_its_own_leaves_the_others_alone(void **state) {
  (void)state;
  json_t *first = family(), *plan = family();
  json_object_set_new(plan, "shared", parse("{'kind': 'cache'}"));
  json_array_append_new(json_object_get(plan, "arms"), parse("{'name': 'd', 'changes': {}}"));
  json_array_append_new(json_object_get(plan, "compare"), parse("{'arm': 'd', 'baseline': 'a'}"));
  lap_amendment_mark(first, plan);
  assert_false(is_exploratory(plan, "compare", 0));
  assert_false(is_exploratory(plan, "compare", 1));
  assert_true(is_exploratory(plan, "compare", 2));
  json_decref(plan);
  plan =
      family(); /* but who learns from another cache is another arm; an older plan says nothing */
  json_t *c = json_array_get(json_object_get(plan, "arms"), 2);
  json_object_set_new(c, "learns_from", json_pack("[s]", "shared/cache-2"));
  lap_amendment_mark(first, plan);
  assert_false(is_exploratory(plan, "arms", 2));
  json_object_set_new(json_array_get(json_object_get(first, "arms"), 2), "learns_from",
                      json_pack("[s]", "shared/cache-1"));
  lap_amendment_mark(first, plan);
  assert_true(is_exploratory(plan, "arms", 2));
  json_decref(plan);
  json_decref(first);
}

/* --- grids of tuning --- */

static void points_go_through_all_factors(void **state) {
  (void)state;
  double rates[] = {.5, 1, 2}, decays[] = {1, 10};
  char rate[] = "rate", decay[] = "decay";
  lap_tune_key keys[] = {{rate, rates, 3}, {decay, decays, 2}};
  const lap_tune_grid grid = {keys, 2};
  assert_int_equal(lap_tune_grid_points(&grid), 6);
  for (size_t point = 0; point < 6; ++point) {
    assert_float_equal(lap_tune_grid_factor(&grid, point, 0), rates[point / 2], 0);
    assert_float_equal(lap_tune_grid_factor(&grid, point, 1), decays[point % 2], 0);
  }
}

static void grids_grow_at_their_edges(void **state) {
  (void)state;
  double rates[] = {.5, 1, 2}, decay_one[] = {3};
  char rate[] = "rate", decay[] = "decay";
  lap_tune_key keys[] = {{rate, rates, 3}, {decay, decay_one, 1}};
  const lap_suite suite = {.tune = {.keys = keys, .key_count = 2}};
  lap_tune_grid grid;
  lap_tune_grid_copy(&suite, &grid);
  assert_false(
      lap_tune_grid_grow(&grid, (const size_t[]){1, 1}, 2, NULL)); /* in the middle, both arms */
  assert_int_equal(grid.key[0].count, 3);
  assert_true(
      lap_tune_grid_grow(&grid, (const size_t[]){1, 2}, 2, NULL)); /* one arm at the upper edge */
  assert_int_equal(grid.key[0].count, 4);
  assert_float_equal(grid.key[0].factor[3], 4, 1e-12);
  assert_int_equal(grid.key[1].count, 1); /* has no edges */
  assert_true(lap_tune_grid_grow(&grid, (const size_t[]){0, 3}, 2, NULL));
  assert_int_equal(grid.key[0].count, 6);
  assert_float_equal(grid.key[0].factor[0], .25, 1e-12);
  assert_float_equal(grid.key[0].factor[5], 8, 1e-12);
  lap_tune_grid_release(&grid);
}

static bool only_below_three(const void *context, const lap_tune_grid *grid, size_t key,
                             size_t index) {
  (void)context;
  return grid->key[key].factor[index] < 3;
}

static void grids_do_not_grow_beyond_what_is_allowed(void **state) {
  (void)state;
  double rates[] = {.5, 1, 2};
  char rate[] = "rate";
  lap_tune_key keys[] = {{rate, rates, 3}};
  const lap_suite suite = {.tune = {.keys = keys, .key_count = 1}};
  const lap_tune_limits limits = {only_below_three, NULL};
  lap_tune_grid grid;
  lap_tune_grid_copy(&suite, &grid);
  assert_false(lap_tune_grid_grow(&grid, (const size_t[]){2}, 1, &limits));
  assert_int_equal(grid.key[0].count, 3);
  assert_float_equal(grid.key[0].factor[2], 2, 0);
  assert_true(lap_tune_grid_grow(&grid, (const size_t[]){0, 2}, 2, &limits)); /* below alone */
  assert_int_equal(grid.key[0].count, 4);
  assert_float_equal(grid.key[0].factor[0], .25, 1e-12);
  assert_float_equal(grid.key[0].factor[3], 2, 0);
  lap_tune_grid_release(&grid);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_same_promise_is_no_amendment),
      cmocka_unit_test(what_is_added_is_exploratory),
      cmocka_unit_test(other_rules_make_all_comparisons_exploratory),
      cmocka_unit_test(other_files_in_the_place_of_given_ones_do_too),
      cmocka_unit_test(another_judge_does_too),
      cmocka_unit_test(what_is_taken_away_makes_all_comparisons_exploratory),
      cmocka_unit_test(an_arm_with_a_cache_of_its_own_leaves_the_others_alone),
      cmocka_unit_test(points_go_through_all_factors),
      cmocka_unit_test(grids_grow_at_their_edges),
      cmocka_unit_test(grids_do_not_grow_beyond_what_is_allowed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
