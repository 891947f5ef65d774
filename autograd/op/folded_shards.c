#include "autograd/op/folded_shards.h"

#include <string.h>

/* Parts [S][elements]: at each width, the left one of two neighbours becomes their sum; a last one
 * without a right neighbour stays as it is. */
static void sum(void *context, real *parts, int64_t elements, real *out) {
  const int shards = *(const int *)context;
  for (int width = 1; width < shards; width *= 2)
    for (int s = 0; s + width < shards; s += 2 * width) {
      real *left = parts + s * elements;
      const real *right = parts + (s + width) * elements;
      for (int64_t i = 0; i < elements; ++i) left[i] += right[i];
    }
  memcpy(out, parts, (size_t)elements * sizeof *out);
}

static void sum_double(void *context, double *parts, int64_t elements, double *out) {
  const int shards = *(const int *)context;
  for (int width = 1; width < shards; width *= 2)
    for (int s = 0; s + width < shards; s += 2 * width)
      for (int64_t i = 0; i < elements; ++i)
        parts[s * elements + i] += parts[(s + width) * elements + i];
  memcpy(out, parts, (size_t)elements * sizeof *out);
}

/* The values are already the largest over the shards held here, which are all. */
static void largest(void *context, real *values, int64_t count) {
  (void)context, (void)values, (void)count;
}

lap_shard_group lap_folded_shards(const int *shards) {
  return (lap_shard_group){(void *)shards, sum, sum_double, largest};
}
