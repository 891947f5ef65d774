#include "trainer/step/moved.h"

/* Reals that are moved for an element. */
enum { OF_CLEAR = 1, OF_ADD = 3, OF_UPDATE = 1 + 4 + 3 };

void lap_step_moved(const lap_config *config, const lap_state *state, double bytes[LAP_PHASES]) {
  const lap_fold *fold = &state->placement.fold;
  const double all = (double)state->partition->elements, owned = (double)state->owned_elements;
  const double lanes = fold->lanes.count;
  double reals[LAP_PHASES] = {0};
  reals[LAP_PHASE_SUM] = lanes * all * OF_CLEAR;
  if (fold->schedule == LAP_LANES_CYCLIC) {
    const double others = lap_mesh_lanes(&config->mesh) - lanes;
    reals[LAP_PHASE_REDUCE] = lanes * all + (others + 1) * owned;
  } else {
    reals[LAP_PHASE_SUM] += (lanes - 1) * all * OF_ADD;
    reals[LAP_PHASE_REDUCE] = all + (fold->replicas - 1 + 1) * owned;
  }
  const double updated = config->sharding == LAP_SHARDING_NONE ? all : owned;
  reals[LAP_PHASE_UPDATE] = OF_UPDATE * updated;
  if (fold->replicas > 1 && config->sharding != LAP_SHARDING_NONE) reals[LAP_PHASE_GATHER] = all;
  for (int phase = 0; phase < LAP_PHASES; ++phase)
    bytes[phase] = reals[phase] * (double)sizeof(float);
  if (config->precision == LAP_MATMUL_BFLOAT16)
    bytes[LAP_PHASE_GATHER] = updated * (double)sizeof(float) + all * (double)sizeof(uint16_t);
}
