#include "trainer/plan/plan.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "mpi/collective/gradient_sum.h"
#include "trainer/config/resolve.h"
#include "trainer/model/evaluate.h"
#include "trainer/model/sharded.h"
#include "trainer/model/teach.h"
#include "trainer/model/window_logits.h"
#include "trainer/run/saver.h"
#include "trainer/step/schedule.h"
#include "trainer/step/smoothing.h"
#include "trainer/step/step.h"

const char *lap_plan_command_name(lap_plan_command command) {
  static const char *const names[] = {"train", "eval", "teach"};
  return names[command];
}

int64_t lap_plan_process_bytes(int ranks, int threads) {
  enum { ALONE = 21 << 20, WITH_MPI = 31 << 20, THREAD = 1 << 19 };
  return (ranks > 1 ? WITH_MPI : ALONE) + (int64_t)(threads - 1) * THREAD;
}

/* Whether all positions have one row, in the place of a cache. */
static bool smooths(const lap_config *config, lap_plan_command command) {
  return command == LAP_PLAN_TRAIN && lap_config_smooths(config);
}

/* What an int64_t holds, with some room. */
static const double MOST_BYTES = 9e18;

/* FLOPs of a step: every sequence is one document. Model shards only cut them up. */
static void count_flops(const lap_config *config, lap_plan *plan) {
  const int64_t length = config->data.sequence_length;
  const double sequences = (double)config->batch.sequences;
  lap_gemma2 *model =
      lap_gemma2_record(&config->model, &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                                                .objective = &config->objective,
                                                                .sequences = 1,
                                                                .length = length,
                                                                .threads = 1});
  int32_t *document_start = lap_allocate(length, sizeof *document_start);
  const lap_batch batch = {.sequences = 1, .length = length, .document_start = document_start};
  double forward;
  const double all = lap_tape_flops_of(model->tape, &batch, &forward);
  plan->forward_flops = sequences * forward;
  plan->backward_flops = sequences * (all - forward);
  free(document_start);
  lap_gemma2_destroy(model);
}

/* What follows is in int64_t; a value of the tape is no wider than the widest of these. */
static lap_code check_micro_batch(const lap_config *config, int64_t sequences, int64_t k,
                                  lap_status *status) {
  const lap_gemma2_config *m = &config->model;
  const double wide = fmax(fmax((double)m->hidden_size, (double)m->intermediate_size),
                           (double)(m->num_attention_heads * m->head_dim));
  /* More than a layer has, gradients and scratch included; of an id of a row, on its way from a
   * model to a cache or from there to the loss; and of a logit. */
  enum { VALUES = 64, KEPT_BYTES = 1024, LOGIT_BYTES = 64 };
  const double position = wide * (double)m->num_hidden_layers * VALUES * sizeof(float) +
                          (double)k * KEPT_BYTES + (double)m->vocab_size * LOGIT_BYTES;
  if ((double)sequences * (double)config->data.sequence_length * position < MOST_BYTES)
    return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: a micro-batch of %" PRId64 " sequences of %" PRId64
                  " positions takes more memory than there is anywhere; lower "
                  "batch.micro_sequences or data.sequence_length",
                  config->file, sequences, config->data.sequence_length);
}

/* Shards of a model send each other activations and kept logits of all positions of a step. */
static lap_code check_traffic(const lap_config *config, int64_t k, lap_status *status) {
  const lap_gemma2_config *m = &config->model;
  enum { SUMS = 32, SCALARS = 64 }; /* more than a layer, and a row of logits, send to a shard */
  const double position =
      ((double)m->hidden_size * (double)m->num_hidden_layers * SUMS + 8 * (double)k + SCALARS) *
      sizeof(float);
  const double positions = (double)config->batch.sequences * (double)config->data.sequence_length;
  if (config->mesh.model == 1 || positions * position * config->mesh.model < MOST_BYTES)
    return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: a step of %" PRId64 " sequences of %" PRId64
                  " positions sends more bytes between its %d model shards than can be counted; "
                  "lower batch.sequences or data.sequence_length",
                  config->file, config->batch.sequences, config->data.sequence_length,
                  config->mesh.model);
}

static lap_code plan_schedule(const lap_config *config, uint64_t window_count, lap_plan *plan,
                              lap_status *status) {
  const bool known = config->schedule.steps || config->schedule.tokens ||
                     (config->schedule.epochs > 0 && window_count);
  if (!known) return LAP_OK;
  LAP_TRY(lap_schedule_total_steps(config, window_count, &plan->steps, status));
  plan->tokens = (double)plan->steps * (double)plan->tokens_per_step;
  plan->flops = (double)plan->steps * (plan->forward_flops + plan->backward_flops);
  return LAP_OK;
}

/* --- train --- */

static lap_code placement_of(const lap_config *config, int ranks, int rank,
                             lap_placement *placement, lap_status *status) {
  return lap_placement_of_rank(&config->mesh, config->model_ranks, config->sharding, ranks, rank,
                               placement, status);
}

/* The replica that has most of what differs between them: partial sums, and what is owned. */
static int fullest_replica(const lap_config *config, int ranks, const lap_placement *first) {
  lap_state *state = lap_state_outline(&config->model, first, lap_state_use_of_training(config));
  const int64_t width = (int64_t)sizeof(float);
  int64_t owned_bytes = 0; /* of an element that is owned */
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind) owned_bytes += state->whole[kind] ? 0 : width;
  int fullest = 0;
  int64_t most = 0;
  for (int replica = 0; replica < first->fold.replicas; ++replica) {
    lap_fold fold;
    lap_status status;
    lap_mesh_fold(&config->mesh, config->model_ranks, first->fold.schedule, ranks,
                  replica * first->fold.model_ranks, &fold, &status);
    const lap_gradient_sum_size sums =
        lap_gradient_sum_bytes(&config->mesh, &fold, state->partition, NULL);
    const int64_t bytes =
        sums.vectors + sums.arriving + owned_bytes * lap_partition_owned(state->partition, replica);
    if (bytes > most) {
      most = bytes;
      fullest = replica;
    }
  }
  lap_state_destroy(state);
  return fullest;
}

/* What `k` ids a row take before they are in a micro-batch. */
static int64_t teacher_bytes(const lap_config *config, const lap_plan *plan) {
  if (!plan->teacher_k || plan->command == LAP_PLAN_TEACH) return 0;
  return smooths(config, plan->command)
             ? lap_smoothing_bytes(config->smoothing, config->model.vocab_size)
             : lap_cache_bytes(plan->teacher_k);
}

static void add_rank(const lap_config *config, int64_t k, const lap_placement *placement,
                     lap_memory_table *memory) {
  const int64_t length = config->data.sequence_length;
  lap_state *state =
      lap_state_outline(&config->model, placement, lap_state_use_of_training(config));
  lap_gemma2 *model = lap_stepper_record(config, state->parameters->shards, k, false);
  lap_state_bytes(state, memory);
  lap_block_weights_bytes(state, memory);
  lap_stepper_bytes(config, state, model, k, memory);
  lap_saver_bytes(config, state, memory);
  if (config->data.eval) /* which reads a cache, and never smooths */
    lap_evaluate_bytes(&config->model, state, length, smooths(config, LAP_PLAN_TRAIN) ? 0 : k,
                       config->threads, memory);
  lap_gemma2_destroy(model);
  lap_state_destroy(state);
}

static lap_code plan_training(const lap_config *config, const lap_plan_request *request,
                              lap_plan *plan, lap_status *status) {
  lap_placement placement;
  LAP_TRY(lap_config_require(config, LAP_NEEDS_BATCH, status));
  LAP_TRY(placement_of(config, request->ranks, 0, &placement, status));
  LAP_TRY(check_micro_batch(config, config->batch.micro_sequences, plan->teacher_k, status));
  LAP_TRY(check_traffic(config, plan->teacher_k, status));
  const int model_ranks = placement.fold.model_ranks;
  plan->model_ranks = model_ranks;
  plan->efficiency = lap_mesh_efficiency(&config->mesh, placement.fold.replicas);
  const int first = fullest_replica(config, request->ranks, &placement) * model_ranks;
  const lap_memory_table common = plan->memory;
  for (int rank = first; rank < first + model_ranks; ++rank) {
    lap_memory_table memory = common;
    LAP_TRY(placement_of(config, request->ranks, rank, &placement, status));
    add_rank(config, plan->teacher_k, &placement, &memory);
    if (rank > first && lap_memory_total(&memory) <= lap_memory_total(&plan->memory)) continue;
    plan->memory = memory;
    plan->fullest_rank = rank;
  }
  plan->tokens_per_step = config->batch.sequences * config->data.sequence_length;
  count_flops(config, plan);
  const int on_node = request->ranks_per_node ? request->ranks_per_node : request->ranks;
  lap_step_traffic_plan(config, request->ranks, on_node, plan->teacher_k, &plan->traffic);
  return plan_schedule(config, request->window_count, plan, status);
}

lap_gemma2 *lap_plan_record(const lap_config *config, const lap_plan *plan) {
  lap_placement placement;
  lap_status status;
  const lap_code code = placement_of(config, plan->ranks, plan->fullest_rank, &placement, &status);
  assert(code == LAP_OK); /* it was planned */
  (void)code;
  const lap_shard_range shards = {config->mesh.model, placement.fold.first_shard,
                                  placement.fold.shard_count};
  return lap_stepper_record(config, shards, plan->teacher_k, false);
}

/* --- eval and teach: windows one after the other --- */

/* Of the first rank, which has most: it puts logits together, and writes the cache. */
static lap_code plan_windows(const lap_config *config, const lap_plan_request *request,
                             lap_plan *plan, lap_status *status) {
  const lap_gemma2_config *model = &config->model;
  const int64_t length = config->data.sequence_length, k = plan->teacher_k;
  if (!length)
    return lap_fail(status, LAP_USAGE,
                    "%s: data.sequence_length is missing; add it to the config or give "
                    "data.sequence_length=VALUE",
                    config->file);
  LAP_TRY(check_micro_batch(config, 1, k, status));
  lap_placement placement;
  const lap_model_layout layout = {config->mesh.model, config->model_ranks};
  LAP_TRY(lap_model_layout_placement(config, layout, request->ranks, 0, &placement, status));
  plan->model_ranks = placement.fold.model_ranks;
  plan->efficiency = 1;
  const bool bfloat16 = config->precision == LAP_MATMUL_BFLOAT16;
  lap_state *state = lap_state_outline(model, &placement,
                                       bfloat16 ? LAP_STATE_WEIGHTS_BFLOAT16 : LAP_STATE_WEIGHTS);
  const bool teaches = request->command == LAP_PLAN_TEACH;
  const int64_t models = teaches && request->teachers > 1 ? request->teachers : 1;
  for (int64_t i = 0; i < models; ++i) lap_state_bytes(state, &plan->memory);
  if (!teaches)
    lap_evaluate_bytes(model, state, length, k, config->threads, &plan->memory);
  else
    lap_teach_bytes(model, (size_t)models, state, length, k, request->largest_shard,
                    config->threads, &plan->memory);
  lap_state_destroy(state);
  plan->tokens_per_step = length;
  plan->forward_flops = (double)models * lap_window_logits_flops(model, length);
  return LAP_OK;
}

lap_code lap_plan_make(const lap_config *config, const lap_plan_request *request, lap_plan *plan,
                       lap_status *status) {
  LAP_TRY(lap_config_require(config, LAP_NEEDS_MODEL, status));
  *plan =
      (lap_plan){.command = request->command,
                 .embedding_parameters = lap_gemma2_embedding_parameters(&config->model),
                 .non_embedding_parameters = lap_gemma2_non_embedding_parameters(&config->model),
                 .ranks = request->ranks,
                 .teacher_k = smooths(config, request->command) ? config->model.vocab_size
                                                                : request->teacher_k};
  int64_t *bytes = plan->memory.bytes;
  enum { OPENBLAS = 2 << 20 };
  bytes[LAP_MEMORY_PROCESS] = lap_plan_process_bytes(request->ranks, config->threads) +
                              (config->gemm == LAP_GEMM_OPENBLAS ? OPENBLAS : 0);
  bytes[LAP_MEMORY_BUFFERS] = request->token_bytes + teacher_bytes(config, plan);
  return request->command == LAP_PLAN_TRAIN ? plan_training(config, request, plan, status)
                                            : plan_windows(config, request, plan, status);
}
