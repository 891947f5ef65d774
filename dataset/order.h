/* order: which window a sample takes, as a pure function (DESIGN 5).
 *
 * Sample g = step * sequences + s takes window perm(seed, epoch = g / W, g mod W) of all W windows.
 * perm is a Feistel network on Philox over the next even power of two, walked along its cycle until
 * it lands below W: a permutation without a table, so resuming costs nothing and every window comes
 * exactly once an epoch.
 */
#ifndef LAP_DATASET_ORDER_H
#define LAP_DATASET_ORDER_H

#include <stdint.h>

/* The image of `index` < `count` under the permutation of [0, count) that (seed, epoch) names. */
uint64_t lap_permute(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t count);

/* The window of sample g. */
uint64_t lap_sample_window(uint64_t seed, uint64_t sample, uint64_t window_count);

#endif
