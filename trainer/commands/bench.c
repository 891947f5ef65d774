/* bench: how fast a config trains on these ranks: steps of the real trainer on made-up batches.
 *
 * For people who choose ranks, threads and a mesh, or who change the kernels. It reads the config
 * alone, neither tokens nor a cache, and writes nothing but its result: tokens a second, useful
 * FLOPs beside what sgemm reaches on the same cores, the share of communication. Collective: every
 * rank takes part in every step, rank 0 prints.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/gemm_rate.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/run/metrics.h"
#include "trainer/step/step.h"
#include "trainer/step/traffic.h"

enum { TEACHER_K = 64 };

typedef struct {
  int64_t steps;
  bool profile, no_idle_ranks;
} bench_flags;

static const lap_flag flags_of_bench[] = {
    {.name = "steps",
     .value = "N",
     .integer = {1, 1000000},
     .offset = offsetof(bench_flags, steps),
     .help = "steps that are timed, after one that is not [10]"},
    {.name = "profile",
     .offset = offsetof(bench_flags, profile),
     .help = "print where the time goes, op by op"},
    LAP_FLAG_NO_IDLE_RANKS(offsetof(bench_flags, no_idle_ranks)),
    {0}};

/* --- measuring --- */

typedef struct {
  double seconds, gflop, gemm_gflops; /* of all ranks: the longest time, the sum, the sum */
  double exposed_seconds;             /* in which a rank waits for messages: the mean of them */
  double phase_seconds[LAP_PHASES];   /* of rank 0 */
  double loss;
  lap_step_traffic traffic;      /* of a step */
  lap_tape_profile_row rows[16]; /* of rank 0 */
  int row_count;
} bench_result;

static lap_code run_step(lap_stepper *stepper, lap_step_result *step, lap_status *status) {
  LAP_TRY(
      lap_stepper_run(stepper, (lap_step_requests){.stop = lap_stop_requested()}, step, status));
  return step->stop ? lap_fail(status, LAP_STOPPED, "stopped before the last step") : LAP_OK;
}

static lap_code run_steps(lap_stepper *stepper, lap_block_weights *weights, lap_comm *comm,
                          int64_t steps, bench_result *result, lap_status *status) {
  lap_step_result step;
  LAP_TRY(run_step(stepper, &step, status));
  double before[LAP_PHASES];
  memcpy(before, lap_stepper_seconds(stepper), sizeof before);
  lap_stepper_reset_profile(stepper);
  lap_traffic_meter meter = {.steps = (uint64_t)steps};
  lap_block_weights_wait_all(weights);
  lap_traffic_meter_start(&meter, comm);
  lap_comm_exposed_seconds(comm, true);
  const double start = lap_clock_seconds();
  for (int64_t i = 0; i < steps; ++i) LAP_TRY(run_step(stepper, &step, status));
  result->seconds = lap_clock_seconds() - start;
  result->exposed_seconds = lap_comm_exposed_seconds(comm, true);
  lap_block_weights_wait_all(weights);
  lap_traffic_meter_stop(&meter, comm);
  lap_traffic_meter_mean(&meter, comm, &result->traffic);
  result->gflop = lap_tape_flops(lap_stepper_tape(stepper)) / 1e9;
  result->loss = step.loss;
  for (int phase = 0; phase < LAP_PHASES; ++phase)
    result->phase_seconds[phase] = lap_stepper_seconds(stepper)[phase] - before[phase];
  result->row_count = lap_tape_profile(lap_stepper_tape(stepper), result->rows, 16);
  return LAP_OK;
}

static void join_ranks(lap_comm *comm, int threads, bench_result *result) {
  const int ranks = lap_comm_size(comm);
  lap_barrier(comm);
  enum { SECONDS, GFLOP, GEMM_GFLOPS, EXPOSED, NUMBERS };
  const double mine[NUMBERS] = {result->seconds, result->gflop, lap_gemm_rate(threads, 0.5),
                                result->exposed_seconds};
  double *all = lap_allocate((int64_t)ranks * NUMBERS, sizeof *all);
  lap_gather_all(comm, mine, sizeof mine, all);
  result->seconds = result->gflop = result->gemm_gflops = result->exposed_seconds = 0;
  for (int r = 0; r < ranks; ++r) {
    const double *of_rank = all + (int64_t)r * NUMBERS;
    if (of_rank[SECONDS] > result->seconds) result->seconds = of_rank[SECONDS];
    result->gflop += of_rank[GFLOP];
    result->gemm_gflops += of_rank[GEMM_GFLOPS];
    result->exposed_seconds += of_rank[EXPOSED] / ranks;
  }
  free(all);
}

static lap_code measure(const lap_session *session, lap_config *config, int64_t steps,
                        bench_result *result, lap_status *status) {
  lap_placement placement;
  LAP_TRY(lap_placement_create(&config->mesh, config->model_ranks, config->sharding, session->comm,
                               &placement, status));
  const bool taught = config->objective.distill_weight > 0;
  const lap_synthetic synthetic = {.vocab_size = config->model.vocab_size,
                                   .k = taught ? TEACHER_K : 0,
                                   .windows = UINT64_C(1) << 20};
  const lap_data data = {.sequence_length = (uint32_t)config->data.sequence_length,
                         .synthetic = &synthetic};
  lap_state *state = lap_state_create(&config->model, &placement, true);
  lap_state_initialise(state, (uint64_t)config->seed);
  lap_block_weights *weights = lap_block_weights_create(state);
  lap_block_weights_changed(weights, true);
  lap_stepper *stepper = lap_stepper_create(config, &data, (uint64_t)steps + 1, state, weights);
  const lap_code code = run_steps(stepper, weights, session->comm, steps, result, status);
  lap_block_weights_wait_all(weights);
  lap_stepper_destroy(stepper);
  lap_block_weights_destroy(weights);
  lap_state_destroy(state);
  if (code == LAP_OK) join_ranks(session->comm, config->threads, result);
  return code;
}

/* --- output --- */

static void print_profile(const bench_result *result) {
  const char *const headers[] = {"op (rank 0)", "forward s", "backward s", "GFLOP/s", "%"};
  lap_table *table = lap_table_create(5, headers);
  for (int i = 0; i < result->row_count; ++i) {
    const lap_tape_profile_row *row = &result->rows[i];
    const double seconds = row->forward_seconds + row->backward_seconds;
    char forward[32], backward[32], rate[32] = "-", share[32];
    snprintf(forward, sizeof forward, "%.4f", row->forward_seconds);
    snprintf(backward, sizeof backward, "%.4f", row->backward_seconds);
    if (row->flops > 0) snprintf(rate, sizeof rate, "%.1f", row->flops / seconds / 1e9);
    snprintf(share, sizeof share, "%.1f", 100 * seconds / result->seconds);
    lap_table_add(table, (const char *[]){row->op->name, forward, backward, rate, share});
  }
  for (int phase = 0; phase < LAP_PHASES; ++phase) {
    if (phase == LAP_PHASE_MODEL) continue;
    char seconds[32], share[32];
    snprintf(seconds, sizeof seconds, "%.4f", result->phase_seconds[phase]);
    snprintf(share, sizeof share, "%.1f", 100 * result->phase_seconds[phase] / result->seconds);
    lap_table_add(table,
                  (const char *[]){lap_phase_name((lap_phase)phase), seconds, "-", "-", share});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

static lap_code print_result(const lap_session *session, const lap_config *config, int64_t steps,
                             const bench_result *r, bool json, lap_status *status) {
  const double tokens = (double)(steps * config->batch.sequences * config->data.sequence_length);
  const double useful = r->gflop / r->seconds;
  if (json) {
    json_t *object = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:s}", "tokens_per_second", tokens / r->seconds,
        "useful_gflops", useful, "gemm_gflops", r->gemm_gflops, "useful_over_gemm",
        useful / r->gemm_gflops, "seconds_per_step", r->seconds / (double)steps,
        "communication_share", r->exposed_seconds / r->seconds, "ranks",
        lap_comm_size(session->comm), "threads", config->threads, "blas_core", lap_blas_core());
    json_object_set_new(object, "traffic", lap_step_traffic_to_json(&r->traffic));
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char rate[LAP_HUMAN_TEXT], step[LAP_HUMAN_TEXT];
  printf(
      "%s tokens/s, %s a step; %.1f useful GFLOP/s, sgemm reaches %.1f here: %.2f of it; "
      "communication %.1f %%\n",
      lap_human_count(tokens / r->seconds, rate),
      lap_human_seconds(r->seconds / (double)steps, step), useful, r->gemm_gflops,
      useful / r->gemm_gflops, 100 * r->exposed_seconds / r->seconds);
  return LAP_OK;
}

/* --- the command --- */

static lap_code load(const lap_command_line *line, lap_config **config, lap_status *status) {
  LAP_TRY(
      lap_config_load(line->positional[0], line->overrides, line->override_count, config, status));
  LAP_TRY(lap_config_require(*config, LAP_NEEDS_MODEL | LAP_NEEDS_BATCH, status));
  lap_config *c = *config;
  if (!lap_config_is_given(c, "objective.distill_weight")) c->objective.distill_weight = 1;
  LAP_TRY(lap_config_resolve_tail(c, "topk", status));
  return lap_config_resolve_warmup(c, 1000000, status);
}

static lap_code bench_config(const lap_session *session, lap_config *config,
                             const bench_flags *flags, bool json, lap_status *status) {
  LAP_TRY(lap_session_open_blas(session, config->blas_core, config->threads, status));
  lap_session_say_cores(session, config->threads);
  bench_result result = {0};
  LAP_TRY(measure(session, config, flags->steps, &result, status));
  if (!session->root) return LAP_OK;
  if (flags->profile) print_profile(&result);
  return print_result(session, config, flags->steps, &result, json, status);
}

static lap_code bench(const lap_session *session, const lap_command_line *line, void *destination,
                      lap_status *status) {
  const bench_flags *flags = destination;
  lap_config *config = NULL;
  lap_status own = {0};
  own.code = load(line, &config, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  bool idle = false;
  if (code == LAP_OK)
    code = lap_ranks_employ_config(session, config, flags->no_idle_ranks, &idle, status);
  if (code == LAP_OK && !idle) code = bench_config(session, config, flags, line->json, status);
  lap_config_destroy(config);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  bench_flags flags = {.steps = 10};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_bench,
                                     .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, lap_ranks_watchdog, bench, status);
}

const lap_command lap_command_bench = {
    .name = "bench",
    .summary = "measure training speed on synthetic batches; under mpirun or alone",
    .usage = "CONFIG.yaml [KEY=VALUE...]",
    .description =
        "Runs real steps with k = 64 ghost targets (objective.distill_weight=0: next token) and "
        "compares useful matrix FLOPs with what sgemm reaches on the same cores in the same run. "
        "Communication is the share of its time in which a rank waits for messages, and so for "
        "slower ranks too; the mean of all ranks.",
    .collective = true,
    .run = run};
