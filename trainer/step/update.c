#include "trainer/step/update.h"

/* Elements [begin, end) of the vector, which are of one bucket. */
static void update_range(const lap_adamw *adamw, lap_state *state, float factor,
                         const lap_gradient_sum *gradients, lap_checksum_block range) {
  const int b = range.bucket;
  const float *gradient = state->whole[LAP_EXP_AVG] ? lap_gradient_sum_whole(gradients, b)
                                                    : lap_gradient_sum_owned(gradients, b);
  lap_adamw_update(adamw, state->parameters, range.begin, range.end, factor,
                   gradient + (range.begin - lap_state_held(state, LAP_EXP_AVG, b).begin),
                   lap_state_at(state, LAP_WEIGHT, b, range.begin),
                   lap_state_at(state, LAP_EXP_AVG, b, range.begin),
                   lap_state_at(state, LAP_EXP_AVG_SQ, b, range.begin));
}

static void update_blocks(const lap_adamw *adamw, lap_state *state, float factor,
                          const lap_gradient_sum *gradients, lap_checksums *checksums) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < lap_checksums_count(checksums); ++i) {
    lap_checksums_check(checksums, i);
    update_range(adamw, state, factor, gradients, lap_checksums_block(checksums, i));
    lap_checksums_take(checksums, i);
  }
}

void lap_update_state(const lap_adamw *adamw, lap_state *state, float factor,
                      const lap_gradient_sum *gradients, lap_checksums *checksums) {
  if (checksums) {
    lap_checksums_check_copies(checksums);
    update_blocks(adamw, state, factor, gradients, checksums);
    lap_checksums_share(checksums);
    return;
  }
  for (int b = 0; b < state->partition->buckets; ++b) {
    const lap_range range = lap_state_held(state, LAP_EXP_AVG, b);
    update_range(adamw, state, factor, gradients, (lap_checksum_block){b, range.begin, range.end});
  }
}
