#include "dataset/order.h"

#include <assert.h>
#include <stdbool.h>

#include "core/philox.h"

/* Four rounds make a Feistel network of random functions indistinguishable from a random
 * permutation of a large set; windows can be as few as a handful, where more rounds mix better and
 * cost nothing. */
enum { FEISTEL_ROUNDS = 8 };

/* One application of the network to `value` < 2^(2 half_bits). */
static uint64_t feistel(uint64_t seed, uint64_t epoch, uint64_t value, unsigned half_bits) {
  const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
  uint64_t left = value >> half_bits, right = value & mask;
  for (uint64_t round = 0; round < FEISTEL_ROUNDS; ++round) {
    const lap_random random = lap_philox(seed, LAP_PURPOSE_ORDER, epoch, round << 32 | right);
    const uint64_t mixed = left ^ (random.word[0] & mask);
    left = right;
    right = mixed;
  }
  return left << half_bits | right;
}

uint64_t lap_permute(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t count) {
  assert(index < count);
  unsigned half_bits = 1;
  while (half_bits < 32 && ((count - 1) >> (2 * half_bits)) != 0) ++half_bits;
  uint64_t value = index;
  do value = feistel(seed, epoch, value, half_bits);
  while (value >= count);
  return value;
}

uint64_t lap_sample_window(uint64_t seed, uint64_t sample, const lap_order_source *source,
                           size_t count, uint64_t *epoch) {
  double remaining = 0;
  for (size_t i = 0; i < count; ++i) remaining += source[i].weight;
  size_t chosen = 0;
  for (; chosen + 1 < count; ++chosen) {
    /* Below 2^53 samples the products are exact enough to count by; the last source takes the rest.
     */
    const double share = source[chosen].weight / remaining;
    const uint64_t before = (uint64_t)((double)sample * share);
    const bool taken = (uint64_t)((double)(sample + 1) * share) > before;
    if (taken) {
      sample = before;
      break;
    }
    sample -= before;
    remaining -= source[chosen].weight;
  }
  const lap_order_source *from = &source[chosen];
  assert(from->window_count > 0);
  /* Sources that hold equally many windows still get orders of their own. */
  const uint64_t passes = sample / from->window_count, order = passes | (uint64_t)chosen << 48;
  if (epoch) *epoch = passes;
  return from->first_window +
         lap_permute(seed, order, sample % from->window_count, from->window_count);
}
