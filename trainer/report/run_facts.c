#include "trainer/report/run_facts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/config/load.h"
#include "trainer/plan/plan.h"
#include "trainer/report/json_file.h"
#include "trainer/run/directory.h"

enum { LAST_STEPS = 50 };

/* --- the config --- */

/* config.resolved.yaml as our own writer writes it: a key a line, sections two blanks deep. */
static json_t *flatten(char *text) {
  json_t *flat = json_object();
  char section[64] = "", *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    char *colon = strchr(line, ':');
    if (!colon || *line == '#') continue;
    const bool inside = *line == ' ';
    const char *value = colon + 1 + (colon[1] == ' ');
    *colon = '\0';
    if (!inside && !*value) {
      snprintf(section, sizeof section, "%s", line);
      continue;
    }
    char *key =
        inside ? lap_format("%s.%s", section, line + strspn(line, " ")) : lap_copy_string(line);
    json_object_set_new(flat, key, json_string(value));
    free(key);
  }
  return flat;
}

/* Of forward and backward, by the ops of the tape; NAN where the config cannot say. */
static double flops_per_token(const char *path) {
  lap_config *config;
  lap_status ignored;
  lap_plan plan;
  double flops = NAN;
  const lap_plan_request request = {.command = LAP_PLAN_TRAIN, .ranks = 1};
  if (lap_config_load(path, NULL, 0, &config, &ignored) != LAP_OK) return NAN;
  if (lap_plan_make(config, &request, &plan, &ignored) == LAP_OK)
    flops = (plan.forward_flops + plan.backward_flops) / (double)plan.tokens_per_step;
  lap_config_destroy(config);
  return flops;
}

static lap_code read_config(const char *directory, json_t *facts, lap_status *status) {
  enum { MOST_BYTES = 16 << 20 };
  char *path = lap_run_directory_path(directory, "config.resolved.yaml"), *text;
  lap_code code = LAP_OK;
  if (lap_file_exists(path)) {
    code = lap_file_read(path, MOST_BYTES, &text, NULL, status);
    if (code == LAP_OK) {
      json_object_set_new(facts, "config", flatten(text));
      json_object_set_new(facts, "flops_per_token", lap_json_number(flops_per_token(path)));
      free(text);
    }
  }
  free(path);
  return code;
}

static bool is_place(const char *key) {
  static const char *const places[] = {"seed",    "run_dir",    "tokenizer",
                                       "init",    "data.train", "data.eval",
                                       "threads", "blas_core",  "watchdog_seconds"};
  for (size_t i = 0; i < sizeof places / sizeof *places; ++i)
    if (strcmp(key, places[i]) == 0) return true;
  return strncmp(key, "checkpoint.", strlen("checkpoint.")) == 0;
}

static void add_difference(json_t *difference, const char *key, const json_t *a, const json_t *b) {
  if (is_place(key) || json_equal(a, b)) return;
  json_object_set_new(difference, key,
                      json_pack("[O?, O?]", (json_t *)a, (json_t *)b)); /* null: not there */
}

json_t *lap_config_difference(const json_t *a, const json_t *b) {
  json_t *difference = json_object(), *value;
  const char *key;
  json_object_foreach((json_t *)a, key, value)
      add_difference(difference, key, value, json_object_get(b, key));
  json_object_foreach((json_t *)b, key, value) if (!json_object_get(a, key))
      add_difference(difference, key, NULL, value);
  return difference;
}

/* --- curves --- */

static json_t *row(double tokens, double loss, double kl) {
  return json_pack("[o, o, o]", lap_json_number(tokens), lap_json_number(loss),
                   lap_json_number(kl));
}

static void take_line(const json_t *line, json_t *curve, json_t *evals, json_t *facts) {
  const json_t *eval = json_object_get(line, "eval");
  const double tokens = lap_json_real(line, "tokens");
  if (eval) {
    const double loss = lap_json_real(eval, "loss");
    json_array_append_new(evals, row(tokens, loss, lap_json_real(eval, "kl")));
    json_object_set_new(facts, "eval_loss", lap_json_number(loss));
    return;
  }
  json_array_append_new(curve, row(tokens, lap_json_real(line, "ce"), lap_json_real(line, "kl")));
  json_object_set(facts, "steps", json_object_get(line, "step"));
  json_object_set(facts, "tokens", json_object_get(line, "tokens"));
}

static double mean_of_last(const json_t *curve) {
  const size_t count = json_array_size(curve), from = count > LAST_STEPS ? count - LAST_STEPS : 0;
  double sum = 0;
  for (size_t i = from; i < count; ++i) {
    const json_t *loss = json_array_get(json_array_get(curve, i), 1);
    sum += json_is_number(loss) ? json_number_value(loss) : NAN;
  }
  return sum / (double)(count - from);
}

static lap_code read_metrics(const char *directory, json_t *facts, lap_status *status) {
  json_t *lines;
  LAP_TRY(lap_json_lines_read(directory, "metrics.jsonl", &lines, status));
  json_t *curve = json_array(), *evals = json_array();
  for (size_t i = 0; i < json_array_size(lines); ++i)
    take_line(json_array_get(lines, i), curve, evals, facts);
  if (json_array_size(curve) > 0)
    json_object_set_new(facts, "train_loss", lap_json_number(mean_of_last(curve)));
  json_object_set_new(facts, "curve", curve);
  json_object_set_new(facts, "evals", evals);
  json_decref(lines);
  return LAP_OK;
}

json_t *lap_curve_thin(const json_t *curve, size_t most) {
  const size_t count = json_array_size(curve);
  const size_t group = count > most ? (count + most - 1) / most : 1;
  json_t *thin = json_array();
  for (size_t from = 0; from < count; from += group) {
    const size_t end = from + group < count ? from + group : count;
    double mean[3] = {0};
    for (size_t i = from; i < end; ++i)
      for (size_t j = 0; j < 3; ++j) {
        const json_t *value = json_array_get(json_array_get(curve, i), j);
        mean[j] += (json_is_number(value) ? json_number_value(value) : NAN) / (double)(end - from);
      }
    json_array_append_new(thin, row(mean[0], mean[1], mean[2]));
  }
  return thin;
}

/* --- the rest --- */

static void copy(json_t *facts, const json_t *from, const char *const *keys) {
  for (; *keys; ++keys)
    if (json_object_get(from, *keys)) json_object_set(facts, *keys, json_object_get(from, *keys));
}

/* Of all parts of a run that was resumed; those of earlier make do not say what came before. */
static void take_hours(json_t *facts, const json_t *train, const json_t *done) {
  const double before = lap_json_real(train, "seconds_before");
  const double seconds = lap_json_real(train, "seconds") + (isnan(before) ? 0 : before);
  double cpu = lap_json_real(done, "hours_cpu");
  if (isnan(cpu))
    cpu = seconds / 3600 * lap_json_real(facts, "ranks") * lap_json_real(facts, "threads");
  json_object_set_new(facts, "hours", lap_json_number(seconds / 3600));
  json_object_set_new(facts, "hours_cpu", lap_json_number(cpu));
}

static const char *status_of(const json_t *facts, const json_t *train) {
  if (lap_json_flag(train, "diverged")) return "diverged";
  if (train) return json_is_null(json_object_get(train, "loss")) ? "diverged" : "done";
  return json_array_size(json_object_get(facts, "curve")) > 0 ? "running" : "missing";
}

static void conclude(json_t *facts, const json_t *run, const json_t *train, const json_t *done) {
  static const char *const of_run[] = {"started", "git_commit",     "versions", "hosts", "ranks",
                                       "threads", "numbers_sha256", "inputs",   NULL};
  static const char *const of_train[] = {"state_sha256", "tokens", NULL};
  copy(facts, run, of_run);
  copy(facts, train, of_train);
  if (lap_json_integer(train, "step") > 0)
    json_object_set(facts, "steps", json_object_get(train, "step"));
  take_hours(facts, train, done);
  json_object_set_new(
      facts, "flops",
      lap_json_number(lap_json_real(facts, "flops_per_token") * lap_json_real(facts, "tokens")));
  json_object_set_new(facts, "status", json_string(status_of(facts, train)));
}

lap_code lap_run_facts_read(const char *directory, json_t **facts, lap_status *status) {
  json_t *run = NULL, *train = NULL, *done = NULL;
  *facts = json_object();
  lap_code code = read_config(directory, *facts, status);
  if (code == LAP_OK) code = read_metrics(directory, *facts, status);
  if (code == LAP_OK) code = lap_json_file_read(directory, "run.json", false, &run, status);
  if (code == LAP_OK) code = lap_json_file_read(directory, "train.json", false, &train, status);
  if (code == LAP_OK) code = lap_json_file_read(directory, "done.json", false, &done, status);
  if (code == LAP_OK) conclude(*facts, run, train, done);
  json_decref(done);
  json_decref(train);
  json_decref(run);
  if (code == LAP_OK) return LAP_OK;
  json_decref(*facts);
  *facts = NULL;
  return code;
}
