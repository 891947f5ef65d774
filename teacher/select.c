#include "teacher/select.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "autograd/kernel/vector.h"

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

static double log_sum_exp(const float *z, uint32_t count) {
  const float max = lap_vector_max(z, count);
  if (max == -INFINITY) return -INFINITY;
  return (double)max + lap_scalar_log((double)lap_vector_sum_exp(z, count, max, 1));
}

static double log_add(double a, double b) {
  const double high = a > b ? a : b, low = a > b ? b : a;
  return low == -INFINITY ? high : high + lap_scalar_log(1 + lap_scalar_exp(low - high));
}

/* With d = max z - z >= 0 and S = sum exp(-d): log S + sum exp(-d) d / S, a sum without
 * cancellation. */
static double entropy_of(const float *logits, uint32_t vocab, float *scratch) {
  float *weight = scratch, *distance = scratch + vocab;
  const float max = lap_vector_max(logits, vocab);
  memcpy(weight, logits, vocab * sizeof *weight);
  const double sum = (double)lap_vector_exp(weight, vocab, max);
  for (uint32_t i = 0; i < vocab; ++i) distance[i] = logits[i] == -INFINITY ? 0 : max - logits[i];
  return lap_scalar_log(sum) + (double)lap_vector_dot(weight, distance, vocab) / sum;
}

static float at_most_zero(double logprob) { return logprob < 0 ? (float)logprob : 0; }

bool lap_select_top(const float *logits, uint32_t vocab, uint32_t k, int32_t next, float *scratch,
                    lap_selection *selection) {
  assert(vocab >= 1 && k >= 1 && next < (int32_t)vocab);
  const uint32_t kept_count = k < vocab ? k : vocab;
  uint32_t *ids = selection->ids;
  keep_top(logits, vocab, kept_count, ids);
  float *rest = scratch, *kept = scratch + vocab;
  memcpy(rest, logits, vocab * sizeof *rest);
  for (uint32_t i = 0; i < kept_count; ++i) {
    kept[i] = logits[ids[i]];
    rest[ids[i]] = -INFINITY;
  }
  const double lse_rest = log_sum_exp(rest, vocab), lse_kept = log_sum_exp(kept, kept_count);
  const double lse = log_add(lse_kept, lse_rest);
  for (uint32_t i = 0; i < kept_count; ++i)
    selection->logprob[i] = at_most_zero((double)logits[ids[i]] - lse);
  selection->tail_mass = lse_rest == -INFINITY ? 0 : (float)lap_scalar_exp(lse_rest - lse);
  selection->next_logprob = next < 0 ? 0 : at_most_zero((double)logits[next] - lse);
  selection->entropy = (float)entropy_of(logits, vocab, scratch);
  return isfinite(lse);
}
