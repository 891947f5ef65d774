#include "trainer/step.h"

#include <math.h>
#include <stdlib.h>

#include "autograd/core/clock.h"
#include "autograd/core/memory.h"
#include "dataset/order.h"
#include "mpi/agree.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"

/* What a lane adds up besides gradients; all are summed over lanes in the fixed tree. */
enum { SUM_LOSS, SUM_CE, SUM_KD, SUM_KL, SUM_COUNTED, SUM_FAILED, SUM_STOP, SUM_SAVE, SUMS };

struct lap_stepper {
  const lap_config *config;
  lap_fold fold;
  const lap_data *data;
  uint64_t total_steps;
  lap_order_source all_windows; /* where the data names no sources */
  const lap_order_source *sources;
  size_t source_count;
  lap_state *state;
  lap_comm *comm;
  lap_gemma2 *model;
  lap_micro_batch *micro;
  lap_lane_sum *lane_sum;
  uint64_t *windows;     /* of one micro-batch */
  double *lane_sums;     /* [lanes held here][SUMS] */
  double *norm_partials; /* one for each block owned here */
  float *gradient;       /* of the elements [held_begin, held_end) */
  double seconds[LAP_PHASES];
};

const char *lap_phase_name(lap_phase phase) {
  static const char *const names[LAP_PHASES] = {"data",   "model",  "sum lanes",
                                                "reduce", "update", "gather"};
  return names[phase];
}

lap_stepper *lap_stepper_create(const lap_config *config, const lap_fold *fold,
                                const lap_data *data, uint64_t total_steps, lap_state *state,
                                lap_comm *comm) {
  lap_stepper *s = lap_allocate(1, sizeof *s);
  s->config = config;
  s->fold = *fold;
  s->data = data;
  s->total_steps = total_steps;
  s->all_windows = (lap_order_source){.weight = 1, .window_count = lap_data_window_count(data)};
  s->sources = data->source_count ? data->sources : &s->all_windows;
  s->source_count = data->source_count ? data->source_count : 1;
  s->state = state;
  s->comm = comm;
  const int64_t micro = config->batch.micro_sequences, elements = state->parameters->elements;
  const int64_t k = lap_data_teacher_k(data);
  s->model = lap_gemma2_record(&config->model,
                               &(lap_gemma2_recording){.mode = LAP_GEMMA2_TRAIN,
                                                       .objective = &config->objective,
                                                       .sequences = micro,
                                                       .length = data->sequence_length,
                                                       .teacher_k = k,
                                                       .threads = config->threads,
                                                       .recompute = config->recompute,
                                                       .allocate = true});
  s->micro = lap_micro_batch_create(data, micro);
  s->lane_sum = lap_lane_sum_create(&config->mesh, fold, elements);
  s->windows = lap_allocate((size_t)micro, sizeof *s->windows);
  s->lane_sums = lap_allocate((size_t)(fold->end_lane - fold->first_lane) * SUMS, sizeof(double));
  const int64_t owned = state->owned_end - state->owned_begin;
  s->norm_partials = lap_allocate((size_t)(owned / LAP_BLOCK), sizeof(double));
  s->gradient = lap_allocate_aligned((size_t)(state->held_end - state->held_begin), sizeof(float));
  return s;
}

void lap_stepper_destroy(lap_stepper *s) {
  if (!s) return;
  lap_gemma2_destroy(s->model);
  lap_micro_batch_destroy(s->micro);
  lap_lane_sum_destroy(s->lane_sum);
  free(s->windows);
  free(s->lane_sums);
  free(s->norm_partials);
  lap_release_aligned(s->gradient);
  free(s);
}

/* Adds the time since *since to a phase and starts the next. */
static void account(lap_stepper *s, lap_phase phase, double *since) {
  const double now = lap_clock_seconds();
  s->seconds[phase] += now - *since;
  *since = now;
}

static void add_losses(const lap_micro_batch *micro, double *sums) {
  const int64_t positions = micro->batch.sequences * micro->batch.length;
  for (int64_t i = 0; i < positions; ++i) {
    sums[SUM_LOSS] += micro->losses.loss[i];
    sums[SUM_CE] += micro->losses.ce[i];
    sums[SUM_KD] += micro->losses.kd[i];
    sums[SUM_KL] += micro->losses.kl[i];
  }
  sums[SUM_COUNTED] += micro->counted;
}

/* The lane's micro-batches in order, into its gradient and sums; a failure is in `status`. */
static void run_lane(lap_stepper *s, int lane, double *sums, double *since, lap_status *status) {
  const lap_config *config = s->config;
  const int64_t per_lane = config->batch.sequences / lap_mesh_lanes(&config->mesh);
  const int64_t micro = config->batch.micro_sequences;
  const uint64_t first_sample =
      s->state->step * (uint64_t)config->batch.sequences + (uint64_t)(lane * per_lane);
  float *gradient = lap_lane_sum_begin(s->lane_sum, lane);
  lap_code code = LAP_OK;
  for (int64_t done = 0; done < per_lane && code == LAP_OK; done += micro) {
    for (int64_t i = 0; i < micro; ++i)
      s->windows[i] = lap_sample_window((uint64_t)config->seed, first_sample + (uint64_t)(done + i),
                                        s->sources, s->source_count);
    code = lap_micro_batch_fill(s->micro, s->data, s->windows, status);
    account(s, LAP_PHASE_DATA, since);
    if (code != LAP_OK) break;
    lap_gemma2_run(s->model, s->state->weights, gradient, &s->micro->batch, &s->micro->losses);
    add_losses(s->micro, sums);
    account(s, LAP_PHASE_MODEL, since);
  }
  lap_lane_sum_end(s->lane_sum);
  account(s, LAP_PHASE_SUM, since);
}

static lap_code run_lanes(lap_stepper *s, lap_step_wishes wishes, double sums[SUMS], double *since,
                          lap_status *status) {
  lap_status own = {0};
  if (wishes.failure) own = *wishes.failure;
  lap_lane_sum_reset(s->lane_sum);
  for (int lane = s->fold.first_lane; lane < s->fold.end_lane; ++lane) {
    double *lane_sums = s->lane_sums + (lane - s->fold.first_lane) * SUMS;
    for (int i = 0; i < SUMS; ++i) lane_sums[i] = 0;
    /* After a failure the other lanes are empty: the sums still have to meet the other ranks'. */
    if (own.code == LAP_OK) {
      run_lane(s, lane, lane_sums, since, &own);
    } else {
      lap_lane_sum_begin(s->lane_sum, lane);
      lap_lane_sum_end(s->lane_sum);
    }
    lane_sums[SUM_FAILED] = own.code != LAP_OK;
    lane_sums[SUM_STOP] = wishes.stop;
    lane_sums[SUM_SAVE] = wishes.checkpoint;
  }
  lap_tree_sum_lanes(s->comm, &s->config->mesh, &s->fold, s->lane_sums, SUMS, sums);
  if (sums[SUM_FAILED] > 0) {
    *status = own;
    return lap_agree(s->comm, status);
  }
  return LAP_OK;
}

/* The mean of a sum; a NaN without its sign, which means nothing and differs between runs. */
static double mean(double sum, double counted) {
  return isnan(sum / counted) ? NAN : sum / counted;
}

/* Sum of the gradients into s->gradient, and the norm of the mean gradient. */
static double reduce_gradients(lap_stepper *s, double counted, double *since) {
  const lap_state *state = s->state;
  const bool all_held = state->held_end - state->held_begin == state->parameters->elements;
  const int64_t owned = state->owned_end - state->owned_begin;
  if (all_held && lap_comm_size(s->comm) > 1)
    lap_tree_reduce(s->comm, s->lane_sum, s->gradient);
  else
    lap_tree_reduce_scatter(s->comm, s->lane_sum, s->gradient);
  account(s, LAP_PHASE_REDUCE, since);
  lap_square_partials(s->gradient + (state->owned_begin - state->held_begin), owned,
                      s->norm_partials);
  account(s, LAP_PHASE_UPDATE, since);
  const double squares =
      lap_tree_sum_blocks(s->comm, state->parameters->elements, s->norm_partials);
  account(s, LAP_PHASE_REDUCE, since);
  return mean(sqrt(squares), counted);
}

static void update_weights(lap_stepper *s, double grad_norm, double counted, double learning_rate,
                           double *since) {
  const lap_config *config = s->config;
  lap_state *state = s->state;
  const double clip = config->optimizer.clip_norm;
  const double shrink = clip > 0 && grad_norm > clip ? clip / grad_norm : 1;
  const lap_adamw adamw = {.learning_rate = learning_rate,
                           .beta1 = config->optimizer.beta1,
                           .beta2 = config->optimizer.beta2,
                           .epsilon = config->optimizer.epsilon,
                           .weight_decay = config->optimizer.weight_decay,
                           .update = state->applied_updates + 1};
  lap_adamw_update(&adamw, state->parameters, state->held_begin, state->held_end,
                   (float)(shrink / counted), s->gradient, state->weights + state->held_begin,
                   state->exp_avg, state->exp_avg_sq);
  account(s, LAP_PHASE_UPDATE, since);
  if (state->held_end - state->held_begin < state->parameters->elements)
    lap_tree_gather(s->comm, state->weights, state->parameters->elements, LAP_TRAFFIC_WEIGHTS);
  account(s, LAP_PHASE_GATHER, since);
  state->applied_updates += 1;
}

lap_code lap_stepper_run(lap_stepper *s, lap_step_wishes wishes, lap_step_result *result,
                         lap_status *status) {
  lap_state *state = s->state;
  double since = lap_clock_seconds(), sums[SUMS];
  LAP_TRY(run_lanes(s, wishes, sums, &since, status));
  account(s, LAP_PHASE_REDUCE, &since);
  const double counted = sums[SUM_COUNTED];
  *result = (lap_step_result){
      .loss = mean(sums[SUM_LOSS], counted),
      .ce = mean(sums[SUM_CE], counted),
      .kd = mean(sums[SUM_KD], counted),
      .kl = mean(sums[SUM_KL], counted),
      .learning_rate = lap_schedule_learning_rate(s->config, state->step, s->total_steps),
      .counted = (uint64_t)counted,
      .stop = sums[SUM_STOP] > 0,
      .checkpoint = sums[SUM_SAVE] > 0,
      .skipped = true,
  };
  if (counted > 0) {
    result->grad_norm = reduce_gradients(s, counted, &since);
    result->bad = !isfinite(result->loss) || !isfinite(result->grad_norm);
    if (!result->bad) {
      update_weights(s, result->grad_norm, counted, result->learning_rate, &since);
      result->skipped = false;
    }
  }
  state->bad_steps = result->bad ? state->bad_steps + 1 : 0;
  state->step += 1;
  return LAP_OK;
}

const double *lap_stepper_seconds(const lap_stepper *s) { return s->seconds; }
const lap_tape *lap_stepper_tape(const lap_stepper *s) { return s->model->tape; }
void lap_stepper_reset_profile(lap_stepper *s) { lap_tape_profile_reset(s->model->tape); }
