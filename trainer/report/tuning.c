#include "trainer/report/tuning.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/page_parts.h"

/* --- directories --- */

/* The value of the first key of "KEY=VALUE,...", so that 0.008 comes after 0.0016. */
static double first_value(const char *name) {
  const char *equals = strchr(name, '=');
  return equals ? strtod(equals + 1, NULL) : NAN;
}

/* For scandir: by value, else by name; seed-10 after seed-9. */
static int order(const struct dirent **a, const struct dirent **b) {
  const double x = first_value((*a)->d_name), y = first_value((*b)->d_name);
  return x < y ? -1 : x > y ? 1 : strverscmp((*a)->d_name, (*b)->d_name);
}

static int is_point(const struct dirent *entry) { return strchr(entry->d_name, '=') != NULL; }
static int is_seed(const struct dirent *entry) { return strncmp(entry->d_name, "seed-", 5) == 0; }

static void release(struct dirent **entries, int count) {
  for (int i = 0; i < count; ++i) free(entries[i]);
  if (count >= 0) free(entries);
}

/* --- a point --- */

static bool is_chosen(const json_t *chosen, const char *arm, const char *point) {
  const json_t *changes = json_object_get(json_object_get(chosen, arm), "changes");
  char *whole = lap_copy_string("");
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)changes, key, value) {
    const char *text = json_string_value(value);
    char *longer = lap_format("%s%s%s=%s", whole, *whole ? "," : "", key, text ? text : "");
    free(whole);
    whole = longer;
  }
  const bool same = strcmp(whole, point) == 0;
  free(whole);
  return same;
}

static lap_code add_point(const char *directory, const char *arm, const char *point,
                          const json_t *chosen, json_t *tuning, lap_status *status) {
  struct dirent **seeds = NULL;
  const int count = scandir(directory, &seeds, is_seed, order);
  json_t *by_seed = json_array();
  double sum = 0;
  lap_code code = LAP_OK;
  for (int i = 0; i < count && code == LAP_OK; ++i) {
    json_t *eval;
    char *name = lap_format("%s/eval/dev.json", seeds[i]->d_name);
    code = lap_json_file_read(directory, name, false, &eval, status);
    const double loss = lap_json_real(eval, "loss");
    json_array_append_new(by_seed, lap_json_number(loss));
    sum += loss;
    json_decref(eval);
    free(name);
  }
  release(seeds, count);
  json_array_append_new(
      tuning, json_pack("{s:s, s:s, s:o, s:o, s:b}", "arm", arm, "point", point, "by_seed", by_seed,
                        "loss", lap_json_number(count > 0 ? sum / count : NAN), "chosen",
                        is_chosen(chosen, arm, point)));
  return code;
}

static lap_code add_arm(const lap_study *study, const char *arm, const json_t *chosen,
                        json_t *tuning, lap_status *status) {
  char *directory = lap_format("%s/tune/%s", study->directory, arm);
  struct dirent **points = NULL;
  const int count = scandir(directory, &points, is_point, order);
  lap_code code = LAP_OK;
  for (int i = 0; i < count && code == LAP_OK; ++i) {
    char *point = lap_format("%s/%s", directory, points[i]->d_name);
    code = add_point(point, arm, points[i]->d_name, chosen, tuning, status);
    free(point);
  }
  release(points, count);
  free(directory);
  return code;
}

lap_code lap_study_tuning(const lap_study *study, json_t **tuning, lap_status *status) {
  json_t *chosen;
  *tuning = NULL;
  LAP_TRY(lap_json_file_read(study->directory, "tune/chosen.json", false, &chosen, status));
  *tuning = json_array();
  lap_code code = LAP_OK;
  for (size_t arm = 0; arm < study->arm_count && code == LAP_OK; ++arm)
    code = add_arm(study, lap_study_arm_name(study, arm), chosen, *tuning, status);
  json_decref(chosen);
  if (code == LAP_OK) return LAP_OK;
  json_decref(*tuning);
  *tuning = NULL;
  return code;
}

/* --- on the page --- */

void lap_page_tuning(FILE *out, const json_t *report) {
  static const char *const headers[] = {"arm", "tried", "#loss on dev", "by seed", ""};
  const json_t *tuning = json_object_get(report, "tuning");
  if (json_array_size(tuning) == 0) return;
  fputs(
      "<h2>Tuning</h2>\n<p class=\"note\">On dev, with seeds of its own, the same grid for every "
      "arm.</p>\n",
      out);
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t i = 0; i < json_array_size(tuning); ++i) {
    const json_t *point = json_array_get(tuning, i);
    char at[40];
    snprintf(at, sizeof at, "/tuning/%zu", i);
    fputs("<tr>", out);
    lap_page_arm(out, report, lap_json_text(point, "arm"));
    lap_page_text(out, "i", lap_json_text(point, "point"));
    lap_page_number(out, point, "loss", at);
    lap_page_seeds(out, point, at);
    lap_page_text(out, "verdict", lap_json_flag(point, "chosen") ? "chosen" : "");
    fputs("</tr>\n", out);
  }
  lap_page_table_end(out);
}
