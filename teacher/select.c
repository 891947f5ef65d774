#include "teacher/select.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/elementary.h"
#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"
#include "autograd/kernel/wide.h"

/* Whether id a goes before id b: a larger logit, or an equal one and a lower id. */
static bool goes_before(const float *logits, uint32_t a, uint32_t b) {
  return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* Restores a heap with the last in order at its root, after heap[at] was changed. */
static void sift_down(const float *logits, uint32_t *heap, uint32_t count, uint32_t at) {
  for (;;) {
    uint32_t last = at;
    for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; ++child)
      if (goes_before(logits, heap[last], heap[child])) last = child;
    if (last == at) return;
    const uint32_t moved = heap[at];
    heap[at] = heap[last];
    heap[last] = moved;
    at = last;
  }
}

/* Where logits[from, vocab) may first exceed `threshold`, by blocks that become vector code. */
static uint32_t skip_below(const float *logits, uint32_t from, uint32_t vocab, float threshold) {
  enum { BLOCK = 64 };
  for (; from + BLOCK <= vocab; from += BLOCK) {
    int above = 0;
    for (int i = 0; i < BLOCK; ++i) above |= logits[from + i] > threshold;
    if (above) break;
  }
  return from;
}

/* Scanning ids upwards, an equal logit never displaces one that is kept: ties go to the lower id.
 */
static void keep_top(const float *logits, uint32_t vocab, uint32_t k, uint32_t *heap) {
  for (uint32_t i = 0; i < k; ++i) heap[i] = i;
  for (uint32_t i = k / 2; i-- > 0;) sift_down(logits, heap, k, i);
  uint32_t i = k;
  while ((i = skip_below(logits, i, vocab, logits[heap[0]])) < vocab) {
    const uint32_t end = i + 64 < vocab ? i + 64 : vocab;
    for (; i < end; ++i) {
      if (!(logits[i] > logits[heap[0]])) continue;
      heap[0] = i;
      sift_down(logits, heap, k, 0);
    }
  }
  for (uint32_t left = k; left-- > 1;) {
    const uint32_t last = heap[0];
    heap[0] = heap[left];
    heap[left] = last;
    sift_down(logits, heap, left, 0);
  }
}

/* --- sums over the vocabulary --- */

/* Each sum is of 16 partial sums, element i in partial i mod 16, as those of kernel/vector.h: the
 * bits are those of its functions, one after the other. Here one pass makes all. */
enum { PARTIALS = 16 };

typedef struct {
  float rest[PARTIALS];   /* exp(rest - the largest rest) */
  float weight[PARTIALS]; /* exp(logit - the largest logit) */
  float spread[PARTIALS]; /* that times its distance from the largest */
} row_sums;

/* Of `count` elements that begin at a multiple of PARTIALS; `rest` has -inf where one is kept. */
LAP_WIDE
static void add_block(const float *logits, const float *rest, int count, float max_rest, float max,
                      row_sums *sums) {
  row_sums s = *sums;
  for (int j = 0; j + PARTIALS <= count; j += PARTIALS)
    for (int i = 0; i < PARTIALS; ++i) {
      const float z = logits[j + i], weight = lap_exp(z - max);
      s.rest[i] += lap_exp(rest[j + i] - max_rest);
      s.weight[i] += weight;
      s.spread[i] = lap_fma(weight, z == -INFINITY ? 0 : max - z, s.spread[i]);
    }
  *sums = s;
}

static float total(float partial[PARTIALS]) {
  for (int width = PARTIALS / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) partial[i] += partial[i + width];
  return partial[0];
}

static int by_id(const void *left, const void *right) {
  const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return a < b ? -1 : a > b;
}

/* `order`: the kept ids and, where there are more, the first that is not. */
static void add_row(const float *logits, uint32_t vocab, const uint32_t *order, uint32_t kept,
                    uint32_t *sorted, row_sums *sums) {
  enum { BLOCK = 512 };
  const float max = logits[order[0]], max_rest = kept < vocab ? logits[order[kept]] : 0;
  float rest[BLOCK], all[BLOCK];
  *sums = (row_sums){{0}, {0}, {0}};
  memcpy(sorted, order, kept * sizeof *sorted);
  qsort(sorted, kept, sizeof *sorted, by_id);
  uint32_t next = 0;
  for (uint32_t begin = 0; begin < vocab; begin += BLOCK) {
    const int count = vocab - begin < BLOCK ? (int)(vocab - begin) : BLOCK;
    const int padded = (count + PARTIALS - 1) / PARTIALS * PARTIALS;
    memcpy(rest, logits + begin, (size_t)count * sizeof *rest);
    for (int i = count; i < padded; ++i) rest[i] = -INFINITY; /* adds 0 to each sum */
    const float *block = logits + begin;
    if (padded > count) block = memcpy(all, rest, (size_t)padded * sizeof *rest);
    for (; next < kept && sorted[next] < begin + (uint32_t)count; ++next)
      rest[sorted[next] - begin] = -INFINITY;
    add_block(block, rest, padded, max_rest, max, sums);
  }
}

static double log_sum_exp(const float *z, uint32_t count) {
  const float max = lap_vector_max(z, count);
  if (max == -INFINITY) return -INFINITY;
  return (double)max + lap_scalar_log((double)lap_vector_sum_exp(z, count, max, 1));
}

static float at_most_zero(double logprob) { return logprob < 0 ? (float)logprob : 0; }

bool lap_select_top(const float *logits, uint32_t vocab, uint32_t k, int32_t next, float *scratch,
                    lap_selection *selection) {
  assert(vocab >= 1 && k >= 1 && next < (int32_t)vocab);
  const uint32_t kept_count = k < vocab ? k : vocab, ranked = k < vocab ? k + 1 : vocab;
  uint32_t *order = (uint32_t *)scratch; /* one more than is kept: the largest of the rest */
  float *kept = scratch + vocab;
  keep_top(logits, vocab, ranked, order);
  row_sums sums;
  add_row(logits, vocab, order, kept_count, (uint32_t *)kept, &sums);
  uint32_t *ids = selection->ids;
  memcpy(ids, order, kept_count * sizeof *ids);
  for (uint32_t i = 0; i < kept_count; ++i) kept[i] = logits[ids[i]];
  const double rest_sum = (double)total(sums.rest);
  const bool no_rest = kept_count == vocab || logits[order[kept_count]] == -INFINITY;
  const double lse_rest =
      no_rest ? -INFINITY : (double)logits[order[kept_count]] + lap_scalar_log(rest_sum);
  const double lse = lap_scalar_log_add(log_sum_exp(kept, kept_count), lse_rest);
  for (uint32_t i = 0; i < kept_count; ++i)
    selection->logprob[i] = at_most_zero((double)logits[ids[i]] - lse);
  selection->tail_mass = lse_rest == -INFINITY ? 0 : (float)lap_scalar_exp(lse_rest - lse);
  selection->next_logprob = next < 0 ? 0 : at_most_zero((double)logits[next] - lse);
  /* With d = max z - z >= 0 and S = sum exp(-d): log S + sum exp(-d) d / S, a sum without
   * cancellation. */
  const double sum = (double)total(sums.weight);
  selection->entropy = (float)(lap_scalar_log(sum) + (double)total(sums.spread) / sum);
  return isfinite(lse);
}
