#include "trainer/ablate/pilot.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/statistics/decide.h"
#include "trainer/statistics/detectable.h"

enum { MOST_BYTES = 16 << 20 };

static lap_code read_json(const char *directory, const char *name, json_t **object,
                          lap_status *status) {
  char *path = lap_format("%s/%s", directory, name);
  const lap_code code = lap_json_read_file(path, MOST_BYTES, object, status);
  free(path);
  return code;
}

static lap_code loss_of(const lap_suite *suite, const json_t *run, double *loss,
                        lap_status *status) {
  const char *directory = json_string_value(json_object_get(run, "directory"));
  char *name = lap_format("%s/eval/dev.json", directory ? directory : "?");
  json_t *evaluation = NULL;
  lap_code code = read_json(suite->pilot, name, &evaluation, status);
  const json_t *value = json_object_get(evaluation, "loss");
  if (code == LAP_OK && !json_is_number(value))
    code = lap_fail(status, LAP_DATA, "%s/%s: has no loss", suite->pilot, name);
  *loss = json_number_value(value);
  json_decref(evaluation);
  free(name);
  return code;
}

static lap_code check_seeds(const lap_suite *suite, const json_t *seeds, lap_status *status) {
  if (json_array_size(seeds) < LAP_PILOT_SEEDS)
    return lap_fail(status, LAP_USAGE, "pilot: %s: has %zu seeds; at least %d are needed",
                    suite->pilot, json_array_size(seeds), LAP_PILOT_SEEDS);
  for (size_t i = 0; i < suite->seed_count; ++i)
    for (size_t j = 0; j < json_array_size(seeds); ++j)
      if (json_integer_value(json_array_get(seeds, j)) == suite->seeds[i])
        return lap_fail(status, LAP_USAGE,
                        "pilot: %s: has seed %" PRId64
                        " of the suite itself; a pilot has seeds of its own",
                        suite->pilot, suite->seeds[i]);
  return LAP_OK;
}

static const json_t *runs_of(const json_t *plan, const char *name) {
  size_t i;
  json_t *arm;
  json_array_foreach(json_object_get(plan, "arms"), i, arm) {
    const char *its = json_string_value(json_object_get(arm, "name"));
    if (its && name && !strcmp(its, name)) return json_object_get(arm, "runs");
  }
  return NULL;
}

/* Of the differences of runs of the same seed. */
static lap_code deviation_of(const lap_suite *suite, const json_t *plan, double *deviation,
                             lap_status *status) {
  const json_t *pair = json_array_get(json_object_get(plan, "compare"), 0);
  const json_t *one = runs_of(plan, json_string_value(json_object_get(pair, "arm")));
  const json_t *other = runs_of(plan, json_string_value(json_object_get(pair, "baseline")));
  const size_t count = json_array_size(json_object_get(plan, "seeds"));
  if (json_array_size(one) != count || json_array_size(other) != count)
    return lap_fail(status, LAP_DATA,
                    "pilot: %s/plan.json: expected a comparison of two arms with a run for each "
                    "seed",
                    suite->pilot);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < count; ++i) {
    double first, second;
    LAP_TRY(loss_of(suite, json_array_get(one, i), &first, status));
    LAP_TRY(loss_of(suite, json_array_get(other, i), &second, status));
    sum += first - second;
    squares += (first - second) * (first - second);
  }
  const double mean = sum / (double)count;
  *deviation = sqrt(fmax(0, squares - (double)count * mean * mean) / (double)(count - 1));
  return LAP_OK;
}

static json_int_t dev_documents(const json_t *plan) {
  size_t i;
  json_t *set;
  json_array_foreach(json_object_get(plan, "sets"), i, set) {
    const char *name = json_string_value(json_object_get(set, "name"));
    if (name && !strcmp(name, "dev")) return json_integer_value(json_object_get(set, "documents"));
  }
  return 0;
}

/* The difference that the suite's seeds find in four of five cases, as one of all its comparisons;
 * null for one seed. */
static json_t *effect_of(const lap_suite *suite, double upper) {
  if (suite->seed_count < 2) return json_null();
  const lap_design design = {
      .seed_deviation = upper,
      .seeds = suite->seed_count,
      .confidence = lap_simultaneous_confidence(suite->confidence, suite->compare_count)};
  return json_real(lap_detectable_effect(&design, 0.8));
}

lap_code lap_pilot_read(const lap_suite *suite, json_t **object, lap_status *status) {
  *object = NULL;
  if (!suite->pilot) {
    *object = json_null();
    return LAP_OK;
  }
  json_t *plan = NULL;
  double deviation = 0;
  lap_code code = read_json(suite->pilot, "plan.json", &plan, status);
  const json_t *seeds = json_object_get(plan, "seeds");
  if (code == LAP_OK) code = check_seeds(suite, seeds, status);
  if (code == LAP_OK) code = deviation_of(suite, plan, &deviation, status);
  if (code == LAP_OK) {
    const size_t count = json_array_size(seeds);
    const double upper = lap_deviation_upper(deviation, (double)count - 1, 0.8);
    *object = json_pack("{s:s, s:I, s:I, s:f, s:f}", "pilot", suite->pilot, "seeds",
                        (json_int_t)count, "documents", dev_documents(plan), "standard_deviation",
                        deviation, "upper_80", upper);
    json_object_set_new(*object, "effect", effect_of(suite, upper));
  }
  json_decref(plan);
  return code;
}
