/* What the intervals and verdicts are worth: made-up suites with known truth, seeds crossed with
 * documents. Prints what docs/statistics.md shows, and fails where a share leaves its range.
 *
 * LAPIDARY_REPETITIONS=20000 for more than the test's 800.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs those above */
#include <cmocka.h>

#include "core/memory.h"
#include "core/philox.h"
#include "trainer/statistics/break_even.h"
#include "trainer/statistics/decide.h"
#include "trainer/statistics/detectable.h"

static const double CONFIDENCE = 0.95;
static const size_t SEEDS[] = {3, 5, 8}, DOCUMENTS[] = {30, 60, 400};
enum { SIZES = 3, MOST_ARMS = 7, MOST_CELLS = MOST_ARMS * 8 * 400 };

static int repetitions(void) {
  const char *text = getenv("LAPIDARY_REPETITIONS");
  return text ? atoi(text) : 800;
}

/* --- made-up suites --- */

/* Standard deviations, in nats per token, of an arm's loss. */
typedef struct {
  const char *name;
  double seed;        /* what a seed does to one arm */
  double document;    /* how much more a document gains by one arm than by another */
  double interaction; /* what one run happens to make of one document */
  double length;      /* of the logarithm of a document's tokens */
} variation;

static const variation WORLDS[] = {
    {"documents", 0.004, 0.05, 0.02, 0.5},
    {"seeds", 0.015, 0.01, 0.02, 0.5},
    {"even", 0.008, 0.05, 0.02, 0.5},
    {"interaction", 0.003, 0.004, 0.1, 0.5},
};
enum { WORLD_COUNT = sizeof WORLDS / sizeof *WORLDS };

/* Few documents hold most of the tokens: of 30 the longest has a fifth of them. */
static const variation LONG_AND_SHORT = {"long and short", 0.006, 0.05, 0.02, 1.0};

/* The same arms but for chance. */
static const variation EXCHANGEABLE = {"exchangeable", 0.006, 0, 0.03, 0.5};

typedef struct {
  uint64_t stream, next;
  double spare;
  bool has_spare;
} dice;

static double normal(dice *d) { /* Box and Muller */
  if (d->has_spare) {
    d->has_spare = false;
    return d->spare;
  }
  const lap_random random = lap_philox(1, LAP_PURPOSE_BENCH, d->stream, d->next++);
  const double u = (random.word[0] + 0.5) / 4294967296.0, v = random.word[1] / 4294967296.0;
  const double radius = sqrt(-2 * log(u)), angle = 2 * 3.14159265358979323846 * v;
  d->spare = radius * sin(angle);
  d->has_spare = true;
  return radius * cos(angle);
}

typedef struct {
  double sums[MOST_CELLS], counts[400];
  lap_sums view;
} suite;

/* `truth` [arms]: mean loss of each arm over all seeds and documents. */
static void draw(dice *d, const variation *v, size_t arms, size_t seeds, size_t documents,
                 const double *truth, suite *s) {
  double of_seed[MOST_ARMS * 8] = {0}, of_document[MOST_ARMS * 400] = {0}, common[400];
  for (size_t i = 0; i < arms * seeds; ++i) of_seed[i] = truth[i / seeds] + v->seed * normal(d);
  for (size_t i = 0; i < documents; ++i) {
    common[i] = 0.3 * normal(d); /* some texts are easy for all */
    s->counts[i] = ceil(500 * exp(v->length * normal(d)));
  }
  for (size_t i = 0; i < arms * documents; ++i) of_document[i] = v->document * normal(d);
  for (size_t run = 0; run < arms * seeds; ++run)
    for (size_t i = 0; i < documents; ++i)
      s->sums[run * documents + i] =
          s->counts[i] * (3 + common[i] + of_seed[run] + of_document[run / seeds * documents + i] +
                          v->interaction * normal(d));
  s->view = (lap_sums){arms, seeds, documents, s->sums, s->counts};
}

/* --- shares --- */

typedef struct {
  double smallest, largest;
} range;

static int outside;

/* Prints hits / whole in %, and counts those that leave the range by more than chance explains: 2.6
 * standard errors of a share at the range's edge. */
static void check_share(int hits, int whole, range allowed) {
  const double share = (double)hits / whole;
  const double edge = share < 0.5 ? allowed.smallest : allowed.largest;
  const double slack = 2.6 * sqrt(edge * (1 - edge) / whole);
  const int wrong = share < allowed.smallest - slack || share > allowed.largest + slack;
  printf(" %5.1f%s", 100 * share, wrong ? "!" : " ");
  outside += wrong;
}

static const range COVERED = {0.93, 0.97}, CAREFUL = {0.93, 0.99}, DETECTED = {0.75, 0.85};

typedef bool (*trial)(dice *d, const variation *v, size_t seeds, size_t documents, suite *s);

/* Of the next cell of a table. */
static uint64_t stream = 1;

static void print_row(const char *title, const variation *v, trial hit, range allowed) {
  suite *s = lap_allocate(1, sizeof *s);
  printf("%-22s %-15s", title, v->name);
  for (int i = 0; i < SIZES; ++i)
    for (int j = 0; j < SIZES; ++j) {
      dice d = {.stream = stream};
      int hits = 0;
      ++stream;
      for (int n = 0; n < repetitions(); ++n) hits += hit(&d, v, SEEDS[i], DOCUMENTS[j], s);
      check_share(hits, repetitions(), allowed);
    }
  printf("\n");
  free(s);
}

static void begin(void) {
  outside = 0;
  printf("%-22s %-15s", "", "seeds, documents");
  for (int i = 0; i < SIZES; ++i)
    for (int j = 0; j < SIZES; ++j) printf("%2zu,%-4zu", SEEDS[i], DOCUMENTS[j]);
  printf("\n");
}

/* --- intervals --- */

static const double TRUTH[] = {0, 0.05, 0.02};

static bool covers(const lap_sums *sums, const double *weights, bool pooled, double truth) {
  lap_contrast c;
  lap_contrast_make(sums, weights, pooled, &c);
  const lap_interval interval = lap_contrast_interval(&c, CONFIDENCE);
  return interval.low <= truth && truth <= interval.high;
}

static bool pair_covers(dice *d, const variation *v, size_t seeds, size_t documents, suite *s) {
  draw(d, v, 2, seeds, documents, TRUTH, s);
  return covers(&s->view, (const double[]){1, -1}, false, -0.05);
}

static bool pooled_covers(dice *d, const variation *v, size_t seeds, size_t documents, suite *s) {
  draw(d, v, 3, seeds, documents, TRUTH, s);
  return covers(&s->view, (const double[]){1, -1, 0}, true, -0.05);
}

static void test_intervals_cover(void **state) {
  (void)state;
  begin();
  for (int i = 0; i < WORLD_COUNT; ++i)
    print_row("interval of two arms", &WORLDS[i], pair_covers, COVERED);
  for (int i = 0; i < WORLD_COUNT; ++i)
    print_row("pooled over three", &WORLDS[i], pooled_covers, COVERED);
  print_row("interval of two arms", &LONG_AND_SHORT, pair_covers, CAREFUL);
  assert_int_equal(outside, 0);
}

/* --- verdicts --- */

static lap_verdict verdict_on(const lap_sums *sums, bool pooled) {
  lap_comparison c = {.complete = true, .same_bits = lap_same_sums(sums, 0, 1)};
  const double weights[MOST_ARMS] = {1, -1};
  lap_contrast_make(sums, weights, pooled, &c.contrast);
  lap_decide(&c, 1, CONFIDENCE, 0);
  return c.verdict;
}

static const double ALIKE[] = {0, 0, 0};

static bool pair_is_undecided(dice *d, const variation *v, size_t seeds, size_t documents,
                              suite *s) {
  draw(d, v, 2, seeds, documents, ALIKE, s);
  return verdict_on(&s->view, false) == LAP_UNDECIDED;
}

static bool pooled_is_undecided(dice *d, const variation *v, size_t seeds, size_t documents,
                                suite *s) {
  draw(d, v, 3, seeds, documents, ALIKE, s);
  return verdict_on(&s->view, true) == LAP_UNDECIDED;
}

/* One minute of computing, another time of day: the same numbers. */
static bool is_same_bits(dice *d, const variation *v, size_t seeds, size_t documents, suite *s) {
  draw(d, v, 2, seeds, documents, ALIKE, s);
  const size_t cells = seeds * documents;
  memcpy(s->sums + cells, s->sums, cells * sizeof *s->sums);
  return verdict_on(&s->view, false) == LAP_SAME_BITS;
}

static void test_exchangeable_arms_stay_undecided(void **state) {
  (void)state;
  begin();
  print_row("undecided, of two", &EXCHANGEABLE, pair_is_undecided, COVERED);
  print_row("undecided, pooled", &EXCHANGEABLE, pooled_is_undecided, COVERED);
  print_row("identical: same bits", &EXCHANGEABLE, is_same_bits, (range){1, 1});
  assert_int_equal(outside, 0);
}

/* --- power --- */

/* What the plan knows of this world, exactly: the test is of the formula, not of a pilot. */
static lap_design design_of(const variation *v, size_t seeds, size_t documents) {
  const double spread = exp(v->length * v->length); /* E(T^2) / E(T)^2 of lengths T */
  const double of_run = v->interaction * v->interaction * spread / (double)documents;
  const double kish = exp(-4 * v->length * v->length);
  return (lap_design){
      .seed_deviation = sqrt(2 * (v->seed * v->seed + of_run)),
      .seeds = seeds,
      .document_deviation = v->document * sqrt(2 * spread / (double)documents),
      .document_df = fmax(1, kish * (double)documents - 1),
      .confidence = CONFIDENCE,
  };
}

static bool is_found(dice *d, const variation *v, size_t seeds, size_t documents, suite *s) {
  static double effect;
  static size_t seeds_before, documents_before;
  static const variation *before;
  if (before != v || seeds_before != seeds || documents_before != documents) {
    const lap_design design = design_of(v, seeds, documents);
    effect = lap_detectable_effect(&design, 0.8);
    before = v;
    seeds_before = seeds;
    documents_before = documents;
  }
  draw(d, v, 2, seeds, documents, (const double[]){-effect, 0}, s);
  return verdict_on(&s->view, false) == LAP_BETTER;
}

static void test_what_is_detectable_is_found(void **state) {
  (void)state;
  begin();
  for (int i = 0; i < 3; ++i) print_row("detectable: decided", &WORLDS[i], is_found, DETECTED);
  assert_int_equal(outside, 0);
}

/* --- break-even --- */

enum { ARMS = 7 };
static const double MULTIPLES[ARMS] = {1, 1, 1.19, 1.41, 2, 2.83, 4}, MEETS_AT = 1.7;

static void draw_multiples(dice *d, const variation *v, size_t seeds, size_t documents, suite *s) {
  double truth[ARMS];
  for (int a = 0; a < ARMS; ++a) truth[a] = -0.1 * log(a == 0 ? MEETS_AT : MULTIPLES[a]);
  draw(d, v, ARMS, seeds, documents, truth, s);
}

/* What the interval is made of: at the true multiple the difference is 0. */
static bool break_even_covers(dice *d, const variation *v, size_t seeds, size_t documents,
                              suite *s) {
  double weights[ARMS];
  draw_multiples(d, v, seeds, documents, s);
  lap_break_even_weights(MULTIPLES, ARMS, MEETS_AT, weights);
  return covers(&s->view, weights, false, 0);
}

static void test_break_even_covers(void **state) {
  (void)state;
  begin();
  for (int i = 0; i < 3; ++i) print_row("break-even", &WORLDS[i], break_even_covers, COVERED);
  assert_int_equal(outside, 0);
}

/* The interval that is printed is that one. */
static void test_break_even_interval_is_where_the_difference_covers_0(void **state) {
  (void)state;
  suite *s = lap_allocate(1, sizeof *s);
  dice d = {.stream = 1000};
  int inside = 0;
  for (int n = 0; n < 200; ++n) {
    double weights[ARMS];
    lap_break_even b;
    draw_multiples(&d, &WORLDS[0], 5, 60, s);
    lap_break_even_make(&s->view, MULTIPLES, false, CONFIDENCE, &b);
    lap_break_even_weights(MULTIPLES, ARMS, MEETS_AT, weights);
    const bool is_covered = covers(&s->view, weights, false, 0);
    assert_int_equal(is_covered, b.low <= MEETS_AT && MEETS_AT <= b.high);
    inside += is_covered;
  }
  assert_in_range(inside, 180, 199);
  free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_intervals_cover),
      cmocka_unit_test(test_exchangeable_arms_stay_undecided),
      cmocka_unit_test(test_what_is_detectable_is_found),
      cmocka_unit_test(test_break_even_covers),
      cmocka_unit_test(test_break_even_interval_is_where_the_difference_covers_0),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
