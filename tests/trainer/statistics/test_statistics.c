/* The room of statistics at its edges: what one seed, one document, no variation and missing runs
 * come to. test_formulas.py has the formulas, test_coverage.c what they are worth. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs those above */
#include <cmocka.h>

#include "trainer/statistics/break_even.h"
#include "trainer/statistics/decide.h"
#include "trainer/statistics/detectable.h"
#include "trainer/statistics/distributions.h"

static const double PAIR[] = {1, -1};

static void test_one_seed_has_no_variance(void **state) {
  (void)state;
  const double sums[] = {3, 5, 8, 3, 6, 8}, counts[] = {1, 2, 3};
  lap_contrast c;
  lap_contrast_make(&(lap_sums){2, 1, 3, sums, counts}, PAIR, false, &c);
  assert_float_equal(c.estimate, -1.0 / 6, 1e-15);
  assert_true(isnan(c.variance) && isnan(c.df) && isnan(c.seed_variance));
  assert_true(c.document_variance > 0);
  assert_true(isnan(lap_contrast_interval(&c, 0.95).low));
  assert_true(isnan(lap_contrast_p(&c, 0)));
}

static void test_one_document_leaves_the_seeds(void **state) {
  (void)state;
  const double sums[] = {4, 6, 5, 5}, counts[] = {2};
  lap_contrast c;
  lap_contrast_make(&(lap_sums){2, 2, 1, sums, counts}, PAIR, false, &c);
  assert_float_equal(c.document_variance, 0, 0);
  assert_float_equal(c.variance, c.seed_variance, 0);
  assert_float_equal(c.df, 1, 1e-12);
}

/* The same difference in every cell: no error, and no doubt. */
static void test_no_variation_at_all(void **state) {
  (void)state;
  const double sums[] = {2, 4, 2, 4, 3, 6, 3, 6}, counts[] = {1, 2};
  lap_contrast c;
  lap_contrast_make(&(lap_sums){2, 2, 2, sums, counts}, PAIR, false, &c);
  assert_float_equal(c.variance, 0, 0);
  assert_float_equal(lap_contrast_interval(&c, 0.95).low, -1, 0);
  assert_float_equal(lap_contrast_p(&c, 0), 0, 0);
  assert_float_equal(lap_contrast_p(&c, -1), 1, 0);
  assert_float_equal(lap_contrast_equivalence_p(&c, 0.5), 1, 0);
  assert_float_equal(lap_contrast_equivalence_p(&c, 2), 0, 0);
}

/* Three items are right by the arm alone: other ones of each seed. */
static void check_agreeing_seeds(size_t seeds) {
  enum { ITEMS = 20, MOST_SEEDS = 3 };
  double sums[2 * MOST_SEEDS * ITEMS] = {0}, counts[ITEMS];
  for (size_t i = 0; i < ITEMS; ++i) counts[i] = 1;
  for (size_t s = 0; s < seeds; ++s)
    for (size_t i = 0; i < 3; ++i) sums[s * ITEMS + 3 * s + i] = 1;
  lap_contrast c;
  lap_contrast_make(&(lap_sums){2, seeds, ITEMS, sums, counts}, PAIR, false, &c);
  assert_float_equal(c.estimate, 0.15, 1e-12);
  assert_true(c.document_variance < c.interaction_variance);
  assert_float_equal(c.variance, c.document_variance, 1e-12);
  assert_float_equal(c.df, ITEMS - 1, 1e-9);
  assert_true(lap_contrast_p(&c, 0) > 1e-4);
  assert_true(lap_contrast_interval(&c, 0.95).low < 0.14);
}

static void test_seeds_that_agree_to_the_last_item_are_not_certain(void **state) {
  (void)state;
  check_agreeing_seeds(2);
  check_agreeing_seeds(3); /* where rounding leaves a little of their variance */
}

/* Nobody can tell seeds that differ by what they do to both arms. */
static void test_what_a_seed_does_to_both_arms_is_taken_out(void **state) {
  (void)state;
  const double sums[] = {2, 7, 5, 1, 6, 4}, counts[] = {1};
  lap_contrast c;
  lap_contrast_make(&(lap_sums){2, 3, 1, sums, counts}, PAIR, false, &c);
  assert_float_equal(c.variance, 0, 1e-30);
}

static lap_comparison comparison(double estimate, double error) {
  return (lap_comparison){
      .contrast = {.estimate = estimate, .variance = error * error, .df = 10},
      .complete = true,
  };
}

static void test_verdicts(void **state) {
  (void)state;
  lap_comparison c[] = {comparison(-0.1, 0.01),    comparison(0.1, 0.01),  comparison(0.001, 0.002),
                        comparison(0.015, 0.0085), comparison(-0.1, 0.01), comparison(0, 0)};
  c[4].complete = false;
  c[5].same_bits = true;
  lap_decide(c, 6, 0.95, 0.02);
  assert_int_equal(c[0].verdict, LAP_BETTER);
  assert_int_equal(c[1].verdict, LAP_WORSE);
  assert_int_equal(c[2].verdict, LAP_EQUIVALENT);
  assert_int_equal(c[3].verdict, LAP_UNDECIDED);
  assert_int_equal(c[4].verdict, LAP_VERDICT_NONE);
  assert_int_equal(c[5].verdict, LAP_SAME_BITS);
  assert_true(isnan(c[4].p));
  assert_string_equal(lap_verdict_name(LAP_SAME_BITS), "same bits");
}

static void test_a_comparison_that_is_missing_still_counts_among_the_planned(void **state) {
  (void)state;
  const double p[] = {0.02, NAN, 0.01};
  double adjusted[3];
  lap_holm(p, 3, adjusted);
  assert_float_equal(adjusted[2], 0.03, 1e-15);
  assert_float_equal(adjusted[0], 0.04, 1e-15);
  assert_true(isnan(adjusted[1]));
}

static void test_without_a_margin_nothing_is_equivalent(void **state) {
  (void)state;
  lap_comparison c = comparison(0.0001, 0.002);
  lap_decide(&c, 1, 0.95, 0);
  assert_int_equal(c.verdict, LAP_UNDECIDED);
  assert_true(isnan(c.equivalence_p));
}

static void test_one_seed_decides_nothing(void **state) {
  (void)state;
  lap_comparison c = {.contrast = {.estimate = -1, .variance = NAN, .df = NAN}, .complete = true};
  lap_decide(&c, 1, 0.95, 0.02);
  assert_int_equal(c.verdict, LAP_UNDECIDED);
}

static void test_simultaneous_intervals_are_wider(void **state) {
  (void)state;
  assert_float_equal(lap_simultaneous_confidence(0.95, 1), 0.95, 0);
  assert_float_equal(lap_simultaneous_confidence(0.95, 5), 0.99, 1e-15);
}

static void test_more_tokens_that_do_not_help_have_no_break_even(void **state) {
  (void)state;
  const double sums[] = {2.5, 2.51, 3, 3.01, 3.05, 3.04, 3.1, 3.11}, counts[] = {1};
  const double multiples[] = {1, 1, 2, 4};
  lap_break_even b;
  lap_break_even_make(&(lap_sums){4, 2, 1, sums, counts}, multiples, false, 0.95, &b);
  assert_true(isnan(b.multiple) && b.slope > 0);
}

static void test_a_design_without_variation_finds_everything(void **state) {
  (void)state;
  const lap_design design = {.seeds = 5, .confidence = 0.95};
  assert_float_equal(lap_detectable_effect(&design, 0.8), 0, 0);
  assert_float_equal(lap_power(&design, 0), 0, 0);
  assert_float_equal(lap_deviation_upper(1, 7, 0.8), 1.353, 5e-4);
}

static void test_infinite_t(void **state) {
  (void)state;
  assert_float_equal(lap_student_two_sided(INFINITY, 3), 0, 0);
  assert_float_equal(lap_student_cdf(-INFINITY, 3), 0, 0);
  assert_float_equal(lap_student_quantile(0.975, INFINITY), 1.959963984540054, 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_seed_has_no_variance),
      cmocka_unit_test(test_one_document_leaves_the_seeds),
      cmocka_unit_test(test_no_variation_at_all),
      cmocka_unit_test(test_seeds_that_agree_to_the_last_item_are_not_certain),
      cmocka_unit_test(test_what_a_seed_does_to_both_arms_is_taken_out),
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_a_comparison_that_is_missing_still_counts_among_the_planned),
      cmocka_unit_test(test_without_a_margin_nothing_is_equivalent),
      cmocka_unit_test(test_one_seed_decides_nothing),
      cmocka_unit_test(test_simultaneous_intervals_are_wider),
      cmocka_unit_test(test_more_tokens_that_do_not_help_have_no_break_even),
      cmocka_unit_test(test_a_design_without_variation_finds_everything),
      cmocka_unit_test(test_infinite_t),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
