#include "trainer/ablate/dry_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "dataset/corpus.h"
#include "dataset/token_shard.h"
#include "trainer/ablate/ablate.h"
#include "trainer/ablate/graph_runs.h"
#include "trainer/ablate/trunk.h"
#include "trainer/ablate/tune.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"
#include "trainer/config/load.h"
#include "trainer/measure/memorise.h"
#include "trainer/plan/run_time.h"

/* Of English, with a vocabulary of some thousand pieces: until the text is tokenized. */
static const double bytes_per_token = 4;
/* Of a cache: an id and a rounded log-probability in deflate; what a row has besides. Rather too
 * much: 245 bytes a row at k = 64, where that of a teacher of 20 steps took 177. */
static const double bytes_per_kept_id = 3.7, bytes_per_row = 8;

typedef struct {
  lap_graph graph;
  const lap_hardware *hardware; /* NULL: none */
  double flops_per_second;      /* of a step of the base config; 0: not known */
  double text_bytes;            /* of the corpus; 0: shards */
  json_t *rows;
  double hours, hours_left, cache_bytes;
  bool unknown; /* hours of some row */
} estimate;

/* What a task will take; NAN: not known. */
typedef struct {
  double steps, hours, cache_bytes;
} cost;

/* --- tokens --- */

/* The text of which `pattern` are the shards, where it is another than the corpus, and how many of
 * its bytes are read, 0 for all; NULL: none. */
static const lap_suite_text *other_text(const estimate *e, const char *pattern, int64_t *limit) {
  const lap_graph *graph = &e->graph;
  const lap_suite *suite = graph->suite;
  const size_t own = graph->set_count - suite->set_count; /* dev and test */
  for (size_t i = 0; i < suite->set_count; ++i)
    if (!strcmp(pattern, graph->sets[own + i].tokens.path)) {
      *limit = lap_suite_set_limit(suite, &suite->sets[i]);
      return &suite->sets[i].source;
    }
  *limit = suite->corpus.limit;
  for (size_t i = 0; i < suite->texts_count; ++i)
    if (!strcmp(pattern, graph->texts[i].path)) return &suite->texts[i].source;
  for (size_t i = 0; i <= suite->teacher_count; ++i)
    if (graph->teachers[i].given->source.text_count > 0 &&
        !strcmp(pattern, graph->teachers[i].train.path))
      return &graph->teachers[i].given->source;
  return NULL;
}

/* The bytes that a text has on disk: compressed text counts for less than it is. */
static lap_code measure_text(const lap_suite_text *text, int64_t limit, double *bytes,
                             lap_status *status) {
  lap_corpus corpus;
  *bytes = 0;
  if (text->text_count == 0) return LAP_OK;
  LAP_TRY(
      lap_corpus_open((const char *const *)text->text, text->text_count, &corpus, NULL, status));
  *bytes = limit > 0 ? fmin((double)corpus.bytes, (double)limit) : (double)corpus.bytes;
  lap_corpus_close(&corpus);
  return LAP_OK;
}

/* Tokens of text that is not tokenized yet; NAN: not known. */
static double guess(const estimate *e, const char *pattern) {
  const lap_suite *suite = e->graph.suite;
  const double held = suite->corpus.dev_share + suite->corpus.test_share;
  const double whole = e->text_bytes > 0 ? e->text_bytes / bytes_per_token : NAN;
  if (!strcmp(pattern, e->graph.train.path)) return (1 - held) * whole;
  int64_t limit;
  const lap_suite_text *other = other_text(e, pattern, &limit);
  lap_status ignored;
  double bytes;
  if (other)
    return measure_text(other, limit, &bytes, &ignored) == LAP_OK && bytes > 0
               ? bytes / bytes_per_token
               : NAN;
  for (size_t i = 0; i < e->graph.set_count; ++i) {
    const lap_graph_set *set = &e->graph.sets[i];
    if (strcmp(pattern, set->tokens.path) != 0) continue;
    return (strcmp(set->name, "dev") ? suite->corpus.test_share : suite->corpus.dev_share) * whole;
  }
  return NAN;
}

static double tokens_of(const estimate *e, const char *pattern, uint32_t length) {
  lap_token_set_size size;
  lap_status ignored;
  if (lap_token_set_measure(pattern, length, &size, &ignored) == LAP_OK)
    return (double)size.windows * (length - 1);
  return guess(e, pattern);
}

/* What a training reads: of the corpus or of a teacher's own text, and of one of `texts`. Its
 * argument is compared with what these make. */
static double tokens_of_training(const estimate *e, const char *shards, uint32_t length) {
  const lap_graph *graph = &e->graph;
  const size_t teachers = graph->suite->teacher_count + 1, texts = graph->suite->texts_count;
  for (size_t i = 0; i <= teachers; ++i)
    for (size_t j = 0; j <= texts; ++j) {
      const lap_task_input *train = i < teachers ? &graph->teachers[i].train : &graph->train;
      const lap_task_input *more = j < texts ? &graph->texts[j] : NULL;
      char *made = lap_graph_shards(train, more);
      const bool same = !strcmp(made, shards);
      free(made);
      if (same)
        return tokens_of(e, train->path, length) + (more ? tokens_of(e, more->path, length) : 0);
    }
  return NAN;
}

/* --- tasks --- */

/* The value of an argument KEY=VALUE or --FLAG=VALUE; NULL: it has none. */
static const char *value_of(const lap_task *task, const char *key) {
  const size_t length = strlen(key);
  for (size_t i = 0; i < task->argument_count; ++i)
    if (!strncmp(task->argument[i], key, length) && task->argument[i][length] == '=')
      return task->argument[i] + length + 1;
  return NULL;
}

/* The config of a training, as its command line has it. */
static lap_code config_of(const lap_task *task, lap_config **config, lap_status *status) {
  const char **overrides = lap_allocate((int64_t)task->argument_count, sizeof *overrides);
  size_t count = 0;
  for (size_t i = 2; i < task->argument_count; ++i)
    if (strncmp(task->argument[i], "--", 2) != 0) overrides[count++] = task->argument[i];
  const lap_code code = lap_config_load(task->argument[1], overrides, count, config, status);
  free(overrides);
  return code == LAP_OK ? code : lap_fail_context(status, "%s", task->name);
}

static lap_plan_request request_of(const estimate *e, const lap_config *config,
                                   lap_plan_command command, const char *shards) {
  const double tokens = tokens_of_training(e, shards, (uint32_t)config->data.sequence_length);
  const lap_suite *suite = e->graph.suite;
  const double windows = isnan(tokens) ? 0 : tokens / (double)(config->data.sequence_length - 1);
  return (lap_plan_request){
      .command = command,
      .ranks = (int)suite->ranks,
      .ranks_per_node = e->hardware ? lap_hardware_ranks_per_node(e->hardware) : 0,
      .teacher_k = config->objective.distill_weight > 0 ? suite->teacher.k : 0,
      .window_count = (uint64_t)windows};
}

/* Of the steps that the run makes itself. */
static lap_code cost_of_training(const estimate *e, const lap_task *task, const lap_config *config,
                                 cost *out, lap_status *status) {
  const lap_plan_request request =
      request_of(e, config, LAP_PLAN_TRAIN, value_of(task, "data.train"));
  lap_plan plan;
  lap_plan_time time;
  LAP_TRY(lap_plan_make(config, &request, &plan, status));
  if (plan.steps == 0) return LAP_OK;
  out->steps = (double)plan.steps - (double)lap_trunk_steps(task);
  if (!e->hardware) return LAP_OK;
  LAP_TRY(lap_plan_time_make(config, &plan, e->hardware, &time, status));
  out->hours = time.hours * out->steps / (double)plan.steps;
  return LAP_OK;
}

/* One pass forward over `tokens`. */
static lap_code hours_of_pass(const estimate *e, const lap_config *config, double tokens,
                              double *hours, lap_status *status) {
  const lap_plan_request request = request_of(e, config, LAP_PLAN_EVAL, e->graph.train.path);
  lap_plan plan;
  LAP_TRY(lap_plan_make(config, &request, &plan, status));
  if (e->flops_per_second > 0)
    *hours =
        plan.forward_flops / (double)plan.tokens_per_step * tokens / e->flops_per_second / 3600;
  return LAP_OK;
}

/* A cache for each seed of draws. */
static double caches_of(const lap_task *task) {
  double count = 1;
  for (const char *seeds = value_of(task, "--draw-seed"); seeds && *seeds; ++seeds)
    count += *seeds == ',';
  return count;
}

static lap_code cost_of_pass(const estimate *e, const lap_task *task, const lap_config *config,
                             cost *out, lap_status *status) {
  const char *tokens = value_of(task, "--tokens"), *k = value_of(task, "--k");
  const char *prompts = value_of(task, "--prompts");
  if (!tokens) { /* choices, attend: seconds */
    out->hours = 0;
    return LAP_OK;
  }
  enum { OF_PROMPT = LAP_MEMORISE_PROMPT + LAP_MEMORISE_CONTINUATION, KINDS = 2 };
  if (prompts)
    return hours_of_pass(e, config, KINDS * OF_PROMPT * atof(prompts), &out->hours, status);
  if (!k) k = value_of(task, "--n");
  const double count = tokens_of(e, tokens, (uint32_t)config->data.sequence_length);
  double teachers = 1;
  const char *average = value_of(task, "--average");
  for (const char *text = average; text && *text; ++text)
    teachers += text == average || *text == ',';
  if (k) out->cache_bytes = caches_of(task) * count * (bytes_per_kept_id * atof(k) + bytes_per_row);
  return hours_of_pass(e, config, teachers * count, &out->hours, status);
}

/* The training whose model a task reads: the last of its needs that is one. */
static const lap_task *model_of(const estimate *e, const lap_task *task) {
  for (size_t i = 0; i < task->need_count; ++i) {
    const lap_task *needed = &e->graph.tasks.task[task->needs[i]];
    if (needed->kind == LAP_TASK_MODEL || needed->kind == LAP_TASK_RUN) return needed;
  }
  return NULL;
}

static lap_code cost_of(const estimate *e, const lap_task *task, cost *out, lap_status *status) {
  const bool trains = task->kind == LAP_TASK_MODEL || task->kind == LAP_TASK_RUN;
  const lap_task *model = trains ? task : model_of(e, task);
  *out = (cost){NAN, NAN, NAN};
  if (task->kind < LAP_TASK_MODEL) {
    out->hours = 0; /* seconds, beside the rest */
    return LAP_OK;
  }
  lap_config *config = NULL;
  if (!model) { /* a teacher from outside: as the base config, for want of better */
    return cost_of_pass(e, task, e->graph.base, out, status);
  }
  LAP_TRY(config_of(model, &config, status));
  const lap_code code = trains ? cost_of_training(e, task, config, out, status)
                               : cost_of_pass(e, task, config, out, status);
  lap_config_destroy(config);
  return code;
}

static lap_code add_row(estimate *e, const lap_task *task, lap_status *status) {
  cost c;
  LAP_TRY(cost_of(e, task, &c, status));
  const bool done = task->state == LAP_TASK_DONE || task->state == LAP_TASK_DIVERGED;
  e->unknown = e->unknown || isnan(c.hours);
  if (!isnan(c.hours)) {
    e->hours += c.hours;
    e->hours_left += done ? 0 : c.hours;
  }
  if (!isnan(c.cache_bytes)) e->cache_bytes += c.cache_bytes;
  json_t *row = json_pack("{s:s, s:s, s:b, s:o, s:o, s:o}", "name", task->name, "kind",
                          lap_task_kind_name(task->kind), "done", (int)done, "steps",
                          lap_json_number(c.steps), "hours", lap_json_number(c.hours),
                          "cache_bytes", lap_json_number(c.cache_bytes));
  json_array_append_new(e->rows, row);
  return LAP_OK;
}

/* --- the whole --- */

static lap_code find_rate(estimate *e, lap_status *status) {
  if (!e->hardware) return LAP_OK;
  const lap_plan_request request =
      request_of(e, e->graph.base, LAP_PLAN_TRAIN, e->graph.train.path);
  lap_plan plan;
  lap_plan_time time;
  LAP_TRY(lap_plan_make(e->graph.base, &request, &plan, status));
  LAP_TRY(lap_plan_time_make(e->graph.base, &plan, e->hardware, &time, status));
  e->flops_per_second = (plan.forward_flops + plan.backward_flops) / time.seconds_per_step;
  return LAP_OK;
}

static lap_code add_tasks(estimate *e, lap_status *status) {
  const lap_suite *suite = e->graph.suite;
  LAP_TRY(lap_graph_add_teachers(&e->graph, status));
  if (suite->tune.key_count > 0) {
    lap_tune_grid grid;
    lap_tune_grid_copy(suite, &grid);
    const lap_code code = lap_tune_add_runs(&e->graph, &grid, status);
    lap_tune_grid_release(&grid);
    LAP_TRY(code);
    LAP_TRY(lap_ablate_add_shared_runs(&e->graph, NULL, status));
  }
  LAP_TRY(lap_ablate_add_runs(&e->graph, NULL, status));
  lap_trunks_settle(&e->graph.tasks);
  return lap_execute_look(&e->graph.tasks, false, status);
}

static lap_code fill(estimate *e, lap_status *status) {
  LAP_TRY(measure_text(&e->graph.suite->corpus.source, e->graph.suite->corpus.limit, &e->text_bytes,
                       status));
  LAP_TRY(find_rate(e, status));
  LAP_TRY(add_tasks(e, status));
  for (size_t i = 0; i < e->graph.tasks.count; ++i)
    LAP_TRY(add_row(e, &e->graph.tasks.task[i], status));
  return LAP_OK;
}

lap_code lap_dry_run(const lap_suite *suite, const char *out, const char *hardware, json_t **costs,
                     lap_status *status) {
  lap_hardware machine = {0};
  estimate e = {.rows = json_array()};
  *costs = NULL;
  lap_code code = hardware ? lap_hardware_load(hardware, &machine, status) : LAP_OK;
  if (code == LAP_OK && hardware) e.hardware = &machine;
  if (code == LAP_OK) {
    code = lap_graph_create(suite, out, &e.graph, status);
    if (code == LAP_OK) code = fill(&e, status);
    lap_graph_release(&e.graph);
  }
  const bool known = hardware && !e.unknown;
  if (code == LAP_OK)
    *costs = json_pack("{s:b, s:s, s:s, s:b, s:O, s:o, s:o, s:f}", "dry_run", 1, "name",
                       suite->name, "out", out, "smoke", (int)suite->is_smoke, "rows", e.rows,
                       "total_hours", known ? json_real(e.hours) : json_null(), "total_hours_left",
                       known ? json_real(e.hours_left) : json_null(), "cache_bytes", e.cache_bytes);
  json_decref(e.rows);
  lap_hardware_release(&machine);
  return code;
}

static const char *hours_text(const json_t *hours, char text[LAP_HUMAN_TEXT]) {
  if (!json_is_number(hours)) return "?";
  if (json_number_value(hours) == 0) return "seconds";
  return lap_human_seconds(3600 * json_number_value(hours), text);
}

void lap_dry_run_print(const json_t *costs) {
  static const char *const headers[] = {"step", "done", "steps", "time", "cache"};
  lap_table *table = lap_table_create(5, headers);
  size_t i;
  json_t *row;
  json_array_foreach(json_object_get(costs, "rows"), i, row) {
    char steps[32] = "", time[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT];
    const json_t *count = json_object_get(row, "steps"),
                 *cache = json_object_get(row, "cache_bytes");
    if (json_is_number(count)) snprintf(steps, sizeof steps, "%.0f", json_number_value(count));
    const char *size = "";
    if (json_is_number(cache)) size = lap_human_bytes(json_number_value(cache), bytes);
    lap_table_add(table,
                  (const char *[]){json_string_value(json_object_get(row, "name")),
                                   json_is_true(json_object_get(row, "done")) ? "yes" : "", steps,
                                   hours_text(json_object_get(row, "hours"), time), size});
  }
  lap_table_print(table, stdout);
  lap_table_destroy(table);
  char all[LAP_HUMAN_TEXT], left[LAP_HUMAN_TEXT], bytes[LAP_HUMAN_TEXT];
  const json_t *total = json_object_get(costs, "total_hours");
  if (json_is_number(total))
    printf("\ntotal %s, of which %s are left; caches %s\n", hours_text(total, all),
           hours_text(json_object_get(costs, "total_hours_left"), left),
           lap_human_bytes(json_number_value(json_object_get(costs, "cache_bytes")), bytes));
  else
    printf("\ncaches %s; hours are known with --hardware H.yaml (lapidary doctor --json)\n",
           lap_human_bytes(json_number_value(json_object_get(costs, "cache_bytes")), bytes));
  if (json_is_true(json_object_get(costs, "smoke"))) printf("smoke: sizes are cut\n");
  printf("dry run: nothing was written\n");
}
