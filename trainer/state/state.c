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

lap_state_use lap_state_use_of_training(const lap_config *config) {
  return config->precision == LAP_MATMUL_BFLOAT16 ? LAP_STATE_TRAINING_BFLOAT16
                                                  : LAP_STATE_TRAINING;
}

/* Whether the weights in float32 lie whole on every rank. */
static bool weights_are_whole(lap_state_use use, lap_sharding sharding) {
  return use == LAP_STATE_TRAINING_BFLOAT16 ? sharding == LAP_SHARDING_NONE
                                            : sharding != LAP_SHARDING_FULL;
}

lap_state *lap_state_outline(const lap_gemma2_config *model, const lap_placement *placement,
                             lap_state_use use) {
  lap_state *state = lap_allocate(1, sizeof *state);
  const lap_fold *fold = &placement->fold;
  const int shards = placement->mesh.model;
  state->placement = *placement;
  state->use = use;
  state->group = lap_group_of_replicas(placement->comm, fold);
  state->parameters = lap_parameters_create_shards(
      model, (lap_shard_range){shards, fold->first_shard, fold->shard_count});
  state->all = lap_parameters_create_shards(model, (lap_shard_range){shards, 0, shards});
  state->partition = lap_state_partition(state->parameters, fold->replicas);
  find_owned(state);
  state->whole[LAP_WEIGHT] = weights_are_whole(use, placement->sharding);
  state->whole[LAP_EXP_AVG] = state->whole[LAP_EXP_AVG_SQ] =
      placement->sharding == LAP_SHARDING_NONE;
  return state;
}

bool lap_state_reads_bfloat16(const lap_state *state) {
  return state->use == LAP_STATE_WEIGHTS_BFLOAT16 || state->use == LAP_STATE_TRAINING_BFLOAT16;
}

bool lap_state_holds_bfloat16(const lap_state *state) {
  return lap_state_reads_bfloat16(state) && state->placement.sharding != LAP_SHARDING_FULL;
}

/* Whether values of a kind are held in float32. */
static bool holds(const lap_state *state, lap_state_kind kind) {
  if (state->use == LAP_STATE_WEIGHTS) return kind == LAP_WEIGHT;
  return state->use != LAP_STATE_WEIGHTS_BFLOAT16;
}

static int64_t elements_of(const lap_state *state, lap_state_kind kind) {
  return state->whole[kind] ? state->parameters->elements : state->owned_elements;
}

lap_state *lap_state_create(const lap_gemma2_config *model, const lap_placement *placement,
                            lap_state_use use) {
  assert(use != LAP_STATE_WEIGHTS_BFLOAT16 || placement->sharding != LAP_SHARDING_FULL);
  lap_state *state = lap_state_outline(model, placement, use);
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    if (holds(state, (lap_state_kind)kind))
      state->values[kind] =
          lap_allocate_aligned(elements_of(state, (lap_state_kind)kind), sizeof(float));
  if (lap_state_holds_bfloat16(state))
    state->bfloat16 = lap_allocate_aligned(state->parameters->elements, sizeof *state->bfloat16);
  return state;
}

void lap_state_bytes(const lap_state *state, lap_memory_table *memory) {
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    if (holds(state, (lap_state_kind)kind))
      memory->bytes[kind == LAP_WEIGHT ? LAP_MEMORY_WEIGHTS : LAP_MEMORY_MOMENTS] +=
          elements_of(state, (lap_state_kind)kind) * (int64_t)sizeof(float);
  if (lap_state_holds_bfloat16(state))
    memory->bytes[LAP_MEMORY_WEIGHTS] +=
        state->parameters->elements * (int64_t)sizeof *state->bfloat16;
}

lap_state *lap_state_create_alone(const lap_gemma2_config *model, lap_comm *comm) {
  const lap_mesh one = {1, 1, 1};
  lap_placement placement;
  lap_status status;
  const lap_code code = lap_placement_create(&one, 0, LAP_SHARDING_NONE, comm, &placement, &status);
  assert(code == LAP_OK);
  (void)code;
  return lap_state_create(model, &placement, LAP_STATE_WEIGHTS);
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
  assert(state->values[kind]);
  if (state->whole[kind]) return state->values[kind] + element;
  return state->values[kind] + state->owned_offset[bucket] + (element - state->owned[bucket].begin);
}

lap_weight_target lap_state_weight_target(const lap_state *state) {
  lap_weight_target target = lap_weight_target_create(state->parameters);
  for (int b = 0; b < state->partition->buckets; ++b) {
    target.held[b] = lap_state_held(state, LAP_WEIGHT, b);
    if (!state->values[LAP_WEIGHT])
      target.bfloat16[b] = state->bfloat16 + target.held[b].begin;
    else
      target.at[b] = lap_state_at(state, LAP_WEIGHT, b, target.held[b].begin);
  }
  return target;
}

void lap_state_gather_weights(lap_state *state) {
  assert(state->whole[LAP_WEIGHT] && state->values[LAP_WEIGHT]);
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
