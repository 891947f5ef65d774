#include "trainer/report/comparisons.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/statistics/decide.h"

/* --- which arms are whole --- */

char *lap_arm_problem(const lap_study *study, const lap_measure *measure, size_t set, size_t arm) {
  for (size_t seed = 0; seed < study->seed_count; ++seed) {
    const json_int_t number =
        json_integer_value(json_array_get(json_object_get(study->plan, "seeds"), seed));
    const json_t *run = lap_study_run(study, arm, seed);
    const char *state = run ? lap_json_text(run, "status") : "not planned";
    const char *name = lap_study_arm_name(study, arm);
    if (strcmp(state, "diverged") == 0)
      return lap_format("%s: seed %" PRId64 " has diverged", name, (int64_t)number);
    if (strcmp(state, "done") != 0)
      return lap_format("%s: seed %" PRId64 " is %s", name, (int64_t)number, state);
    if (lap_measure_is_in(study, measure, set, arm, seed)) continue;
    const lap_run_losses *losses = lap_study_losses(study, set, arm, seed);
    if (losses && losses->column[measure->sum] && !measure->key)
      return lap_format("%s: seed %" PRId64 ": nothing on %s counts for it: %s", name,
                        (int64_t)number, lap_study_set_name(study, set), measure->title);
    return lap_format("%s: seed %" PRId64 " is not evaluated on %s%s", name, (int64_t)number,
                      lap_study_set_name(study, set), losses ? " against a cache" : "");
  }
  return lap_copy_string("");
}

static bool is_exploratory(const lap_study *study, size_t arm) {
  return lap_json_flag(lap_study_arm(study, arm), "exploratory");
}

lap_whole_arms lap_whole_arms_find(const lap_study *study, const lap_measure *measure, size_t set,
                                   bool planned) {
  lap_whole_arms whole = {.arm = lap_allocate((int64_t)study->arm_count, sizeof(size_t)),
                          .seeds = lap_allocate((int64_t)study->seed_count, sizeof(size_t))};
  for (size_t arm = 0; arm < study->arm_count; ++arm) {
    if (planned && is_exploratory(study, arm)) continue;
    char *problem = lap_arm_problem(study, measure, set, arm);
    if (!*problem) whole.arm[whole.count++] = arm;
    free(problem);
  }
  for (size_t seed = 0; seed < study->seed_count; ++seed) whole.seeds[seed] = seed;
  if (whole.count > 0)
    whole.sums = lap_measure_sums(study, measure, set, whole.arm, whole.count, whole.seeds,
                                  study->seed_count);
  return whole;
}

void lap_whole_arms_release(lap_whole_arms *whole) {
  lap_measure_release(&whole->sums);
  free(whole->seeds);
  free(whole->arm);
  *whole = (lap_whole_arms){0};
}

/* The place of an arm of the study among them; false: it has none. */
static bool find_place(const lap_whole_arms *whole, size_t arm, size_t *place) {
  for (size_t i = 0; i < whole->count; ++i)
    if (whole->arm[i] == arm) {
      *place = i;
      return true;
    }
  return false;
}

/* --- numbers --- */

json_t *lap_interval_json(lap_interval interval) {
  if (isnan(interval.low)) return json_null();
  return json_pack("[o, o]", lap_json_number(interval.low), lap_json_number(interval.high));
}

static void add_contrast(json_t *object, const lap_contrast *c, double confidence) {
  json_object_set_new(object, "estimate", lap_json_number(c->estimate));
  json_object_set_new(object, "interval", lap_interval_json(lap_contrast_interval(c, confidence)));
  json_object_set_new(object, "standard_error", lap_json_number(sqrt(c->variance)));
  json_object_set_new(object, "degrees_of_freedom", lap_json_number(c->df));
  json_object_set_new(object, "satterthwaite_degrees_of_freedom",
                      lap_json_number(c->satterthwaite_df));
  json_object_set_new(object, "seeds_interval",
                      lap_interval_json(lap_contrast_seeds_interval(c, confidence)));
  json_object_set_new(object, "seed_variance", lap_json_number(c->seed_variance));
  json_object_set_new(object, "seed_degrees_of_freedom", lap_json_number(c->seed_df));
  json_object_set_new(object, "document_variance", lap_json_number(c->document_variance));
  json_object_set_new(object, "document_degrees_of_freedom", lap_json_number(c->document_df));
  json_object_set_new(object, "interaction_variance", lap_json_number(c->interaction_variance));
}

/* --- arms --- */

static json_t *arm_object(const lap_study *study, const lap_measure *measure, size_t set,
                          const lap_whole_arms *whole, size_t arm) {
  json_t *by_seed = json_array();
  for (size_t seed = 0; seed < study->seed_count; ++seed)
    json_array_append_new(by_seed,
                          lap_json_number(lap_measure_of_run(study, measure, set, arm, seed)));
  json_t *object =
      json_pack("{s:s, s:o}", "arm", lap_study_arm_name(study, arm), "by_seed", by_seed);
  size_t place;
  const bool is_whole = find_place(whole, arm, &place);
  json_object_set_new(object, "complete", json_boolean(is_whole));
  if (!is_whole) return object;
  double *weights = lap_allocate((int64_t)whole->count, sizeof *weights);
  lap_contrast contrast;
  weights[place] = 1;
  lap_contrast_make(&whole->sums, weights, false, &contrast);
  add_contrast(object, &contrast, lap_json_real(study->plan, "confidence"));
  free(weights);
  return object;
}

/* --- comparisons --- */

typedef struct {
  size_t arm, baseline;
  bool exploratory;
  bool whole;            /* all of its runs are there: there is a difference */
  lap_contrast pairwise; /* by these two arms alone */
  char *problem;         /* why there is no verdict; "": nothing is in its way */
} pair;

typedef struct {
  const lap_study *study;
  const lap_measure *measure;
  size_t set;
  bool is_primary;
  lap_whole_arms whole;
  lap_whole_arms planned; /* without arms that are exploratory; none where there are no such arms */
  size_t count;
  pair *pairs;                 /* [count] */
  lap_comparison *comparisons; /* [count] */
} pairs;

static lap_code read_pairs(pairs *p, lap_status *status) {
  const json_t *compare = json_object_get(p->study->plan, "compare");
  p->count = json_array_size(compare);
  p->pairs = lap_allocate((int64_t)p->count, sizeof *p->pairs);
  p->comparisons = lap_allocate((int64_t)p->count, sizeof *p->comparisons);
  for (size_t i = 0; i < p->count; ++i) {
    const json_t *entry = json_array_get(compare, i);
    pair *one = &p->pairs[i];
    LAP_TRY(lap_study_find_arm(p->study, lap_json_text(entry, "arm"), &one->arm, status));
    LAP_TRY(lap_study_find_arm(p->study, lap_json_text(entry, "baseline"), &one->baseline, status));
    one->exploratory = lap_json_flag(entry, "exploratory");
  }
  return LAP_OK;
}

static bool same_states(const lap_study *study, const pair *one) {
  /* The same runs, evaluated otherwise. */
  if (lap_study_sliding_window(study, one->arm) || lap_study_sliding_window(study, one->baseline))
    return false;
  for (size_t seed = 0; seed < study->seed_count; ++seed) {
    const char *a = lap_json_text(lap_study_run(study, one->arm, seed), "state_sha256");
    const char *b = lap_json_text(lap_study_run(study, one->baseline, seed), "state_sha256");
    if (!*a || strcmp(a, b) != 0) return false;
  }
  return true;
}

/* Different models may get the very same items right. */
static bool is_of_counts(const lap_measure *measure) {
  return !measure->key && (measure->sum == LAP_LOSS_CORRECT || measure->sum == LAP_LOSS_AGREED ||
                           measure->sum == LAP_LOSS_CORRECT_PER_BYTE);
}

/* Whether verdicts wait for a run: for its end, or for its evaluation on the endpoint. One that has
 * diverged gets none. */
static bool is_awaited(const pairs *p, size_t arm, size_t seed) {
  const json_t *run = lap_study_run(p->study, arm, seed);
  const char *state = lap_json_text(run, "status");
  if (!run || strcmp(state, "diverged") == 0) return false;
  return strcmp(state, "done") != 0 ||
         (p->is_primary && !lap_measure_is_in(p->study, p->measure, p->set, arm, seed));
}

/* Who looks at verdicts one by one stops where one pleases: there is none before all planned runs
 * have ended and are evaluated. malloc'ed: the first that is not, or "". */
static char *unfinished(const pairs *p) {
  for (size_t arm = 0; arm < p->study->arm_count; ++arm)
    for (size_t seed = 0; seed < p->study->seed_count; ++seed)
      if (!is_exploratory(p->study, arm) && is_awaited(p, arm, seed))
        return lap_format("waits for %s, seed %" PRId64, lap_study_arm_name(p->study, arm),
                          lap_json_integer(lap_study_run(p->study, arm, seed), "seed"));
  return lap_copy_string("");
}

static void find_problem(const pairs *p, pair *one) {
  one->problem = lap_arm_problem(p->study, p->measure, p->set, one->arm);
  if (*one->problem) return;
  free(one->problem);
  one->problem = lap_arm_problem(p->study, p->measure, p->set, one->baseline);
  if (*one->problem) return;
  one->whole = true;
  free(one->problem);
  one->problem = unfinished(p);
}

/* The variance over seeds is pooled over arms. That of a planned comparison is over planned ones:
 * arms that were added after a look must not decide it. */
static const lap_whole_arms *arms_around(const pairs *p, const pair *one) {
  size_t ignored;
  const bool planned = !one->exploratory && find_place(&p->planned, one->arm, &ignored) &&
                       find_place(&p->planned, one->baseline, &ignored);
  return planned ? &p->planned : &p->whole;
}

static void contrast_pair(pairs *p, size_t i) {
  pair *one = &p->pairs[i];
  lap_comparison *c = &p->comparisons[i];
  size_t arm = 0, baseline = 0;
  find_problem(p, one);
  c->complete = !*one->problem;
  if (!one->whole) return;
  const lap_whole_arms *whole = arms_around(p, one);
  find_place(whole, one->arm, &arm);
  find_place(whole, one->baseline, &baseline);
  double *weights = lap_allocate((int64_t)whole->count, sizeof *weights);
  weights[arm] += 1;
  weights[baseline] -= 1;
  lap_contrast_make(&whole->sums, weights, true, &c->contrast);
  lap_contrast_make(&whole->sums, weights, false, &one->pairwise);
  c->same_bits = (!is_of_counts(p->measure) && lap_same_sums(&whole->sums, arm, baseline)) ||
                 same_states(p->study, one);
  free(weights);
}

/* The planned comparisons decide among themselves; those that amendments have added, too. */
static void decide(pairs *p, bool exploratory) {
  lap_comparison *family = lap_allocate((int64_t)p->count, sizeof *family);
  size_t count = 0;
  for (size_t i = 0; i < p->count; ++i)
    if (p->pairs[i].exploratory == exploratory) family[count++] = p->comparisons[i];
  lap_decide(family, count, lap_json_real(p->study->plan, "confidence"),
             lap_json_real(p->study->plan, "margin"));
  count = 0;
  for (size_t i = 0; i < p->count; ++i)
    if (p->pairs[i].exploratory == exploratory) p->comparisons[i] = family[count++];
  free(family);
}

static size_t family_size(const pairs *p, bool exploratory) {
  size_t count = 0;
  for (size_t i = 0; i < p->count; ++i) count += p->pairs[i].exploratory == exploratory;
  return count;
}

static lap_verdict verdict_of(const pairs *p, size_t i) {
  const lap_verdict verdict = p->comparisons[i].verdict;
  if (!p->measure->higher_is_better) return verdict;
  return verdict == LAP_BETTER ? LAP_WORSE : verdict == LAP_WORSE ? LAP_BETTER : verdict;
}

static json_t *seeds_of_pair(const pairs *p, const pair *one) {
  json_t *list = json_array();
  for (size_t seed = 0; seed < p->study->seed_count; ++seed) {
    const double arm = lap_measure_of_run(p->study, p->measure, p->set, one->arm, seed);
    const double baseline = lap_measure_of_run(p->study, p->measure, p->set, one->baseline, seed);
    json_array_append_new(
        list, json_pack("{s:O, s:o, s:o, s:o}", "seed",
                        json_array_get(json_object_get(p->study->plan, "seeds"), seed), "arm",
                        lap_json_number(arm), "baseline", lap_json_number(baseline), "difference",
                        lap_json_number(arm - baseline)));
  }
  return list;
}

static void add_decision(json_t *object, const pairs *p, size_t i) {
  const lap_comparison *c = &p->comparisons[i];
  json_object_set_new(object, "p", lap_json_number(c->p));
  json_object_set_new(object, "adjusted_p", lap_json_number(c->adjusted_p));
  json_object_set_new(object, "equivalence_p", lap_json_number(c->equivalence_p));
  json_object_set_new(object, "adjusted_equivalence_p", lap_json_number(c->adjusted_equivalence_p));
  json_object_set_new(object, "verdict", json_string(lap_verdict_name(verdict_of(p, i))));
}

static json_t *pair_object(const pairs *p, size_t i) {
  const pair *one = &p->pairs[i];
  const lap_comparison *c = &p->comparisons[i];
  const double confidence = lap_json_real(p->study->plan, "confidence");
  json_t *object = json_pack(
      "{s:s, s:s, s:b, s:b, s:s, s:o}", "arm", lap_study_arm_name(p->study, one->arm), "baseline",
      lap_study_arm_name(p->study, one->baseline), "exploratory", one->exploratory, "complete",
      c->complete, "problem", one->problem, "seeds", seeds_of_pair(p, one));
  if (one->whole) {
    const double together =
        lap_simultaneous_confidence(confidence, family_size(p, one->exploratory));
    add_contrast(object, &c->contrast, confidence);
    json_object_set_new(object, "pooled", json_boolean(arms_around(p, one)->count > 2));
    json_object_set_new(object, "simultaneous_interval",
                        lap_interval_json(lap_contrast_interval(&c->contrast, together)));
    json_object_set_new(object, "pairwise_interval",
                        lap_interval_json(lap_contrast_interval(&one->pairwise, confidence)));
  }
  if (p->is_primary) add_decision(object, p, i);
  return object;
}

/* --- a measure on a set, and all of them --- */

static json_t *measure_object(const lap_measure *measure, bool is_primary, json_t *arms,
                              json_t *comparisons) {
  return json_pack("{s:s, s:s, s:s, s:b, s:b, s:o, s:o}", "measure", measure->name, "title",
                   measure->title, "unit", measure->unit, "higher_is_better",
                   measure->higher_is_better, "primary", is_primary, "arms", arms, "comparisons",
                   comparisons);
}

static bool any_exploratory(const lap_study *study) {
  for (size_t arm = 0; arm < study->arm_count; ++arm)
    if (is_exploratory(study, arm)) return true;
  return false;
}

static lap_code measure_set(const lap_study *study, const lap_measure *measure, size_t set,
                            bool is_primary, json_t **object, lap_status *status) {
  pairs p = {.study = study, .measure = measure, .set = set, .is_primary = is_primary};
  lap_code code = read_pairs(&p, status);
  if (code == LAP_OK) {
    json_t *arms = json_array(), *comparisons = json_array();
    p.whole = lap_whole_arms_find(study, measure, set, false);
    if (any_exploratory(study)) p.planned = lap_whole_arms_find(study, measure, set, true);
    for (size_t arm = 0; arm < study->arm_count; ++arm)
      json_array_append_new(arms, arm_object(study, measure, set, &p.whole, arm));
    for (size_t i = 0; i < p.count; ++i) contrast_pair(&p, i);
    decide(&p, false);
    decide(&p, true);
    for (size_t i = 0; i < p.count; ++i) json_array_append_new(comparisons, pair_object(&p, i));
    *object = measure_object(measure, is_primary, arms, comparisons);
    lap_whole_arms_release(&p.whole);
    lap_whole_arms_release(&p.planned);
  }
  for (size_t i = 0; i < p.count; ++i) free(p.pairs[i].problem);
  free(p.comparisons);
  free(p.pairs);
  return code;
}

/* Whether any run has what the measure is made of. */
static bool is_known(const lap_study *study, const lap_measure *measure, size_t set) {
  for (size_t i = 0; i < study->arm_count * study->seed_count; ++i)
    if (lap_measure_is_in(study, measure, set, i / study->seed_count, i % study->seed_count))
      return true;
  return false;
}

static bool has_measure(const json_t *list, const char *name) {
  return lap_json_find(list, "measure", name, NULL) != NULL;
}

/* Adds the measure where runs can tell it; the endpoint in any case. */
static lap_code add_measure(const lap_study *study, const lap_measure *measure, size_t set,
                            bool is_primary, json_t *list, lap_status *status) {
  if (!measure || has_measure(list, measure->name) ||
      !lap_measure_fits(measure, lap_study_set_kind(study, set)))
    return LAP_OK;
  if (!is_primary && !is_known(study, measure, set)) return LAP_OK;
  json_t *object = NULL;
  LAP_TRY(measure_set(study, measure, set, is_primary, &object, status));
  json_array_append_new(list, object);
  return LAP_OK;
}

/* The primary measure, then those of the plan, then those of the kind of the set. */
static lap_code set_measures(const lap_study *study, size_t set, bool is_endpoint, json_t *list,
                             lap_status *status) {
  const char *primary = lap_json_text(json_object_get(study->plan, "endpoint"), "measure");
  const json_t *named = json_object_get(study->plan, "measures");
  const lap_measure *measure = lap_measure_find(primary);
  LAP_TRY(add_measure(study, measure, set, is_endpoint, list, status));
  for (size_t i = 0; i < json_array_size(named); ++i) {
    const char *name = json_string_value(json_array_get(named, i));
    LAP_TRY(add_measure(study, name ? lap_measure_find(name) : NULL, set, false, list, status));
  }
  const char *kind = lap_study_set_kind(study, set);
  for (size_t i = 0; (measure = lap_measure_of_kind(kind, i)); ++i)
    LAP_TRY(add_measure(study, measure, set, false, list, status));
  return LAP_OK;
}

/* Loss by the length of the context, a measure a bucket. */
static lap_code positions(const lap_study *study, size_t set, json_t *list, lap_status *status) {
  const json_t *rows = NULL;
  for (size_t i = 0; i < study->arm_count * study->seed_count && !rows; ++i) {
    const json_t *run = lap_study_run(study, i / study->seed_count, i % study->seed_count);
    const json_t *eval =
        json_object_get(json_object_get(run, "eval"), lap_study_set_name(study, set));
    rows = json_object_get(eval, "by_position");
  }
  for (size_t i = 0; i < json_array_size(rows); ++i) {
    const json_t *row = json_array_get(rows, i);
    const int64_t from = lap_json_integer(row, "context_from"),
                  to = lap_json_integer(row, "context_to");
    char name[64], title[96];
    snprintf(name, sizeof name, "loss_from_%" PRId64, from);
    snprintf(title, sizeof title, "loss in contexts of %" PRId64 " to %" PRId64 " tokens", from,
             to);
    const lap_measure measure = {.name = name,
                                 .title = title,
                                 .unit = "nats/token",
                                 .key = "loss",
                                 .by_position = true,
                                 .bucket = i};
    json_t *object = NULL;
    LAP_TRY(measure_set(study, &measure, set, false, &object, status));
    json_object_set_new(object, "context", json_pack("[I, I]", (json_int_t)from, (json_int_t)to));
    json_array_append_new(list, object);
  }
  return LAP_OK;
}

static lap_code set_object(const lap_study *study, size_t set, json_t *sets, lap_status *status) {
  const json_t *planned = json_array_get(json_object_get(study->plan, "sets"), set);
  const char *endpoint = lap_json_text(json_object_get(study->plan, "endpoint"), "set");
  const char *name = lap_study_set_name(study, set);
  const lap_run_losses *losses = lap_study_any_losses(study, set);
  const size_t clusters = lap_study_clusters(study, set);
  json_t *measures = json_array(), *by_position = json_array();
  json_t *object = json_pack(
      "{s:s, s:s, s:b, s:I, s:I, s:s, s:o, s:s?, s:o, s:o}", "name", name, "kind",
      *lap_study_set_kind(study, set) ? lap_study_set_kind(study, set) : "tokens", "primary",
      strcmp(endpoint, name) == 0, "documents",
      losses ? (json_int_t)losses->documents : (json_int_t)lap_json_integer(planned, "documents"),
      "tokens", (json_int_t)lap_json_integer(planned, "tokens_count"), "cluster",
      lap_study_cluster(study, set), "clusters",
      clusters ? json_integer((json_int_t)clusters) : json_null(), "tokens_sha256",
      losses ? losses->tokens_sha256 : NULL, "measures", measures, "by_position", by_position);
  json_array_append_new(sets, object);
  LAP_TRY(set_measures(study, set, strcmp(endpoint, name) == 0, measures, status));
  return positions(study, set, by_position, status);
}

static lap_code check_endpoint(const lap_study *study, lap_status *status) {
  const json_t *endpoint = json_object_get(study->plan, "endpoint");
  const char *set = lap_json_text(endpoint, "set"), *measure = lap_json_text(endpoint, "measure");
  if (!lap_json_find(json_object_get(study->plan, "sets"), "name", set, NULL))
    return lap_fail(status, LAP_DATA, "%s/%s: endpoint.set is \"%s\"; no set is called so",
                    study->directory, study->plan_name, set);
  const lap_measure *found = lap_measure_find(measure);
  size_t place = 0;
  lap_json_find(json_object_get(study->plan, "sets"), "name", set, &place);
  if (!found || found->key || !lap_measure_fits(found, lap_study_set_kind(study, place)))
    return lap_fail(status, LAP_DATA,
                    "%s/%s: endpoint.measure is \"%s\"; expected one by document or item that %s "
                    "has, of %s",
                    study->directory, study->plan_name, measure, set, lap_measure_names());
  return LAP_OK;
}

lap_code lap_study_sets(const lap_study *study, json_t **sets, lap_status *status) {
  *sets = NULL;
  LAP_TRY(check_endpoint(study, status));
  *sets = json_array();
  lap_code code = LAP_OK;
  for (size_t set = 0; set < study->set_count && code == LAP_OK; ++set)
    code = set_object(study, set, *sets, status);
  if (code == LAP_OK) return LAP_OK;
  json_decref(*sets);
  *sets = NULL;
  return code;
}
