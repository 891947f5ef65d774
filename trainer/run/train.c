#include "trainer/run/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm_rate.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/human.h"
#include "trainer/config/value.h"
#include "trainer/run/bad_batch.h"
#include "trainer/run/directory.h"
#include "trainer/run/exclude.h"
#include "trainer/run/metrics.h"
#include "trainer/run/saver.h"
#include "trainer/run/spikes.h"
#include "trainer/run/time_limit.h"

typedef struct {
  lap_config *config;
  const lap_session *session;
  const lap_inputs *inputs;
  const lap_train_options *options;
  lap_train_report *report;
  lap_state *state;
  lap_block_weights *weights; /* of `state` */
  lap_stepper *stepper;
  lap_directory_lock *lock; /* rank 0 */
  lap_run_parent parent;
  lap_metrics *metrics; /* rank 0 */
  lap_status pending;   /* a failure of this rank alone, brought to the next agreement point */
  lap_saver *saver;
  char *config_text;
  lap_time_limit limit;
  double last_checkpoint; /* clock */
  double first_started;   /* clock, at the first step of this process */
  uint64_t first_step;    /* before that step */
  double best_loss;       /* of all evaluations of the run */
  int64_t best_step;
  lap_traffic_meter meter; /* from the first step on */
  lap_spikes spikes;       /* rank 0 */
  bool bar;                /* a progress bar is shown */
  bool owes_evaluation;    /* the step that is gone on from was due one, which was not made */
} trainer;

/* --- output of a step --- */

static uint64_t tokens_at(const trainer *t, uint64_t step) {
  return step * (uint64_t)t->config->batch.sequences * (uint64_t)t->config->data.sequence_length;
}

static void say_step(const trainer *t, const lap_step_result *r, double seconds, double rate) {
  char tokens[LAP_HUMAN_TEXT], took[LAP_HUMAN_TEXT], eta[LAP_HUMAN_TEXT], teacher[96] = "";
  const lap_progress progress = {.done = (int64_t)t->state->step,
                                 .total = (int64_t)t->inputs->total_steps,
                                 .already_done = (int64_t)t->first_step,
                                 .seconds = lap_clock_seconds() - t->first_started};
  lap_console_format_eta(&progress, eta);
  if (r->counted == 0) { /* its loss is 0 / 0, which is no reason to worry */
    lap_console_say(t->session->console,
                    "step %" PRIu64 "/%" PRIu64
                    "  no position of its windows is counted, no update made%s%s",
                    t->state->step, t->inputs->total_steps, *eta ? "  ETA " : "", eta);
    return;
  }
  const bool taught = lap_inputs_taught(t->inputs);
  if (taught) snprintf(teacher, sizeof teacher, "  kd %.4f  kl %.4f", r->kd, r->kl);
  lap_console_say(t->session->console,
                  "step %" PRIu64 "/%" PRIu64
                  "  %s %.4f nats/token  ce %.4f%s  |grad| %.3g  lr %.3g  %s tokens/s  %s%s%s",
                  t->state->step, t->inputs->total_steps, taught ? "objective" : "loss", r->loss,
                  r->ce, teacher, r->grad_norm, r->learning_rate, lap_human_count(rate, tokens),
                  lap_human_seconds(seconds, took), *eta ? "  ETA " : "", eta);
}

/* A log stays readable: the first steps, the last, and some forty between. */
static bool step_is_said(const trainer *t) {
  const uint64_t step = t->state->step, total = t->inputs->total_steps;
  const uint64_t every = total / 40 > 0 ? total / 40 : 1;
  return step <= 3 || step == total || step % every == 0;
}

static void record_step(trainer *t, const lap_step_result *r, double seconds, double waited) {
  const double rate =
      (double)(t->config->batch.sequences * t->config->data.sequence_length) / seconds;
  if (!t->session->root) return;
  const bool taught = lap_inputs_taught(t->inputs);
  const double spike = lap_spikes_observe(&t->spikes, r->loss);
  const lap_metrics_step line = {.step = (int64_t)t->state->step,
                                 .tokens = (int64_t)tokens_at(t, t->state->step),
                                 .loss = r->loss,
                                 .ce = r->ce,
                                 .kd = taught ? r->kd : NAN,
                                 .kl = taught ? r->kl : NAN,
                                 .grad_norm = r->grad_norm,
                                 .learning_rate = r->learning_rate,
                                 .seconds = seconds,
                                 .tokens_per_second = rate,
                                 .communication_seconds = waited,
                                 .skipped = (int64_t)(t->state->step - t->state->applied_updates),
                                 .spike = spike};
  if (t->pending.code == LAP_OK) lap_metrics_append(t->metrics, &line, &t->pending);
  if (r->bad)
    lap_console_warn(t->session->console,
                     "step %" PRIu64
                     ": loss %g, gradient norm %g: not finite, no update made (%" PRIu64
                     " in a row)",
                     t->state->step, r->loss, r->grad_norm, t->state->bad_steps);
  if (spike > 0)
    lap_console_warn(t->session->console,
                     "step %" PRIu64
                     ": loss %.4f is %.1f standard deviations above the mean of the "
                     "last %d steps, %.4f",
                     t->state->step, r->loss, spike, t->spikes.steps, t->spikes.mean);
  if (t->bar) {
    char detail[64];
    snprintf(detail, sizeof detail, "%s %.4f", taught ? "objective" : "loss", r->loss);
    if (r->counted == 0) snprintf(detail, sizeof detail, "nothing counted");
    lap_console_progress(t->session->console, (int64_t)t->state->step, detail);
  }
  if (step_is_said(t)) say_step(t, r, seconds, rate);
}

/* Collective. What a step that was not finite had read. */
static void record_bad_batch(trainer *t, const lap_step_result *r) {
  double *losses = lap_allocate(lap_mesh_lanes(&t->config->mesh), sizeof *losses);
  lap_stepper_lane_losses(t->stepper, losses);
  if (t->session->root && t->pending.code == LAP_OK)
    lap_bad_batch_append(t->config, t->inputs, t->state->step - 1, r, losses, &t->pending);
  free(losses);
}

/* --- evaluation and checkpoints --- */

/* Messages of evaluations and checkpoints do not count as those of a step. */
static void pause_counting(trainer *t) {
  if (!t->meter.running) return;
  lap_block_weights_wait_all(t->weights);
  lap_traffic_meter_stop(&t->meter, t->session->comm);
}

static void count_from_here(trainer *t) {
  if (t->meter.running) return;
  lap_block_weights_wait_all(t->weights);
  lap_traffic_meter_start(&t->meter, t->session->comm);
}

/* Whether this rank has a reason to leave the step or evaluation it is at. The clock leaves a
 * process its first step, so that a run gets somewhere. */
static bool is_to_stop(void *context) {
  const trainer *t = context;
  return lap_stop_requested() ||
         (t->state->step > t->first_step && lap_time_limit_is_over(&t->limit));
}

/* Collective. LAP_STOPPED where a request to stop, or the clock, ended it. */
static lap_code evaluate(trainer *t, bool *improved, lap_status *status) {
  const lap_evaluate_request request = {.model = &t->config->model,
                                        .state = t->state,
                                        .weights = t->weights,
                                        .data = &t->inputs->eval,
                                        .piece_bytes = t->inputs->piece_bytes,
                                        .threads = t->config->threads,
                                        .leave = is_to_stop,
                                        .context = t};
  lap_evaluation *e = &t->report->eval;
  pause_counting(t);
  lap_comm_set_activity(t->session->comm, "evaluating");
  LAP_TRY(lap_evaluate(&request, e, status));
  t->report->eval_seconds += e->seconds;
  *improved = e->loss < t->best_loss;
  if (*improved) {
    t->best_loss = e->loss;
    t->best_step = (int64_t)t->state->step;
  }
  if (!t->session->root) return LAP_OK;
  lap_console_say(t->session->console,
                  "step %" PRIu64 "/%" PRIu64
                  "  held-out %s %.4f nats/token  perplexity %.2f  %.4f bits/byte",
                  t->state->step, t->inputs->total_steps,
                  lap_inputs_taught(t->inputs) ? "cross-entropy" : "loss", e->loss, e->perplexity,
                  e->bits_per_byte);
  json_t *object = lap_evaluation_to_json(e);
  if (t->pending.code == LAP_OK)
    lap_metrics_append_eval(t->metrics, (int64_t)t->state->step,
                            (int64_t)tokens_at(t, t->state->step), object, &t->pending);
  json_decref(object);
  return LAP_OK;
}

static bool due(uint64_t step, int64_t every) { return every > 0 && step % (uint64_t)every == 0; }

static bool evaluation_is_due(const trainer *t) {
  return t->inputs->eval_tokens.count && (t->state->step == t->inputs->total_steps ||
                                          due(t->state->step, t->config->eval.every_steps));
}

static lap_code save(trainer *t, bool behind, lap_status *status) {
  pause_counting(t);
  lap_block_weights_wait_all(t->weights);
  /* A checkpoint stands behind whole metrics: a resume from it does not write these lines again. */
  if (t->metrics && t->pending.code == LAP_OK) lap_metrics_sync(t->metrics, &t->pending);
  *status = t->pending;
  LAP_TRY(lap_stepper_confirm(t->stepper, status));
  t->last_checkpoint = lap_clock_seconds();
  return lap_saver_save(t->saver, t->state, t->best_step, behind, status);
}

/* What is reported where no step ended. */
static lap_step_result no_step(void) {
  return (lap_step_result){.loss = NAN, .ce = NAN, .kd = NAN, .kl = NAN, .left = true};
}

/* A run that has nothing left to do: its state is hashed again and named; written only if it is not
 * there. */
static lap_code confirm(trainer *t, lap_status *status) {
  t->report->last = no_step();
  LAP_TRY(save(t, false, status));
  lap_console_say(t->session->console, "step %" PRIu64 "/%" PRIu64 "  nothing left to do",
                  t->state->step, t->inputs->total_steps);
  return LAP_OK;
}

/* After the step that was the last whole one. */
static lap_code stop(trainer *t, lap_status *status) {
  LAP_TRY(save(t, false, status));
  *status = t->pending;
  LAP_TRY(lap_agree(t->session->comm, status));
  return lap_fail(status, LAP_STOPPED,
                  "stopped after step %" PRIu64 " of %" PRIu64 "; go on with --resume auto",
                  t->state->step, t->inputs->total_steps);
}

/* A notice may have ended the run before the evaluation of its last step, or a kill, which the
 * metrics of an undisturbed run have. */
static lap_code make_up_evaluation(trainer *t, lap_status *status) {
  bool improved;
  if (!t->owes_evaluation) return LAP_OK;
  const lap_code code = evaluate(t, &improved, status);
  return code == LAP_STOPPED ? stop(t, status) : code;
}

/* The state of another run that this one begins with: from now on it has it itself, and needs the
 * other no more. */
static lap_code keep_parent(trainer *t, lap_status *status) {
  bool another = t->parent.checkpoint != NULL; /* as rank 0 sees the paths */
  lap_broadcast(t->session->comm, &another, sizeof another, 0);
  return another ? save(t, false, status) : LAP_OK;
}

/* --- the loop --- */

static bool is_writing(void *context) {
  const trainer *t = context;
  return lap_saver_is_busy(t->saver);
}

static lap_step_requests requests_of(trainer *t) {
  const double now = lap_clock_seconds(), minutes = t->config->checkpoint.every_minutes;
  return (lap_step_requests){.leave = is_to_stop,
                             .context = t,
                             .checkpoint = minutes > 0 && now - t->last_checkpoint >= minutes * 60,
                             .failure = t->pending.code == LAP_OK ? NULL : &t->pending,
                             .writing = is_writing};
}

/* LAP_STOPPED where the evaluation that is due was left: nothing is saved yet. */
static lap_code after_step(trainer *t, const lap_step_result *r, lap_status *status) {
  const uint64_t step = t->state->step, total = t->inputs->total_steps;
  if (t->state->bad_steps >= (uint64_t)t->config->max_bad_steps) {
    *status = t->pending;
    LAP_TRY(lap_stepper_confirm(t->stepper, status)); /* memory may be the reason */
    return lap_fail(status, LAP_NONFINITE,
                    "step %" PRIu64 ": loss or gradient was not finite in %" PRIu64
                    " steps in a row (max_bad_steps); the newest checkpoint is from before; try a "
                    "smaller optimizer.learning_rate, or look at the data of these steps, which "
                    "%s/bad_batches.jsonl names",
                    step, t->state->bad_steps, t->config->run_dir);
  }
  if (t->meter.running) ++t->meter.steps;
  LAP_TRY(lap_saver_after_step(t->saver, r->writing, status));
  bool improved = false;
  if (evaluation_is_due(t)) LAP_TRY(evaluate(t, &improved, status));
  if (step == total || r->checkpoint || due(step, t->config->checkpoint.every_steps) ||
      (improved && t->config->checkpoint.keep_best))
    LAP_TRY(save(t, step < total, status));
  return LAP_OK;
}

static lap_code run_steps(trainer *t, lap_status *status) {
  bool stopped = false;
  while (t->state->step < t->inputs->total_steps && !stopped) {
    char activity[64];
    snprintf(activity, sizeof activity, "step %" PRIu64, t->state->step + 1);
    lap_comm_set_activity(t->session->comm, activity);
    const double start = lap_clock_seconds();
    lap_comm_exposed_seconds(t->session->comm, true);
    lap_step_result result;
    if (lap_stepper_run(t->stepper, requests_of(t), &result, status) != LAP_OK)
      return lap_exclude_suspects(t->config, t->session, lap_stepper_verdict(t->stepper), status);
    const double seconds = lap_clock_seconds() - start;
    t->report->seconds += seconds;
    stopped = result.left;
    if (stopped) break;
    lap_saver_count_step(t->saver, seconds);
    t->report->last = result;
    record_step(t, &result, seconds, lap_comm_exposed_seconds(t->session->comm, true));
    if (result.bad) record_bad_batch(t, &result);
    const lap_code code = after_step(t, &result, status);
    stopped = code == LAP_STOPPED;
    if (code != LAP_OK && !stopped) return code;
    count_from_here(t);
  }
  if (stopped) return stop(t, status);
  *status = t->pending;
  return lap_agree(t->session->comm, status);
}

/* --- before and after the loop --- */

static lap_code write_run_files(trainer *t, lap_status *status) {
  const lap_comm *comm = t->session->comm;
  const int ranks = lap_comm_size(comm);
  const char **hosts = lap_allocate(ranks, sizeof *hosts);
  for (int r = 0; r < ranks; ++r) hosts[r] = lap_comm_host(comm, r);
  char numbers[LAP_SHA256_HEX];
  lap_numbers_sha256(t->inputs->numbers, numbers);
  const lap_run_fact versions[] = {{"blas", lap_numbers_value(t->inputs->numbers, "blas_version")}};
  lap_run_fact inputs[3] = {
      {"tokenizer", t->inputs->tokenizer_sha256},
      {"data.train", lap_numbers_value(t->inputs->numbers, "data.train_sha256")},
      {"teacher.cache", lap_numbers_value(t->inputs->numbers, "teacher.cache_sha256")}};
  const lap_run_facts facts = {.hosts = hosts,
                               .ranks = ranks,
                               .threads = t->config->threads,
                               .mesh = t->config->mesh,
                               .numbers_sha256 = numbers,
                               .versions = versions,
                               .version_count = 1,
                               .inputs = inputs,
                               .input_count = t->inputs->train_cache ? 3 : 2,
                               .parent = &t->parent};
  char *damaged;
  lap_code code = lap_run_json_set_aside(t->config->run_dir, &damaged, status);
  if (code == LAP_OK && damaged)
    lap_console_warn(t->session->console,
                     "%s/run.json was damaged and is now %s: what it said of earlier starts, and "
                     "of what the run began with, is not in the new one",
                     t->config->run_dir, damaged);
  free(damaged);
  if (code == LAP_OK) code = lap_run_json_write(t->config->run_dir, &facts, status);
  free(hosts);
  char *path = lap_run_directory_path(t->config->run_dir, "config.resolved.yaml");
  if (code == LAP_OK)
    code = lap_file_write_alone(path, t->config_text, strlen(t->config_text), status);
  free(path);
  return code;
}

/* Each step has its line before there is a checkpoint of it, but the one that a fork began with. */
static bool should_have_line(const trainer *t) {
  lap_run_parent began = {0};
  lap_status ignored; /* where it is not known, a word too many does no harm */
  if (!t->parent.resumed || t->state->step == 0) return false;
  lap_run_json_parent(t->config->run_dir, &began, &ignored);
  const bool forked = began.checkpoint && began.step == t->state->step;
  free(began.checkpoint);
  return !forked;
}

static lap_code look_for_step(trainer *t, const char *metrics, lap_status *status) {
  bool made, evaluated;
  LAP_TRY(lap_metrics_find(metrics, (int64_t)t->state->step, &made, &evaluated, status));
  t->owes_evaluation = made && !evaluated && evaluation_is_due(t);
  if (!made && should_have_line(t))
    lap_console_warn(
        t->session->console,
        "%s has no line of step %" PRIu64
        ", where the run goes on: it was removed or cut off, and the losses that it "
        "had are lost%s",
        metrics, t->state->step,
        t->config->checkpoint.keep_best ? ", and with them which checkpoint is the best one" : "");
  return LAP_OK;
}

/* A run that begins anew where one has been: killed before its first checkpoint, or without those
 * that it had. */
static lap_code look_for_lost_steps(const trainer *t, const char *metrics, lap_status *status) {
  int64_t last;
  if (t->parent.resumed || t->parent.checkpoint) return LAP_OK;
  LAP_TRY(lap_metrics_last_step(metrics, &last, status));
  if (last > 0)
    lap_console_warn(
        t->session->console,
        "%s has lines up to step %" PRId64
        ", but the run has no checkpoint: it starts again at step 0 and replaces these "
        "lines; if there were checkpoints, somebody has removed them",
        metrics, last);
  return LAP_OK;
}

static lap_code open_run_files(trainer *t, lap_status *status) {
  LAP_TRY(write_run_files(t, status));
  char *metrics = lap_run_directory_path(t->config->run_dir, "metrics.jsonl");
  lap_code code = look_for_lost_steps(t, metrics, status);
  if (code == LAP_OK) code = lap_metrics_truncate(metrics, (int64_t)t->state->step, status);
  if (code == LAP_OK) code = lap_metrics_best_eval(metrics, &t->best_step, &t->best_loss, status);
  if (code == LAP_OK) code = look_for_step(t, metrics, status);
  if (code == LAP_OK) code = lap_spikes_restore(&t->spikes, metrics, status);
  if (code == LAP_OK) code = lap_bad_batch_truncate(t->config, (int64_t)t->state->step, status);
  if (code == LAP_OK) code = lap_metrics_open(metrics, t->lock, &t->metrics, status);
  free(metrics);
  return code;
}

/* Fresh weights, or those of `init`, or the state of a checkpoint; then the files of the run. */
static lap_code prepare(trainer *t, lap_status *status) {
  lap_comm *comm = t->session->comm;
  const lap_config *config = t->config;
  lap_placement placement;
  LAP_TRY(lap_placement_create(&config->mesh, config->model_ranks, config->sharding, comm,
                               &placement, status));
  LAP_TRY(lap_session_check_stop(t->session, status));
  LAP_TRY(lap_exclude_check(config, t->session, status));
  const char *from = t->options->resume.from;
  if (!strcmp(from, "auto"))
    LAP_TRY(lap_exclude_confirm(config, t->session, t->inputs, status));
  else if (strcmp(from, "none") != 0)
    lap_exclude_warn(t->session, from);
  lap_comm_set_activity(comm, "making or loading the state");
  t->state = lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  LAP_TRY(lap_resume_or_start(config, t->session, t->inputs, &t->options->resume, t->state,
                              &t->lock, &t->parent, status));
  lap_status own = {0};
  if (t->session->root) own.code = open_run_files(t, &own);
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  LAP_TRY(lap_session_check_stop(t->session, status));
  lap_broadcast(comm, &t->best_loss, sizeof t->best_loss, 0);
  lap_broadcast(comm, &t->best_step, sizeof t->best_step, 0);
  lap_broadcast(comm, &t->owes_evaluation, sizeof t->owes_evaluation, 0);
  t->saver = lap_saver_create(config, t->session, t->inputs, t->config_text, t->lock);
  t->weights = lap_block_weights_create(t->state);
  lap_block_weights_changed(t->weights, true);
  t->stepper =
      lap_stepper_create(config, &t->inputs->train, t->inputs->total_steps, t->state, t->weights);
  /* Until here a request to stop loses nothing. No rank begins a step before all defer it. */
  LAP_TRY(lap_session_check_stop(t->session, status));
  lap_stop_defer();
  lap_barrier(comm);
  return LAP_OK;
}

static void fill_report(trainer *t) {
  lap_train_report *report = t->report;
  report->distill_weight = lap_inputs_taught(t->inputs) ? t->config->objective.distill_weight : 0;
  if (!lap_inputs_taught(t->inputs)) report->last.kd = report->last.kl = NAN;
  report->step = t->state->step;
  report->total_steps = t->inputs->total_steps;
  report->applied_updates = t->state->applied_updates;
  report->tokens = tokens_at(t, t->state->step);
  memcpy(report->phase_seconds, lap_stepper_seconds(t->stepper), sizeof report->phase_seconds);
  report->profile_rows = lap_tape_profile(lap_stepper_tape(t->stepper), report->profile, 16);
  report->gflops = lap_tape_flops(lap_stepper_tape(t->stepper)) / 1e9;
}

/* Rates of all ranks together, from the GFLOP of this one; the product is measured on all of them
 * at the same time, with the state of the run gone. A short run is not compared with it: ranks that
 * share few cores would take longer for the product than for training. */
static void measure_rates(trainer *t) {
  const double shortest_compared = 2, product_seconds = 0.2;
  lap_comm *comm = t->session->comm;
  const int ranks = lap_comm_size(comm);
  int64_t smallest;
  lap_agree_range(comm, lap_memory_peak(), &smallest, &t->report->peak_bytes);
  t->report->counted_steps = t->meter.steps;
  lap_traffic_meter_mean(&t->meter, comm, &t->report->traffic, &t->report->check_bytes);
  double mine[2] = {t->report->gflops, 0};
  t->report->gflops = 0;
  lap_barrier(comm);
  bool is_compared = t->report->seconds >= shortest_compared;
  lap_broadcast(comm, &is_compared, sizeof is_compared, 0);
  mine[1] = is_compared ? lap_gemm_rate(t->config->threads, product_seconds) : NAN;
  double(*all)[2] = lap_allocate(ranks, sizeof *all);
  lap_gather_all(comm, mine, sizeof mine, all);
  for (int r = 0; r < ranks; ++r) {
    t->report->gflops += all[r][0];
    t->report->gemm_gflops += all[r][1];
  }
  free(all);
  const double seconds = t->report->seconds > 0 ? t->report->seconds : 1;
  t->report->gflops /= seconds;
  t->report->tokens_per_second = (double)tokens_at(t, t->report->step - t->first_step) / seconds;
}

/* Collective. Every outcome of the steps is that of all ranks. What went wrong in them does not
 * spoil the checkpoint from before, which is still being written. */
static lap_code end_saving(trainer *t, lap_code code, lap_status *status) {
  lap_status own = {0};
  lap_comm_set_activity(t->session->comm, "writing a checkpoint");
  if (lap_saver_finish(t->saver, &own) != LAP_OK && code == LAP_OK) {
    *status = own;
    code = own.code;
  }
  snprintf(t->report->state_sha256, sizeof t->report->state_sha256, "%s",
           lap_saver_state_sha256(t->saver));
  t->report->saving = *lap_saver_report_of(t->saver);
  return code;
}

lap_code lap_train(lap_config *config, const lap_session *session, const lap_inputs *inputs,
                   const lap_train_options *options, lap_train_report *report, lap_status *status) {
  *report = (lap_train_report){0};
  trainer t = {.config = config,
               .session = session,
               .inputs = inputs,
               .options = options,
               .report = report,
               .config_text = lap_config_print(config),
               .best_loss = INFINITY,
               .best_step = -1};
  t.last_checkpoint = lap_clock_seconds();
  report->last = no_step();
  lap_code code = prepare(&t, status);
  const bool prepared = code == LAP_OK;
  if (prepared) {
    t.first_step = t.state->step;
    t.limit = lap_time_limit_find(session, options->max_hours, options->leave_before);
    t.first_started = lap_clock_seconds();
    t.bar = session->root && lap_console_standard(false, false).terminal;
    if (t.bar)
      lap_console_progress_begin(session->console, "train", "steps", (int64_t)inputs->total_steps,
                                 (int64_t)t.first_step);
    code = make_up_evaluation(&t, status);
    if (code == LAP_OK && t.first_step == inputs->total_steps)
      code = confirm(&t, status);
    else if (code == LAP_OK && (code = keep_parent(&t, status)) == LAP_OK)
      code = run_steps(&t, status);
    if (t.bar) lap_console_progress_end(session->console);
    code = end_saving(&t, code, status);
    report->stopped = code == LAP_STOPPED;
    lap_block_weights_wait_all(t.weights);
    fill_report(&t);
  }
  lap_saver_destroy(t.saver);
  lap_stepper_destroy(t.stepper);
  lap_block_weights_destroy(t.weights);
  lap_state_destroy(t.state);
  if (prepared && (code == LAP_OK || code == LAP_STOPPED)) measure_rates(&t);
  lap_status closed;
  if (t.metrics && lap_metrics_close(t.metrics, &closed) != LAP_OK && code == LAP_OK) {
    *status = closed; /* rank 0 alone; nothing collective follows but the end */
    code = closed.code;
  }
  lap_directory_lock_release(t.lock);
  free(t.parent.checkpoint);
  free(t.config_text);
  return code;
}
