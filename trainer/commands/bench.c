/* bench: how fast a config trains on these ranks: steps of the real trainer on made-up batches.
 *
 * For people who choose ranks, threads and a mesh, or who change the kernels. It reads the config
 * alone, neither tokens nor a cache, and writes nothing but its result: tokens a second, useful
 * FLOPs beside what products and multiply-adds alone reach on the same cores, the share of
 * communication. Collective: every rank takes part in every step, rank 0 prints.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/gemm_rate.h"
#include "autograd/kernel/triad.h"
#include "core/clock.h"
#include "core/json.h"
#include "core/median.h"
#include "core/memory.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/ranks.h"
#include "trainer/commands/roof_table.h"
#include "trainer/config/load.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/plan/fit.h"
#include "trainer/run/metrics.h"
#include "trainer/step/moved.h"
#include "trainer/step/step.h"
#include "trainer/step/traffic.h"

/* Steps and yardsticks alternate in ROUNDS at most, so that both meet the same machine. */
enum { TEACHER_K = 64, ROUNDS = 5 };

typedef struct {
  int64_t steps, rounds;
  bool profile, no_idle_ranks;
} bench_flags;

static const lap_flag flags_of_bench[] = {
    {.name = "steps",
     .value = "N",
     .integer = {1, 1000000},
     .offset = offsetof(bench_flags, steps),
     .help = "steps that are timed, after one that is not [10]"},
    {.name = "rounds",
     .value = "N",
     .integer = {0, ROUNDS},
     .offset = offsetof(bench_flags, rounds),
     .help = "times that products, multiply-adds and memory are measured [5]; 0: the steps only"},
    {.name = "profile",
     .offset = offsetof(bench_flags, profile),
     .help = "print where the time goes, op by op, and what share of its roof each reaches"},
    LAP_FLAG_NO_IDLE_RANKS(offsetof(bench_flags, no_idle_ranks)),
    {0}};

/* --- measuring --- */

/* All ranks at once, each the median over rounds: GFLOP/s of fused multiply-adds alone, of our
 * product and of OpenBLAS's, GB/s of triad; 0: not measured, or no OpenBLAS here. */
enum { PEAK, GEMM, OPENBLAS, TRIAD, YARDSTICKS };
static const char *const yardstick_names[] = {"peak_gflops", "gemm_gflops", "openblas_gflops",
                                              "triad_gbps"};

typedef struct {
  double step_seconds;   /* of all ranks: the median step of the slowest rank in each */
  double seconds, gflop; /* of the slowest rank in all steps; the sum over ranks */
  double yardstick[YARDSTICKS];
  double exposed_seconds;   /* in which a rank waits for messages: the mean of them */
  int64_t peak, total_peak; /* bytes of memory after a step, of the fullest rank and of all */
  double loss;
  lap_step_traffic traffic; /* of a step */
  uint64_t check_bytes;     /* of a step, beside them */
  lap_roof_profile profile; /* of rank 0 */
} bench_result;

typedef struct {
  lap_gemm_yardstick *stick; /* NULL: none is measured */
  lap_triad *triad;
  bool openblas; /* on all ranks */
  int64_t rounds;
  double rates[YARDSTICKS][ROUNDS];
  double *step_seconds; /* [steps] */
} bench_times;

static void measure_yardsticks(lap_comm *comm, bench_times *times, int round) {
  lap_barrier(comm);
  times->rates[PEAK][round] = lap_gemm_yardstick_peak(times->stick);
  times->rates[GEMM][round] = lap_gemm_yardstick_rate(times->stick, LAP_GEMM_LAPIDARY);
  if (times->openblas)
    times->rates[OPENBLAS][round] = lap_gemm_yardstick_rate(times->stick, LAP_GEMM_OPENBLAS);
  lap_barrier(comm);
  times->rates[TRIAD][round] = lap_triad_rate(times->triad);
  lap_barrier(comm);
}

/* OpenBLAS of its best core type is a yardstick where there is one on every rank. */
static bool open_openblas(lap_comm *comm, const lap_config *config) {
  lap_status ignored;
  const bool here = *lap_blas_core() || lap_blas_open(config->blas_core, &ignored) == LAP_OK;
  int64_t fewest, most;
  lap_agree_range(comm, here, &fewest, &most);
  return fewest;
}

static void create_yardsticks(lap_comm *comm, const lap_config *config, bench_times *times) {
  if (times->rounds == 0) return;
  times->stick = lap_gemm_yardstick_create(config->threads);
  times->triad = lap_triad_create(config->threads);
  times->openblas = open_openblas(comm, config);
}

static void destroy_yardsticks(bench_times *times) {
  if (times->stick) lap_gemm_yardstick_destroy(times->stick);
  lap_triad_destroy(times->triad);
}

static bool is_stopped(void *context) {
  (void)context;
  return lap_stop_requested();
}

static lap_code run_step(lap_stepper *stepper, lap_step_result *step, lap_status *status) {
  LAP_TRY(lap_stepper_run(stepper, (lap_step_requests){.leave = is_stopped}, step, status));
  return step->left ? lap_fail(status, LAP_STOPPED, "stopped before the last step") : LAP_OK;
}

static lap_code run_steps(lap_stepper *stepper, lap_block_weights *weights, lap_comm *comm,
                          int64_t steps, bench_times *times, bench_result *result,
                          lap_status *status) {
  double before[LAP_PHASES];
  lap_step_result step = {0};
  memcpy(before, lap_stepper_seconds(stepper), sizeof before);
  lap_stepper_reset_profile(stepper);
  lap_traffic_meter meter = {.steps = (uint64_t)steps};
  lap_block_weights_wait_all(weights);
  lap_traffic_meter_start(&meter, comm);
  lap_comm_exposed_seconds(comm, true);
  for (int64_t i = 0; i < steps; ++i) {
    const double start = lap_clock_seconds();
    const int64_t round = i * times->rounds / steps, next = (i + 1) * times->rounds / steps;
    const bool last = next != round || i + 1 == steps; /* of its round, or of all */
    LAP_TRY(run_step(stepper, &step, status));
    if (last) lap_block_weights_wait_all(weights); /* gathers do not go on beside the yardsticks */
    times->step_seconds[i] = lap_clock_seconds() - start;
    result->seconds += times->step_seconds[i];
    result->exposed_seconds += lap_comm_exposed_seconds(comm, true);
    if (!last) continue;
    lap_traffic_meter_stop(&meter, comm);
    for (int64_t r = round; r < next; ++r) measure_yardsticks(comm, times, (int)r);
    lap_comm_exposed_seconds(comm, true);
    lap_traffic_meter_start(&meter, comm);
  }
  lap_traffic_meter_stop(&meter, comm);
  lap_traffic_meter_mean(&meter, comm, &result->traffic, &result->check_bytes);
  result->gflop = lap_tape_flops(lap_stepper_tape(stepper)) / 1e9;
  result->loss = step.loss;
  lap_roof_profile *profile = &result->profile;
  profile->steps = steps;
  profile->seconds = result->seconds;
  for (int phase = 0; phase < LAP_PHASES; ++phase)
    profile->phase_seconds[phase] = lap_stepper_seconds(stepper)[phase] - before[phase];
  profile->row_count = lap_tape_profile(lap_stepper_tape(stepper), profile->rows,
                                        sizeof profile->rows / sizeof *profile->rows);
  return LAP_OK;
}

/* Touches all the memory that steps take; the yardsticks' comes after it. */
static lap_code run_first_step(lap_stepper *stepper, const lap_config *config, lap_comm *comm,
                               bench_times *times, bench_result *result, lap_status *status) {
  lap_step_result step;
  LAP_TRY(run_step(stepper, &step, status));
  result->peak = lap_memory_peak();
  create_yardsticks(comm, config, times);
  return LAP_OK;
}

static void join_ranks(lap_comm *comm, int64_t steps, bench_times *times, bench_result *result) {
  const int ranks = lap_comm_size(comm);
  enum { SECONDS, GFLOP, EXPOSED, BYTES, RATES, NUMBERS = RATES + YARDSTICKS };
  double mine[NUMBERS] = {result->seconds, result->gflop, result->exposed_seconds,
                          (double)result->peak};
  for (int i = 0; i < YARDSTICKS && times->rounds > 0; ++i)
    mine[RATES + i] = lap_median(times->rates[i], (size_t)times->rounds);
  double *all = lap_allocate((int64_t)ranks * NUMBERS, sizeof *all);
  lap_gather_all(comm, mine, sizeof mine, all);
  result->seconds = result->gflop = result->exposed_seconds = 0;
  if (times->rounds > 0) {
    result->profile.peak_gflops = mine[RATES + PEAK];
    result->profile.triad_gbps = mine[RATES + TRIAD];
  }
  for (int r = 0; r < ranks; ++r) {
    const double *of_rank = all + (int64_t)r * NUMBERS;
    if (of_rank[SECONDS] > result->seconds) result->seconds = of_rank[SECONDS];
    result->gflop += of_rank[GFLOP];
    result->exposed_seconds += of_rank[EXPOSED] / ranks;
    result->total_peak += (int64_t)of_rank[BYTES];
    if (of_rank[BYTES] > (double)result->peak) result->peak = (int64_t)of_rank[BYTES];
    for (int i = 0; i < YARDSTICKS; ++i) result->yardstick[i] += of_rank[RATES + i];
  }
  free(all);
  double *of_ranks = lap_allocate((int64_t)ranks * steps, sizeof *of_ranks);
  lap_gather_all(comm, times->step_seconds, (size_t)steps * sizeof *of_ranks, of_ranks);
  for (int r = 0; r < ranks; ++r)
    for (int64_t i = 0; i < steps; ++i)
      if (of_ranks[r * steps + i] > times->step_seconds[i])
        times->step_seconds[i] = of_ranks[r * steps + i];
  result->step_seconds = lap_median(times->step_seconds, (size_t)steps);
  free(of_ranks);
}

/* Kept ids of the made-up teacher. */
static int64_t teacher_k(const lap_config *config) {
  if (config->objective.distill_weight == 0 || lap_config_smooths(config)) return 0;
  return config->model.vocab_size < TEACHER_K ? config->model.vocab_size : TEACHER_K;
}

static lap_code measure(const lap_session *session, lap_config *config, const bench_flags *flags,
                        bench_result *result, lap_status *status) {
  const int64_t steps = flags->steps;
  lap_placement placement;
  LAP_TRY(lap_placement_create(&config->mesh, config->model_ranks, config->sharding, session->comm,
                               &placement, status));
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN,
                                    .ranks = lap_comm_size(session->comm),
                                    .teacher_k = teacher_k(config)};
  LAP_TRY(lap_fit_micro_sequences_here(config, &request, session->comm, status));
  const lap_synthetic synthetic = {
      .vocab_size = config->model.vocab_size, .k = teacher_k(config), .windows = UINT64_C(1) << 20};
  /* Each distribution over all ids takes as long. */
  lap_smoothing *smoothing =
      lap_smoothing_create(lap_config_smooths(config) ? LAP_SMOOTHING_UNIFORM : LAP_SMOOTHING_NONE,
                           NULL, config->model.vocab_size, false);
  const lap_data data = {.sequence_length = (uint32_t)config->data.sequence_length,
                         .smoothing = smoothing,
                         .synthetic = &synthetic};
  lap_state *state =
      lap_state_create(&config->model, &placement, lap_state_use_of_training(config));
  lap_state_initialise(state, (uint64_t)config->seed);
  lap_block_weights *weights = lap_block_weights_create(state);
  lap_block_weights_changed(weights, true);
  lap_stepper *stepper = lap_stepper_create(config, &data, (uint64_t)steps + 1, state, weights);
  bench_times times = {.rounds = flags->rounds,
                       .step_seconds = lap_allocate(steps, sizeof(double))};
  lap_step_moved(config, state, result->profile.phase_moved);
  lap_code code = run_first_step(stepper, config, session->comm, &times, result, status);
  if (code == LAP_OK)
    code = run_steps(stepper, weights, session->comm, steps, &times, result, status);
  lap_block_weights_wait_all(weights);
  lap_stepper_destroy(stepper);
  lap_block_weights_destroy(weights);
  lap_state_destroy(state);
  lap_smoothing_destroy(smoothing);
  if (code == LAP_OK) join_ranks(session->comm, steps, &times, result);
  destroy_yardsticks(&times);
  free(times.step_seconds);
  return code;
}

/* --- output --- */

static json_t *result_json(const lap_session *session, const lap_config *config, double tokens,
                           const bench_result *r, double useful, double roof, bool profile) {
  char words[LAP_GEMM_WORDS];
  json_t *object = json_pack("{s:f, s:f, s:o, s:f, s:f, s:i, s:i, s:s, s:s}", "tokens_per_second",
                             tokens / r->step_seconds, "useful_gflops", useful, "useful_over_gemm",
                             lap_json_number(useful / roof), "seconds_per_step", r->step_seconds,
                             "communication_share", r->exposed_seconds / r->seconds, "ranks",
                             lap_comm_size(session->comm), "threads", config->threads, "gemm",
                             config->gemm == LAP_GEMM_LAPIDARY ? "lapidary" : "openblas",
                             "products", lap_gemm_describe(words));
  for (int i = 0; i < YARDSTICKS; ++i)
    json_object_set_new(object, yardstick_names[i],
                        r->yardstick[i] > 0 ? json_real(r->yardstick[i]) : json_null());
  json_object_set_new(object, "peak_bytes", json_integer((json_int_t)r->total_peak));
  json_object_set_new(object, "peak_bytes_per_rank", json_integer((json_int_t)r->peak));
  json_object_set_new(object, "traffic", lap_step_traffic_to_json(&r->traffic));
  json_object_set_new(object, "check_bytes", json_integer((json_int_t)r->check_bytes));
  if (profile) json_object_set_new(object, "profile", lap_roof_table_to_json(&r->profile));
  return object;
}

static lap_code print_result(const lap_session *session, const lap_config *config,
                             const bench_flags *flags, const bench_result *r, bool json,
                             lap_status *status) {
  const double tokens = (double)(config->batch.sequences * config->data.sequence_length);
  const double useful = r->gflop / (double)flags->steps / r->step_seconds;
  const double roof =
      r->yardstick[GEMM] > r->yardstick[OPENBLAS] ? r->yardstick[GEMM] : r->yardstick[OPENBLAS];
  if (json) {
    json_t *object = result_json(session, config, tokens, r, useful, roof, flags->profile);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char rate[LAP_HUMAN_TEXT], step[LAP_HUMAN_TEXT], peak[LAP_HUMAN_TEXT];
  char openblas[64] = "none here", words[LAP_GEMM_WORDS];
  if (r->yardstick[OPENBLAS] > 0)
    snprintf(openblas, sizeof openblas, "%.1f (%s)", r->yardstick[OPENBLAS], lap_blas_core());
  printf("products by %s", lap_gemm_describe(words));
  if (roof > 0)
    printf("; GFLOP/s at 2048^3: lapidary %.1f, OpenBLAS %s; peak %.1f; memory %.1f GB/s",
           r->yardstick[GEMM], openblas, r->yardstick[PEAK], r->yardstick[TRIAD]);
  printf("\n%s tokens/s, %s a step; %.1f useful GFLOP/s",
         lap_human_count(tokens / r->step_seconds, rate), lap_human_seconds(r->step_seconds, step),
         useful);
  if (roof > 0) printf(": %.2f of the faster product", useful / roof);
  printf("; communication %.1f %%; %s\n", 100 * r->exposed_seconds / r->seconds,
         lap_human_bytes((double)r->total_peak, peak));
  return LAP_OK;
}

/* --- the command --- */

/* For decoupled a stratified one: the first half of its ids are the head, or as many as the config
 * says. */
static lap_config_teacher synthetic_teacher(const lap_config *config) {
  if (lap_config_smooths(config))
    return (lap_config_teacher){.name = "objective.smoothing", .codec = "topk", .dense = true};
  lap_config_teacher teacher = {.name = "the synthetic teacher", .codec = "topk"};
  if (config->objective.tail != LAP_TAIL_DECOUPLED) return teacher;
  teacher.codec = "stratified";
  teacher.head = lap_config_is_given(config, "objective.head") ? config->objective.head
                                                               : teacher_k(config) / 2 + 1;
  return teacher;
}

static lap_code load(const lap_command_line *line, lap_config **config, lap_status *status) {
  LAP_TRY(
      lap_config_load(line->positional[0], line->overrides, line->override_count, config, status));
  LAP_TRY(lap_config_require(*config, LAP_NEEDS_MODEL | LAP_NEEDS_BATCH, status));
  lap_config *c = *config;
  if (!lap_config_is_given(c, "objective.distill_weight") && c->smoothing == LAP_SMOOTHING_NONE)
    c->objective.distill_weight = 1;
  const lap_config_teacher teacher = synthetic_teacher(c);
  LAP_TRY(lap_config_resolve_tail(c, &teacher, status));
  /* How long a step takes does not depend on the length of the run. */
  const int64_t long_run = 1000000, warmup = c->schedule.warmup_steps;
  return lap_config_resolve_warmup(c, warmup > long_run ? warmup : long_run, status);
}

static lap_code bench_config(const lap_session *session, lap_config *config,
                             const bench_flags *flags, bool json, lap_status *status) {
  LAP_TRY(lap_session_open_gemm(session, lap_config_gemm(config), config->threads, status));
  lap_session_say_cores(session, config->threads);
  bench_result result = {0};
  LAP_TRY(measure(session, config, flags, &result, status));
  if (!session->root) return LAP_OK;
  if (flags->profile) lap_roof_table_print(&result.profile);
  return print_result(session, config, flags, &result, json, status);
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
  bench_flags flags = {.steps = 10, .rounds = ROUNDS};
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
        "Runs real steps with k = 64 ghost targets (objective.distill_weight=0: next token; "
        "objective.smoothing: its distribution over all ids; objective.tail: that rule) and "
        "compares useful matrix FLOPs with what products of 2048^3 reach on the same cores in the "
        "same run, by lapidary's kernels and by OpenBLAS, in turn with the steps; times are "
        "medians. Memory is the peak of all ranks, without the yardsticks'. "
        "Communication is the share of its time in which a rank waits for messages, and so for "
        "slower ranks too; the mean of all ranks.",
    .collective = true,
    .run = run};
