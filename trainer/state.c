#include "trainer/state.h"

#include <assert.h>
#include <stdlib.h>

#include "autograd/core/memory.h"
#include "mpi/mesh.h"

lap_state_extent lap_state_extent_of(int64_t elements, int ranks, int rank,
                                     bool replicate_moments) {
  lap_state_extent extent = {.owned_begin = lap_owned_begin(elements, ranks, rank),
                             .owned_end = lap_owned_end(elements, ranks, rank)};
  extent.held_begin = replicate_moments ? 0 : extent.owned_begin;
  extent.held_end = replicate_moments ? elements : extent.owned_end;
  return extent;
}

lap_state *lap_state_create(const lap_gemma2_config *model, const lap_comm *comm, bool with_moments,
                            bool replicate_moments) {
  lap_state *state = lap_allocate(1, sizeof *state);
  state->parameters = lap_parameters_create(model);
  const int64_t elements = state->parameters->elements;
  const lap_state_extent extent =
      lap_state_extent_of(elements, lap_comm_size(comm), lap_comm_rank(comm), replicate_moments);
  state->owned_begin = extent.owned_begin;
  state->owned_end = extent.owned_end;
  state->held_begin = extent.held_begin;
  state->held_end = extent.held_end;
  state->weights = lap_allocate_aligned((size_t)elements, sizeof(float));
  if (with_moments) {
    const size_t held = (size_t)(state->held_end - state->held_begin);
    state->exp_avg = lap_allocate_aligned(held, sizeof(float));
    state->exp_avg_sq = lap_allocate_aligned(held, sizeof(float));
  }
  return state;
}

void lap_state_bytes(int64_t elements, const lap_state_extent *extent, bool with_moments,
                     lap_memory_table *memory) {
  const int64_t width = (int64_t)sizeof(float), held = extent->held_end - extent->held_begin;
  memory->bytes[LAP_MEMORY_WEIGHTS] += elements * width;
  if (with_moments) memory->bytes[LAP_MEMORY_MOMENTS] += 2 * held * width;
}

void lap_state_destroy(lap_state *state) {
  if (!state) return;
  lap_parameters_destroy(state->parameters);
  lap_release_aligned(state->weights);
  lap_release_aligned(state->exp_avg);
  lap_release_aligned(state->exp_avg_sq);
  free(state);
}

const char *lap_state_kind_name(lap_state_kind kind) {
  static const char *const names[LAP_STATE_KINDS] = {"weight", "exp_avg", "exp_avg_sq"};
  return names[kind];
}

float *lap_state_at(const lap_state *state, lap_state_kind kind, int64_t index) {
  if (kind == LAP_WEIGHT) return state->weights + index;
  assert(index >= state->held_begin && index <= state->held_end);
  return (kind == LAP_EXP_AVG ? state->exp_avg : state->exp_avg_sq) + (index - state->held_begin);
}
