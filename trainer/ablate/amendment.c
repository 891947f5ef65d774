#include "trainer/ablate/amendment.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const char *text_of(const json_t *object, const char *key) {
  const char *text = json_string_value(json_object_get(object, key));
  return text ? text : "";
}

static const json_t *find_arm(const json_t *plan, const char *name) {
  size_t i;
  json_t *arm;
  json_array_foreach(json_object_get(plan, "arms"), i, arm) {
    if (!strcmp(text_of(arm, "name"), name)) return arm;
  }
  return NULL;
}

static bool same(const json_t *one, const json_t *other, const char *key) {
  const json_t *a = json_object_get(one, key), *b = json_object_get(other, key);
  return a == b || json_equal(a, b);
}

/* Older plans do not say it. */
static bool learns_from_the_same(const json_t *older, const json_t *newer) {
  return !json_object_get(older, "learns_from") || same(older, newer, "learns_from");
}

/* What an arm trains: whichever seeds it has. */
static bool same_arm(const json_t *older, const json_t *newer) {
  return same(older, newer, "changes") && same(older, newer, "config_sha256") &&
         same(older, newer, "token_multiple") && same(older, newer, "teacher") &&
         same(older, newer, "texts") && learns_from_the_same(older, newer);
}

static bool has_pair(const json_t *plan, const json_t *pair) {
  size_t i;
  json_t *other;
  json_array_foreach(json_object_get(plan, "compare"), i, other) {
    if (same(pair, other, "arm") && same(pair, other, "baseline")) return true;
  }
  return false;
}

static bool has_seed(const json_t *plan, const json_t *seed) {
  size_t i;
  json_t *other;
  json_array_foreach(json_object_get(plan, "seeds"), i, other) {
    if (json_equal(seed, other)) return true;
  }
  return false;
}

/* --- differences --- */

typedef struct {
  FILE *change;
  size_t count; /* of changes so far */
  json_t *arms, *seeds, *compare;
} difference;

static void say(difference *d, const char *what, const char *name) {
  fprintf(d->change, "%s%s%s%s", d->count++ ? "; " : "", what, *name ? " " : "", name);
}

static void differ_in_arms(difference *d, const json_t *older, const json_t *newer) {
  size_t i;
  json_t *arm;
  json_array_foreach(json_object_get(newer, "arms"), i, arm) {
    const char *name = text_of(arm, "name");
    const json_t *before = find_arm(older, name);
    if (before && same_arm(before, arm)) continue;
    say(d, before ? "arm changed:" : "arm added:", name);
    json_array_append_new(d->arms, json_string(name));
  }
  json_array_foreach(json_object_get(older, "arms"), i, arm) {
    if (!find_arm(newer, text_of(arm, "name"))) say(d, "arm removed:", text_of(arm, "name"));
  }
}

static void differ_in_seeds(difference *d, const json_t *older, const json_t *newer) {
  size_t i;
  json_t *seed;
  char text[32];
  json_array_foreach(json_object_get(newer, "seeds"), i, seed) {
    if (has_seed(older, seed)) continue;
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(seed));
    say(d, "seed added:", text);
    json_array_append(d->seeds, seed);
  }
  json_array_foreach(json_object_get(older, "seeds"), i, seed) {
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(seed));
    if (!has_seed(newer, seed)) say(d, "seed removed:", text);
  }
}

static void say_pair(difference *d, const char *what, const json_t *pair) {
  char *text = lap_format("%s - %s", text_of(pair, "arm"), text_of(pair, "baseline"));
  say(d, what, text);
  free(text);
}

static void differ_in_pairs(difference *d, const json_t *older, const json_t *newer) {
  size_t i;
  json_t *pair;
  json_array_foreach(json_object_get(newer, "compare"), i, pair) {
    if (has_pair(older, pair)) continue;
    say_pair(d, "comparison added:", pair);
    json_array_append_new(d->compare, json_pack("{s:s, s:s}", "arm", text_of(pair, "arm"),
                                                "baseline", text_of(pair, "baseline")));
  }
  json_array_foreach(json_object_get(older, "compare"), i, pair) {
    if (!has_pair(newer, pair)) say_pair(d, "comparison removed:", pair);
  }
}

/* What one rule of the plan decides for all comparisons. */
static const char *const rules[] = {"endpoint", "margin",  "confidence", "sets",
                                    "tune",     "teacher", "judge",      "inputs_sha256"};

/* What the plan says of the teacher that judges; NULL: nobody does, or the suite's own. */
static const json_t *judge_of(const json_t *plan) {
  size_t i;
  json_t *set, *teacher;
  const char *name = "";
  json_array_foreach(json_object_get(plan, "sets"), i, set) {
    if (json_object_get(set, "judge")) name = text_of(set, "judge");
  }
  json_array_foreach(json_object_get(plan, "teachers"), i, teacher) {
    if (!strcmp(text_of(teacher, "name"), name)) return teacher;
  }
  return NULL;
}

static bool same_judge(const json_t *older, const json_t *newer) {
  const json_t *a = judge_of(older), *b = judge_of(newer);
  return a == b || json_equal(a, b);
}

/* Older plans do not say what was given. */
static bool same_rule(const json_t *older, const json_t *newer, const char *rule) {
  if (!strcmp(rule, "judge")) return same_judge(older, newer);
  return same(older, newer, rule) ||
         (!strcmp(rule, "inputs_sha256") && !json_object_get(older, rule));
}

/* What says nothing of a comparison that stays. Of what runs share, each arm says what it learns
 * from. */
static const char *const others[] = {"name", "measures", "minimum_detectable_effect", "break_even",
                                     "shared"};

json_t *lap_amendment_between(const json_t *older, const json_t *newer) {
  char *text = NULL;
  size_t size = 0;
  difference d = {.change = lap_open_text(&text, &size),
                  .arms = json_array(),
                  .seeds = json_array(),
                  .compare = json_array()};
  differ_in_arms(&d, older, newer);
  differ_in_seeds(&d, older, newer);
  differ_in_pairs(&d, older, newer);
  for (size_t i = 0; i < sizeof rules / sizeof *rules; ++i)
    if (!same_rule(older, newer, rules[i])) say(&d, "changed:", rules[i]);
  for (size_t i = 0; i < sizeof others / sizeof *others; ++i)
    if (!same(older, newer, others[i])) say(&d, "changed:", others[i]);
  lap_close_text(d.change, &text);
  json_t *object = json_pack("{s:s, s:o, s:o, s:o}", "change", text, "arms", d.arms, "seeds",
                             d.seeds, "compare", d.compare);
  free(text);
  if (d.count > 0) return object;
  json_decref(object);
  return NULL;
}

/* --- marks --- */

static void mark_runs(const json_t *first, const json_t *arm) {
  size_t i;
  json_t *run;
  json_array_foreach(json_object_get(arm, "runs"), i, run) {
    if (!has_seed(first, json_object_get(run, "seed")))
      json_object_set_new(run, "exploratory", json_true());
  }
}

static bool is_exploratory(const json_t *plan, const char *arm) {
  return json_is_true(json_object_get(find_arm(plan, arm), "exploratory"));
}

static bool same_rules(const json_t *first, const json_t *plan) {
  for (size_t i = 0; i < sizeof rules / sizeof *rules; ++i)
    if (!same_rule(first, plan, rules[i])) return false;
  return true;
}

/* With seeds more or fewer, once verdicts are seen, one could go on until they please. */
static bool same_seeds(const json_t *first, const json_t *plan) {
  size_t i;
  json_t *seed;
  const json_t *planned = json_object_get(first, "seeds");
  if (json_array_size(planned) != json_array_size(json_object_get(plan, "seeds"))) return false;
  json_array_foreach(planned, i, seed) {
    if (!has_seed(plan, seed)) return false;
  }
  return true;
}

static bool pair_is_as_planned(const json_t *first, const json_t *plan, const json_t *pair) {
  return has_pair(first, pair) && !is_exploratory(plan, text_of(pair, "arm")) &&
         !is_exploratory(plan, text_of(pair, "baseline"));
}

/* Planned comparisons are judged as one family, by a variance that is pooled over the planned arms:
 * without one of these the rest would be judged otherwise than was promised. */
static bool same_family(const json_t *first, const json_t *plan) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(first, "compare"), i, item) {
    if (!has_pair(plan, item)) return false;
  }
  json_array_foreach(json_object_get(first, "arms"), i, item) {
    const char *name = text_of(item, "name");
    if (!find_arm(plan, name) || is_exploratory(plan, name)) return false;
  }
  return true;
}

void lap_amendment_mark(const json_t *first, json_t *plan) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(plan, "arms"), i, item) {
    const json_t *before = find_arm(first, text_of(item, "name"));
    if (!before || !same_arm(before, item)) json_object_set_new(item, "exploratory", json_true());
    mark_runs(first, item);
  }
  const bool as_planned =
      same_rules(first, plan) && same_seeds(first, plan) && same_family(first, plan);
  json_array_foreach(json_object_get(plan, "compare"), i, item) {
    if (!as_planned || !pair_is_as_planned(first, plan, item))
      json_object_set_new(item, "exploratory", json_true());
  }
}
