/* select: against brute force in long double, with ties, at both ends of k, with extreme logits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "core/memory.h"
#include "core/philox.h"
#include "teacher/select.h"

enum { VOCAB = 5000 };

static const float *sorted_logits;

static int by_order(const void *left, const void *right) {
  const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  if (sorted_logits[a] != sorted_logits[b]) return sorted_logits[a] > sorted_logits[b] ? -1 : 1;
  return a < b ? -1 : a > b;
}

static void assert_close(double value, long double expected, double relative) {
  const long double error = fabsl((long double)value - expected);
  if (!(error <= (long double)relative * fabsl(expected) + 1e-30L))
    fail_msg("%.9g is not %.9Lg within %g", value, expected, relative);
}

/* Everything of a selection, from a full sort and sums in long double. */
static void assert_selected(const float *z, uint32_t vocab, uint32_t k, int32_t next) {
  const uint32_t kept = k < vocab ? k : vocab;
  uint32_t *order = lap_allocate(vocab, sizeof *order), *ids = lap_allocate(kept, sizeof *ids);
  float *logprob = lap_allocate(kept, sizeof *logprob);
  float *scratch = lap_allocate(2 * (int64_t)vocab, sizeof *scratch);
  memset(scratch, 0xFF, 2 * (size_t)vocab * sizeof *scratch); /* read as an id: far outside */
  for (uint32_t i = 0; i < vocab; ++i) order[i] = i;
  sorted_logits = z;
  qsort(order, vocab, sizeof *order, by_order);
  const long double max = (long double)z[order[0]];
  long double sum = 1 /* the largest */, tail = 0, entropy = 0;
  for (uint32_t i = 1; i < vocab; ++i) sum += expl((long double)z[order[i]] - max);
  const long double lse = max + logl(sum);
  for (uint32_t i = 0; i < vocab; ++i) {
    const long double log_p = (long double)z[order[i]] - lse, p = expl(log_p);
    if (i >= kept) tail += p;
    if (p > 0) entropy -= p * log_p;
  }
  lap_selection selection = {.ids = ids, .logprob = logprob};
  assert_true(lap_select_top(z, vocab, k, next, scratch, &selection));
  for (uint32_t i = 0; i < kept; ++i) {
    assert_int_equal(ids[i], order[i]);
    assert_true(logprob[i] <= 0);
    assert_true(fabsl((long double)logprob[i] - ((long double)z[order[i]] - lse)) <
                2e-7L * (1 + fabsl((long double)logprob[i])));
  }
  /* exp of a float below -87 is 0: a tail under e^-87 may be lost, with its whole weight. */
  assert_close((double)selection.tail_mass, tail, 3e-6);
  assert_true(fabsl((long double)selection.entropy - entropy) < 2e-6L * (1 + entropy));
  if (next >= 0)
    assert_true(fabsl((long double)selection.next_logprob - ((long double)z[next] - lse)) < 5e-6L);
  if (k >= vocab) assert_true(selection.tail_mass == 0);
  free(order);
  free(ids);
  free(logprob);
  free(scratch);
}

static void random_logits(uint64_t seed, float scale, float *z, uint32_t vocab) {
  for (uint32_t i = 0; i < vocab; ++i)
    z[i] = scale * (float)(2 * lap_uniform(lap_philox(seed, LAP_PURPOSE_BENCH, 0, i)) - 1);
}

static void random_rows_are_as_brute_force_has_them(void **state) {
  (void)state;
  static float z[VOCAB];
  const uint32_t ks[] = {1, 2, 3, 63, 64, 65, 1000, VOCAB - 1, VOCAB, VOCAB + 1};
  for (uint64_t n = 0; n < 20; ++n) {
    random_logits(n, n % 2 ? 30 : 3, z, VOCAB);
    assert_selected(z, VOCAB, ks[n % 10], (int32_t)(n * 211 % VOCAB));
  }
  for (uint32_t vocab = 1; vocab < 200; ++vocab) assert_selected(z, vocab, 1 + vocab / 3, -1);
}

/* Ten values only, so that the threshold lies in a tie of hundreds; and one value only. */
static void ties_go_to_the_lower_id(void **state) {
  (void)state;
  static float z[VOCAB];
  for (uint64_t n = 0; n < 10; ++n) {
    random_logits(n, 5, z, VOCAB);
    for (int i = 0; i < VOCAB; ++i) z[i] = floorf(z[i]);
    assert_selected(z, VOCAB, 64 + 100 * (uint32_t)n, 3);
  }
  memset(z, 0, sizeof z);
  assert_selected(z, VOCAB, 64, 3);
}

static void sorted_logits_are_not_a_special_case(void **state) {
  (void)state;
  static float z[VOCAB];
  for (int i = 0; i < VOCAB; ++i) z[i] = (float)i / VOCAB * 8;
  assert_selected(z, VOCAB, 64, 10);
  for (int i = 0; i < VOCAB; ++i) z[i] = -(float)i / VOCAB * 8;
  assert_selected(z, VOCAB, 64, 10);
}

/* 1 - sum would say 0, or less: the tail is a sum of its own. */
static void a_small_tail_keeps_its_digits(void **state) {
  (void)state;
  static float z[VOCAB];
  random_logits(1, 1, z, VOCAB);
  for (int i = 0; i < VOCAB; ++i) z[i] -= 29;
  z[77] = 30;
  assert_selected(z, VOCAB, 1, 5);
  assert_selected(z, VOCAB, 2, 77);
}

static void logits_without_a_soft_cap_do_not_overflow(void **state) {
  (void)state;
  float z[100];
  random_logits(3, 2, z, 100);
  for (int i = 0; i < 100; ++i) z[i] += i % 2 ? 1e4f : -1e4f;
  uint32_t ids[4];
  float logprob[4], scratch[200];
  lap_selection selection = {.ids = ids, .logprob = logprob};
  assert_true(lap_select_top(z, 100, 4, 1, scratch, &selection));
  assert_true(selection.tail_mass > 0.5f && selection.tail_mass < 1);
  assert_true(selection.entropy > 3 && selection.entropy < logf(50) + 1e-4f);
  z[50] = -INFINITY; /* an impossible id is not an error */
  assert_true(lap_select_top(z, 100, 4, 50, scratch, &selection));
  assert_true(selection.next_logprob == -INFINITY);
}

static void what_is_not_finite_is_reported(void **state) {
  (void)state;
  static float z[VOCAB], scratch[2 * VOCAB];
  uint32_t ids[64];
  float logprob[64];
  lap_selection selection = {.ids = ids, .logprob = logprob};
  const uint32_t positions[] = {0, 63, 64, 2500, VOCAB - 1};
  for (int n = 0; n < 5; ++n) {
    random_logits(1, 5, z, VOCAB);
    z[positions[n]] = NAN;
    assert_false(lap_select_top(z, VOCAB, 64, 3, scratch, &selection));
    z[positions[n]] = INFINITY;
    assert_false(lap_select_top(z, VOCAB, 64, 3, scratch, &selection));
  }
}

/* The bits, once and for all: a change of them is a change of NUMERICS_VERSION. */
static void the_same_row_has_the_same_bits_everywhere(void **state) {
  (void)state;
  static float z[VOCAB], scratch[2 * VOCAB];
  uint32_t ids[3];
  float logprob[3];
  lap_selection selection = {.ids = ids, .logprob = logprob};
  random_logits(42, 10, z, VOCAB);
  assert_true(lap_select_top(z, VOCAB, 3, 17, scratch, &selection));
  const float found[4] = {logprob[0], selection.tail_mass, selection.next_logprob,
                          selection.entropy};
  const float expected[4] = {-0x1.637688p+2f, 0x1.fa178cp-1f, -0x1.8856eep+4f, 0x1.a1fd9p+2f};
  assert_memory_equal(found, expected, sizeof found);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_rows_are_as_brute_force_has_them),
      cmocka_unit_test(ties_go_to_the_lower_id),
      cmocka_unit_test(sorted_logits_are_not_a_special_case),
      cmocka_unit_test(a_small_tail_keeps_its_digits),
      cmocka_unit_test(logits_without_a_soft_cap_do_not_overflow),
      cmocka_unit_test(what_is_not_finite_is_reported),
      cmocka_unit_test(the_same_row_has_the_same_bits_everywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
