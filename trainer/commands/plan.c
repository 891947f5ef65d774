/* plan: parameters, memory, FLOPs, bytes and seconds of a config, before it is run.
 *
 * For people who ask how large a model fits, and on how many nodes. It reads the config, the
 * headers of its token shards where they are there already, and with --hardware what doctor
 * measured; it runs nothing, allocates nothing large, and writes nothing but its result. Not
 * collective: one process, without MPI.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "dataset/token_shard.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/plan/fit.h"
#include "trainer/plan/plan.h"
#include "trainer/plan/run_time.h"
#include "trainer/plan/step_time.h"
#include "trainer/plan/tape_table.h"

typedef struct {
  const char *command_name;
  lap_plan_command command;                   /* of that name */
  int64_t ranks, ranks_per_node, k, teachers; /* 0, 0, -1, 0: not given */
  const char *hardware;                       /* NULL: not given */
  bool tape;
} plan_flags;

enum { MOST_RANKS = 1 << 24, USUAL_K = 64, USUAL_SHARD_TOKENS = 1 << 20 };

static const lap_flag flags_of_plan[] = {
    {.name = "ranks",
     .value = "R",
     .integer = {1, MOST_RANKS},
     .offset = offsetof(plan_flags, ranks),
     .help = "ranks the run is spread over [1; of chips: one a lane and shard]"},
    {.name = "ranks-per-node",
     .value = "N",
     .integer = {1, MOST_RANKS},
     .offset = offsetof(plan_flags, ranks_per_node),
     .help =
         "ranks on each node: what they send each other stays within it [all; as in --hardware]"},
    {.name = "hardware",
     .value = "H.yaml",
     .offset = offsetof(plan_flags, hardware),
     .help = "predict the time of train on it: from doctor --json, or configs/hardware"},
    {.name = "command",
     .value = "train|eval|teach",
     .offset = offsetof(plan_flags, command_name),
     .help = "what is to be run [train]"},
    {.name = "k",
     .value = "K",
     .integer = {0, 1 << 20},
     .offset = offsetof(plan_flags, k),
     .help = "kept ids of the teacher's cache, 0: none [64, or all, where a teacher is used]"},
    {.name = "teachers",
     .value = "N",
     .integer = {1, 1 << 10},
     .offset = offsetof(plan_flags, teachers),
     .help = "of teach: models of --from and --average together [1]"},
    {.name = "tape",
     .offset = offsetof(plan_flags, tape),
     .help =
         "print the ops of train's micro-batch, their shapes and memory, for those who write ops"},
    {0}};

static lap_code find_command(const char *name, lap_plan_command *command, lap_status *status) {
  for (int i = LAP_PLAN_TRAIN; i <= LAP_PLAN_TEACH; ++i)
    if (!strcmp(name, lap_plan_command_name((lap_plan_command)i))) {
      *command = (lap_plan_command)i;
      return LAP_OK;
    }
  return lap_fail(status, LAP_USAGE, "--command: expected train, eval or teach, found '%s'", name);
}

/* --- what the config cannot say --- */

/* Shards that are not there yet, or cannot be read, count for nothing. */
static void measure(lap_console *console, const lap_config *config, const char *key,
                    const char *pattern, lap_token_set_size *sum) {
  lap_token_set_size size;
  lap_status status;
  if (lap_token_set_measure(pattern, (uint32_t)config->data.sequence_length, &size, &status) !=
      LAP_OK) {
    lap_console_warn(console, "%s: %s: its tokens are not counted", key, status.message);
    return;
  }
  sum->windows += size.windows;
  sum->bytes += size.bytes;
  if (size.largest > sum->largest) sum->largest = size.largest;
}

/* Whether a cache is read, or, by teach, written. */
static bool has_cache(const lap_config *config, lap_plan_command command) {
  if (command == LAP_PLAN_TEACH) return true;
  return command == LAP_PLAN_TRAIN ? config->objective.distill_weight > 0
                                   : config->teacher.cache != NULL;
}

static lap_code check_k(const lap_config *config, const plan_flags *flags, lap_status *status) {
  LAP_TRY(lap_config_require(config, LAP_NEEDS_MODEL, status));
  if (flags->k <= config->model.vocab_size) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "--k %" PRId64 ": a row keeps at most the %" PRId64 " ids of model.vocab_size",
                  flags->k, config->model.vocab_size);
}

static lap_plan_request request_of(const lap_config *config, const plan_flags *flags,
                                   lap_console *console) {
  lap_token_set_size train = {0}, held_out = {0};
  if (config->data.sequence_length > 1) {
    for (size_t i = 0; flags->command != LAP_PLAN_EVAL && i < config->data.train_count; ++i)
      measure(console, config, "data.train", config->data.train[i].path, &train);
    if (flags->command != LAP_PLAN_TEACH && config->data.eval)
      measure(console, config, "data.eval", config->data.eval, &held_out);
  }
  const int asked = flags->ranks ? (int)flags->ranks : 1;
  const int usable =
      flags->command == LAP_PLAN_TRAIN ? lap_ranks_usable(console, config, asked) : asked;
  const int64_t most_k = config->model.vocab_size < USUAL_K ? config->model.vocab_size : USUAL_K;
  const int64_t usual_k = has_cache(config, flags->command) ? most_k : 0;
  return (lap_plan_request){
      .command = flags->command,
      .ranks = usable ? usable : asked, /* whose refusal names the nearest */
      .ranks_per_node = (int)flags->ranks_per_node,
      .teacher_k = flags->k >= 0 ? flags->k : usual_k,
      .teachers = flags->teachers,
      .token_bytes = (int64_t)(train.bytes + held_out.bytes),
      .largest_shard = train.largest ? (int64_t)train.largest : USUAL_SHARD_TOKENS,
      .window_count = train.windows};
}

/* --- output --- */

static json_t *to_json(const lap_plan *plan) {
  json_t *memory = json_object();
  for (int kind = 0; kind < LAP_MEMORY_KINDS; ++kind)
    json_object_set_new(memory, lap_memory_kind_name((lap_memory_kind)kind),
                        json_integer(plan->memory.bytes[kind]));
  json_object_set_new(memory, "total", json_integer(lap_memory_total(&plan->memory)));
  const bool known = plan->steps > 0;
  json_t *object = json_pack("{s:s, s:I, s:I, s:i, s:i, s:f, s:i, s:o, s:I}", "command",
                             lap_plan_command_name(plan->command), "embedding_parameters",
                             (json_int_t)plan->embedding_parameters, "non_embedding_parameters",
                             (json_int_t)plan->non_embedding_parameters, "ranks", plan->ranks,
                             "model_ranks", plan->model_ranks, "efficiency", plan->efficiency,
                             "fullest_rank", plan->fullest_rank, "memory", memory,
                             "tokens_per_step", (json_int_t)plan->tokens_per_step);
  json_object_set_new(
      object, "flops",
      json_pack("{s:f, s:f, s:f, s:o}", "forward", plan->forward_flops, "backward",
                plan->backward_flops, "step", plan->forward_flops + plan->backward_flops, "total",
                known ? json_real(plan->flops) : json_null()));
  json_object_set_new(
      object, "traffic",
      plan->command == LAP_PLAN_TRAIN ? lap_step_traffic_to_json(&plan->traffic) : json_null());
  json_object_set_new(object, "steps", known ? json_integer((json_int_t)plan->steps) : json_null());
  json_object_set_new(object, "tokens",
                      known ? json_integer((json_int_t)plan->tokens) : json_null());
  return object;
}

static void print_memory(const lap_plan *plan) {
  char title[64];
  snprintf(title, sizeof title, plan->ranks > 1 ? "memory of rank %d, the fullest" : "memory",
           plan->fullest_rank);
  const char *const headers[] = {title, "size", "%", "bytes"};
  const int64_t total = lap_memory_total(&plan->memory);
  lap_table *table = lap_table_create(4, headers);
  for (int kind = 0; kind <= LAP_MEMORY_KINDS; ++kind) {
    const bool sum = kind == LAP_MEMORY_KINDS;
    const int64_t bytes = sum ? total : plan->memory.bytes[kind];
    if (bytes == 0) continue; /* eval has no gradients */
    char exact[32], human[LAP_HUMAN_TEXT], share[16];
    snprintf(exact, sizeof exact, "%" PRId64, bytes);
    snprintf(share, sizeof share, "%.1f", 100 * (double)bytes / (double)total);
    lap_table_add(table,
                  (const char *[]){sum ? "total" : lap_memory_kind_name((lap_memory_kind)kind),
                                   lap_human_bytes((double)bytes, human), share, exact});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

static const char *plural(int64_t count) { return count == 1 ? "" : "s"; }

static void print_layout(const lap_plan *plan, const lap_config *config) {
  const lap_mesh *mesh = &config->mesh;
  const int replicas = plan->ranks / plan->model_ranks, lanes = lap_mesh_lanes(mesh);
  printf("%-10s  %d rank%s x %d thread%s", lap_plan_command_name(plan->command), plan->ranks,
         plural(plan->ranks), config->threads, plural(config->threads));
  if (mesh->model > 1)
    printf(": %d replica%s of %d rank%s, %d of %d model shards a rank", replicas, plural(replicas),
           plan->model_ranks, plural(plan->model_ranks), mesh->model / plan->model_ranks,
           mesh->model);
  printf("\n");
  if (plan->command != LAP_PLAN_TRAIN) return;
  printf("mesh        %d pod%s x %d lane%s x %d model shard%s: ", mesh->pods, plural(mesh->pods),
         mesh->data, plural(mesh->data), mesh->model, plural(mesh->model));
  if (plan->efficiency < 1)
    printf("%d to %d lanes a replica, uneven: at most %.0f %% of the ranks' time is used\n",
           lanes / replicas, lanes / replicas + 1, 100 * plan->efficiency);
  else
    printf("%d lane%s a replica\n", lanes / replicas, plural(lanes / replicas));
}

static void print_plan(const lap_plan *plan, const lap_config *config) {
  char all[LAP_HUMAN_TEXT], embedding[LAP_HUMAN_TEXT], others[LAP_HUMAN_TEXT];
  const double parameters = (double)(plan->embedding_parameters + plan->non_embedding_parameters);
  printf("parameters  %s: %s embedding + %s other\n", lap_human_count(parameters, all),
         lap_human_count((double)plan->embedding_parameters, embedding),
         lap_human_count((double)plan->non_embedding_parameters, others));
  print_layout(plan, config);
  const bool trains = plan->command == LAP_PLAN_TRAIN;
  printf("%-10s  %s tokens, %.3g FLOPs", trains ? "step" : "window",
         lap_human_count((double)plan->tokens_per_step, all),
         plan->forward_flops + plan->backward_flops);
  if (trains) printf(": %.3g forward, %.3g backward", plan->forward_flops, plan->backward_flops);
  printf("\n");
  if (plan->steps)
    printf("schedule    %" PRIu64 " step%s, %s tokens, %.3g FLOPs\n", plan->steps,
           plural((int64_t)plan->steps), lap_human_count(plan->tokens, all), plan->flops);
  printf("\n");
  print_memory(plan);
  if (!lap_mesh_traffic_total(&plan->traffic.mesh)) return;
  printf("\n");
  lap_step_traffic_print(&plan->traffic, 0);
}

/* --- the command --- */

/* The plan, and the rest of the output. */
typedef struct {
  lap_plan plan;
  const lap_plan_time *time; /* NULL: not asked for, as below */
  lap_gemma2 *tape;
} plan_result;

static lap_code print(const plan_result *result, const lap_config *config, bool json,
                      lap_status *status) {
  if (!json) {
    print_plan(&result->plan, config);
    if (result->time) lap_plan_time_print(result->time);
    if (result->tape) {
      printf("\ntape of a micro-batch of rank %d\n", result->plan.fullest_rank);
      lap_tape_table_print(result->tape);
    }
    return LAP_OK;
  }
  json_t *object = to_json(&result->plan);
  if (result->time) json_object_set_new(object, "time", lap_plan_time_to_json(result->time));
  if (result->tape) json_object_set_new(object, "tape", lap_tape_table_to_json(result->tape));
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* A chip's file stands for a chip a lane and shard: that many ranks. */
static lap_code plan_on(lap_config *config, const lap_hardware *hardware, const plan_flags *flags,
                        lap_plan_request *request, lap_plan *plan, lap_plan_time *time,
                        lap_status *status) {
  if (flags->command != LAP_PLAN_TRAIN)
    return lap_fail(status, LAP_USAGE, "--hardware predicts the time of train, not of %s",
                    lap_plan_command_name(flags->command));
  if (hardware->is_chip) {
    LAP_TRY(lap_config_require(config, LAP_NEEDS_BATCH, status));
    const int chips = lap_plan_time_chips(config);
    if (flags->ranks_per_node)
      return lap_fail(status, LAP_USAGE,
                      "--ranks-per-node: %s is of a chip, which has no nodes: leave it away",
                      flags->hardware);
    if (flags->ranks && flags->ranks != chips)
      return lap_fail(status, LAP_USAGE,
                      "--ranks %" PRId64
                      ": %s is of a chip, and the mesh has %d: leave --ranks away",
                      flags->ranks, flags->hardware, chips);
    request->ranks = request->ranks_per_node = chips;
  } else if (flags->ranks_per_node) {
    return lap_fail(status, LAP_USAGE, "--ranks-per-node: %s says how many ranks a node has",
                    flags->hardware);
  } else {
    request->ranks_per_node = lap_hardware_ranks_per_node(hardware);
  }
  if (hardware->memory_bytes > 0)
    LAP_TRY(lap_fit_micro_sequences(config, request,
                                    hardware->memory_bytes / request->ranks_per_node, status));
  LAP_TRY(lap_plan_make(config, request, plan, status));
  return lap_plan_time_make(config, plan, hardware, time, status);
}

static void warn_of_cores(lap_console *console, const lap_config *config, const lap_plan *plan,
                          const lap_hardware *hardware) {
  const double at_once = lap_threads_at_once(hardware, plan->ranks, config->threads);
  if (hardware->is_chip || at_once == config->threads) return;
  lap_console_warn(console,
                   "%d threads a rank, but %s has cores for %g: the time of %g is predicted, and "
                   "more make steps slower",
                   config->threads, hardware->name, at_once, at_once);
}

static lap_code describe(lap_config *config, const plan_flags *flags, lap_console *console,
                         bool json, lap_status *status) {
  if (flags->tape && flags->command != LAP_PLAN_TRAIN)
    return lap_fail(status, LAP_USAGE, "--tape prints the tape of train, not of %s",
                    lap_plan_command_name(flags->command));
  if (flags->ranks_per_node && flags->command != LAP_PLAN_TRAIN)
    return lap_fail(status, LAP_USAGE,
                    "--ranks-per-node divides what train sends in a step; of %s nothing is counted",
                    lap_plan_command_name(flags->command));
  if (flags->teachers && flags->command != LAP_PLAN_TEACH)
    return lap_fail(status, LAP_USAGE, "--teachers is of teach, not of %s",
                    lap_plan_command_name(flags->command));
  LAP_TRY(check_k(config, flags, status));
  lap_plan_request request = request_of(config, flags, console);
  plan_result result = {0};
  lap_hardware hardware = {0};
  lap_plan_time time;
  if (!flags->hardware) {
    LAP_TRY(lap_plan_make(config, &request, &result.plan, status));
  } else {
    LAP_TRY(lap_hardware_load(flags->hardware, &hardware, status));
    result.time = &time;
    if (config->precision == LAP_MATMUL_BFLOAT16 && !hardware.is_chip &&
        hardware.bfloat16_gflops == 0)
      lap_console_warn(
          console,
          "%s has no bfloat16, only the rates of float32: with precision bfloat16 steps take less "
          "time than is predicted here; `lapidary doctor --json | tail -n 1` measures both",
          flags->hardware);
  }
  lap_code code = LAP_OK;
  if (result.time) code = plan_on(config, &hardware, flags, &request, &result.plan, &time, status);
  if (code == LAP_OK && result.time) warn_of_cores(console, config, &result.plan, &hardware);
  if (code == LAP_OK && flags->tape) result.tape = lap_plan_record(config, &result.plan);
  if (code == LAP_OK) code = print(&result, config, json, status);
  lap_gemma2_destroy(result.tape);
  lap_hardware_release(&hardware);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  plan_flags flags = {.command_name = lap_plan_command_name(LAP_PLAN_TRAIN), .k = -1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .key_meant = lap_config_key_meant,
                                     .json = true,
                                     .flags = flags_of_plan,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_config *config = NULL;
  lap_code code = find_command(flags.command_name, &flags.command, status);
  if (code == LAP_OK)
    code =
        lap_config_load(line.positional[0], line.overrides, line.override_count, &config, status);
  if (code == LAP_OK) {
    lap_console *console = lap_console_create(lap_console_standard(line.quiet, false));
    code = describe(config, &flags, console, line.json, status);
    lap_console_destroy(console);
    lap_config_destroy(config);
  }
  lap_command_line_release(&line);
  return code;
}

const lap_command lap_command_plan = {
    .name = "plan",
    .summary = "parameters, memory, FLOPs, traffic and time of a config, before it is run",
    .usage = "CONFIG.yaml [KEY=VALUE...]",
    .description =
        "Reads the config and the headers of its token shards, where they are there already; runs "
        "nothing and allocates nothing large. Memory is the peak of the fullest rank. Bytes a step "
        "are those of all ranks together: between processes on a node and on several, and, "
        "however the mesh is folded, between its chips, one for each lane and model shard, inside "
        "a pod (ICI) and between pods (DCN). --threads of "
        "eval and teach is the key threads here, --sequence-length the key data.sequence_length, "
        "--tokens the key data.eval (eval) or data.train (teach). With --hardware also the seconds "
        "of a step, how much of them is communication, and whether it fits. With --tape also one "
        "line an op of the micro-batch that the fullest rank records: the steps of the schedule "
        "that run it, the ops and parameters (w) that it reads, and the offsets and bytes of its "
        "output, gradient, saved and scratch memory.",
    .run = run};
