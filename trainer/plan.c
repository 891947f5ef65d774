#include "trainer/plan.h"

#include <math.h>
#include <stdlib.h>

#include "autograd/core/memory.h"
#include "trainer/evaluate.h"
#include "trainer/schedule.h"
#include "trainer/step.h"
#include "trainer/teach.h"
#include "trainer/window_logits.h"

const char *lap_plan_command_name(lap_plan_command command) {
  static const char *const names[] = {"train", "eval", "teach"};
  return names[command];
}

int64_t lap_plan_process_bytes(int ranks, int threads) {
  enum { ALONE = 22 << 20, WITH_MPI = 32 << 20, THREAD = 1 << 19 };
  return (ranks > 1 ? WITH_MPI : ALONE) + (threads - 1) * THREAD;
}

static lap_gemma2 *record(const lap_config *config, int64_t sequences, int64_t teacher_k) {
  return lap_gemma2_record(&config->model, LAP_GEMMA2_TRAIN, &config->objective, sequences,
                           config->data.sequence_length, teacher_k, config->threads, false);
}

/* FLOPs of a step: every sequence is one document. */
static void count_flops(const lap_config *config, lap_plan *plan) {
  const int64_t length = config->data.sequence_length;
  const double sequences = (double)config->batch.sequences;
  lap_gemma2 *model = record(config, 1, 0);
  int32_t *first = lap_allocate((size_t)length, sizeof *first);
  const lap_batch batch = {.sequences = 1, .length = length, .first = first};
  double forward;
  const double all = lap_tape_flops_of(model->tape, &batch, &forward);
  plan->forward_flops = sequences * forward;
  plan->backward_flops = sequences * (all - forward);
  free(first);
  lap_gemma2_destroy(model);
}

/* What follows is in int64_t; a value of the tape is no wider than the widest of these. */
static lap_code check_micro_batch(const lap_config *config, int64_t sequences,
                                  lap_status *status) {
  const lap_gemma2_config *m = &config->model;
  const double wide = fmax(fmax((double)m->hidden_size, (double)m->intermediate_size),
                           (double)(m->num_attention_heads * m->head_dim));
  enum { VALUES = 64 }; /* more than a layer has, gradients and scratch included */
  const double bytes = (double)sequences * (double)config->data.sequence_length * wide *
                       (double)m->num_hidden_layers * VALUES * sizeof(float);
  if (bytes < 9e18) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: a micro-batch of %lld sequences of %lld positions takes more memory than "
                  "there is anywhere; lower batch.micro_sequences or data.sequence_length",
                  config->file, (long long)sequences, (long long)config->data.sequence_length);
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

static lap_code plan_training(const lap_config *config, const lap_plan_request *request,
                              lap_plan *plan, lap_status *status) {
  lap_fold fold;
  LAP_TRY(lap_config_require(config, LAP_NEEDS_BATCH, status));
  LAP_TRY(lap_mesh_fold(&config->mesh, request->ranks, 0, &fold, status));
  const int64_t length = config->data.sequence_length, k = request->teacher_k;
  LAP_TRY(check_micro_batch(config, config->batch.micro_sequences, status));
  lap_gemma2 *model = record(config, config->batch.micro_sequences, k);
  const int64_t elements = model->parameters->elements;
  plan->fullest_rank = lap_lane_sum_fullest(&config->mesh, request->ranks, elements);
  lap_mesh_fold(&config->mesh, request->ranks, plan->fullest_rank, &fold, status);
  const lap_state_extent extent = lap_state_extent_of(elements, request->ranks, plan->fullest_rank,
                                                      config->shard == LAP_SHARD_NONE);
  lap_state_bytes(elements, &extent, true, &plan->memory);
  lap_stepper_bytes(config, &fold, &extent, model, k, &plan->memory);
  if (config->data.eval)
    lap_evaluate_bytes(&config->model, length, k, config->threads, &plan->memory);
  plan->tokens_per_step = config->batch.sequences * length;
  count_flops(config, plan);
  lap_gemma2_destroy(model);
  return plan_schedule(config, request->window_count, plan, status);
}

/* --- eval and teach: windows one after the other --- */

static lap_code plan_windows(const lap_config *config, const lap_plan_request *request,
                             lap_plan *plan, lap_status *status) {
  const lap_gemma2_config *model = &config->model;
  const int64_t length = config->data.sequence_length, k = request->teacher_k;
  if (!length)
    return lap_fail(status, LAP_USAGE,
                    "%s: data.sequence_length is missing; add it to the config or give "
                    "data.sequence_length=VALUE",
                    config->file);
  LAP_TRY(check_micro_batch(config, 1, status));
  lap_parameters *parameters = lap_parameters_create(model);
  const lap_state_extent nothing = {0};
  lap_state_bytes(parameters->elements, &nothing, false, &plan->memory);
  lap_parameters_destroy(parameters);
  if (request->command == LAP_PLAN_EVAL)
    lap_evaluate_bytes(model, length, k, config->threads, &plan->memory);
  else
    lap_teach_bytes(model, length, k, request->largest_shard, config->threads, &plan->memory);
  plan->tokens_per_step = length;
  plan->forward_flops = lap_window_logits_flops(model, length);
  return LAP_OK;
}

lap_code lap_plan_make(const lap_config *config, const lap_plan_request *request, lap_plan *plan,
                       lap_status *status) {
  LAP_TRY(lap_config_require(config, LAP_NEEDS_MODEL, status));
  *plan = (lap_plan){
      .command = request->command,
      .embedding_parameters = lap_gemma2_embedding_parameters(&config->model),
      .non_embedding_parameters = lap_gemma2_non_embedding_parameters(&config->model),
      .ranks = request->ranks};
  int64_t *bytes = plan->memory.bytes;
  bytes[LAP_MEMORY_PROCESS] = lap_plan_process_bytes(request->ranks, config->threads);
  bytes[LAP_MEMORY_BUFFERS] = request->token_bytes;
  if (request->teacher_k && request->command != LAP_PLAN_TEACH)
    bytes[LAP_MEMORY_BUFFERS] += lap_cache_bytes(request->teacher_k);
  return request->command == LAP_PLAN_TRAIN ? plan_training(config, request, plan, status)
                                            : plan_windows(config, request, plan, status);
}
