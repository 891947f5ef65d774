/* lapidary plan: see DESIGN 7. */
#include <stdio.h>
#include <string.h>

#include "dataset/token_shard.h"
#include "trainer/command.h"
#include "trainer/commands.h"
#include "trainer/console.h"
#include "trainer/plan.h"

typedef struct {
  lap_plan_command command;
  int64_t ranks, k; /* k -1: not given */
} plan_flags;

enum { KEY_RANKS = 1000, KEY_COMMAND, KEY_K };
enum { USUAL_K = 64, USUAL_SHARD_TOKENS = 1 << 20 };

static const struct argp_option options[] = {
    {"ranks", KEY_RANKS, "R", 0, "ranks the run is spread over [1]", 0},
    {"command", KEY_COMMAND, "train|eval|teach", 0, "what is to be run [train]", 0},
    {"k", KEY_K, "K", 0, "kept ids of the teacher's cache, 0: none [64 where a teacher is used]",
     0},
    {0}};

static lap_code take_command(const char *name, lap_plan_command *command, lap_status *status) {
  for (int i = LAP_PLAN_TRAIN; i <= LAP_PLAN_TEACH; ++i)
    if (!strcmp(name, lap_plan_command_name((lap_plan_command)i))) {
      *command = (lap_plan_command)i;
      return LAP_OK;
    }
  return lap_fail(status, LAP_USAGE, "--command: expected train, eval or teach, found '%s'", name);
}

static lap_code take(int key, const char *argument, void *destination, lap_status *status) {
  plan_flags *flags = destination;
  switch (key) {
    case KEY_RANKS:
      return lap_command_integer("--ranks", argument, 1, 1 << 24, &flags->ranks, status);
    case KEY_COMMAND: return take_command(argument, &flags->command, status);
    default: return lap_command_integer("--k", argument, 0, 1 << 20, &flags->k, status);
  }
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

static lap_plan_request request_of(const lap_config *config, const plan_flags *flags,
                                   lap_console *console) {
  lap_token_set_size train = {0}, held_out = {0};
  if (config->data.sequence_length > 1) {
    for (size_t i = 0; flags->command != LAP_PLAN_EVAL && i < config->data.train_count; ++i)
      measure(console, config, "data.train", config->data.train[i].path, &train);
    if (flags->command != LAP_PLAN_TEACH && config->data.eval)
      measure(console, config, "data.eval", config->data.eval, &held_out);
  }
  const int64_t usual_k = has_cache(config, flags->command) ? USUAL_K : 0;
  return (lap_plan_request){
      .command = flags->command,
      .ranks = (int)flags->ranks,
      .teacher_k = flags->k >= 0 ? flags->k : usual_k,
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
  json_t *object = json_pack(
      "{s:s, s:I, s:I, s:i, s:i, s:o, s:I}", "command", lap_plan_command_name(plan->command),
      "embedding_parameters", (json_int_t)plan->embedding_parameters, "non_embedding_parameters",
      (json_int_t)plan->non_embedding_parameters, "ranks", plan->ranks, "fullest_rank",
      plan->fullest_rank, "memory", memory, "tokens_per_step", (json_int_t)plan->tokens_per_step);
  json_object_set_new(
      object, "flops",
      json_pack("{s:f, s:f, s:f, s:o}", "forward", plan->forward_flops, "backward",
                plan->backward_flops, "step", plan->forward_flops + plan->backward_flops, "total",
                known ? json_real(plan->flops) : json_null()));
  json_object_set_new(object, "steps", known ? json_integer((json_int_t)plan->steps) : json_null());
  json_object_set_new(object, "tokens",
                      known ? json_integer((json_int_t)plan->tokens) : json_null());
  return object;
}

static void print_memory(const lap_plan *plan) {
  const char *const headers[] = {"memory of the fullest rank", "bytes", "", "%"};
  const int64_t total = lap_memory_total(&plan->memory);
  lap_table *table = lap_table_create(4, headers);
  for (int kind = 0; kind <= LAP_MEMORY_KINDS; ++kind) {
    const bool sum = kind == LAP_MEMORY_KINDS;
    const int64_t bytes = sum ? total : plan->memory.bytes[kind];
    char exact[32], human[LAP_HUMAN_TEXT], share[16];
    snprintf(exact, sizeof exact, "%lld", (long long)bytes);
    snprintf(share, sizeof share, "%.1f", 100 * (double)bytes / (double)total);
    lap_table_add(table,
                  (const char *[]){sum ? "total" : lap_memory_kind_name((lap_memory_kind)kind),
                                   exact, lap_human_bytes((double)bytes, human), share});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
}

static void print_plan(const lap_plan *plan, const lap_config *config) {
  char all[LAP_HUMAN_TEXT], tokens[LAP_HUMAN_TEXT];
  const int64_t parameters = plan->embedding_parameters + plan->non_embedding_parameters;
  printf("parameters  %s: %lld embedding + %lld other\n", lap_human_count((double)parameters, all),
         (long long)plan->embedding_parameters, (long long)plan->non_embedding_parameters);
  printf("%-10s  %d pod%s x %d lanes x %d shard%s on %d rank%s x %d thread%s\n",
         lap_plan_command_name(plan->command), config->mesh.pods, config->mesh.pods == 1 ? "" : "s",
         config->mesh.data, config->mesh.model, config->mesh.model == 1 ? "" : "s", plan->ranks,
         plan->ranks == 1 ? "" : "s", config->threads, config->threads == 1 ? "" : "s");
  printf("%s       %s tokens, %.4g FLOPs: %.4g forward, %.4g backward\n",
         plan->command == LAP_PLAN_TRAIN ? "step  " : "window",
         lap_human_count((double)plan->tokens_per_step, tokens),
         plan->forward_flops + plan->backward_flops, plan->forward_flops, plan->backward_flops);
  if (plan->steps)
    printf("schedule    %llu steps, %s tokens, %.4g FLOPs\n", (unsigned long long)plan->steps,
           lap_human_count(plan->tokens, tokens), plan->flops);
  printf("\n");
  print_memory(plan);
}

/* --- the command --- */

static lap_code describe(const lap_config *config, const plan_flags *flags, lap_console *console,
                         bool json, lap_status *status) {
  lap_status unavailable;
  if (lap_config_check_availability(config, &unavailable) != LAP_OK)
    lap_console_warn(console, "%s; memory is that of a run without it", unavailable.message);
  const lap_plan_request request = request_of(config, flags, console);
  lap_plan plan;
  LAP_TRY(lap_plan_make(config, &request, &plan, status));
  if (!json) {
    print_plan(&plan, config);
    return LAP_OK;
  }
  json_t *object = to_json(&plan);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  plan_flags flags = {.command = LAP_PLAN_TRAIN, .ranks = 1, .k = -1};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .overrides = true,
                                     .json = true,
                                     .options = options,
                                     .take = take,
                                     .destination = &flags};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  lap_config *config = NULL;
  lap_code code =
      lap_config_load_any(line.positional[0], line.overrides, line.override_count, &config, status);
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
    .summary = "parameters, memory and FLOPs of a config, before it is run",
    .usage = "CONFIG.yaml [KEY=VALUE...]",
    .description =
        "Reads the config and the headers of its token shards, where they are there already; runs "
        "nothing and allocates nothing large. Memory is the peak of the fullest rank; --threads of "
        "eval and teach is the key threads here, --sequence-length the key data.sequence_length, "
        "--tokens the key data.eval (eval) or data.train (teach).",
    .run = run};
