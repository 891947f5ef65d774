/* draw: expectations by enumeration of every outcome, by 10,000 draw seeds, and the rows at the
 * edges: certain ones, ties, more draws than ids, nothing but the exact ids.
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
#include "teacher/draw.h"

enum { MOST = 64, MONTE_CARLO = 10000 };
static const double ROUNDING = 0x1p-12 + 1e-6; /* of exact ids, relative; of a float */

/* --- a row and what is drawn of it --- */

typedef struct {
  lap_draw_plan plan;
  float logits[MOST];
  long double p[MOST]; /* by long double */
  lap_draw_row *row;
  uint32_t ids[MOST];
  float logprob[MOST];
  lap_drawn drawn;
  double weight[MOST]; /* of each id, in the last draw */
} subject;

static void take(subject *s, lap_codec codec, uint32_t vocab, uint32_t exact, uint32_t draws) {
  s->plan = (lap_draw_plan){codec, vocab, codec == LAP_CODEC_STRATIFIED ? exact : 0, draws};
  s->row = lap_draw_row_create(&s->plan);
  s->drawn = (lap_drawn){.ids = s->ids, .logprob = s->logprob};
  long double sum = 0;
  for (uint32_t i = 0; i < vocab; ++i) sum += s->p[i] = expl((long double)s->logits[i]);
  for (uint32_t i = 0; i < vocab; ++i) s->p[i] /= sum;
  assert_true(lap_draw_prepare(s->row, s->logits, 0));
}

/* Weights by id; they sum to 1, ids come once, and unused slots are the last. */
static void read_weights(subject *s) {
  const uint32_t slots = lap_draw_slots(&s->plan);
  double sum = 0;
  uint32_t used = 0;
  memset(s->weight, 0, sizeof s->weight);
  for (uint32_t i = 0; i < slots; ++i) {
    if (s->logprob[i] == -INFINITY) continue;
    assert_int_equal(used++, i);
    assert_true(s->ids[i] < s->plan.vocab && s->logprob[i] <= 0);
    assert_true(s->weight[s->ids[i]] == 0);
    sum += s->weight[s->ids[i]] = exp((double)s->logprob[i]);
  }
  assert_true(fabs(sum - 1) < ROUNDING);
}

static uint64_t bits_of(long double fraction) { return (uint64_t)ldexpl(fraction, 64); }

static uint64_t given_bits(const void *context, uint32_t draw) {
  return ((const uint64_t *)context)[draw];
}

static void draw_by(subject *s, const uint64_t *bits) {
  lap_draw_from(s->row, given_bits, bits, &s->drawn);
  read_weights(s);
}

static void random_logits(subject *s, uint64_t seed, float scale, uint32_t vocab) {
  for (uint32_t i = 0; i < vocab; ++i)
    s->logits[i] = scale * (float)(2 * lap_uniform(lap_philox(seed, LAP_PURPOSE_BENCH, 0, i)) - 1);
}

/* Whether `id` is among the `count` most probable ones, ties to the lower id. */
static bool is_top(const subject *s, uint32_t id, uint32_t count) {
  uint32_t before = 0;
  for (uint32_t i = 0; i < s->plan.vocab; ++i)
    before += s->logits[i] > s->logits[id] || (s->logits[i] == s->logits[id] && i < id);
  return before < count;
}

/* --- every outcome --- */

/* Draws with replacement: the bits of each draw in the middle of the stretch of an id. */
static void enumerate_replacement(subject *s, long double *expected) {
  const uint32_t vocab = s->plan.vocab, draws = s->plan.draws;
  long double share[MOST], middle[MOST], sum = 0, below = 0;
  for (uint32_t i = 0; i < vocab; ++i) sum += share[i] = is_top(s, i, s->plan.exact) ? 0 : s->p[i];
  for (uint32_t i = 0; i < vocab; ++i) {
    share[i] /= sum > 0 ? sum : 1;
    middle[i] = below + share[i] / 2;
    below += share[i];
  }
  if (sum <= 0) { /* nothing to draw from */
    draw_by(s, (const uint64_t[MOST]){0});
    for (uint32_t i = 0; i < vocab; ++i) expected[i] = (long double)s->weight[i];
    return;
  }
  uint64_t outcomes = 1;
  for (uint32_t d = 0; d < draws; ++d) outcomes *= vocab;
  for (uint64_t outcome = 0; outcome < outcomes; ++outcome) {
    uint64_t bits[MOST], code = outcome;
    long double probability = 1;
    for (uint32_t d = 0; d < draws; ++d, code /= vocab) {
      bits[d] = bits_of(middle[code % vocab]);
      probability *= share[code % vocab];
    }
    if (probability == 0) continue;
    draw_by(s, bits);
    for (uint32_t i = 0; i < vocab; ++i) expected[i] += probability * (long double)s->weight[i];
  }
}

static int ascending(const void *left, const void *right) {
  const long double a = *(const long double *)left, b = *(const long double *)right;
  return a < b ? -1 : a > b;
}

/* t of varopt, by trying every number of exact ids; *exact. */
static long double threshold_of(const subject *s, uint32_t *exact) {
  const uint32_t slots = lap_draw_slots(&s->plan);
  for (*exact = 0; *exact < slots; ++*exact) {
    long double rest = 0, largest = 0;
    for (uint32_t i = 0; i < s->plan.vocab; ++i) {
      if (is_top(s, i, *exact)) continue;
      rest += s->p[i];
      if (s->p[i] > largest) largest = s->p[i];
    }
    const long double t = rest / (slots - *exact);
    if (largest <= t * (1 + 1e-9L)) return t;
  }
  return 0;
}

/* The outcome changes where a point passes the end of an id: at V fractions, at most. */
static void enumerate_systematic(subject *s, long double *expected) {
  uint32_t exact;
  const uint32_t vocab = s->plan.vocab;
  const long double t = threshold_of(s, &exact);
  long double end[MOST + 2], at = 0;
  uint32_t ends = 0;
  end[ends++] = 0, end[ends++] = 1;
  for (uint32_t i = 0; i < vocab && t > 0; ++i) {
    if (is_top(s, i, exact)) continue;
    at += s->p[i] / t;
    end[ends++] = ceill(at) - at;
  }
  qsort(end, ends, sizeof *end, ascending);
  for (uint32_t e = 0; e + 1 < ends; ++e) {
    const uint64_t bits = bits_of((end[e] + end[e + 1]) / 2);
    if (end[e + 1] - end[e] < 1e-9L) continue;
    draw_by(s, &bits);
    for (uint32_t i = 0; i < vocab; ++i)
      expected[i] += (end[e + 1] - end[e]) * (long double)s->weight[i];
  }
}

static void check_expectation(subject *s, lap_codec codec, uint32_t vocab, uint32_t exact,
                              uint32_t draws) {
  long double expected[MOST] = {0};
  take(s, codec, vocab, exact, draws);
  if (codec == LAP_CODEC_VAROPT)
    enumerate_systematic(s, expected);
  else
    enumerate_replacement(s, expected);
  for (uint32_t i = 0; i < vocab; ++i)
    if (!(fabsl(expected[i] - s->p[i]) <= (long double)ROUNDING * s->p[i] + 1e-7L))
      fail_msg("codec %d, V %u, exact %u, draws %u, id %u: mean weight %.9Lg, probability %.9Lg",
               (int)codec, vocab, exact, draws, i, expected[i], s->p[i]);
  lap_draw_row_destroy(s->row);
}

static void check_every_codec(subject *s, uint32_t vocab) {
  for (uint32_t draws = 1; draws <= (vocab > 4 ? 4 : 5); ++draws)
    check_expectation(s, LAP_CODEC_SAMPLED, vocab, 0, draws);
  for (uint32_t exact = 1; exact <= vocab; ++exact)
    for (uint32_t draws = 1; draws <= 3; ++draws)
      check_expectation(s, LAP_CODEC_STRATIFIED, vocab, exact, draws);
  for (uint32_t slots = 1; slots <= vocab + 2; ++slots)
    check_expectation(s, LAP_CODEC_VAROPT, vocab, 0, slots);
}

static void the_mean_over_all_outcomes_is_the_distribution(void **state) {
  (void)state;
  subject s;
  for (uint32_t vocab = 1; vocab <= 8; ++vocab)
    for (uint64_t seed = 0; seed < 3; ++seed) {
      random_logits(&s, 10 * vocab + seed, seed == 0 ? 0.5f : 3.0f * (float)seed, vocab);
      check_every_codec(&s, vocab);
    }
}

static void ties_and_certain_ids_have_it_too(void **state) {
  (void)state;
  subject s = {.logits = {0}};
  check_every_codec(&s, 8); /* all alike */
  for (int i = 0; i < 8; ++i) s.logits[i] = i % 2 ? 1 : -1;
  check_every_codec(&s, 8);
  for (int i = 0; i < 8; ++i) s.logits[i] = i == 5 ? 0 : -INFINITY; /* of probability 1 */
  check_every_codec(&s, 8);
  for (int i = 0; i < 8; ++i) s.logits[i] = i == 5 ? 60 : -60;
  check_every_codec(&s, 8);
  for (int i = 0; i < 8; ++i) s.logits[i] = i < 3 ? (float)i : -INFINITY; /* no tail after 3 */
  check_every_codec(&s, 8);
}

/* --- 10,000 draw seeds --- */

/* The variance of a weight. */
static long double variance_of(const subject *s, uint32_t id) {
  const lap_draw_plan *plan = &s->plan;
  const long double p = s->p[id];
  if (plan->codec == LAP_CODEC_SAMPLED) return p * (1 - p) / plan->draws;
  if (plan->codec == LAP_CODEC_VAROPT) {
    uint32_t exact;
    const long double t = threshold_of(s, &exact);
    return is_top(s, id, exact) || p >= t ? 0 : p * (t - p);
  }
  long double rest = 0;
  if (is_top(s, id, plan->exact)) return 0;
  for (uint32_t i = 0; i < plan->vocab; ++i)
    if (!is_top(s, i, plan->exact)) rest += s->p[i];
  return p * (rest - p) / plan->draws;
}

static void check_draws(subject *s, lap_codec codec, uint32_t exact, uint32_t draws) {
  double sum[MOST] = {0};
  uint32_t id, vocab = MOST;
  take(s, codec, vocab, exact, draws);
  for (uint64_t seed = 1; seed <= MONTE_CARLO; ++seed) {
    lap_draw(s->row, (lap_draw_key){seed, 77, 12345}, &s->drawn);
    read_weights(s);
    for (id = 0; id < vocab; ++id) sum[id] += s->weight[id];
  }
  for (id = 0; id < vocab; ++id) {
    const double mean = sum[id] / MONTE_CARLO, p = (double)s->p[id];
    const double error = sqrt((double)variance_of(s, id) / MONTE_CARLO);
    if (!(fabs(mean - p) <= 4 * error + ROUNDING * p))
      fail_msg("codec %d, id %u: mean weight %g, probability %g, standard error %g", (int)codec, id,
               mean, p, error);
  }
  lap_draw_row_destroy(s->row);
}

static void draw_seeds_agree_with_the_distribution(void **state) {
  (void)state;
  subject s;
  for (uint64_t n = 0; n < 3; ++n) {
    random_logits(&s, 100 + n, 1 + 2 * (float)n, MOST);
    check_draws(&s, LAP_CODEC_SAMPLED, 0, 12);
    check_draws(&s, LAP_CODEC_STRATIFIED, 6, 6);
    check_draws(&s, LAP_CODEC_VAROPT, 0, 12);
  }
}

/* --- what each codec is --- */

static void varopt_has_n_slots_and_weighs_drawn_ones_alike(void **state) {
  (void)state;
  subject s;
  for (uint64_t n = 0; n < 20; ++n) {
    uint32_t exact, slots = 1 + (uint32_t)n * 3;
    random_logits(&s, n, 4, MOST);
    take(&s, LAP_CODEC_VAROPT, MOST, 0, slots);
    const double t = (double)threshold_of(&s, &exact);
    for (uint64_t seed = 0; seed < 50; ++seed) {
      uint32_t used = 0;
      lap_draw(s.row, (lap_draw_key){seed, 1, n}, &s.drawn);
      read_weights(&s);
      assert_true(fabs((double)s.drawn.threshold - t) < 1e-5 * t);
      for (uint32_t i = 0; i < MOST; ++i) {
        used += s.weight[i] > 0;
        if (is_top(&s, i, exact))
          assert_true(fabs(s.weight[i] - (double)s.p[i]) < ROUNDING * (double)s.p[i]);
        else if (s.weight[i] > 0)
          assert_true(fabs(s.weight[i] - t) < 1e-5 * t);
      }
      assert_int_equal(used, slots);
    }
    lap_draw_row_destroy(s.row);
  }
}

static void stratified_keeps_the_top_as_topk_stores_it(void **state) {
  (void)state;
  subject s;
  float scratch[2 * MOST], logprob[5];
  uint32_t ids[5];
  lap_selection top = {.ids = ids, .logprob = logprob};
  random_logits(&s, 8, 3, MOST);
  assert_true(lap_select_top(s.logits, MOST, 5, 0, scratch, &top));
  take(&s, LAP_CODEC_STRATIFIED, MOST, 5, 7);
  lap_draw(s.row, (lap_draw_key){3, 1, 4}, &s.drawn);
  for (int i = 0; i < 5; ++i) {
    assert_int_equal(s.ids[i], ids[i]);
    assert_true(s.logprob[i] == rintf(logprob[i] * 2048) / 2048);
  }
  assert_true(fabsf(s.drawn.threshold * 7 / top.tail_mass - 1) < 1e-6f);
  assert_int_equal(lap_draw_top_id(s.row), ids[0]);
  assert_true(lap_draw_entropy(s.row) == top.entropy);
  assert_true(lap_draw_next_logprob(s.row) == top.next_logprob);
  lap_draw_row_destroy(s.row);
}

/* The ids that `sampled` draws with the same key, each in proportion to its probability. */
static void gemma3_weighs_the_drawn_ids_by_the_teacher(void **state) {
  (void)state;
  subject s, sampled;
  random_logits(&s, 9, 2, MOST);
  random_logits(&sampled, 9, 2, MOST);
  take(&s, LAP_CODEC_GEMMA3, MOST, 0, 16);
  take(&sampled, LAP_CODEC_SAMPLED, MOST, 0, 16);
  lap_draw(s.row, (lap_draw_key){3, 1, 4}, &s.drawn);
  lap_draw(sampled.row, (lap_draw_key){3, 1, 4}, &sampled.drawn);
  read_weights(&s);
  read_weights(&sampled);
  long double kept = 0;
  for (int i = 0; i < MOST; ++i) {
    assert_true((s.weight[i] > 0) == (sampled.weight[i] > 0));
    if (s.weight[i] > 0) kept += s.p[i];
  }
  for (int i = 0; i < MOST; ++i)
    if (s.weight[i] > 0) assert_true(fabsl((long double)s.weight[i] * kept / s.p[i] - 1) < 1e-6L);
  lap_draw_row_destroy(s.row);
  lap_draw_row_destroy(sampled.row);
}

static void what_is_not_finite_is_reported(void **state) {
  (void)state;
  subject s;
  const lap_codec codecs[] = {LAP_CODEC_SAMPLED, LAP_CODEC_STRATIFIED, LAP_CODEC_VAROPT,
                              LAP_CODEC_GEMMA3};
  for (int c = 0; c < 4; ++c) {
    random_logits(&s, 1, 2, MOST);
    take(&s, codecs[c], MOST, 4, 8);
    s.logits[40] = NAN;
    assert_false(lap_draw_prepare(s.row, s.logits, 3));
    s.logits[40] = INFINITY;
    assert_false(lap_draw_prepare(s.row, s.logits, 3));
    lap_draw_row_destroy(s.row);
  }
}

/* The bits, once and for all; another seed, shard or row draws otherwise. */
static void the_same_key_has_the_same_bits_everywhere(void **state) {
  (void)state;
  subject s;
  const lap_draw_key keys[] = {{1, 2, 3}, {2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
  const uint32_t expected[4][6] = {{6, 15, 26, 38, 45, 62},
                                   {5, 15, 26, 37, 44, 62},
                                   {1, 12, 23, 35, 41, 56},
                                   {6, 15, 26, 38, 46, 62}};
  random_logits(&s, 42, 2, MOST);
  take(&s, LAP_CODEC_VAROPT, MOST, 0, 6);
  for (int k = 0; k < 4; ++k) {
    lap_draw(s.row, keys[k], &s.drawn);
    assert_memory_equal(s.ids, expected[k], sizeof expected[k]);
  }
  const float bits[2] = {s.drawn.threshold, s.logprob[5]},
              golden[2] = {0x1.555556p-3f, -0x1.cab0cp+0f};
  assert_memory_equal(bits, golden, sizeof bits);
  lap_draw_row_destroy(s.row);
  assert_true(lap_draw_stream("0123456789abcdef00") == UINT64_C(0x0123456789abcdef));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_mean_over_all_outcomes_is_the_distribution),
      cmocka_unit_test(ties_and_certain_ids_have_it_too),
      cmocka_unit_test(draw_seeds_agree_with_the_distribution),
      cmocka_unit_test(varopt_has_n_slots_and_weighs_drawn_ones_alike),
      cmocka_unit_test(stratified_keeps_the_top_as_topk_stores_it),
      cmocka_unit_test(gemma3_weighs_the_drawn_ids_by_the_teacher),
      cmocka_unit_test(what_is_not_finite_is_reported),
      cmocka_unit_test(the_same_key_has_the_same_bits_everywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
