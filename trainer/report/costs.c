#include "trainer/report/costs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/report/comparisons.h"
#include "trainer/report/json_file.h"
#include "trainer/statistics/break_even.h"
#include "trainer/statistics/decide.h"
#include "trainer/statistics/detectable.h"

/* --- hours --- */

/* The mean over seeds; NAN where one is not known. */
static double hours_of_arm(const lap_study *study, size_t arm) {
  double sum = 0;
  for (size_t seed = 0; seed < study->seed_count; ++seed)
    sum += lap_json_real(lap_study_run(study, arm, seed), "hours_cpu");
  return sum / (double)study->seed_count;
}

static bool is_in(const json_t *texts, const char *text) {
  for (size_t i = 0; i < json_array_size(texts); ++i) {
    const char *one = json_string_value(json_array_get(texts, i));
    if (one && strcmp(one, text) == 0) return true;
  }
  return false;
}

/* Whether runs of an arm learn from it; of no one arm (study->arm_count): those of any. Plans of
 * earlier make do not say. */
static bool teaches(const lap_study *study, size_t arm, const char *directory) {
  const bool any = arm == study->arm_count;
  for (size_t i = any ? 0 : arm; i < (any ? study->arm_count : arm + 1); ++i) {
    const json_t *learns_from = json_object_get(lap_study_arm(study, i), "learns_from");
    if (!learns_from || is_in(learns_from, directory)) return true;
  }
  return false;
}

/* Of what an arm learns from; NAN where no such task is done. */
static double hours_of_shared(const lap_study *study, const char *kind, size_t arm) {
  double sum = NAN;
  for (size_t i = 0; i < json_array_size(study->shared); ++i) {
    const json_t *entry = json_array_get(study->shared, i);
    const double hours = lap_json_real(entry, "hours_cpu");
    if (strcmp(lap_json_text(entry, "kind"), kind) == 0 && !isnan(hours) &&
        teaches(study, arm, lap_json_text(entry, "directory")))
      sum = (isnan(sum) ? 0 : sum) + hours;
  }
  return sum;
}

static json_t *teacher_hours(const lap_study *study, size_t arm) {
  double training = lap_json_real(json_object_get(study->plan, "teacher"), "hours");
  if (isnan(training)) training = hours_of_shared(study, "model", arm);
  return json_pack("{s:o, s:o}", "training_hours", lap_json_number(training), "cache_hours",
                   lap_json_number(hours_of_shared(study, "cache", arm)));
}

json_t *lap_study_teacher_hours(const lap_study *study) {
  return teacher_hours(study, study->arm_count);
}

/* --- break-even --- */

typedef struct {
  size_t *arm;      /* [count] the arm to be matched, then those at multiples */
  double *multiple; /* [count] */
  size_t count;
} ladder;

static lap_code read_ladder(const lap_study *study, const json_t *planned, ladder *l,
                            lap_status *status) {
  const json_t *arms = json_object_get(planned, "arms");
  l->count = json_array_size(arms) + 1;
  l->arm = lap_allocate((int64_t)l->count, sizeof *l->arm);
  l->multiple = lap_allocate((int64_t)l->count, sizeof *l->multiple);
  for (size_t i = 0; i < l->count; ++i) {
    const char *name =
        i == 0 ? lap_json_text(planned, "arm") : json_string_value(json_array_get(arms, i - 1));
    LAP_TRY(lap_study_find_arm(study, name ? name : "", &l->arm[i], status));
    l->multiple[i] = lap_json_real(lap_study_arm(study, l->arm[i]), "token_multiple");
    if (!(l->multiple[i] > 0))
      return lap_fail(status, LAP_DATA, "%s/%s: arm %s: token_multiple: expected a number above 0",
                      study->directory, study->plan_name, name);
  }
  for (size_t i = 2; i < l->count; ++i)
    if (l->multiple[i] != l->multiple[1]) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s/%s: break_even.arms: expected arms of two different token multiples at least",
                  study->directory, study->plan_name);
}

/* Core hours of the arms at multiples are linear in the multiple, through 0. */
static double hours_per_multiple(const lap_study *study, const ladder *l) {
  double product = 0, squares = 0;
  for (size_t i = 1; i < l->count; ++i) {
    product += l->multiple[i] * hours_of_arm(study, l->arm[i]);
    squares += l->multiple[i] * l->multiple[i];
  }
  return product / squares;
}

/* Where the break-even is, as far as it lies within what was trained; else NAN. */
static double known_multiple(const lap_break_even *b) {
  return b->multiple >= b->smallest && b->multiple <= b->largest ? b->multiple : NAN;
}

/* How many students the teacher must serve before teaching pays, where arms at multiples take
 * `slope` hours a multiple and the arm `own`. INFINITY: it never does. NAN: not known. */
static double students_to_pay(const lap_break_even *b, double teacher, double slope, double own) {
  const double saved = slope * known_multiple(b) - own;
  if (saved <= 0 || (b->multiple < b->smallest && slope * b->smallest <= own)) return INFINITY;
  return ceil(teacher / saved);
}

/* As a number; "never" where it is infinite; null where not known. */
static json_t *students_json(double students) {
  return isinf(students) ? json_string("never") : lap_json_number(students);
}

static json_t *hours_object(const lap_study *study, const ladder *l, const lap_break_even *b) {
  json_t *teacher = teacher_hours(study, l->arm[0]);
  const double training = lap_json_real(teacher, "training_hours");
  const double cache = lap_json_real(teacher, "cache_hours");
  const double slope = hours_per_multiple(study, l), own = hours_of_arm(study, l->arm[0]);
  /* A teacher that was given costs its cache only. */
  const double cost = (isnan(training) ? 0 : training) + cache;
  json_t *object = json_pack(
      "{s:o, s:o, s:o, s:o, s:o}", "arm_hours", lap_json_number(own), "arm_hours_with_teacher",
      lap_json_number(own + cost), "matching_hours", lap_json_number(slope * known_multiple(b)),
      "students_to_pay", students_json(students_to_pay(b, cost, slope, own)), "teacher", teacher);
  json_object_set_new(object, "matching_hours_interval",
                      lap_interval_json((lap_interval){slope * b->low, slope * b->high}));
  return object;
}

static json_t *points_json(const lap_study *study, const ladder *l, const lap_sums *sums) {
  double *table = lap_allocate((int64_t)(sums->arms * sums->seeds), sizeof *table);
  lap_arm_estimates(sums, table);
  json_t *points = json_array();
  for (size_t i = 0; i < l->count; ++i) {
    json_t *by_seed = json_array();
    double mean = 0;
    for (size_t s = 0; s < sums->seeds; ++s) {
      json_array_append_new(by_seed, lap_json_number(table[i * sums->seeds + s]));
      mean += table[i * sums->seeds + s] / (double)sums->seeds;
    }
    json_array_append_new(
        points,
        json_pack("{s:s, s:f, s:o, s:o}", "arm", lap_study_arm_name(study, l->arm[i]), "multiple",
                  l->multiple[i], "estimate", lap_json_number(mean), "by_seed", by_seed));
  }
  free(table);
  return points;
}

/* "1.43x", "< 1x", "> 4x", or that there is none. */
static char *break_even_text(const lap_break_even *b, const lap_measure *measure) {
  if (isnan(b->multiple))
    return lap_format("none: more tokens do not %s the %s",
                      measure->higher_is_better ? "raise" : "lower", measure->title);
  if (b->multiple < b->smallest) return lap_format("< %.3gx", b->smallest);
  if (b->multiple > b->largest) return lap_format("> %.3gx", b->largest);
  return lap_format("%.2fx", b->multiple);
}

static char *interval_text(const lap_break_even *b) {
  if (isnan(b->low) && !b->below && !b->above) return lap_copy_string("none in the range");
  if (isnan(b->low))
    return b->below ? lap_format("< %.3gx", b->smallest) : lap_format("> %.3gx", b->largest);
  char low[40], high[40];
  snprintf(low, sizeof low, b->below ? "< %.3gx" : "%.2fx", b->low);
  snprintf(high, sizeof high, b->above ? "> %.3gx" : "%.2fx", b->high);
  return lap_format("%s to %s", low, high);
}

/* A break-even is of lines that fall: where higher is better, of the negative, turned back. */
static lap_break_even break_even_of(const lap_study *study, const lap_measure *measure,
                                    const ladder *l, const lap_sums *sums) {
  const double confidence = lap_json_real(study->plan, "confidence");
  const bool pooled = sums->arms > 2;
  lap_break_even b;
  if (!measure->higher_is_better) {
    lap_break_even_make(sums, l->multiple, pooled, confidence, &b);
    return b;
  }
  const size_t count = sums->arms * sums->seeds * sums->documents;
  double *negative = lap_allocate((int64_t)count, sizeof *negative);
  for (size_t i = 0; i < count; ++i) negative[i] = -sums->sums[i];
  lap_sums turned = *sums;
  turned.sums = negative;
  lap_break_even_make(&turned, l->multiple, pooled, confidence, &b);
  free(negative);
  b.slope = -b.slope;
  b.intercept = -b.intercept;
  return b;
}

static json_t *break_even_object(const lap_study *study, const lap_measure *measure,
                                 const ladder *l, const lap_sums *sums) {
  const lap_break_even b = break_even_of(study, measure, l, sums);
  char *text = break_even_text(&b, measure), *interval = interval_text(&b);
  json_t *object = json_pack(
      "{s:b, s:s, s:o, s:s, s:s, s:o, s:b, s:b, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "complete", 1,
      "arm", lap_study_arm_name(study, l->arm[0]), "multiple", lap_json_number(b.multiple), "text",
      text, "interval_text", interval, "interval", lap_interval_json((lap_interval){b.low, b.high}),
      "below_range", b.below, "above_range", b.above, "smallest", b.smallest, "largest", b.largest,
      "slope", b.slope, "intercept", b.intercept, "lack_of_fit", b.lack_of_fit, "points",
      points_json(study, l, sums), "hours", hours_object(study, l, &b));
  free(interval);
  free(text);
  return object;
}

static json_t *make_break_even(const lap_study *study, const ladder *l) {
  const json_t *endpoint = json_object_get(study->plan, "endpoint");
  size_t set = 0;
  lap_json_find(json_object_get(study->plan, "sets"), "name", lap_json_text(endpoint, "set"), &set);
  const lap_measure *measure = lap_measure_find(lap_json_text(endpoint, "measure"));
  char *problem = lap_copy_string(study->seed_count > 1 ? "" : "one seed has no interval");
  for (size_t i = 0; i < l->count && !*problem; ++i) {
    free(problem);
    problem = lap_arm_problem(study, measure, set, l->arm[i]);
  }
  json_t *object;
  if (*problem) {
    object = json_pack("{s:b, s:s, s:s}", "complete", 0, "arm",
                       lap_study_arm_name(study, l->arm[0]), "problem", problem);
  } else {
    lap_whole_arms whole = lap_whole_arms_find(study, measure, set, false);
    lap_sums sums =
        lap_measure_sums(study, measure, set, l->arm, l->count, whole.seeds, study->seed_count);
    object = break_even_object(study, measure, l, &sums);
    lap_measure_release(&sums);
    lap_whole_arms_release(&whole);
  }
  free(problem);
  return object;
}

lap_code lap_study_break_even(const lap_study *study, json_t **object, lap_status *status) {
  const json_t *planned = json_object_get(study->plan, "break_even");
  *object = NULL;
  if (!json_is_object(planned)) {
    *object = json_null();
    return LAP_OK;
  }
  ladder l = {0};
  const lap_code code = read_ladder(study, planned, &l, status);
  if (code == LAP_OK) *object = make_break_even(study, &l);
  free(l.multiple);
  free(l.arm);
  return code;
}

/* --- the pilot --- */

json_t *lap_study_detectable(const lap_study *study) {
  const json_t *planned = json_object_get(study->plan, "minimum_detectable_effect");
  const double deviation = lap_json_real(planned, "standard_deviation");
  const double df = lap_json_real(planned, "seeds") - 1;
  if (!json_is_object(planned)) return json_null();
  json_t *object = json_copy((json_t *)planned);
  double upper = lap_json_real(planned, "upper_80");
  if (isnan(upper) && df > 0 && deviation >= 0) upper = lap_deviation_upper(deviation, df, 0.8);
  json_object_set_new(object, "upper_80", lap_json_number(upper));
  if (json_is_number(json_object_get(planned, "effect")) || study->seed_count < 2 || isnan(upper))
    return object;
  const size_t tests = json_array_size(json_object_get(study->plan, "compare"));
  const double confidence = lap_json_real(study->plan, "confidence");
  const lap_design design = {.seed_deviation = upper,
                             .seeds = study->seed_count,
                             .confidence = lap_simultaneous_confidence(confidence, tests)};
  json_object_set_new(object, "effect", lap_json_number(lap_detectable_effect(&design, 0.8)));
  return object;
}
