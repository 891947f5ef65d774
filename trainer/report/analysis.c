#include "trainer/report/analysis.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/report/comparisons.h"
#include "trainer/report/costs.h"
#include "trainer/report/json_file.h"
#include "trainer/report/measures.h"
#include "trainer/report/run_facts.h"
#include "trainer/report/shared_rate.h"
#include "trainer/report/tuning.h"
#include "trainer/statistics/decide.h"

enum { CURVE_POINTS = 160, FEW_DOCUMENTS = 200 };
static const char FORMAT[] = "lapidary-report-1";

/* --- runs and arms --- */

/* Of lap_run_facts_read, without what is long; the curve in at most CURVE_POINTS points. */
static json_t *run_object(const json_t *run) {
  json_t *object = json_copy((json_t *)run);
  json_object_del(object, "config");
  json_object_set_new(object, "curve", lap_curve_thin(json_object_get(run, "curve"), CURVE_POINTS));
  return object;
}

static double mean_over_runs(const json_t *runs, const char *key) {
  double sum = 0;
  const size_t count = json_array_size(runs);
  for (size_t i = 0; i < count; ++i) sum += lap_json_real(json_array_get(runs, i), key);
  return count ? sum / (double)count : NAN;
}

/* The config of the first run that has one. */
static const json_t *config_of(const lap_study *study, size_t arm) {
  for (size_t seed = 0; seed < study->seed_count; ++seed) {
    const json_t *config = json_object_get(lap_study_run(study, arm, seed), "config");
    if (config) return config;
  }
  return NULL;
}

/* What an arm is compared with: its first baseline, else the first arm. */
static size_t baseline_of(const lap_study *study, size_t arm) {
  const json_t *pair = lap_json_find(json_object_get(study->plan, "compare"), "arm",
                                     lap_study_arm_name(study, arm), NULL);
  size_t baseline = 0;
  if (pair)
    lap_json_find(json_object_get(study->plan, "arms"), "name", lap_json_text(pair, "baseline"),
                  &baseline);
  return baseline;
}

/* As configs have numbers: their text. */
static json_t *integer_text(const json_t *integer) {
  char text[32];
  snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(integer));
  return json_string(text);
}

static void add_difference(const lap_study *study, size_t arm, json_t *object) {
  const size_t baseline = baseline_of(study, arm);
  const json_t *own = config_of(study, arm), *other = config_of(study, baseline);
  json_object_set_new(object, "difference_from", json_string(lap_study_arm_name(study, baseline)));
  json_t *difference = own && other ? lap_config_difference(other, own) : json_null();
  json_object_set_new(object, "difference", difference);
  const json_t *window = lap_study_sliding_window(study, arm);
  const json_t *before = lap_study_sliding_window(study, baseline);
  if (json_is_object(difference) && window && (!before || !json_equal(window, before))) {
    json_t *texts[] = {before ? integer_text(before) : json_null(), integer_text(window)};
    json_object_set_new(difference, "evaluate.sliding_window",
                        json_pack("[o, o]", texts[0], texts[1]));
  }
}

static json_t *arm_object(const lap_study *study, size_t arm) {
  json_t *object = json_copy((json_t *)lap_study_arm(study, arm)), *runs = json_array();
  for (size_t seed = 0; seed < study->seed_count; ++seed)
    if (lap_study_run(study, arm, seed))
      json_array_append_new(runs, run_object(lap_study_run(study, arm, seed)));
  json_object_set_new(object, "runs", runs);
  static const char *const means[] = {"tokens", "flops", "hours", "hours_cpu", "train_loss"};
  for (size_t i = 0; i < sizeof means / sizeof *means; ++i)
    json_object_set_new(object, means[i], lap_json_number(mean_over_runs(runs, means[i])));
  add_difference(study, arm, object);
  return object;
}

/* --- warnings --- */

static void warn(json_t *warnings, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void warn(json_t *warnings, const char *kind, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  json_array_append_new(warnings, json_pack("{s:s, s:s}", "kind", kind, "text", text));
}

/* A run's loss below that of the teacher whose cache it was evaluated against. */
static void warn_of_teacher(const lap_study *study, json_t *warnings) {
  const char *set = lap_json_text(json_object_get(study->plan, "endpoint"), "set");
  for (size_t arm = 0; arm < study->arm_count; ++arm) {
    size_t below = 0;
    double teacher = NAN;
    for (size_t seed = 0; seed < study->seed_count; ++seed) {
      const json_t *eval =
          json_object_get(json_object_get(lap_study_run(study, arm, seed), "eval"), set);
      if (!lap_json_flag(eval, "better_than_teacher")) continue;
      teacher = lap_json_real(eval, "teacher_loss");
      ++below;
    }
    if (below > 0)
      warn(warnings, "teacher",
           "The teacher is worse than its student: %zu of %zu runs of %s have a lower loss on %s "
           "than the teacher's %.4f.",
           below, study->seed_count, lap_study_arm_name(study, arm), set, teacher);
  }
}

static void warn_of_runs(const lap_study *study, json_t *warnings) {
  static const char *const states[] = {"missing", "running", "diverged"};
  static const char *const kinds[] = {"incomplete", "incomplete", "diverged"};
  for (size_t state = 0; state < sizeof states / sizeof *states; ++state)
    for (size_t arm = 0; arm < study->arm_count; ++arm)
      for (size_t seed = 0; seed < study->seed_count; ++seed) {
        const json_t *run = lap_study_run(study, arm, seed);
        if (!run || strcmp(lap_json_text(run, "status"), states[state]) != 0) continue;
        warn(warnings, kinds[state], "%s, seed %" PRId64 ": %s; %s.",
             lap_study_arm_name(study, arm), lap_json_integer(run, "seed"),
             state == 0   ? "has not begun"
             : state == 1 ? "is not finished"
                          : "has diverged: its numbers are not finite",
             "its comparisons have no verdict");
      }
}

/* What the independent units of a set are called. */
static const char *unit_of(const json_t *set) {
  const char *cluster = lap_json_text(set, "cluster"), *kind = lap_json_text(set, "kind");
  if (strcmp(cluster, "document") != 0 && lap_json_integer(set, "clusters") > 0) return cluster;
  if (strcmp(kind, "choices") == 0) return "item";
  return strcmp(kind, "judge") == 0 ? "prompt" : "document";
}

static void warn_of_documents(const lap_study *study, const json_t *sets, json_t *warnings) {
  const json_t *endpoint = json_object_get(study->plan, "endpoint");
  const lap_measure *measure = lap_measure_find(lap_json_text(endpoint, "measure"));
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i);
    const char *unit = unit_of(set);
    const size_t evaluated = lap_study_clusters(study, i);
    const size_t all = evaluated ? evaluated : (size_t)lap_json_integer(set, "documents");
    const size_t counted = evaluated && measure ? lap_study_counted(study, measure, i) : all;
    if (!lap_json_flag(set, "primary") || counted == 0 || counted >= FEW_DOCUMENTS) continue;
    char which[96] = "";
    if (counted < all)
      snprintf(which, sizeof which, " of which the endpoint counts anything, out of %zu", all);
    if (counted == 1)
      warn(
          warnings, "few documents",
          "%s has 1 %s%s. How much another would differ is not known: the intervals are over seeds "
          "alone, on this very %s.",
          lap_json_text(set, "name"), unit, which, unit);
    else
      warn(
          warnings, "few documents",
          "%s has %zu %ss%s. Below %d, which %ss they happen to be may matter as much as the seeds "
          "do.",
          lap_json_text(set, "name"), counted, unit, which, (int)FEW_DOCUMENTS, unit);
  }
}

static json_t *warnings_of(const lap_study *study, const json_t *sets) {
  json_t *warnings = json_array();
  if (lap_json_flag(study->plan, "smoke"))
    warn(warnings, "smoke", "A smoke run: sizes are cut, and the numbers mean nothing.");
  if (!study->plan_is_kept)
    warn(warnings, "plan", "plan.json is not the plan that plan.sha256 was made of.");
  if (study->seed_count < 3)
    warn(warnings, "few seeds", "%zu seed%s: what another would have done is hardly known.",
         study->seed_count, study->seed_count == 1 ? "" : "s");
  warn_of_runs(study, warnings);
  warn_of_documents(study, sets, warnings);
  warn_of_teacher(study, warnings);
  return warnings;
}

/* --- the report --- */

static void count_runs(const lap_study *study, json_t *report) {
  json_int_t planned = 0, done = 0, diverged = 0;
  for (size_t i = 0; i < study->arm_count * study->seed_count; ++i) {
    if (lap_study_sliding_window(study, i / study->seed_count)) continue; /* runs of another arm */
    const char *state = study->run[i] ? lap_json_text(study->run[i], "status") : "";
    planned += study->run[i] != NULL;
    done += strcmp(state, "done") == 0;
    diverged += strcmp(state, "diverged") == 0;
  }
  json_object_set_new(
      report, "runs",
      json_pack("{s:I, s:I, s:I}", "planned", planned, "done", done, "diverged", diverged));
  json_object_set_new(report, "complete", json_boolean(done == planned));
}

static void copy_plan(const lap_study *study, json_t *report) {
  static const char *const keys[] = {"name",         "smoke",   "created",    "lapidary", "git",
                                     "suite_sha256", "seeds",   "confidence", "endpoint", "margin",
                                     "tune",         "teacher", NULL};
  for (const char *const *key = keys; *key; ++key) {
    json_t *value = json_object_get(study->plan, *key);
    json_object_set(report, *key, value ? value : json_null());
  }
  json_object_set_new(report, "plan_sha256", json_string(study->plan_sha256));
  json_object_set_new(report, "plan_is_kept", json_boolean(study->plan_is_kept));
  json_object_set(report, "amendments", study->amendments);
}

static size_t planned_comparisons(const json_t *plan) {
  const json_t *compare = json_object_get(plan, "compare");
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(compare); ++i)
    count += !lap_json_flag(json_array_get(compare, i), "exploratory");
  return count;
}

static const char ESTIMAND[] =
    "The mean over new seeds and new documents of this source, given this teacher, tokenizer and "
    "training text. A difference is arm minus baseline.";

lap_code lap_study_analyse(const lap_study *study, json_t **report, lap_status *status) {
  json_t *sets, *even = NULL, *tuning = NULL, *shared_rate = NULL;
  *report = NULL;
  LAP_TRY(lap_study_sets(study, &sets, status));
  lap_code code = lap_study_break_even(study, &even, status);
  if (code == LAP_OK) code = lap_study_tuning(study, &tuning, status);
  if (code == LAP_OK) code = lap_study_shared_rate(study, &shared_rate, status);
  if (code != LAP_OK) {
    json_decref(tuning);
    json_decref(even);
    json_decref(sets);
    return code;
  }
  json_t *made = json_pack("{s:s}", "format", FORMAT), *arms = json_array();
  copy_plan(study, made);
  count_runs(study, made);
  json_object_set_new(made, "estimand", json_string(ESTIMAND));
  json_object_set_new(
      made, "simultaneous_confidence",
      json_real(lap_simultaneous_confidence(lap_json_real(study->plan, "confidence"),
                                            planned_comparisons(study->plan))));
  json_object_set_new(made, "warnings", warnings_of(study, sets));
  for (size_t arm = 0; arm < study->arm_count; ++arm)
    json_array_append_new(arms, arm_object(study, arm));
  json_object_set_new(made, "arms", arms);
  json_object_set_new(made, "sets", sets);
  json_object_set_new(made, "break_even", even);
  json_object_set_new(made, "tuning", tuning);
  json_object_set_new(made, "shared_rate", shared_rate);
  json_object_set_new(made, "minimum_detectable_effect", lap_study_detectable(study));
  json_object_set_new(made, "teacher_hours", lap_study_teacher_hours(study));
  json_object_set(made, "shared", study->shared);
  *report = made;
  return LAP_OK;
}

/* --- runs without a plan --- */

/* The last `parts` names of a path, without slashes at its end; malloc'ed. */
static char *end_of_path(const char *path, size_t parts) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') --length;
  size_t begin = length;
  while (begin > 0 && (path[begin - 1] != '/' || --parts > 0)) --begin;
  return lap_format("%.*s", (int)(length - begin), path + begin);
}

/* Two that end alike; NULL: there are none. */
static const char *name_twice(const char *const *directories, size_t count, size_t parts) {
  const char *twice = NULL;
  for (size_t i = 0; i < count && !twice; ++i)
    for (size_t j = 0; j < i && !twice; ++j) {
      char *one = end_of_path(directories[i], parts), *other = end_of_path(directories[j], parts);
      if (strcmp(one, other) == 0) twice = directories[i];
      free(one);
      free(other);
    }
  return twice;
}

/* How many of the last names of paths tell them all apart: seed-1 stands below each arm. */
static lap_code count_parts(const char *const *directories, size_t count, size_t *parts,
                            lap_status *status) {
  size_t most = 1;
  for (size_t i = 0; i < count; ++i)
    if (strlen(directories[i]) > most) most = strlen(directories[i]);
  for (*parts = 1; *parts < most && name_twice(directories, count, *parts);) ++*parts;
  const char *twice = name_twice(directories, count, *parts);
  return twice ? lap_fail(status, LAP_USAGE, "%s: is given twice; name each run once", twice)
               : LAP_OK;
}

static json_t *plain_arm(const char *directory, size_t parts, const json_t *facts,
                         const json_t *first) {
  char *name = end_of_path(directory, parts);
  json_t *runs = json_array(), *run = run_object(facts);
  json_object_set_new(run, "directory", lap_json_path(directory));
  json_array_append_new(runs, run);
  json_t *object = json_pack(
      "{s:o, s:o, s:o}", "name", lap_json_path(name), "difference",
      lap_config_difference(json_object_get(first, "config"), json_object_get(facts, "config")),
      "runs", runs);
  free(name);
  static const char *const means[] = {"tokens", "flops", "hours", "hours_cpu", "train_loss"};
  for (size_t i = 0; i < sizeof means / sizeof *means; ++i)
    json_object_set_new(object, means[i], lap_json_number(mean_over_runs(runs, means[i])));
  return object;
}

lap_code lap_runs_analyse(const char *const *directories, size_t count, json_t **report,
                          lap_status *status) {
  size_t parts;
  LAP_TRY(count_parts(directories, count, &parts, status));
  json_t *arms = json_array(), *first = NULL;
  lap_code code = LAP_OK;
  for (size_t i = 0; i < count && code == LAP_OK; ++i) {
    json_t *facts;
    code = lap_run_facts_read(directories[i], &facts, status);
    if (code == LAP_OK && strcmp(lap_json_text(facts, "status"), "missing") == 0)
      code =
          lap_fail(status, LAP_DATA,
                   "%s: has no plan.json, and no metrics.jsonl with steps: neither the output of "
                   "`ablate` nor a run directory",
                   directories[i]);
    if (code == LAP_OK) {
      if (!first) first = json_incref(facts);
      json_array_append_new(arms, plain_arm(directories[i], parts, facts, first));
    }
    json_decref(facts);
  }
  json_decref(first);
  *report =
      json_pack("{s:s, s:s, s:b, s:o}", "format", FORMAT, "name", "runs", "smoke", 0, "arms", arms);
  if (code == LAP_OK) return LAP_OK;
  json_decref(*report);
  *report = NULL;
  return code;
}
