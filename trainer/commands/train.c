/* train: trains a model towards a teacher's distributions or the next token, from a config to the
 * last checkpoint.
 *
 * What a batch job runs, again and again with --resume auto until the schedule ends. It reads the
 * config, token shards, the teacher's cache and the checkpoints of run_dir, and writes run_dir:
 * checkpoints, metrics.jsonl, run.json, log.txt. Collective: all ranks train one model; SIGUSR1 or
 * SIGTERM stops the run with a checkpoint and exit code 75. --dry-run checks everything and writes
 * nothing.
 */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm_backend.h"
#include "core/json.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/config/value.h"
#include "trainer/plan/fit.h"
#include "trainer/plan/plan.h"
#include "trainer/run/metrics.h"
#include "trainer/run/resume.h"
#include "trainer/run/train.h"

typedef struct {
  lap_train_options train;
  bool dry_run, no_idle_ranks;
} train_flags;

static const lap_flag flags_of_train[] = {
    {.name = "resume",
     .value = "auto|none|DIR",
     .offset = offsetof(train_flags, train.resume.from),
     .help = "go on from the newest whole checkpoint of run_dir, or from DIR [none]"},
    {.name = "fork",
     .offset = offsetof(train_flags, train.resume.fork),
     .help = "start a new run from the state in DIR of --resume: its numbers may differ"},
    {.name = "dry-run",
     .offset = offsetof(train_flags, dry_run),
     .help = "check config, data, memory and where the run starts, say what would run, write "
             "nothing"},
    {.name = "max-hours",
     .value = "H",
     .real = {0, 1e6},
     .offset = offsetof(train_flags, train.max_hours),
     .help = "stop with a checkpoint and exit code 75 H hours after the start [0: never]"},
    {.name = "leave-before",
     .value = "S",
     .real = {0, 1e6},
     .offset = offsetof(train_flags, train.leave_before),
     .help = "under Slurm: stop so, S seconds before the job's end as scontrol knows it; 0: do not "
             "ask [120]"},
    LAP_FLAG_NO_IDLE_RANKS(offsetof(train_flags, no_idle_ranks)),
    {0}};

/* --- what is said --- */

static double efficiency_of(const lap_config *config, int ranks) {
  lap_fold fold;
  lap_status status;
  lap_mesh_fold(&config->mesh, config->model_ranks, lap_sharding_lane_schedule(config->sharding),
                ranks, 0, &fold, &status); /* checked at load */
  return lap_mesh_efficiency(&config->mesh, fold.replicas);
}

/* The share of all samples that a source of data.train gives, and its passes over its windows. */
static double share_of(const lap_config *config, size_t source) {
  double all = 0;
  for (size_t i = 0; i < config->data.train_count; ++i) all += config->data.train[i].weight;
  return config->data.train[source].weight / all;
}

static double epochs_of(const lap_config *config, const lap_inputs *inputs, size_t source) {
  return share_of(config, source) * (double)config->batch.sequences * (double)inputs->total_steps /
         (double)inputs->sources[source].window_count;
}

static void say_sources(const lap_session *session, const lap_config *config,
                        const lap_inputs *inputs) {
  for (size_t i = 0; config->data.train_count > 1 && i < config->data.train_count; ++i)
    lap_console_say(
        session->console,
        "           %5.1f %% of the windows (weight %g) from %s: %" PRIu64 " windows, %.2f epochs",
        100 * share_of(config, i), config->data.train[i].weight, config->data.train[i].path,
        inputs->sources[i].window_count, epochs_of(config, inputs, i));
}

static json_t *sources_json(const lap_config *config, const lap_inputs *inputs) {
  json_t *list = json_array();
  for (size_t i = 0; i < config->data.train_count; ++i)
    json_array_append_new(
        list, json_pack("{s:s, s:f, s:f, s:I, s:f}", "path", config->data.train[i].path, "weight",
                        config->data.train[i].weight, "share", share_of(config, i), "windows",
                        (json_int_t)inputs->sources[i].window_count, "epochs",
                        epochs_of(config, inputs, i)));
  return list;
}

/* The run whose state is forked, before anything else. What is wrong with it is said when it is
 * loaded. */
static void say_fork(const lap_session *session, const lap_resume_options *resume) {
  lap_checkpoint *parent;
  lap_status ignored;
  if (!session->root || !resume->fork ||
      lap_checkpoint_open(resume->from, &parent, &ignored) != LAP_OK)
    return;
  lap_console_say(session->console, "fork of    %s, step %" PRIu64, parent->path, parent->step);
  lap_checkpoint_close(parent);
}

/* Keys of evaluations in a run that has none. */
static void warn_of_idle_keys(const lap_session *session, const lap_config *config) {
  if (config->data.eval) return;
  if (config->eval.every_steps > 0 && lap_config_is_given(config, "eval.every_steps"))
    lap_console_warn(session->console,
                     "eval.every_steps does nothing without data.eval: nothing is evaluated");
  if (config->checkpoint.keep_best)
    lap_console_warn(session->console,
                     "checkpoint.keep_best does nothing without data.eval: no loss says which "
                     "checkpoint is the best one");
}

static void say_run(const lap_session *session, const lap_config *config,
                    const lap_inputs *inputs) {
  const int64_t embedding = lap_gemma2_embedding_parameters(&config->model);
  const int64_t others = lap_gemma2_non_embedding_parameters(&config->model);
  char a[LAP_HUMAN_TEXT], b[LAP_HUMAN_TEXT], c[LAP_HUMAN_TEXT];
  const int ranks = lap_comm_size(session->comm);
  const double efficiency = efficiency_of(config, ranks);
  lap_console_say(session->console, "model      %s parameters (%s embedding, %s other)",
                  lap_human_count((double)(embedding + others), a),
                  lap_human_count((double)embedding, b), lap_human_count((double)others, c));
  lap_console_say(session->console,
                  "mesh       %d pod%s x %d lanes x %d shard%s on %d rank%s x %d thread%s",
                  config->mesh.pods, config->mesh.pods == 1 ? "" : "s", config->mesh.data,
                  config->mesh.model, config->mesh.model == 1 ? "" : "s", ranks,
                  ranks == 1 ? "" : "s", config->threads, config->threads == 1 ? "" : "s");
  if (efficiency < 1)
    lap_console_say(session->console,
                    "           lanes are uneven: at most %.0f %% of the ranks' time is used",
                    100 * efficiency);
  lap_session_say_cores(session, config->threads);
  lap_console_say(session->console,
                  "data       %s tokens in %zu shard%s, %" PRIu64 " windows of %" PRId64 ", %s",
                  lap_human_count((double)inputs->train_tokens.token_count, a),
                  inputs->train_tokens.count, inputs->train_tokens.count == 1 ? "" : "s",
                  inputs->window_count, config->data.sequence_length,
                  inputs->train_cache ? "with the teacher's distributions"
                  : inputs->smoothing ? "smoothed (objective.smoothing)"
                                      : "next token only");
  say_sources(session, config, inputs);
  const double per_step = (double)(config->batch.sequences * config->data.sequence_length);
  lap_console_say(
      session->console, "schedule   %" PRIu64 " steps of %s tokens: %s tokens, %.2f epochs",
      inputs->total_steps, lap_human_count(per_step, a),
      lap_human_count(per_step * (double)inputs->total_steps, b),
      (double)config->batch.sequences * (double)inputs->total_steps / (double)inputs->window_count);
  char words[LAP_GEMM_WORDS];
  lap_console_say(session->console, "products   %s", lap_gemm_describe(words));
}

static lap_plan_request plan_request(const lap_session *session, const lap_inputs *inputs) {
  return (lap_plan_request){.command = LAP_PLAN_TRAIN,
                            .ranks = lap_comm_size(session->comm),
                            .teacher_k = lap_data_teacher_k(&inputs->train),
                            .token_bytes = (int64_t)(lap_token_set_bytes(&inputs->train_tokens) +
                                                     lap_token_set_bytes(&inputs->eval_tokens)),
                            .window_count = inputs->window_count};
}

/* Collective. The system kills a job that takes more than there is, and says nothing. */
static void warn_of_memory(const lap_session *session, int64_t bytes) {
  const int64_t there = lap_rank_memory_here(session->comm);
  char a[LAP_HUMAN_TEXT], b[LAP_HUMAN_TEXT];
  if (there <= 0 || bytes <= there) return;
  lap_console_warn(session->console,
                   "the fullest rank takes %s, and has %s of its node's memory: expect the system "
                   "to kill it; fewer ranks on a node, more nodes, mesh.shard=full or "
                   "recompute=block take less of a node (lapidary plan)",
                   lap_human_bytes((double)bytes, a), lap_human_bytes((double)there, b));
}

/* What `plan` says of this run, with the data as it is; a warning where that is too much. */
static lap_code say_memory(const lap_session *session, const lap_config *config,
                           const lap_inputs *inputs, bool in_full, int64_t *bytes,
                           lap_status *status) {
  const lap_plan_request request = plan_request(session, inputs);
  lap_plan plan;
  LAP_TRY(lap_plan_make(config, &request, &plan, status));
  *bytes = lap_memory_total(&plan.memory);
  warn_of_memory(session, *bytes);
  if (!in_full) return LAP_OK;
  char line[512] = "", text[LAP_HUMAN_TEXT];
  size_t length = 0;
  for (int kind = 0; kind < LAP_MEMORY_KINDS; ++kind)
    length += (size_t)snprintf(line + length, sizeof line - length, "%s%s %s", kind ? ", " : "",
                               lap_memory_kind_name((lap_memory_kind)kind),
                               lap_human_bytes((double)plan.memory.bytes[kind], text));
  lap_console_say(session->console, "memory     %s on the fullest rank: %s",
                  lap_human_bytes((double)*bytes, text), line);
  return LAP_OK;
}

static void add_time(lap_table *table, const char *name, double seconds, double total) {
  char time[32], share[32];
  snprintf(time, sizeof time, "%.3f", seconds);
  snprintf(share, sizeof share, "%.1f", 100 * seconds / total);
  lap_table_add(table, (const char *[]){name, time, share});
}

static void print_times(const lap_train_report *report) {
  const char *const headers[] = {"where the time went (rank 0)", "seconds", "%"};
  lap_table *table = lap_table_create(3, headers);
  const double checkpoints = report->saving.held_seconds + report->saving.wait_seconds;
  const double total = report->seconds + report->eval_seconds + checkpoints;
  for (int phase = 0; phase < LAP_PHASES; ++phase) {
    add_time(table, lap_phase_name((lap_phase)phase), report->phase_seconds[phase], total);
    for (int i = 0; phase == LAP_PHASE_MODEL && i < report->profile_rows; ++i) {
      char name[48];
      snprintf(name, sizeof name, "  %s", report->profile[i].op->name);
      add_time(table, name,
               report->profile[i].forward_seconds + report->profile[i].backward_seconds, total);
    }
  }
  add_time(table, "evaluation", report->eval_seconds, total);
  add_time(table, "checkpoints", checkpoints, total);
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

/* What was trained. An objective with a teacher in it is not the loss that evaluation reports, and
 * does not bear its name. */
static void print_trained(const lap_train_report *report) {
  const lap_step_result *last = &report->last;
  if (last->left) return; /* none ended */
  if (last->counted == 0) {
    printf("no loss: no position of the last step is counted\n");
    return;
  }
  if (report->distill_weight == 0) {
    printf("training loss %.4f nats/token\n", last->loss);
    return;
  }
  printf(
      "training objective %.4f nats/token (distill_weight %g, kd %.4f)\n"
      "training cross-entropy %.4f nats/token, kl to the teacher %.4f nats/token\n",
      last->loss, report->distill_weight, last->kd, last->ce, last->kl);
}

static void print_report(const lap_train_report *report) {
  char tokens[LAP_HUMAN_TEXT], rate[LAP_HUMAN_TEXT], peak[LAP_HUMAN_TEXT];
  if (report->seconds == 0) { /* the run had ended before */
    printf("step %" PRIu64 " of %" PRIu64 "\nstate_sha256 %s\n", report->step, report->total_steps,
           report->state_sha256);
    return;
  }
  print_times(report);
  if (lap_traffic_total(&report->traffic.sent) + lap_mesh_traffic_total(&report->traffic.mesh)) {
    printf("\n");
    lap_step_traffic_print(&report->traffic, report->check_bytes);
  }
  printf("\nstep %" PRIu64 " of %" PRIu64 ", %s tokens\n", report->step, report->total_steps,
         lap_human_count((double)report->tokens, tokens));
  print_trained(report);
  if (report->eval.counted)
    printf("held-out %s %.4f nats/token, perplexity %.2f, %.4f bits/byte\n",
           report->distill_weight > 0 ? "cross-entropy" : "loss", report->eval.loss,
           report->eval.perplexity, report->eval.bits_per_byte);
  printf("%s tokens/s, %.1f useful GFLOP/s", lap_human_count(report->tokens_per_second, rate),
         report->gflops);
  if (!isnan(report->gemm_gflops))
    printf(" of %.1f that products reach here (%.0f %%)", report->gemm_gflops,
           100 * report->gflops / report->gemm_gflops);
  printf("\n");
  if (report->saving.behind > 0)
    printf("%" PRId64 " checkpoints behind the steps, which they cost %.2f %%\n",
           report->saving.behind, 100 * lap_saver_cost(&report->saving));
  printf("memory peak %s on the fullest rank\n", lap_human_bytes((double)report->peak_bytes, peak));
  printf("state_sha256 %s\n", report->state_sha256);
}

static json_t *report_json(const lap_train_report *report) {
  json_t *object = json_object();
  json_object_set_new(object, "step", json_integer((json_int_t)report->step));
  json_object_set_new(object, "total_steps", json_integer((json_int_t)report->total_steps));
  json_object_set_new(object, "stopped", json_boolean(report->stopped));
  json_object_set_new(object, "applied_updates", json_integer((json_int_t)report->applied_updates));
  json_object_set_new(object, "tokens", json_integer((json_int_t)report->tokens));
  json_object_set_new(object, "loss", lap_json_number(report->last.loss));
  json_object_set_new(object, "objective", lap_json_number(report->last.loss));
  json_object_set_new(object, "cross_entropy", lap_json_number(report->last.ce));
  json_object_set_new(object, "kd", lap_json_number(report->last.kd));
  json_object_set_new(object, "kl", lap_json_number(report->last.kl));
  json_object_set_new(object, "eval",
                      report->eval.counted ? lap_evaluation_to_json(&report->eval) : json_null());
  json_object_set_new(object, "state_sha256", json_string(report->state_sha256));
  json_object_set_new(object, "seconds", lap_json_number(report->seconds));
  json_object_set_new(object, "tokens_per_second", lap_json_number(report->tokens_per_second));
  json_object_set_new(object, "useful_gflops", lap_json_number(report->gflops));
  json_object_set_new(object, "gemm_gflops", lap_json_number(report->gemm_gflops));
  json_object_set_new(
      object, "traffic",
      report->counted_steps ? lap_step_traffic_to_json(&report->traffic) : json_null());
  json_object_set_new(
      object, "check_bytes",
      report->counted_steps ? json_integer((json_int_t)report->check_bytes) : json_null());
  json_object_set_new(object, "checkpoints", lap_saver_report_to_json(&report->saving));
  json_object_set_new(object, "peak_bytes", json_integer((json_int_t)report->peak_bytes));
  return object;
}

/* --- the command --- */

static lap_code dry_run(const lap_session *session, const lap_config *config,
                        const lap_inputs *inputs, const lap_resume_options *resume, bool json,
                        lap_status *status) {
  int64_t bytes;
  uint64_t step;
  LAP_TRY(say_memory(session, config, inputs, true, &bytes, status));
  LAP_TRY(lap_resume_look(config, session, inputs, resume, &step, status));
  lap_console_say(session->console, "dry run: nothing was written");
  if (!json || !session->root) return LAP_OK;
  json_t *object = json_pack(
      "{s:b, s:I, s:I, s:I, s:o, s:I, s:I, s:I}", "dry_run", 1, "start_step", (json_int_t)step,
      "total_steps", (json_int_t)inputs->total_steps, "windows", (json_int_t)inputs->window_count,
      "sources", sources_json(config, inputs), "embedding_parameters",
      (json_int_t)lap_gemma2_embedding_parameters(&config->model), "non_embedding_parameters",
      (json_int_t)lap_gemma2_non_embedding_parameters(&config->model), "bytes_per_rank",
      (json_int_t)bytes);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static lap_code train(const lap_session *session, lap_config *config, const train_flags *flags,
                      bool json, lap_status *status) {
  lap_inputs inputs;
  LAP_TRY(lap_session_check_stop(session, status));
  LAP_TRY(lap_inputs_open(config, session, &inputs, status));
  say_fork(session, &flags->train.resume);
  const lap_plan_request request = plan_request(session, &inputs);
  lap_train_report report = {0};
  lap_code code = lap_fit_micro_sequences_here(config, &request, session->comm, status);
  if (code == LAP_OK) {
    say_run(session, config, &inputs);
    warn_of_idle_keys(session, config);
    int64_t bytes;
    code = flags->dry_run ? dry_run(session, config, &inputs, &flags->train.resume, json, status)
                          : say_memory(session, config, &inputs, false, &bytes, status);
    if (code == LAP_OK && !flags->dry_run)
      code = lap_train(config, session, &inputs, &flags->train, &report, status);
  }
  const bool reports = (code == LAP_OK || code == LAP_STOPPED) && report.total_steps > 0;
  if (session->root && reports) {
    print_report(&report);
    if (json) {
      json_t *object = report_json(&report);
      lap_status printed = {0};
      if (lap_command_print_json(object, &printed) != LAP_OK && code == LAP_OK) {
        *status = printed;
        code = printed.code;
      }
      json_decref(object);
    }
  }
  lap_inputs_close(&inputs);
  return code;
}

/* The config, the same on all ranks, and BLAS as the run that is resumed had it. */
static lap_code load_config(const lap_session *session, const lap_command_line *line,
                            train_flags *flags, lap_config **config, bool *idle,
                            lap_status *status) {
  LAP_TRY(lap_ranks_load_config(session, line, line->positional[0], flags->no_idle_ranks, config,
                                idle, status));
  if (*idle) return LAP_OK;
  lap_resume_settle_fork(*config, session, &flags->train.resume);
  char core[LAP_RESUME_CORE];
  lap_resume_open_ends(*config, session, &flags->train.resume, core);
  lap_gemm_choice choice = lap_config_gemm(*config);
  choice.core = core;
  return lap_session_open_gemm(session, choice, (*config)->threads, status);
}

static lap_code train_by(const lap_session *session, const lap_command_line *line,
                         void *destination, lap_status *status) {
  train_flags *flags = destination;
  const lap_resume_options *resume = &flags->train.resume;
  if (resume->fork && (!strcmp(resume->from, "none") || !strcmp(resume->from, "auto")))
    return lap_fail(status, LAP_USAGE,
                    "--fork needs the state that the new run begins with: --fork --resume DIR "
                    "run_dir=OTHER, a checkpoint or run directory; once it has begun, the same "
                    "command goes on, and so does --resume auto alone");
  lap_config *config = NULL;
  bool idle = false;
  lap_code code = load_config(session, line, flags, &config, &idle, status);
  if (code == LAP_OK && !idle) code = train(session, config, flags, line->json, status);
  lap_config_destroy(config);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  train_flags flags = {.train = {.resume = {.from = "none"}, .leave_before = 120}};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_train,
                                     .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, lap_ranks_watchdog, train_by, status);
}

const lap_command lap_command_train = {
    .name = "train",
    .summary = "train a model; under mpirun or alone",
    .usage = "CONFIG.yaml [KEY=VALUE...]",
    .description =
        "Trains towards the teacher's distributions, or towards the next token "
        "(objective.distill_weight=0). The logical mesh of the config decides the "
        "numbers; ranks and threads decide only the speed.",
    .collective = true,
    .run = run};
