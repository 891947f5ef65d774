#include "trainer/report/shared_rate.h"

#include <stdlib.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/report/comparisons.h"
#include "trainer/report/json_file.h"
#include "trainer/report/page_parts.h"
#include "trainer/report/svg.h"

/* --- the study of these runs --- */

/* The arm with its runs at the shared point; NULL where it is not compared. A new reference. */
static json_t *arm_there(const json_t *arm, const json_t *places) {
  const json_t *place = json_object_get(places, lap_json_text(arm, "name"));
  if (!place) return NULL;
  json_t *moved = json_deep_copy(arm), *run;
  size_t i;
  json_array_foreach(json_object_get(moved, "runs"), i, run) {
    char *directory = lap_format("%s/seed-%" JSON_INTEGER_FORMAT, lap_json_text(place, "runs"),
                                 json_integer_value(json_object_get(run, "seed")));
    json_object_set_new(run, "directory", lap_json_path(directory));
    free(directory);
  }
  return moved;
}

static json_t *plan_there(const lap_study *study, const json_t *places) {
  json_t *plan = json_copy(study->plan), *arms = json_array(), *compare = json_array(), *item;
  size_t i;
  json_array_foreach(json_object_get(study->plan, "arms"), i, item) {
    json_t *moved = arm_there(item, places);
    if (moved) json_array_append_new(arms, moved);
  }
  json_array_foreach(json_object_get(study->plan, "compare"), i, item) {
    if (json_object_get(places, lap_json_text(item, "arm")) &&
        json_object_get(places, lap_json_text(item, "baseline")))
      json_array_append(compare, item);
  }
  json_object_set_new(plan, "arms", arms);
  json_object_set_new(plan, "compare", compare);
  return plan;
}

/* The endpoint of a study, without what decides. A new reference; NULL: there is none. */
static json_t *describe_endpoint(const json_t *sets, const char *name) {
  const json_t *set = lap_json_find(sets, "name", name, NULL);
  json_t *measure = json_deep_copy(json_array_get(json_object_get(set, "measures"), 0)), *one;
  static const char *const decides[] = {"p", "adjusted_p", "equivalence_p",
                                        "adjusted_equivalence_p", "verdict"};
  size_t i;
  if (!measure) return NULL;
  json_object_set_new(measure, "primary", json_false());
  json_array_foreach(json_object_get(measure, "comparisons"), i, one) {
    for (size_t d = 0; d < sizeof decides / sizeof *decides; ++d) json_object_del(one, decides[d]);
  }
  return measure;
}

static lap_code measure_there(const lap_study *study, const json_t *places, const char *set,
                              json_t **measure, lap_status *status) {
  lap_study *there;
  json_t *sets;
  *measure = NULL;
  LAP_TRY(lap_study_open_plan(study, plan_there(study, places), &there, status));
  const lap_code code = lap_study_sets(there, &sets, status);
  if (code == LAP_OK) *measure = describe_endpoint(sets, set);
  json_decref(sets);
  lap_study_close(there);
  return code;
}

lap_code lap_study_shared_rate(const lap_study *study, json_t **object, lap_status *status) {
  json_t *file, *measure = NULL, *place;
  const char *set = lap_json_text(json_object_get(study->plan, "endpoint"), "set"), *arm;
  *object = NULL;
  LAP_TRY(lap_json_file_read(study->directory, "tune/shared.json", false, &file, status));
  json_t *places = json_object_get(file, "arms");
  lap_code code = LAP_OK;
  if (json_object_size(places) > 0) code = measure_there(study, places, set, &measure, status);
  if (code == LAP_OK && measure) {
    json_t *changes = json_object(), *runs = json_object();
    json_object_foreach(places, arm, place) {
      json_object_set(changes, arm, json_object_get(place, "changes"));
      json_object_set_new(runs, arm, json_string(lap_json_text(place, "runs")));
    }
    *object =
        json_pack("{s:O?, s:O?, s:s, s:o, s:o, s:o}", "factors", json_object_get(file, "factors"),
                  "mean_dev_loss", json_object_get(file, "mean_dev_loss"), "set", set, "changes",
                  changes, "runs", runs, "measure", measure);
  } else if (code == LAP_OK) {
    *object = json_null();
  }
  json_decref(file);
  return code;
}

/* --- on the page --- */

char *lap_shared_rate_name(const json_t *shared_rate) {
  char *name = lap_copy_string("");
  const char *key;
  json_t *factor;
  json_object_foreach(json_object_get(shared_rate, "factors"), key, factor) {
    char *longer =
        lap_format("%s%s%s \xC3\x97 %.6g", name, *name ? ", " : "", key, json_number_value(factor));
    free(name);
    name = longer;
  }
  return name;
}

void lap_page_shared_rate(FILE *out, const json_t *report) {
  const json_t *shared = json_object_get(report, "shared_rate");
  const json_t *measure = json_object_get(shared, "measure");
  if (!json_is_object(shared)) return;
  char *name = lap_shared_rate_name(shared);
  fprintf(out, "<h3>All arms at one setting: %s on ", lap_json_text(measure, "title"));
  lap_svg_escape(out, lap_json_text(shared, "set"));
  fputs(
      "</h3>\n<p class=\"note\">Descriptive: the verdicts above are of each arm at its own best. "
      "Here all have <code>",
      out);
  lap_svg_escape(out, name);
  fputs("</code>, whose loss on dev is lowest in the mean over the compared arms.</p>\n", out);
  lap_page_comparisons(out, report, measure, "/shared_rate/measure");
  lap_page_arms(out, report, measure, "/shared_rate/measure");
  free(name);
}
