#include "trainer/ablate/plan_file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "dataset/hdf5_file.h"
#include "dataset/token_shard.h"
#include "trainer/ablate/amendment.h"
#include "trainer/ablate/arm_config.h"
#include "trainer/ablate/graph_caches.h"
#include "trainer/ablate/graph_runs.h"
#include "trainer/ablate/pilot.h"
#include "trainer/config/load.h"
#include "trainer/measure/choices_file.h"
#include "trainer/run/directory.h"

enum { MOST_BYTES = 16 << 20 };

/* "2026-11-27T02:00:00Z", malloc'ed. */
static char *date_of_now(void) {
  char text[32];
  const time_t now = time(NULL);
  struct tm parts;
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
  return lap_copy_string(text);
}

/* --- the plan of a suite --- */

/* A path below the suite's directory loses that. */
static json_t *relative(const lap_graph *graph, const char *path) {
  if (!path) return json_null();
  const size_t length = strlen(graph->tasks.out);
  const bool below = strncmp(path, graph->tasks.out, length) == 0 && path[length] == '/';
  return lap_json_path(below ? path + length + 1 : path);
}

static json_t *integers(const int64_t *values, size_t count) {
  json_t *list = json_array();
  for (size_t i = 0; i < count; ++i) json_array_append_new(list, json_integer(values[i]));
  return list;
}

static json_t *texts(char *const *values, size_t count) {
  json_t *list = json_array();
  for (size_t i = 0; i < count; ++i) json_array_append_new(list, json_string(values[i]));
  return list;
}

static json_t *runs_of(const lap_suite *suite, const lap_arm *arm) {
  json_t *list = json_array();
  for (size_t i = 0; i < suite->seed_count; ++i) {
    char *directory = lap_format("runs/%s/seed-%" PRId64,
                                 arm->evaluates ? arm->evaluates : arm->name, suite->seeds[i]);
    json_t *run =
        json_pack("{s:I, s:s}", "seed", (json_int_t)suite->seeds[i], "directory", directory);
    free(directory);
    if (arm->evaluates) {
      char *eval = lap_graph_eval_folder(arm);
      json_object_set_new(run, "eval", json_string(eval));
      free(eval);
    }
    json_array_append_new(list, run);
  }
  return list;
}

/* The models of whom an arm learns: what changes with its teacher. */
static json_t *models_of(const lap_graph *graph, const lap_arm *arm) {
  const lap_graph_teacher *teacher = lap_graph_teacher_of(graph, arm);
  if (teacher->given->kind != LAP_TEACHER_AVERAGE) return relative(graph, teacher->model.path);
  json_t *list = json_array();
  for (size_t i = 0; i < teacher->given->member_count; ++i) {
    const lap_arm of_member = {.teacher = teacher->given->members[i]};
    json_array_append_new(list,
                          relative(graph, lap_graph_teacher_of(graph, &of_member)->model.path));
  }
  return list;
}

static const lap_task *run_of(const lap_graph *graph, const lap_arm *arm) {
  char *name = lap_format("runs/%s/seed-%" PRId64, arm->evaluates ? arm->evaluates : arm->name,
                          graph->suite->seeds[0]);
  const lap_task *found = NULL;
  for (size_t i = 0; i < graph->tasks.count && !found; ++i)
    if (!strcmp(graph->tasks.task[i].name, name)) found = &graph->tasks.task[i];
  free(name);
  return found;
}

/* Its evaluations while it trains read a cache of dev, of which it learns nothing. */
static bool is_of_dev(const lap_graph *graph, const lap_task *cache) {
  bool found = false;
  char *flag = lap_format("--tokens=%s", graph->has_dev ? graph->sets[0].tokens.path : "");
  for (size_t i = 0; i < cache->argument_count && !found; ++i)
    found = !strcmp(cache->argument[i], flag);
  free(flag);
  return found;
}

/* The tasks whose caches a run of the arm reads for training, each with the teachers behind it. */
static json_t *learns_from(const lap_graph *graph, const lap_arm *arm) {
  json_t *list = json_array();
  const lap_task *run = run_of(graph, arm), *tasks = graph->tasks.task;
  for (size_t i = 0; run && i < run->need_count; ++i) {
    const lap_task *cache = &tasks[run->needs[i]];
    if (cache->kind != LAP_TASK_CACHE || is_of_dev(graph, cache)) continue;
    for (size_t j = 0; j < cache->need_count; ++j)
      if (tasks[cache->needs[j]].kind == LAP_TASK_MODEL)
        json_array_append_new(list, json_string(tasks[cache->needs[j]].name));
    json_array_append_new(list, json_string(cache->name));
  }
  return list;
}

static lap_code arm_object(const lap_graph *graph, const lap_arm *arm, json_t **object,
                           lap_status *status) {
  lap_changes all;
  lap_config *config;
  char hex[LAP_SHA256_HEX];
  LAP_TRY(lap_arm_config(graph->suite, arm, NULL, &all, &config, status));
  lap_arm_config_sha256(config, hex);
  lap_config_destroy(config);
  lap_changes_release(&all);
  json_t *changes = json_object();
  for (size_t i = 0; i < arm->changes.count; ++i)
    json_object_set_new(changes, arm->changes.key[i], json_string(arm->changes.value[i]));
  if (arm->k) json_object_set_new(changes, "teacher.k", json_integer((json_int_t)arm->k));
  if (arm->m) json_object_set_new(changes, "teacher.m", json_integer((json_int_t)arm->m));
  if (arm->caches)
    json_object_set_new(changes, "teacher.caches", json_integer((json_int_t)arm->caches));
  if (arm->codec) json_object_set_new(changes, "teacher.codec", json_string(arm->codec));
  if (arm->draw_seed)
    json_object_set_new(changes, "teacher.draw_seed", json_string(arm->draw_seed));
  if (arm->texts) json_object_set_new(changes, "texts", json_string(arm->texts));
  if (arm->teacher) json_object_set_new(changes, "teacher", json_string(arm->teacher));
  if (arm->swap_percent > 0)
    json_object_set_new(changes, "teacher.swap_percent",
                        json_integer((json_int_t)arm->swap_percent));
  if (arm->evaluates) {
    json_object_set_new(changes, "evaluate.arm", json_string(arm->evaluates));
    json_object_set_new(changes, "evaluate.sliding_window",
                        json_integer((json_int_t)arm->sliding_window));
  }
  *object =
      json_pack("{s:s, s:o, s:s, s:f, s:o, s:o, s:b}", "name", arm->name, "changes", changes,
                "config_sha256", hex, "token_multiple", arm->token_multiple, "learns_from",
                learns_from(graph, arm), "runs", runs_of(graph->suite, arm), "exploratory", 0);
  const lap_task_input *texts = lap_graph_texts(graph, arm->texts);
  if (texts) json_object_set_new(*object, "texts", relative(graph, texts->path));
  if (arm->teacher) json_object_set_new(*object, "teacher", models_of(graph, arm));
  return LAP_OK;
}

static lap_code arms_list(const lap_graph *graph, json_t **list, lap_status *status) {
  *list = json_array();
  for (size_t i = 0; i < graph->suite->arm_count; ++i) {
    json_t *object;
    LAP_TRY(arm_object(graph, &graph->suite->arms[i], &object, status));
    json_array_append_new(*list, object);
  }
  return LAP_OK;
}

static json_t *compare_list(const lap_suite *suite) {
  json_t *list = json_array();
  for (size_t i = 0; i < suite->compare_count; ++i)
    json_array_append_new(list,
                          json_pack("{s:s, s:s, s:b}", "arm", suite->compare[i].arm, "baseline",
                                    suite->compare[i].baseline, "exploratory", 0));
  return list;
}

/* Choices by item, memorise, and attend. */
static lap_code add_other_sets(const lap_graph *graph, json_t *list, lap_status *status) {
  const lap_suite *suite = graph->suite;
  for (size_t i = 0; i < suite->choice_count; ++i) {
    lap_choices choices;
    LAP_TRY(lap_choices_read(suite->choices[i].path, &choices, status));
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "name", suite->choices[i].name,
                        "kind", "choices", "choices", suite->choices[i].path, "sha256",
                        graph->choices[i].sha256, "documents", (json_int_t)choices.count,
                        "tokens_count", (json_int_t)choices.count, "cluster", "document"));
    lap_choices_release(&choices);
  }
  if (suite->prompts > 0)
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:s}", "name", "memorise", "kind",
                                          "memorise", "documents", (json_int_t)suite->prompts,
                                          "tokens_count", (json_int_t)0, "cluster", "document"));
  if (suite->judge.teacher)
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s}", "name", "judge", "kind", "judge", "judge",
                        suite->judge.teacher, "documents", (json_int_t)suite->judge.prompts,
                        "tokens_count", (json_int_t)0, "cluster", "document"));
  if (suite->attend)
    json_array_append_new(
        list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "name", "attend", "kind", "attend",
                        "text", suite->attend, "sha256", graph->attend.sha256, "documents",
                        (json_int_t)1, "tokens_count", (json_int_t)0, "cluster", "document"));
  return LAP_OK;
}

static lap_code sets_list(const lap_graph *graph, json_t **list, lap_status *status) {
  *list = json_array();
  for (size_t i = 0; i < graph->set_count; ++i) {
    const lap_graph_set *set = &graph->sets[i];
    enum { ANY_LENGTH = 2 }; /* windows do not matter here */
    lap_token_set_size size;
    LAP_TRY(lap_token_set_measure(set->tokens.path, ANY_LENGTH, &size, status));
    json_array_append_new(
        *list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:s}", "name", set->name, "kind",
                         "tokens", "files", relative(graph, set->files), "tokens",
                         relative(graph, set->tokens.path), "cache",
                         relative(graph, set->cache.path), "documents", (json_int_t)size.documents,
                         "tokens_count", (json_int_t)size.tokens, "cluster", set->cluster));
  }
  return add_other_sets(graph, *list, status);
}

static json_t *break_even_object(const lap_suite *suite) {
  if (!suite->break_even.arm) return json_null();
  json_t *arms = json_array();
  const lap_arm *baseline = lap_suite_arm(suite, suite->break_even.baseline);
  json_array_append_new(arms, json_string(baseline->name));
  for (size_t i = 0; i < suite->arm_count; ++i)
    if (suite->arms[i].longer_of) json_array_append_new(arms, json_string(suite->arms[i].name));
  return json_pack("{s:s, s:o}", "arm", suite->break_even.arm, "arms", arms);
}

static json_t *tune_object(const lap_suite *suite) {
  if (suite->tune.key_count == 0) return json_null();
  json_t *keys = json_object();
  for (size_t i = 0; i < suite->tune.key_count; ++i) {
    json_t *factors = json_array();
    for (size_t j = 0; j < suite->tune.keys[i].count; ++j)
      json_array_append_new(factors, json_real(suite->tune.keys[i].factor[j]));
    json_object_set_new(keys, suite->tune.keys[i].key, factors);
  }
  return json_pack("{s:o, s:o, s:s, s:I}", "keys", keys, "seeds",
                   integers(suite->tune.seeds, suite->tune.seed_count), "set", "dev", "extend",
                   (json_int_t)suite->tune.extend);
}

static const char *const kinds[] = {"none", "config", "model", "cache", "average"};

static json_t *teacher_object(const lap_graph *graph) {
  const lap_suite *suite = graph->suite;
  if (suite->teacher.kind == LAP_TEACHER_NONE) return json_null();
  return json_pack(
      "{s:s, s:s, s:s, s:o, s:I, s:I, s:s}", "name", lap_suite_teacher_name(&suite->teacher),
      "kind", kinds[suite->teacher.kind], "given", suite->teacher.path, "directory",
      relative(graph, graph->teachers[0].model.path), "k", (json_int_t)suite->teacher.k, "eval_k",
      (json_int_t)lap_graph_eval_k(graph), "codec", suite->teacher.codec);
}

static json_t *teachers_list(const lap_graph *graph) {
  json_t *list = json_array();
  for (size_t i = 1; i <= graph->suite->teacher_count; ++i) {
    const lap_suite_teacher *given = graph->teachers[i].given;
    if (given->kind == LAP_TEACHER_AVERAGE) {
      json_array_append_new(
          list, json_pack("{s:s, s:s, s:o}", "name", given->given, "kind", kinds[given->kind],
                          "average", texts(given->members, given->member_count)));
      continue;
    }
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "name", given->given, "kind",
                                          kinds[given->kind], "given", given->path, "directory",
                                          relative(graph, graph->teachers[i].model.path)));
  }
  return list;
}

static void add_input(json_t *object, const char *role, const char *name,
                      const lap_task_input *input) {
  if (!input->path || input->task != (size_t)LAP_NO_TASK) return;
  char *key = lap_format("%s%s%s", role, *name ? "." : "", name);
  json_object_set_new(object, key, json_string(input->sha256));
  free(key);
}

/* The content of shards, caches and models that are given: other files may stand at their paths
 * one day. What the suite makes itself has its hash in its path. */
static json_t *inputs_object(const lap_graph *graph) {
  json_t *object = json_object();
  add_input(object, "train", "", &graph->train);
  for (size_t i = 0; i < graph->set_count; ++i)
    add_input(object, "sets", graph->sets[i].name, &graph->sets[i].tokens);
  for (size_t i = 0; i <= graph->suite->teacher_count; ++i) {
    const lap_suite_teacher *given = graph->teachers[i].given;
    if (given->kind == LAP_TEACHER_MODEL || given->kind == LAP_TEACHER_CACHE)
      add_input(object, i ? "teachers" : "teacher", i ? given->given : "",
                &graph->teachers[i].model);
  }
  return object;
}

static json_t *shared_list(const lap_graph *graph) {
  json_t *list = json_array();
  for (size_t i = 0; i < graph->tasks.count; ++i) {
    const lap_task *task = &graph->tasks.task[i];
    if (task->kind < LAP_TASK_RUN)
      json_array_append_new(list, json_pack("{s:s, s:s}", "kind", lap_task_kind_name(task->kind),
                                            "directory", task->name));
  }
  return list;
}

/* The plan of a suite; `created` is its date. A new reference in *plan. LAP_DATA where shards or
 * the pilot cannot be read. */
static lap_code make_plan(const lap_graph *graph, const char *created, json_t **plan,
                          lap_status *status) {
  const lap_suite *suite = graph->suite;
  json_t *arms = NULL, *sets = NULL, *effect = NULL;
  *plan = NULL;
  lap_code code = arms_list(graph, &arms, status);
  if (code == LAP_OK) code = sets_list(graph, &sets, status);
  if (code == LAP_OK) code = lap_pilot_read(suite, &effect, status);
  if (code != LAP_OK) {
    json_decref(arms);
    json_decref(sets);
    return code;
  }
  *plan = json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:s}", "format", "lapidary-plan-1", "name",
                    suite->name, "smoke", (int)suite->is_smoke, "created", created, "lapidary",
                    LAPIDARY_VERSION, "git", lap_run_git_commit(), "suite_sha256", suite->sha256);
  json_object_set_new(*plan, "seeds", integers(suite->seeds, suite->seed_count));
  json_object_set_new(*plan, "confidence", json_real(suite->confidence));
  json_object_set_new(*plan, "arms", arms);
  json_object_set_new(*plan, "compare", compare_list(suite));
  json_object_set_new(*plan, "endpoint",
                      json_pack("{s:s, s:s, s:s}", "set", suite->endpoint.set, "measure",
                                suite->endpoint.measure, "checkpoint", "final"));
  json_object_set_new(*plan, "margin", json_real(suite->margin));
  json_object_set_new(*plan, "sets", sets);
  json_object_set_new(*plan, "measures", texts(suite->measures, suite->measure_count));
  json_object_set_new(*plan, "minimum_detectable_effect", effect);
  json_object_set_new(*plan, "break_even", break_even_object(suite));
  json_object_set_new(*plan, "tune", tune_object(suite));
  json_object_set_new(*plan, "teacher", teacher_object(graph));
  if (suite->teacher_count > 0) json_object_set_new(*plan, "teachers", teachers_list(graph));
  json_object_set_new(*plan, "shared", shared_list(graph));
  json_t *inputs = inputs_object(graph);
  if (json_object_size(inputs) > 0) json_object_set(*plan, "inputs_sha256", inputs);
  json_decref(inputs);
  return LAP_OK;
}

/* --- its file --- */

static char *path_in(const lap_graph *graph, const char *name) {
  return lap_format("%s/%s", graph->tasks.out, name);
}

static lap_code write_text(const lap_graph *graph, const char *name, const char *text,
                           lap_status *status) {
  char *path = path_in(graph, name);
  const lap_code code = lap_file_write_alone(path, text, strlen(text), status);
  free(path);
  return code;
}

/* The text of a file, "" where there is none. */
static lap_code read_text(const lap_graph *graph, const char *name, char **text,
                          lap_status *status) {
  char *path = path_in(graph, name);
  lap_code code = LAP_OK;
  *text = NULL;
  if (lap_file_exists(path))
    code = lap_file_read(path, MOST_BYTES, text, NULL, status);
  else
    *text = lap_copy_string("");
  free(path);
  return code;
}

static char *print(const json_t *plan) {
  char *text = json_dumps(plan, JSON_INDENT(1)), *line = lap_format("%s\n", text);
  free(text);
  return line;
}

static void hash_text(const char *text, char hex[LAP_SHA256_HEX]) {
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256(text, strlen(text), digest);
  lap_sha256_hex(digest, hex);
}

static lap_code write_hash(const lap_graph *graph, const char *text, lap_status *status) {
  char hex[LAP_SHA256_HEX];
  hash_text(text, hex);
  char *line = lap_format("%s  plan.json\n", hex);
  const lap_code code = write_text(graph, "plan.sha256", line, status);
  free(line);
  return code;
}

/* A kill may have come between the two files. */
static lap_code check_hash(const lap_graph *graph, const char *text, lap_status *status) {
  char hex[LAP_SHA256_HEX], *line;
  LAP_TRY(read_text(graph, "plan.sha256", &line, status));
  hash_text(text, hex);
  lap_code code = LAP_OK;
  if (!*line)
    code = write_hash(graph, text, status);
  else if (strncmp(line, hex, strlen(hex)) != 0)
    code = lap_fail(status, LAP_DATA,
                    "%s/plan.json: is not the plan that was written before the first run: its "
                    "SHA-256 is %s, plan.sha256 says %.64s; bring it back, or choose another --out",
                    graph->tasks.out, hex, line);
  free(line);
  return code;
}

/* The hash is written after the plan: where it is there, so was the plan. */
static lap_code check_first(const lap_graph *graph, lap_status *status) {
  char *path = path_in(graph, "plan.sha256");
  lap_code code = LAP_OK;
  if (lap_file_exists(path))
    code = lap_fail(status, LAP_DATA,
                    "%s/plan.json: is missing or empty, though plan.sha256 says that it was "
                    "written: bring it back, or choose another --out",
                    graph->tasks.out);
  free(path);
  return code;
}

static lap_code parse(const lap_graph *graph, const char *name, const char *text, json_t **plan,
                      lap_status *status) {
  *plan = json_loads(text, 0, NULL);
  if (json_is_object(*plan)) return LAP_OK;
  json_decref(*plan);
  *plan = NULL;
  return lap_fail(status, LAP_DATA, "%s/%s: is not a JSON object", graph->tasks.out, name);
}

static lap_code append_amendment(const lap_graph *graph, json_t *amendment, const char *plan_text,
                                 lap_status *status) {
  char hex[LAP_SHA256_HEX], *before;
  hash_text(plan_text, hex);
  LAP_TRY(read_text(graph, "amendments.jsonl", &before, status));
  lap_code code = LAP_OK;
  const size_t length = strlen(before);
  if (length > 0) before[length - 1] = '\0';
  const char *last = strrchr(before, '\n');
  json_t *last_one = json_loads(last ? last + 1 : before, 0, NULL);
  const char *its_hash = json_string_value(json_object_get(last_one, "plan_sha256"));
  const bool written = its_hash && !strcmp(its_hash, hex); /* before a kill */
  if (length > 0) before[length - 1] = '\n';
  if (!written) {
    char *now = date_of_now();
    json_object_set_new(amendment, "date", json_string(now));
    json_object_set_new(amendment, "plan_sha256", json_string(hex));
    char *line = json_dumps(amendment, JSON_COMPACT);
    char *whole = lap_format("%s%s\n", before, line);
    code = write_text(graph, "amendments.jsonl", whole, status);
    free(whole);
    free(line);
    free(now);
  }
  json_decref(last_one);
  free(before);
  return code;
}

static lap_code amend(const lap_graph *graph, const json_t *first, json_t *plan, char **change,
                      lap_status *status) {
  /* Of the first plan, so that the same promise has the same text. */
  static const char *const kept[] = {"created", "lapidary", "git"};
  for (size_t i = 0; i < sizeof kept / sizeof *kept; ++i)
    json_object_set(plan, kept[i], json_object_get(first, kept[i]));
  lap_amendment_mark(first, plan);
  char *newest_text;
  LAP_TRY(read_text(graph, "plan.amended.json", &newest_text, status));
  json_t *newest = NULL;
  lap_code code = LAP_OK;
  if (*newest_text) code = parse(graph, "plan.amended.json", newest_text, &newest, status);
  free(newest_text);
  LAP_TRY(code);
  json_t *amendment = lap_amendment_between(newest ? newest : first, plan);
  if (amendment) {
    char *text = print(plan);
    *change = lap_copy_string(json_string_value(json_object_get(amendment, "change")));
    code = append_amendment(graph, amendment, text, status);
    if (code == LAP_OK) code = write_text(graph, "plan.amended.json", text, status);
    free(text);
  }
  json_decref(amendment);
  json_decref(newest);
  return code;
}

static lap_code write_first(const lap_graph *graph, const json_t *plan, lap_status *status) {
  char *text = print(plan);
  lap_code code = write_text(graph, "plan.json", text, status);
  if (code == LAP_OK) code = write_hash(graph, text, status);
  free(text);
  return code;
}

static lap_code update(const lap_graph *graph, const char *first_text, json_t *plan, char **change,
                       lap_status *status) {
  if (!*first_text) {
    LAP_TRY(check_first(graph, status));
    return write_first(graph, plan, status);
  }
  json_t *first;
  LAP_TRY(check_hash(graph, first_text, status));
  LAP_TRY(parse(graph, "plan.json", first_text, &first, status));
  const bool was_smoke = json_is_true(json_object_get(first, "smoke"));
  lap_code code = LAP_OK;
  if (was_smoke != graph->suite->is_smoke)
    code =
        lap_fail(status, LAP_USAGE, "%s: has the runs of a suite %s --smoke; choose another --out",
                 graph->tasks.out, was_smoke ? "with" : "without");
  if (code == LAP_OK) code = amend(graph, first, plan, change, status);
  json_decref(first);
  return code;
}

lap_code lap_plan_file_update(const lap_graph *graph, char **change, lap_status *status) {
  char *first_text, *now = date_of_now();
  json_t *plan = NULL;
  *change = NULL;
  lap_code code = read_text(graph, "plan.json", &first_text, status);
  if (code == LAP_OK) {
    code = make_plan(graph, now, &plan, status);
    if (code == LAP_OK) code = update(graph, first_text, plan, change, status);
    if (code == LAP_OK) code = write_text(graph, "suite.yaml", graph->suite->text, status);
    free(first_text);
  }
  json_decref(plan);
  free(now);
  return code;
}
