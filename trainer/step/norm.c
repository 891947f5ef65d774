#include "trainer/step/norm.h"

#include <stdlib.h>

#include "core/memory.h"

lap_segment_sum *lap_norm_sum_create(const lap_state *state) {
  const int buckets = state->partition->buckets;
  const int64_t base = state->parameters->parameter[0].canonical;
  lap_range *ranges = lap_allocate(buckets, sizeof *ranges);
  int count = 0;
  for (int b = 0; b < buckets; ++b)
    if (!state->parameters->bucket[b].is_copy)
      ranges[count++] = (lap_range){base + state->owned[b].begin, base + state->owned[b].end};
  lap_segment_sum *sum =
      lap_segment_sum_create(state->placement.comm, state->all->canonical_elements, ranges, count);
  free(ranges);
  const lap_placement *placement = &state->placement;
  lap_segment_sum_count(sum, &placement->mesh, placement->fold.lanes, state->partition, base);
  return sum;
}
