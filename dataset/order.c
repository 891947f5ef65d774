#include "dataset/order.h"

#include <assert.h>

#include "autograd/core/philox.h"

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

uint64_t lap_sample_window(uint64_t seed, uint64_t sample, uint64_t window_count) {
  assert(window_count > 0);
  return lap_permute(seed, sample / window_count, sample % window_count, window_count);
}
