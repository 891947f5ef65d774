#include "trainer/step/step.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/memory.h"
#include "dataset/order.h"
#include "mpi/collective/bucket_gather.h"
#include "mpi/collective/gradient_sum.h"
#include "mpi/collective/lane_sum.h"
#include "mpi/collective/mesh_groups.h"
#include "mpi/collective/segment_sum.h"
#include "mpi/collective/shard_sum.h"
#include "mpi/transport/agree.h"
#include "mpi/transport/wrong.h"
#include "trainer/step/norm.h"
#include "trainer/step/schedule.h"
#include "trainer/step/update.h"

/* What a lane adds up besides gradients; all are summed over lanes in the fixed tree. */
enum { SUM_LOSS, SUM_CE, SUM_KD, SUM_KL, SUM_COUNTED, SUM_ENDED, SUM_SAVE, SUMS };
/* SUM_ENDED holds two counts: lanes whose ranks have failed, and lanes whose ranks leave the step;
 * SUM_SAVE ranks that ask for a checkpoint, and ranks that are writing one, with the first lane of
 * each. There are fewer lanes than this. */
enum { SECOND_COUNT = 1 << 24 };
_Static_assert(SUMS == (int)LAP_STEP_SUMS, "plan counts them");

struct lap_stepper {
  const lap_config *config;
  const lap_data *data;
  uint64_t total_steps;
  lap_order_source all_windows; /* where the data names no sources */
  const lap_order_source *sources;
  size_t source_count;
  lap_state *state;
  lap_block_weights *weights;
  lap_checksums *checksums; /* of the state; NULL: none */
  lap_status wrong;         /* what this rank has found, brought to the next agreement point */
  lap_gemma2 *model;
  lap_micro_batch *micro;
  lap_input_rows *input_rows; /* NULL: a lane has one micro-batch */
  lap_gradient_sum *gradient_sum;
  lap_lane_sum *lane_sum;
  lap_segment_sum *norm_sum;
  lap_shard_sum *shard_sum;
  lap_shard_group group;              /* of shard_sum */
  lap_bucket_gather *gradient_gather; /* mesh.shard: none */
  lap_recheck *recheck;               /* NULL: never */
  float *const *gradients;            /* [buckets] of the lane that is computed; NULL: none is */
  bool again;                         /* it is computed again: its gradients enter no sum */
  uint64_t *windows, *epochs;         /* of one micro-batch */
  double *lane_values;                /* [rounds][SUMS] */
  double *norm_partials;              /* one for each segment owned here */
  bool last_micro;                    /* of its lane: a bucket is ready when its block is left */
  const lap_step_requests *asked;     /* while the lanes of a step are computed */
  bool left;                          /* the step, by this replica */
  double seconds[LAP_PHASES];
};

/* With cyclic lanes of one micro-batch, a layer's gradient is complete when the backward pass
 * leaves its block, and soon sent: two layers take turns. [buckets], or NULL: each bucket has
 * memory of its own. */
static int *gradient_slots(const lap_config *config, const lap_state *state) {
  enum { LAYERS_AT_ONCE = 2 };
  if (state->placement.fold.schedule != LAP_LANES_CYCLIC || lap_config_micro_batches(config) > 1)
    return NULL;
  int *slots = lap_allocate(state->parameters->bucket_count, sizeof *slots);
  lap_parameters_layer_slots(state->parameters, LAYERS_AT_ONCE, slots);
  return slots;
}

/* Of the embedding. */
static int64_t rows_held(const lap_config *config, const lap_state *state) {
  const lap_shard_range *shards = &state->parameters->shards;
  return config->model.vocab_size / shards->of * shards->count;
}

static int64_t positions_of_lane(const lap_config *config) {
  return config->batch.sequences / lap_mesh_lanes(&config->mesh) * config->data.sequence_length;
}

lap_stepper *lap_stepper_create(const lap_config *config, const lap_data *data,
                                uint64_t total_steps, lap_state *state,
                                lap_block_weights *weights) {
  lap_stepper *s = lap_allocate(1, sizeof *s);
  const lap_placement *placement = &state->placement;
  const lap_group shards = lap_group_of_shards(placement->comm, &placement->fold);
  s->config = config;
  s->data = data;
  s->total_steps = total_steps;
  s->all_windows = (lap_order_source){.weight = 1, .window_count = lap_data_window_count(data)};
  s->sources = data->source_count ? data->sources : &s->all_windows;
  s->source_count = data->source_count ? data->source_count : 1;
  s->state = state;
  s->weights = weights;
  if (config->integrity.state == LAP_ON) {
    s->checksums = lap_checksums_create(state);
    lap_checksums_take_all(s->checksums);
    lap_checksums_share(s->checksums);
  }
  const int64_t micro = config->batch.micro_sequences;
  s->model = lap_stepper_record(config, state->parameters->shards, lap_data_teacher_k(data), true);
  s->micro = lap_micro_batch_create(data, micro);
  if (lap_config_micro_batches(config) > 1)
    s->input_rows = lap_input_rows_create(rows_held(config, state), config->model.hidden_size,
                                          positions_of_lane(config));
  s->micro->batch.input_rows = s->input_rows;
  int *slots = gradient_slots(config, state);
  s->gradient_sum = lap_gradient_sum_create(&state->group, &placement->mesh, &placement->fold,
                                            state->partition, slots);
  free(slots);
  if (config->integrity.sums == LAP_ON)
    lap_gradient_sum_check(s->gradient_sum, (uint64_t)config->seed);
  s->lane_sum = lap_lane_sum_create(&state->group, &placement->mesh, &placement->fold, SUMS);
  s->norm_sum = lap_norm_sum_create(state);
  s->shard_sum = lap_shard_sum_create(&shards, &placement->mesh, &placement->fold);
  s->group = lap_shard_sum_group(s->shard_sum);
  s->windows = lap_allocate(micro, sizeof *s->windows);
  s->micro->epochs = s->epochs = lap_allocate(micro, sizeof *s->epochs);
  s->lane_values = lap_allocate((int64_t)placement->fold.rounds * SUMS, sizeof *s->lane_values);
  s->norm_partials = lap_allocate((state->owned_elements / LAP_SEGMENT), sizeof *s->norm_partials);
  if (state->whole[LAP_EXP_AVG]) { /* all ranks make all updates */
    s->gradient_gather = lap_bucket_gather_create(&state->group, state->partition, sizeof(float));
    lap_bucket_gather_count(s->gradient_gather, &placement->mesh, placement->fold.lanes);
  }
  if (config->integrity.recheck_every > 0) s->recheck = lap_recheck_create(config, state);
  return s;
}

void lap_stepper_bytes(const lap_config *config, const lap_state *state, const lap_gemma2 *model,
                       int64_t teacher_k, lap_memory_table *memory) {
  const lap_placement *placement = &state->placement;
  const int64_t micro = config->batch.micro_sequences, owned = state->owned_elements;
  const bool one_row = lap_config_smooths(config);
  int *slots = gradient_slots(config, state);
  const lap_gradient_sum_size sums =
      lap_gradient_sum_bytes(&placement->mesh, &placement->fold, state->partition, slots);
  free(slots);
  const int64_t input_rows =
      lap_config_micro_batches(config) == 1
          ? 0
          : lap_input_rows_bytes(rows_held(config, state), config->model.hidden_size,
                                 positions_of_lane(config));
  const int64_t logits = lap_tape_scratch_bytes(model->tape, &lap_op_lm_head_loss);
  memory->bytes[LAP_MEMORY_LOGITS] += logits;
  memory->bytes[LAP_MEMORY_ACTIVATIONS] += lap_gemma2_bytes(model) - logits;
  memory->bytes[LAP_MEMORY_GRADIENTS] += sums.vectors + input_rows;
  memory->bytes[LAP_MEMORY_BUFFERS] +=
      sums.arriving + lap_micro_batch_bytes(micro, model->length, teacher_k, one_row) +
      lap_shard_sum_bytes(&placement->mesh, &placement->fold,
                          micro * model->length * config->model.hidden_size) +
      2 * micro * (int64_t)sizeof(uint64_t) + /* windows, epochs */
      ((int64_t)placement->fold.rounds * SUMS + owned / LAP_SEGMENT) * (int64_t)sizeof(double);
  lap_recheck_bytes(config, state, memory);
  if (config->integrity.sums == LAP_ON) memory->bytes[LAP_MEMORY_BUFFERS] += sums.checking;
  if (config->integrity.state == LAP_ON) lap_checksums_bytes(state, memory);
}

void lap_stepper_destroy(lap_stepper *s) {
  if (!s) return;
  lap_checksums_destroy(s->checksums);
  lap_gemma2_destroy(s->model);
  lap_micro_batch_destroy(s->micro);
  lap_input_rows_destroy(s->input_rows);
  lap_gradient_sum_destroy(s->gradient_sum);
  lap_lane_sum_destroy(s->lane_sum);
  lap_segment_sum_destroy(s->norm_sum);
  lap_shard_sum_destroy(s->shard_sum);
  lap_bucket_gather_destroy(s->gradient_gather);
  lap_recheck_destroy(s->recheck);
  free(s->windows);
  free(s->epochs);
  free(s->lane_values);
  free(s->norm_partials);
  free(s);
}

/* Adds the time since *since to a phase and starts the next. */
static void account(lap_stepper *s, lap_phase phase, double *since) {
  const double now = lap_clock_seconds();
  s->seconds[phase] += now - *since;
  *since = now;
}

/* --- one pass over the model --- */

/* Time in the hooks is not the model's. */
static void account_hook(lap_stepper *s, lap_phase phase, double since) {
  const double taken = lap_clock_seconds() - since;
  s->seconds[phase] += taken;
  s->seconds[LAP_PHASE_MODEL] -= taken;
}

/* Buckets share slots only if a lane has one micro-batch, in which a block is entered once. */
static void open_gradients(lap_stepper *s, int block) {
  const double since = lap_clock_seconds();
  const lap_bucket_list *buckets = &s->state->parameters->block[block];
  for (int i = 0; i < buckets->count; ++i)
    lap_gradient_sum_open(s->gradient_sum, buckets->bucket[i]);
  account_hook(s, LAP_PHASE_REDUCE, since);
}

static void enter_block(void *context, int block, bool backward) {
  lap_stepper *s = context;
  const double since = lap_clock_seconds();
  lap_block_weights_enter(s->weights, block, backward);
  account_hook(s, LAP_PHASE_GATHER, since);
  if (!backward) return;
  if (s->again)
    lap_recheck_open(s->recheck, block);
  else
    open_gradients(s, block);
}

/* In the lane's last micro-batch the gradient of a block is ready when it is left backward. */
static void leave_block(void *context, int block, bool backward) {
  lap_stepper *s = context;
  if (!backward || !s->last_micro) return;
  if (s->recheck && s->gradients) lap_recheck_take(s->recheck, block, s->gradients);
  if (s->again) return;
  const double since = lap_clock_seconds();
  const lap_bucket_list *buckets = &s->state->parameters->block[block];
  for (int i = 0; i < buckets->count; ++i)
    lap_gradient_sum_ready(s->gradient_sum, buckets->bucket[i]);
  account_hook(s, LAP_PHASE_REDUCE, since);
}

/* A pass of the others in which this replica has nothing to compute. */
static void join_pass(lap_stepper *s) {
  const int last = s->state->parameters->block_count - 1;
  for (int block = 0; block <= last; ++block) enter_block(s, block, false);
  for (int block = last; block >= 0; --block) {
    enter_block(s, block, true);
    leave_block(s, block, true);
  }
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

static void run_pass(lap_stepper *s, double *sums) {
  const lap_block_hooks hooks = {s, enter_block, leave_block};
  lap_gemma2_replay(s->model,
                    &(lap_gemma2_pass){.weights = lap_block_weights_buckets(s->weights),
                                       .bfloat16 = lap_block_weights_bfloat16(s->weights),
                                       .gradients = s->gradients,
                                       .batch = &s->micro->batch,
                                       .losses = &s->micro->losses,
                                       .group = s->config->mesh.model > 1 ? &s->group : NULL,
                                       .hooks = &hooks,
                                       .again = s->again});
  add_losses(s->micro, sums);
}

/* --- the lanes of a step --- */

static lap_code fill_micro_batch(lap_stepper *s, uint64_t first_sample, lap_status *status) {
  for (int64_t i = 0; i < s->config->batch.micro_sequences; ++i)
    s->windows[i] = lap_sample_window((uint64_t)s->config->seed, first_sample + (uint64_t)i,
                                      s->sources, s->source_count, &s->epochs[i]);
  return lap_micro_batch_fill(s->micro, s->data, s->windows, status);
}

static bool is_to_leave(const lap_stepper *s) {
  return s->asked && s->asked->leave && s->asked->leave(s->asked->context);
}

static void say_what_is_done(const lap_stepper *s, int lane, int64_t done) {
  char text[96];
  snprintf(text, sizeof text, "step %" PRIu64 ", lane %d, micro-batch %" PRId64, s->state->step + 1,
           lane, done / s->config->batch.micro_sequences + 1);
  lap_comm_set_activity(s->state->placement.comm, text);
}

/* Whether the ranks of a replica compute a micro-batch: together, or not at all. */
static void agree_to_compute(lap_stepper *s, bool leaves, bool *failed) {
  enum { FAILED = 1, LEAVES = 2 };
  const int mine = (*failed ? FAILED : 0) | (leaves ? LEAVES : 0);
  const uint8_t all = lap_shard_sum_any(s->shard_sum, (uint8_t)mine);
  s->left = s->left || all == LEAVES;
  *failed = all != 0;
}

/* The lane's micro-batches in order, into `gradients` and sums; of lane -1, the passes of others. A
 * failure of this rank is in `own`; of any rank of the replica, or its wish to leave the step, in
 * *failed: then nothing is computed any more, but the exchanges still meet those of the other
 * ranks. */
static void run_lane(lap_stepper *s, int lane, float *const *gradients, double *sums, bool *failed,
                     double *since, lap_status *own) {
  const lap_config *config = s->config;
  const int64_t micro = config->batch.micro_sequences;
  const int64_t per_lane = micro * lap_config_micro_batches(config);
  s->gradients = gradients;
  lap_block_weights_set_lanes(s->weights, lap_one_lane(lane));
  if (s->input_rows) lap_input_rows_begin(s->input_rows);
  account(s, LAP_PHASE_SUM, since);
  for (int64_t done = 0; done < per_lane; done += micro) {
    s->last_micro = s->micro->batch.lane_ends = done + micro >= per_lane;
    if (lane >= 0) {
      const uint64_t first =
          s->state->step * (uint64_t)config->batch.sequences + (uint64_t)(lane * per_lane + done);
      const bool leaves = !*failed && is_to_leave(s);
      say_what_is_done(s, lane, done);
      if (!*failed && !leaves) own->code = fill_micro_batch(s, first, own);
      *failed = *failed || own->code != LAP_OK;
      agree_to_compute(s, leaves, failed);
      account(s, LAP_PHASE_DATA, since);
    }
    if (lane >= 0 && !*failed)
      run_pass(s, sums);
    else
      join_pass(s);
    account(s, LAP_PHASE_MODEL, since);
  }
}

static void run_round(lap_stepper *s, int round, double *sums, bool *failed, double *since,
                      lap_status *own) {
  const int lane = lap_lane_in_round(s->state->placement.fold.lanes, round);
  float *const *gradients = lap_gradient_sum_begin(s->gradient_sum, round);
  if (s->recheck) lap_recheck_watch(s->recheck, lane);
  run_lane(s, lane, gradients, sums, failed, since, own);
  if (s->recheck) lap_recheck_take_losses(s->recheck, sums, SUM_COUNTED + 1);
  lap_gradient_sum_end(s->gradient_sum);
  account(s, LAP_PHASE_SUM, since);
}

/* For lap_recheck_run: what is reported is of the first time. */
static void compute_again(void *context, int lane, float *const *gradients, bool may_leave,
                          lap_status *own) {
  lap_stepper *s = context;
  double since = lap_clock_seconds(), sums[SUMS] = {0};
  bool failed = own->code != LAP_OK;
  const lap_step_requests *asked = s->asked;
  if (!may_leave) s->asked = NULL;
  s->again = true;
  run_lane(s, lane, gradients, sums, &failed, &since, own);
  lap_recheck_take_losses(s->recheck, sums, SUM_COUNTED + 1);
  s->again = false;
  s->asked = asked;
  if (s->left && own->code == LAP_OK) lap_fail(own, LAP_STOPPED, "left while it was rechecked");
}

/* Collective. A rank that leaves it leaves the step, and so do all. */
static lap_code recheck(lap_stepper *s, const lap_step_requests *requests, lap_step_result *result,
                        lap_status *status) {
  const lap_recheck_computer computer = {s, compute_again};
  s->asked = requests;
  const lap_code code = lap_recheck_run(s->recheck, &computer, status);
  s->asked = NULL;
  result->left = code == LAP_STOPPED;
  return result->left ? LAP_OK : code;
}

static bool is_writing(const lap_step_requests *requests) {
  return requests->writing && requests->writing(requests->context);
}

/* A request or failure of one rank of the replica becomes that of all its ranks, which speak for
 * the same lanes. */
static void share_requests(const lap_stepper *s, lap_step_requests *requests, bool *writing,
                           bool *failed) {
  enum { CHECKPOINT = 1, FAILED = 2, WRITING = 4 };
  const int mine = (requests->checkpoint ? CHECKPOINT : 0) | (is_writing(requests) ? WRITING : 0) |
                   (requests->failure && requests->failure->code != LAP_OK ? FAILED : 0);
  const uint8_t all = lap_shard_sum_any(s->shard_sum, (uint8_t)mine);
  requests->checkpoint = all & CHECKPOINT;
  *writing = all & WRITING;
  *failed = all & FAILED;
}

static lap_code run_lanes(lap_stepper *s, lap_step_requests requests, double sums[SUMS],
                          double *since, lap_status *status) {
  const lap_fold *fold = &s->state->placement.fold;
  lap_status own = {0};
  if (requests.failure) own = *requests.failure;
  bool writing, failed;
  share_requests(s, &requests, &writing, &failed);
  s->asked = &requests;
  s->left = false;
  lap_gradient_sum_set_step(s->gradient_sum, s->state->step + 1);
  /* A round without a lane, which is the last one if any, leaves values that are not looked at. */
  for (int round = 0; round < fold->rounds; ++round) {
    double *values = s->lane_values + (int64_t)round * SUMS;
    for (int i = 0; i < SUMS; ++i) values[i] = 0;
    run_round(s, round, values, &failed, since, &own);
    values[SUM_ENDED] = s->left ? SECOND_COUNT : failed;
  }
  s->asked = NULL;
  if (fold->model_ranks == 1) writing = is_writing(&requests);
  s->lane_values[SUM_SAVE] = requests.checkpoint + (writing ? SECOND_COUNT : 0); /* round 0 */
  lap_gradient_sum_finish(s->gradient_sum);
  if (s->wrong.code == LAP_OK) s->wrong.code = lap_gradient_sum_verdict(s->gradient_sum, &s->wrong);
  lap_lane_sum_run(s->lane_sum, s->lane_values, sums);
  account(s, LAP_PHASE_REDUCE, since);
  if (fmod(sums[SUM_ENDED], SECOND_COUNT) > 0) {
    *status = own;
    return lap_agree(s->state->placement.comm, status);
  }
  return LAP_OK;
}

/* --- the update --- */

/* The mean of a sum; a NaN without its sign, which means nothing and differs between runs. */
static double mean(double sum, double counted) {
  return isnan(sum / counted) ? NAN : sum / counted;
}

/* The norm of the mean gradient. Where every rank makes all updates, it gets the whole gradient. */
static double gradient_norm(lap_stepper *s, double counted, double *since) {
  const lap_state *state = s->state;
  int64_t segments = 0;
  for (int b = 0; b < state->partition->buckets; ++b) {
    const int64_t count = lap_range_count(state->owned[b]);
    const float *owned = lap_gradient_sum_owned(s->gradient_sum, b);
    if (!state->parameters->bucket[b].is_copy) {
      lap_square_partials(owned, count, s->norm_partials + segments);
      segments += count / LAP_SEGMENT;
    }
    if (!s->gradient_gather) continue;
    account(s, LAP_PHASE_UPDATE, since);
    lap_bucket_gather_start(s->gradient_gather, b, owned,
                            lap_gradient_sum_whole(s->gradient_sum, b), LAP_TRAFFIC_GRADIENTS);
    lap_bucket_gather_wait(s->gradient_gather);
    account(s, LAP_PHASE_REDUCE, since);
  }
  account(s, LAP_PHASE_UPDATE, since);
  const double squares = lap_segment_sum_run(s->norm_sum, s->norm_partials);
  account(s, LAP_PHASE_REDUCE, since);
  return mean(sqrt(squares), counted);
}

static float gradient_factor(const lap_stepper *s, double grad_norm, double counted) {
  const double clip = s->config->optimizer.clip_norm;
  const double shrink = clip > 0 && grad_norm > clip ? clip / grad_norm : 1;
  return (float)(shrink / counted);
}

static void update_weights(lap_stepper *s, float factor, double learning_rate, double *since) {
  const lap_config *config = s->config;
  lap_state *state = s->state;
  const lap_adamw adamw = {.learning_rate = learning_rate,
                           .beta1 = config->optimizer.beta1,
                           .beta2 = config->optimizer.beta2,
                           .epsilon = config->optimizer.epsilon,
                           .weight_decay = config->optimizer.weight_decay,
                           .update = state->applied_updates + 1};
  lap_block_weights_wait_all(s->weights);
  lap_update_state(&adamw, state, factor, s->gradient_sum, s->checksums);
  if (s->checksums && s->wrong.code == LAP_OK)
    s->wrong.code = lap_checksums_verdict(s->checksums, state->step + 1, &s->wrong);
  account(s, LAP_PHASE_UPDATE, since);
  lap_block_weights_changed(s->weights, state->whole[LAP_EXP_AVG]);
  account(s, LAP_PHASE_GATHER, since);
  state->applied_updates += 1;
}

/* All of it, as it is between two updates. */
static void check_state(lap_stepper *s, uint64_t step) {
  if (!s->checksums || s->wrong.code != LAP_OK) return;
  lap_block_weights_wait_all(s->weights);
  lap_checksums_check_copies(s->checksums);
  lap_checksums_check_all(s->checksums);
  s->wrong.code = lap_checksums_verdict(s->checksums, step, &s->wrong);
}

static lap_step_result result_of(lap_stepper *s, const double sums[SUMS], double *since) {
  const double counted = sums[SUM_COUNTED], norm = gradient_norm(s, counted, since);
  lap_step_result r = {
      .loss = mean(sums[SUM_LOSS], counted),
      .ce = mean(sums[SUM_CE], counted),
      .kd = mean(sums[SUM_KD], counted),
      .kl = mean(sums[SUM_KL], counted),
      .grad_norm = counted > 0 ? norm : 0,
      .learning_rate = lap_schedule_learning_rate(s->config, s->state->step, s->total_steps),
      .counted = (uint64_t)counted,
      .checkpoint = fmod(sums[SUM_SAVE], SECOND_COUNT) > 0,
      .writing = sums[SUM_SAVE] >= SECOND_COUNT,
  };
  r.bad = counted > 0 && !(isfinite(r.loss) && isfinite(r.grad_norm));
  r.skipped = r.bad || counted == 0;
  return r;
}

/* Every rank has added what all have sent: all have the same numbers, and do the same next. */
static lap_code compare_outcomes(const lap_stepper *s, const lap_step_result *r,
                                 const double sums[SUMS], float factor, lap_status *status) {
  const double numbers[] = {
      r->loss,           r->ce,          r->kd,         r->kl, r->grad_norm, r->learning_rate,
      sums[SUM_COUNTED], sums[SUM_SAVE], (double)factor};
  if (s->config->integrity.sums == LAP_OFF) return LAP_OK;
  return lap_agree_on_outcome(s->state->placement.comm, numbers, sizeof numbers / sizeof *numbers,
                              status, "losses, counts, norms or factors in step %" PRIu64,
                              s->state->step + 1);
}

/* Collective. All of a step that was not finite again, before it counts as bad: is it the texts, or
 * a rank that has computed wrongly? */
static lap_code repeat(lap_stepper *s, lap_step_requests requests, lap_step_result *result,
                       double *since, lap_status *status) {
  const int lanes = lap_mesh_lanes(&s->state->placement.mesh);
  double *before = lap_allocate(lanes, sizeof *before), *after = lap_allocate(lanes, sizeof *after);
  double sums[SUMS];
  lap_comm *comm = s->state->placement.comm;
  const lap_traffic sent = *lap_comm_traffic(comm);
  const lap_mesh_traffic mesh = *lap_comm_mesh_traffic(comm);
  if (s->wrong.code != LAP_OK) requests.failure = &s->wrong;
  lap_stepper_lane_losses(s, before);
  lap_recheck_doubt(s->recheck, before);
  lap_code code = run_lanes(s, requests, sums, since, status);
  result->left = code == LAP_OK && sums[SUM_ENDED] >= SECOND_COUNT;
  if (code == LAP_OK && !result->left) code = recheck(s, &requests, result, status);
  if (code == LAP_OK && !result->left) {
    const lap_step_result now = result_of(s, sums, since);
    lap_stepper_lane_losses(s, after);
    code = lap_recheck_compare(s->recheck, before, after, result->grad_norm, now.grad_norm, status);
  }
  *lap_comm_traffic(comm) = sent;
  *lap_comm_mesh_traffic(comm) = mesh;
  free(before);
  free(after);
  return code;
}

lap_code lap_stepper_run(lap_stepper *s, lap_step_requests requests, lap_step_result *result,
                         lap_status *status) {
  lap_state *state = s->state;
  double since = lap_clock_seconds(), sums[SUMS];
  if (s->recheck) lap_recheck_begin(s->recheck);
  if (s->wrong.code != LAP_OK) requests.failure = &s->wrong;
  LAP_TRY(run_lanes(s, requests, sums, &since, status));
  *result = (lap_step_result){.left = sums[SUM_ENDED] >= SECOND_COUNT};
  if (s->recheck && !result->left) {
    LAP_TRY(recheck(s, &requests, result, status));
    since = lap_clock_seconds();
  }
  if (result->left) return LAP_OK;
  *result = result_of(s, sums, &since);
  const float factor =
      result->skipped ? 0 : gradient_factor(s, result->grad_norm, sums[SUM_COUNTED]);
  LAP_TRY(compare_outcomes(s, result, sums, factor, status));
  if (result->bad) check_state(s, state->step + 1); /* a bit may have made a weight infinite */
  if (result->bad && s->recheck) LAP_TRY(repeat(s, requests, result, &since, status));
  if (result->left) return LAP_OK;
  account(s, LAP_PHASE_REDUCE, &since);
  if (!result->skipped) update_weights(s, factor, result->learning_rate, &since);
  state->bad_steps = result->bad ? state->bad_steps + 1 : 0;
  state->step += 1;
  return LAP_OK;
}

void lap_stepper_lane_losses(const lap_stepper *s, double *losses) {
  const lap_placement *placement = &s->state->placement;
  const lap_fold *fold = &placement->fold;
  const int ranks = lap_comm_size(placement->comm);
  double *mine = lap_allocate(fold->rounds, sizeof *mine);
  double *all = lap_allocate((int64_t)ranks * fold->rounds, sizeof *all);
  for (int round = 0; round < fold->rounds; ++round) {
    const double *values = s->lane_values + (int64_t)round * SUMS;
    mine[round] = mean(values[SUM_LOSS], values[SUM_COUNTED]);
  }
  lap_gather_all(placement->comm, mine, (size_t)fold->rounds * sizeof *mine, all);
  for (int q = 0; q < fold->replicas; ++q) {
    const lap_lanes lanes =
        lap_lanes_of_replica(&placement->mesh, fold->schedule, fold->replicas, q);
    for (int round = 0; round < lanes.count; ++round)
      losses[lap_lane_in_round(lanes, round)] =
          all[(int64_t)q * fold->model_ranks * fold->rounds + round];
  }
  free(mine);
  free(all);
}

const lap_recheck_verdict *lap_stepper_verdict(const lap_stepper *s) {
  return s->recheck ? lap_recheck_found(s->recheck) : NULL;
}

lap_code lap_stepper_confirm(lap_stepper *s, lap_status *status) {
  check_state(s, s->state->step);
  if (s->wrong.code != LAP_OK) *status = s->wrong;
  return lap_agree(s->state->placement.comm, status);
}

const double *lap_stepper_seconds(const lap_stepper *s) { return s->seconds; }
const lap_tape *lap_stepper_tape(const lap_stepper *s) { return s->model->tape; }
void lap_stepper_reset_profile(lap_stepper *s) { lap_tape_profile_reset(s->model->tape); }
