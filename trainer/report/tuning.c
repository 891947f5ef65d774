#include "trainer/report/tuning.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/page_parts.h"
#include "trainer/report/pictures.h"
#include "trainer/report/shared_rate.h"

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

/* {KEY: number} of "KEY=VALUE,...". */
static json_t *values_of(const char *point) {
  json_t *values = json_object();
  char *copy = lap_copy_string(point), *rest = copy;
  for (char *part; (part = strsep(&rest, ","));) {
    char *equals = strchr(part, '=');
    if (!equals) continue;
    *equals = '\0';
    json_object_set_new(values, part, lap_json_number(strtod(equals + 1, NULL)));
  }
  free(copy);
  return values;
}

/* How many times the arm's own value each is, in six digits; null where that is not known. */
static json_t *factors_of(const json_t *values, const json_t *chosen, const char *arm) {
  const json_t *own = json_object_get(json_object_get(chosen, arm), "own");
  json_t *factors = json_object(), *value;
  const char *key;
  json_object_foreach((json_t *)values, key, value) {
    char text[32];
    snprintf(text, sizeof text, "%.6g", json_number_value(value) / lap_json_real(own, key));
    json_object_set_new(factors, key, lap_json_number(strtod(text, NULL)));
  }
  return factors;
}

static lap_code add_point(const char *directory, const char *arm, const char *point,
                          const json_t *chosen, json_t *tuning, lap_status *status) {
  struct dirent **seeds = NULL;
  const int count = scandir(directory, &seeds, is_seed, order);
  json_t *by_seed = json_array(), *numbers = json_array(), *values = values_of(point);
  double sum = 0;
  lap_code code = LAP_OK;
  for (int i = 0; i < count && code == LAP_OK; ++i) {
    json_t *eval;
    char *name = lap_format("%s/eval/dev.json", seeds[i]->d_name);
    code = lap_json_file_read(directory, name, false, &eval, status);
    const double loss = lap_json_real(eval, "loss");
    json_array_append_new(by_seed, lap_json_number(loss));
    json_array_append_new(numbers, json_integer(strtoll(seeds[i]->d_name + 5, NULL, 10)));
    sum += loss;
    json_decref(eval);
    free(name);
  }
  release(seeds, count);
  json_array_append_new(
      tuning,
      json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b}", "arm", arm, "point", point, "values",
                values, "factors", factors_of(values, chosen, arm), "seeds", numbers, "by_seed",
                by_seed, "loss", lap_json_number(count > 0 ? sum / count : NAN), "chosen",
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

/* --- as tables --- */

void lap_report_write_tuning(const json_t *report, FILE *out) {
  const json_t *tuning = json_object_get(report, "tuning");
  fprintf(out, "arm,key,value,factor,point,seed,loss,chosen\n");
  for (size_t i = 0; i < json_array_size(tuning); ++i) {
    const json_t *point = json_array_get(tuning, i), *seeds = json_object_get(point, "seeds");
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(point, "values"), key, value) {
      for (size_t s = 0; s < json_array_size(seeds); ++s) {
        const json_t *loss = json_array_get(json_object_get(point, "by_seed"), s);
        char numbers[3][LAP_NUMBER_TEXT] = {"", "", ""};
        const double factor = lap_json_real(json_object_get(point, "factors"), key);
        lap_number_print_real(json_number_value(value), numbers[0]);
        if (!isnan(factor)) lap_number_print_real(factor, numbers[1]);
        if (json_is_number(loss)) lap_number_print_real(json_number_value(loss), numbers[2]);
        lap_csv_name(out, lap_json_text(point, "arm"));
        fprintf(out, ",%s,%s,%s,\"%s\",%" JSON_INTEGER_FORMAT ",%s,%d\n", key, numbers[0],
                numbers[1], lap_json_text(point, "point"),
                json_integer_value(json_array_get(seeds, s)), numbers[2],
                (int)lap_json_flag(point, "chosen"));
      }
    }
  }
}

void lap_page_tuning(FILE *out, const json_t *report) {
  static const char *const headers[] = {"arm", "tried", "#loss on dev", "by seed", ""};
  const json_t *tuning = json_object_get(report, "tuning");
  if (json_array_size(tuning) == 0) return;
  fputs(
      "<h2>Tuning</h2>\n<p class=\"note\">On dev, with seeds of its own, the same grid for every "
      "arm.</p>\n<div class=\"pictures\">\n",
      out);
  for (size_t k = 0; lap_tuning_key(report, k); ++k) {
    fputs("<figure>", out);
    lap_picture_tuning(report, lap_tuning_key(report, k), false, out);
    fputs(
        "<figcaption>A line an arm: the mean over seeds, a dot a seed; the ring is what was "
        "chosen. Where several keys were tuned, the best over the others.</figcaption>"
        "</figure>\n",
        out);
  }
  fputs("</div>\n", out);
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
  lap_page_shared_rate(out, report);
}
