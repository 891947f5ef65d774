/* order: a permutation for every size, another one each epoch, and the same ones in every run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dataset/order.h"

static void assert_permutation(uint64_t seed, uint64_t epoch, uint64_t count) {
  uint8_t *seen = calloc(count, 1);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t image = lap_permute(seed, epoch, i, count);
    assert_true(image < count);
    assert_int_equal(seen[image], 0);
    seen[image] = 1;
  }
  free(seen);
}

static void every_window_comes_once_an_epoch(void **state) {
  (void)state;
  for (uint64_t count = 1; count <= 300; ++count)
    for (uint64_t epoch = 0; epoch < 3; ++epoch) assert_permutation(7, epoch, count);
  const uint64_t large[] = {4095, 4096, 4097, 65536, 65537, 100003};
  for (size_t i = 0; i < sizeof large / sizeof *large; ++i) assert_permutation(1, 0, large[i]);
}

static uint64_t fixed_points(uint64_t seed, uint64_t epoch, uint64_t other_seed,
                             uint64_t other_epoch, uint64_t count) {
  uint64_t equal = 0;
  for (uint64_t i = 0; i < count; ++i)
    equal += lap_permute(seed, epoch, i, count) == lap_permute(other_seed, other_epoch, i, count);
  return equal;
}

static void epochs_and_seeds_give_other_orders(void **state) {
  (void)state;
  /* Two random permutations agree at about one position, whatever the size. */
  assert_true(fixed_points(1, 0, 1, 1, 1000) < 10);
  assert_true(fixed_points(1, 0, 2, 0, 1000) < 10);
  assert_int_equal(fixed_points(1, 5, 1, 5, 1000), 1000);
}

static void every_order_of_a_few_windows_occurs(void **state) {
  (void)state;
  /* 4 windows have 24 orders; over 2400 epochs each is expected 100 times. */
  int seen[256] = {0}, kinds = 0;
  for (uint64_t epoch = 0; epoch < 2400; ++epoch) {
    unsigned order = 0;
    for (uint64_t i = 0; i < 4; ++i) order = order << 2 | (unsigned)lap_permute(3, epoch, i, 4);
    kinds += seen[order]++ == 0;
  }
  assert_int_equal(kinds, 24);
  for (int i = 0; i < 256; ++i) assert_true(seen[i] == 0 || (seen[i] > 50 && seen[i] < 160));
}

static void huge_counts_stay_in_range_and_distinct(void **state) {
  (void)state;
  const uint64_t counts[] = {UINT64_C(1) << 40, (UINT64_C(1) << 62) + 1, UINT64_MAX};
  for (int c = 0; c < 3; ++c) {
    uint64_t before = UINT64_MAX;
    for (uint64_t i = 0; i < 64; ++i) {
      const uint64_t image = lap_permute(1, 0, counts[c] - 1 - i, counts[c]);
      assert_true(image < counts[c]);
      assert_true(image != before);
      before = image;
    }
  }
}

/* The order is part of the numbers of a run: these values must never change. */
static void the_order_is_the_one_of_all_runs_before(void **state) {
  (void)state;
  const uint64_t expected[8] = {3, 9, 7, 0, 4, 8, 2, 5};
  for (uint64_t i = 0; i < 8; ++i) assert_int_equal(lap_permute(1, 0, i, 10), expected[i]);
  assert_int_equal(lap_permute(42, 3, 123456, 1000003), 489317);
}

static void samples_run_through_epochs(void **state) {
  (void)state;
  const lap_order_source all = {.weight = 3, .window_count = 7};
  for (uint64_t sample = 0; sample < 50; ++sample) {
    uint64_t epoch;
    assert_int_equal(lap_sample_window(9, sample, &all, 1, &epoch),
                     lap_permute(9, sample / 7, sample % 7, 7));
    assert_int_equal(epoch, sample / 7);
  }
}

/* Each source gets its share at every point, and goes through its own windows once an epoch. */
static void sources_are_mixed_by_weight(void **state) {
  (void)state;
  enum { SAMPLES = 4000, WINDOWS = 11 + 300 + 5 };
  const lap_order_source mix[3] = {{1, 0, 11}, {0.5, 11, 300}, {2.5, 311, 5}};
  uint64_t taken[3] = {0}, seen[WINDOWS] = {0};
  for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
    uint64_t epoch;
    const uint64_t window = lap_sample_window(3, sample, mix, 3, &epoch);
    assert_true(window < WINDOWS);
    const int source = window < 11 ? 0 : window < 311 ? 1 : 2;
    assert_int_equal(epoch, taken[source] / mix[source].window_count);
    ++taken[source];
    ++seen[window];
    for (int i = 0; i < 3; ++i) {
      const double due = (double)(sample + 1) * mix[i].weight / 4;
      assert_true((double)taken[i] > due - 2 && (double)taken[i] < due + 2);
    }
  }
  for (int i = 0; i < 3; ++i)
    for (uint64_t w = mix[i].first_window; w < mix[i].first_window + mix[i].window_count; ++w) {
      assert_true(seen[w] >= taken[i] / mix[i].window_count);
      assert_true(seen[w] <= taken[i] / mix[i].window_count + 1);
    }
}

/* What dataset/order.h promises of the shares, where the sources that come first are small: the
 * last one makes up for their samples until they take them. */
static void shares_are_as_exact_as_promised(void **state) {
  (void)state;
  enum { SOURCES = 10, SAMPLES = 1000, WINDOWS = 7 };
  for (int sources = 2; sources <= SOURCES; ++sources) {
    lap_order_source mix[SOURCES];
    uint64_t taken[SOURCES] = {0};
    double most = 0;
    for (int i = 0; i < sources; ++i)
      mix[i] =
          (lap_order_source){i + 1 < sources ? 1 : 101 - sources, (uint64_t)i * WINDOWS, WINDOWS};
    for (uint64_t sample = 0; sample < SAMPLES; ++sample) {
      ++taken[lap_sample_window(3, sample, mix, (size_t)sources, NULL) / WINDOWS];
      for (int i = 0; i < sources; ++i) {
        const double ahead = (double)taken[i] - (double)(sample + 1) * mix[i].weight / 100;
        assert_true(ahead > -1 - 1e-9 && ahead < i + 1e-9);
        most = ahead > most ? ahead : most;
      }
    }
    assert_true(most > sources - 2); /* so no less is to be promised */
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_window_comes_once_an_epoch),
      cmocka_unit_test(epochs_and_seeds_give_other_orders),
      cmocka_unit_test(every_order_of_a_few_windows_occurs),
      cmocka_unit_test(huge_counts_stay_in_range_and_distinct),
      cmocka_unit_test(the_order_is_the_one_of_all_runs_before),
      cmocka_unit_test(samples_run_through_epochs),
      cmocka_unit_test(sources_are_mixed_by_weight),
      cmocka_unit_test(shares_are_as_exact_as_promised),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
