#include "teacher/draw.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "core/memory.h"
#include "core/philox.h"
#include "teacher/cache_write.h"

struct lap_draw_row {
  lap_draw_plan plan;
  float *scratch;        /* [2 V] of lap_select_top; then the weights of the ids to draw from */
  uint64_t *below;       /* [V] in fixed point: the mass of the ids up to this one, drawn from */
  uint32_t *drawn;       /* [draws], or [slots] of varopt */
  uint32_t *top;         /* [tops] the most probable ids, most probable first */
  float *top_logprob;    /* [tops] */
  uint32_t tops, exact;  /* of these the first `exact` are kept as they are */
  double rest;           /* probability of the ids to draw from */
  const float *logits;   /* [V], of the caller, between prepare and draw: gemma3 */
  lap_selection summary; /* of the row */
};

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

uint64_t lap_draw_stream(const char *tokens_sha256) {
  uint64_t stream = 0;
  for (int i = 0; i < 16; ++i) {
    const char c = tokens_sha256[i];
    stream = stream << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return stream;
}

uint32_t lap_draw_slots(const lap_draw_plan *plan) {
  const uint64_t wanted = (uint64_t)plan->exact + plan->draws;
  return wanted < plan->vocab ? (uint32_t)wanted : plan->vocab;
}

/* How many of the most probable ids the codec looks at one by one; one of them is the top. */
static uint32_t tops_of(const lap_draw_plan *plan) {
  if (plan->codec == LAP_CODEC_VAROPT) return lap_draw_slots(plan);
  return plan->exact ? smaller(plan->exact, plan->vocab) : 1;
}

lap_draw_row *lap_draw_row_create(const lap_draw_plan *plan) {
  assert(plan->codec != LAP_CODEC_TOPK && plan->vocab >= 1 && plan->draws >= 1);
  assert((plan->codec == LAP_CODEC_STRATIFIED) == (plan->exact > 0));
  lap_draw_row *row = lap_allocate(1, sizeof *row);
  *row = (lap_draw_row){.plan = *plan,
                        .scratch = lap_allocate_aligned(2 * (int64_t)plan->vocab, sizeof(float)),
                        .below = lap_allocate(plan->vocab, sizeof *row->below),
                        .drawn = lap_allocate(plan->draws, sizeof *row->drawn),
                        .tops = tops_of(plan)};
  row->top = lap_allocate(row->tops, sizeof *row->top);
  row->top_logprob = lap_allocate(row->tops, sizeof *row->top_logprob);
  return row;
}

void lap_draw_row_destroy(lap_draw_row *row) {
  if (!row) return;
  lap_release_aligned(row->scratch);
  free(row->below);
  free(row->drawn);
  free(row->top);
  free(row->top_logprob);
  free(row);
}

/* --- taking a row in --- */

/* The high half of a product: a 64-bit fraction of `range`. */
static uint64_t fraction_of(uint64_t random, uint64_t range) {
  const uint64_t low = UINT32_MAX;
  const uint64_t a = random >> 32, b = random & low, c = range >> 32, d = range & low;
  const uint64_t middle = a * d + (b * d >> 32);
  return a * c + (middle >> 32) + (((middle & low) + b * c) >> 32);
}

/* Fixed point such that V times the largest mass, 1, stays below 2^63. */
static double one_in_fixed_point(uint32_t vocab) {
  double one = 0x1p62;
  for (uint64_t ids = 1; ids < vocab; ids *= 2) one /= 2;
  return one;
}

/* Fills `below` with the masses of all but the exact ids, relative to the largest of them; returns
 * the largest. The mass of all is below[V - 1]. */
static uint64_t accumulate(lap_draw_row *row, uint32_t exact) {
  const uint32_t vocab = row->plan.vocab;
  float *weight = row->scratch;
  memcpy(weight, row->logits, vocab * sizeof *weight);
  for (uint32_t i = 0; i < exact; ++i) weight[row->top[i]] = -INFINITY;
  const float max = lap_vector_max(weight, vocab);
  uint64_t sum = 0, largest = 0;
  row->exact = exact;
  if (max == -INFINITY)
    memset(weight, 0, vocab * sizeof *weight);
  else
    lap_vector_exp(weight, vocab, max);
  const double one = one_in_fixed_point(vocab);
  for (uint32_t i = 0; i < vocab; ++i) {
    const uint64_t mass = (uint64_t)((double)weight[i] * one);
    if (mass > largest) largest = mass;
    row->below[i] = sum += mass;
  }
  return largest;
}

/* The least number of exact ids with which no other has p > t = rest / slots left, and the rest.
 * In double first, as good as always; then as the integers have it that decide. */
static void settle_varopt(lap_draw_row *row) {
  double rest = (double)row->summary.tail_mass;
  uint32_t exact = row->tops;
  /* With fewer exact ids the rest grows: the smallest number that fits is the last one found. */
  for (uint32_t i = row->tops; i-- > 0;) {
    const double p = lap_scalar_exp((double)row->top_logprob[i]);
    if (p * (double)(row->tops - i) > rest + p) break;
    rest += p;
    exact = i;
  }
  for (;; ++exact) {
    const uint64_t largest = accumulate(row, exact), slots = row->tops - exact;
    if (slots <= 1 || largest * slots <= row->below[row->plan.vocab - 1]) break;
    rest -= lap_scalar_exp((double)row->top_logprob[exact]);
  }
  row->rest = rest;
}

bool lap_draw_prepare(lap_draw_row *row, const float *logits, int32_t next) {
  const lap_draw_plan *plan = &row->plan;
  row->logits = logits;
  row->summary = (lap_selection){.ids = row->top, .logprob = row->top_logprob};
  if (!lap_select_top(logits, plan->vocab, row->tops, next, row->scratch, &row->summary))
    return false;
  if (plan->codec == LAP_CODEC_VAROPT) {
    settle_varopt(row);
    return true;
  }
  accumulate(row, plan->exact ? row->tops : 0);
  row->rest = plan->exact ? (double)row->summary.tail_mass : 1;
  return true;
}

uint32_t lap_draw_top_id(const lap_draw_row *row) { return row->top[0]; }
float lap_draw_next_logprob(const lap_draw_row *row) { return row->summary.next_logprob; }
float lap_draw_entropy(const lap_draw_row *row) { return row->summary.entropy; }

/* --- drawing --- */

static uint64_t philox_bits(const void *context, uint32_t draw) {
  const lap_draw_key *key = context;
  assert(key->row <= UINT32_MAX);
  const lap_random random =
      lap_philox(key->seed, LAP_PURPOSE_DRAWS, key->stream, key->row << 32 | draw);
  return (uint64_t)random.word[0] << 32 | random.word[1];
}

static int by_id(const void *left, const void *right) {
  const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return a < b ? -1 : a > b;
}

/* The first id with more than `mass` up to it. */
static uint32_t id_at(const lap_draw_row *row, uint64_t mass) {
  uint32_t first = 0, count = row->plan.vocab;
  while (count > 1) {
    const uint32_t half = count / 2;
    if (row->below[first + half - 1] > mass)
      count = half;
    else
      first += half, count -= half;
  }
  return first;
}

/* `draws` ids with replacement, in order; 0 where there is nothing to draw from. */
static uint32_t draw_with_replacement(lap_draw_row *row, lap_draw_source source,
                                      const void *context) {
  const uint64_t all = row->below[row->plan.vocab - 1];
  if (all == 0 || !(row->rest > 0)) return 0;
  for (uint32_t d = 0; d < row->plan.draws; ++d)
    row->drawn[d] = id_at(row, fraction_of(source(context, d), all));
  qsort(row->drawn, row->plan.draws, sizeof *row->drawn, by_id);
  return row->plan.draws;
}

/* One point in each n-th of the mass: an id, whose mass is an n-th at most, has one at most. */
static uint32_t draw_systematically(lap_draw_row *row, lap_draw_source source,
                                    const void *context) {
  const uint64_t all = row->below[row->plan.vocab - 1], slots = row->tops - row->exact;
  if (all == 0 || slots == 0) return 0;
  uint32_t count = 0;
  uint64_t reached = fraction_of(source(context, 0), all), before = 0;
  for (uint32_t id = 0; id < row->plan.vocab; ++id) {
    reached += (row->below[id] - before) * slots;
    before = row->below[id];
    if (reached < all) continue;
    row->drawn[count++] = id;
    reached -= all;
  }
  assert(count == slots);
  return count;
}

static float as_stored(double logarithm) { return logarithm < 0 ? (float)logarithm : 0; }

/* Sorted draws become slots from `at` on, repeats as one: `one` is the weight of a draw. */
static uint32_t merge(const uint32_t *drawn, uint32_t count, double one, lap_drawn *into,
                      uint32_t at) {
  for (uint32_t d = 0, end; d < count; d = end) {
    for (end = d + 1; end < count && drawn[end] == drawn[d];) ++end;
    into->ids[at] = drawn[d];
    into->logprob[at++] = as_stored(lap_scalar_log(one * (double)(end - d)));
  }
  return at;
}

/* The teacher's own probabilities in place of the weights, scaled to sum to 1. */
static void weigh_by_teacher(const lap_draw_row *row, uint32_t count, lap_drawn *into) {
  double sum = 0;
  const double max = (double)row->logits[row->top[0]];
  for (uint32_t i = 0; i < count; ++i)
    sum += lap_scalar_exp((double)row->logits[into->ids[i]] - max);
  const double log_sum = max + lap_scalar_log(sum);
  for (uint32_t i = 0; i < count; ++i)
    into->logprob[i] = as_stored((double)row->logits[into->ids[i]] - log_sum);
}

void lap_draw_from(lap_draw_row *row, lap_draw_source source, const void *context,
                   lap_drawn *drawn) {
  const bool systematic = row->plan.codec == LAP_CODEC_VAROPT;
  const uint32_t slots = lap_draw_slots(&row->plan);
  uint32_t at = 0;
  for (; at < row->exact && row->top_logprob[at] > -INFINITY; ++at) {
    drawn->ids[at] = row->top[at];
    drawn->logprob[at] = lap_cache_round_logprob(row->top_logprob[at]);
  }
  const uint32_t count = systematic ? draw_systematically(row, source, context)
                                    : draw_with_replacement(row, source, context);
  const double one = count ? row->rest / (double)count : 0;
  at = merge(row->drawn, count, one, drawn, at);
  drawn->threshold = (float)one;
  if (row->plan.codec == LAP_CODEC_GEMMA3) {
    weigh_by_teacher(row, at, drawn);
    drawn->threshold = 0;
  }
  for (; at < slots; ++at) drawn->ids[at] = 0, drawn->logprob[at] = -INFINITY;
}

void lap_draw(lap_draw_row *row, lap_draw_key key, lap_drawn *drawn) {
  lap_draw_from(row, philox_bits, &key, drawn);
}
