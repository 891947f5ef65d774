/* order: which window a sample takes, as a pure function (docs/design.md#data-order).
 *
 * Sample g = step * sequences + s takes window perm(seed, epoch = g / W, g mod W) of all W windows.
 * perm is a Feistel network on Philox over the next even power of two, walked along its cycle until
 * it lands below W: a permutation without a table, so resuming costs nothing and every window comes
 * exactly once an epoch.
 */
#ifndef LAP_DATASET_ORDER_H
#define LAP_DATASET_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* The image of `index` < `count` under the permutation of [0, count) that (seed, epoch) names. */
uint64_t lap_permute(uint64_t seed, uint64_t epoch, uint64_t index, uint64_t count);

/* A source of windows and its share of the samples. */
typedef struct {
  double weight;         /* > 0 */
  uint64_t first_window; /* its windows are [first_window, first_window + window_count) */
  uint64_t window_count; /* > 0 */
} lap_order_source;

/* The window of sample g of a mix of `count` >= 1 sources. With one source this is the rule above.
 * With several, source i gets every sample where floor(g p) grows, p its weight over that of the
 * sources from i on; what it does not take goes to the next ones, counted anew, and nothing has to
 * be remembered. At every g a source is at most one sample behind its share, and ahead of it by at
 * most one for each source before it: of two, both are exact to one sample. Each source goes
 * through its own epochs; *epoch (NULL: not wanted) becomes the one that the sample is in, from 0.
 */
uint64_t lap_sample_window(uint64_t seed, uint64_t sample, const lap_order_source *source,
                           size_t count, uint64_t *epoch);

#endif
