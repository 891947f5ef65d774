#include "trainer/state/state.h"

#include <assert.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/bucket_gather.h"
#include "mpi/collective/mesh_groups.h"

lap_partition *lap_state_partition(const lap_parameters *parameters, int owners) {
  int64_t *begin = lap_allocate(parameters->bucket_count, sizeof *begin);
  for (int b = 0; b < parameters->bucket_count; ++b) begin[b] = parameters->bucket[b].begin;
  lap_partition *partition =
      lap_partition_create(begin, parameters->bucket_count, parameters->elements, owners);
  free(begin);
  while (partition->counted_buckets > 0 &&
         parameters->bucket[partition->counted_buckets - 1].is_copy)
    --partition->counted_buckets; /* copies are last */
  return partition;
}

static void find_owned(lap_state *state) {
  const size_t buckets = (size_t)state->partition->buckets;
  state->owned = lap_allocate(buckets, sizeof *state->owned);
  state->owned_offset = lap_allocate(buckets, sizeof *state->owned_offset);
  for (int b = 0; b < state->partition->buckets; ++b) {
    state->owned[b] = lap_partition_range(state->partition, b, state->group.index);
    state->owned_offset[b] = state->owned_elements;
    state->owned_elements += lap_range_count(state->owned[b]);
  }
}

lap_state *lap_state_outline(const lap_gemma2_config *model, const lap_placement *placement) {
  lap_state *state = lap_allocate(1, sizeof *state);
  const lap_fold *fold = &placement->fold;
  const int shards = placement->mesh.model;
  state->placement = *placement;
  state->group = lap_group_of_replicas(placement->comm, fold);
  state->parameters = lap_parameters_create_shards(
      model, (lap_shard_range){shards, fold->first_shard, fold->shard_count});
  state->all = lap_parameters_create_shards(model, (lap_shard_range){shards, 0, shards});
  state->partition = lap_state_partition(state->parameters, fold->replicas);
  find_owned(state);
  state->whole[LAP_WEIGHT] = placement->sharding != LAP_SHARDING_FULL;
  state->whole[LAP_EXP_AVG] = state->whole[LAP_EXP_AVG_SQ] =
      placement->sharding == LAP_SHARDING_NONE;
  return state;
}

static int64_t elements_of(const lap_state *state, lap_state_kind kind) {
  return state->whole[kind] ? state->parameters->elements : state->owned_elements;
}

lap_state *lap_state_create(const lap_gemma2_config *model, const lap_placement *placement,
                            bool with_moments) {
  lap_state *state = lap_state_outline(model, placement);
  for (int kind = 0; kind < (with_moments ? LAP_STATE_KINDS : 1); ++kind)
    state->values[kind] =
        lap_allocate_aligned(elements_of(state, (lap_state_kind)kind), sizeof(float));
  return state;
}

lap_state *lap_state_create_bfloat16(const lap_gemma2_config *model,
                                     const lap_placement *placement) {
  lap_state *state = lap_state_outline(model, placement);
  assert(state->whole[LAP_WEIGHT]);
  state->bfloat16 = lap_allocate_aligned(state->parameters->elements, sizeof *state->bfloat16);
  return state;
}

void lap_state_bfloat16_bytes(const lap_state *state, lap_memory_table *memory) {
  memory->bytes[LAP_MEMORY_WEIGHTS] += state->parameters->elements * (int64_t)sizeof(uint16_t);
}

void lap_state_bytes(const lap_state *state, bool with_moments, lap_memory_table *memory) {
  const int64_t width = (int64_t)sizeof(float);
  memory->bytes[LAP_MEMORY_WEIGHTS] += elements_of(state, LAP_WEIGHT) * width;
  if (with_moments)
    memory->bytes[LAP_MEMORY_MOMENTS] +=
        (elements_of(state, LAP_EXP_AVG) + elements_of(state, LAP_EXP_AVG_SQ)) * width;
}

lap_state *lap_state_create_alone(const lap_gemma2_config *model, lap_comm *comm,
                                  bool with_moments) {
  const lap_mesh one = {1, 1, 1};
  lap_placement placement;
  lap_status status;
  const lap_code code = lap_placement_create(&one, 0, LAP_SHARDING_NONE, comm, &placement, &status);
  assert(code == LAP_OK);
  (void)code;
  return lap_state_create(model, &placement, with_moments);
}

void lap_state_destroy(lap_state *state) {
  if (!state) return;
  lap_parameters_destroy(state->parameters);
  lap_parameters_destroy(state->all);
  lap_partition_destroy(state->partition);
  free(state->owned);
  free(state->owned_offset);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) lap_release_aligned(state->values[kind]);
  lap_release_aligned(state->bfloat16);
  free(state);
}

const char *lap_state_kind_name(lap_state_kind kind) {
  static const char *const names[LAP_STATE_KINDS] = {"weight", "exp_avg", "exp_avg_sq"};
  return names[kind];
}

lap_range lap_state_held(const lap_state *state, lap_state_kind kind, int bucket) {
  const int64_t *begin = state->partition->bucket_begin;
  return state->whole[kind] ? (lap_range){begin[bucket], begin[bucket + 1]} : state->owned[bucket];
}

float *lap_state_at(const lap_state *state, lap_state_kind kind, int bucket, int64_t element) {
  assert(element >= lap_state_held(state, kind, bucket).begin &&
         element <= lap_state_held(state, kind, bucket).end);
  assert(kind != LAP_WEIGHT || !state->bfloat16);
  if (state->whole[kind]) return state->values[kind] + element;
  return state->values[kind] + state->owned_offset[bucket] + (element - state->owned[bucket].begin);
}

lap_weight_target lap_state_weight_target(const lap_state *state) {
  lap_weight_target target = lap_weight_target_create(state->parameters);
  for (int b = 0; b < state->partition->buckets; ++b) {
    target.held[b] = lap_state_held(state, LAP_WEIGHT, b);
    if (state->bfloat16)
      target.bfloat16[b] = state->bfloat16 + target.held[b].begin;
    else
      target.at[b] = lap_state_at(state, LAP_WEIGHT, b, target.held[b].begin);
  }
  return target;
}

void lap_state_gather_weights(lap_state *state) {
  assert(state->whole[LAP_WEIGHT] && !state->bfloat16);
  lap_bucket_gather *gather =
      lap_bucket_gather_create(&state->group, state->partition, sizeof(float));
  for (int b = 0; b < state->partition->buckets; ++b) {
    lap_bucket_gather_start(gather, b, state->values[LAP_WEIGHT] + state->owned[b].begin,
                            state->values[LAP_WEIGHT] + state->partition->bucket_begin[b],
                            LAP_TRAFFIC_WEIGHTS);
    lap_bucket_gather_wait(gather);
  }
  lap_bucket_gather_destroy(gather);
}

void lap_state_initialise(lap_state *state, uint64_t seed) {
  for (int b = 0; b < state->partition->buckets; ++b) {
    const lap_range held = lap_state_held(state, LAP_WEIGHT, b);
    lap_parameters_initialise(state->parameters, seed, held.begin, held.end,
                              lap_state_at(state, LAP_WEIGHT, b, held.begin));
  }
}
