#include "trainer/report/page_records.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/page_parts.h"
#include "trainer/report/svg.h"

static void difference_cell(FILE *out, const json_t *arm) {
  json_t *difference = json_object_get(arm, "difference"), *value;
  const char *key;
  bool any = false;
  fputs("<td>", out);
  json_object_foreach(difference, key, value) {
    const char *before = json_string_value(json_array_get(value, 0));
    const char *own = json_string_value(json_array_get(value, 1));
    fprintf(out, "%s<code>", any ? "<br>" : "");
    lap_svg_escape(out, key);
    fputs(": ", out);
    lap_svg_escape(out, own ? own : "not there");
    fputs("</code> <span class=\"note\">instead of ", out);
    lap_svg_escape(out, before ? before : "nothing");
    fputs("</span>", out);
    any = true;
  }
  if (!any) fprintf(out, "%s", json_is_object(difference) ? "\xE2\x80\x93" : "not known yet");
  fputs("</td>", out);
}

void lap_page_configurations(FILE *out, const json_t *report) {
  static const char *const headers[] = {
      "arm", "#tokens", "#FLOPs", "#core hours", "#training loss", "differs from", "in"};
  const json_t *arms = json_object_get(report, "arms");
  fputs(
      "<h2>Arms</h2>\n<p class=\"note\">Means over seeds; FLOPs of training, forward and "
      "backward, as <code>lapidary plan</code> counts them. The difference is that of the whole "
      "resolved configs, without paths and seeds.</p>\n",
      out);
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i);
    char at[40], text[LAP_CELL];
    snprintf(at, sizeof at, "/arms/%zu", i);
    fputs("<tr>", out);
    lap_page_arm(out, report, lap_json_text(arm, "name"));
    lap_page_text(out, "n", lap_cell_count(lap_json_real(arm, "tokens"), text));
    lap_page_text(out, "n", lap_cell_count(lap_json_real(arm, "flops"), text));
    lap_page_text(out, "n", lap_cell_hours(lap_json_real(arm, "hours_cpu"), text));
    lap_page_number(out, arm, "train_loss", at);
    lap_page_text(out, "", lap_json_text(arm, "difference_from"));
    difference_cell(out, arm);
    fputs("</tr>\n", out);
  }
  lap_page_table_end(out);
}

static void run_row(FILE *out, const json_t *report, const json_t *arm, const json_t *run,
                    const char *place) {
  char text[LAP_CELL];
  const char *state = lap_json_text(run, "status");
  fputs("<tr>", out);
  lap_page_arm(out, report, lap_json_text(arm, "name"));
  snprintf(text, sizeof text, "%" PRId64, lap_json_integer(run, "seed"));
  lap_page_text(out, "n", json_object_get(run, "seed") ? text : "\xE2\x80\x93");
  lap_page_text(out, strcmp(state, "done") == 0 ? "" : "alarm", state);
  snprintf(text, sizeof text, "%" PRId64, lap_json_integer(run, "steps"));
  lap_page_text(out, "n", text);
  lap_page_number(out, run, "train_loss", place);
  lap_page_number(out, run, "eval_loss", place);
  lap_page_text(out, "n", lap_cell_hours(lap_json_real(run, "hours_cpu"), text));
  snprintf(text, sizeof text, "%" PRId64 " \xC3\x97 %" PRId64, lap_json_integer(run, "ranks"),
           lap_json_integer(run, "threads"));
  lap_page_text(out, "n", json_object_get(run, "ranks") ? text : "\xE2\x80\x93");
  fprintf(out, "<td><code title=\"%s\">%.12s</code></td>", lap_json_text(run, "state_sha256"),
          lap_json_text(run, "state_sha256"));
  fprintf(out, "<td><code title=\"%s\">%.12s</code></td></tr>\n",
          lap_json_text(run, "numbers_sha256"), lap_json_text(run, "numbers_sha256"));
}

void lap_page_runs(FILE *out, const json_t *report) {
  static const char *const headers[] = {"arm",
                                        "#seed",
                                        "status",
                                        "#steps",
                                        "#training loss",
                                        "#held-out",
                                        "#core hours",
                                        "#ranks \xC3\x97 threads",
                                        "state_sha256",
                                        "numbers_sha256"};
  const json_t *arms = json_object_get(report, "arms");
  fputs("<h2>Runs</h2>\n", out);
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i), *runs = json_object_get(arm, "runs");
    for (size_t r = 0; r < json_array_size(runs); ++r) {
      char at[60];
      snprintf(at, sizeof at, "/arms/%zu/runs/%zu", i, r);
      run_row(out, report, arm, json_array_get(runs, r), at);
    }
  }
  lap_page_table_end(out);
}

/* --- variances --- */

static void error_cell(FILE *out, const json_t *object, const char *key) {
  char text[LAP_CELL];
  const double variance = lap_json_real(object, key);
  lap_page_text(out, "n", lap_cell_number(sqrt(variance), text));
}

static void df_cell(FILE *out, const json_t *object, const char *key) {
  char text[LAP_CELL];
  snprintf(text, sizeof text, "%.1f", lap_json_real(object, key));
  lap_page_text(out, "n", isnan(lap_json_real(object, key)) ? "\xE2\x80\x93" : text);
}

static void workings_of(FILE *out, const json_t *measure, const char *place) {
  static const char *const headers[] = {
      "arm minus baseline", "#SE",         "#SE, seeds",
      "#SE, documents",     "#SE, both",   "#df",
      "#df, Satterthwaite", "seeds alone", "these two arms alone"};
  const json_t *comparisons = json_object_get(measure, "comparisons");
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    const json_t *one = json_array_get(comparisons, i);
    char at[120], name[200];
    if (!json_object_get(one, "estimate")) continue;
    snprintf(at, sizeof at, "%s/comparisons/%zu", place, i);
    snprintf(name, sizeof name, "%.90s minus %.90s", lap_json_text(one, "arm"),
             lap_json_text(one, "baseline"));
    fputs("<tr>", out);
    lap_page_text(out, "", name);
    lap_page_number(out, one, "standard_error", at);
    error_cell(out, one, "seed_variance");
    error_cell(out, one, "document_variance");
    error_cell(out, one, "interaction_variance");
    df_cell(out, one, "degrees_of_freedom");
    df_cell(out, one, "satterthwaite_degrees_of_freedom");
    lap_page_interval(out, one, "seeds_interval", at);
    lap_page_interval(out, one, "pairwise_interval", at);
    fputs("</tr>\n", out);
  }
  lap_page_table_end(out);
}

void lap_page_workings(FILE *out, const json_t *report) {
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i);
    const json_t *measure = json_array_get(json_object_get(set, "measures"), 0);
    char at[80];
    if (!lap_json_flag(measure, "primary") ||
        json_array_size(json_object_get(measure, "comparisons")) == 0)
      continue;
    snprintf(at, sizeof at, "/sets/%zu/measures/0", i);
    fputs(
        "<h3>Where the error comes from</h3>\n<p class=\"note\">Variance = seeds + max(0, "
        "documents \xE2\x88\x92 both): what one run makes of one document is in both and is taken "
        "out once. With three arms or more the variance over seeds is pooled over the residuals "
        "of all arms; the last column does without.</p>\n",
        out);
    workings_of(out, measure, at);
  }
}

/* --- hashes --- */

static void fact(FILE *out, const char *name, const char *text) {
  if (!*text) return;
  fprintf(out, "<dt>%s</dt><dd><code>", name);
  lap_svg_escape(out, text);
  fputs("</code></dd>\n", out);
}

static void versions(FILE *out, const json_t *report) {
  const json_t *arm = json_array_get(json_object_get(report, "arms"), 0);
  const json_t *run = json_array_get(json_object_get(arm, "runs"), 0);
  json_t *value;
  const char *key;
  if (!json_is_object(json_object_get(run, "versions"))) return;
  fputs("<dt>libraries</dt><dd>", out);
  bool any = false;
  json_object_foreach(json_object_get(run, "versions"), key, value) {
    fprintf(out, "%s", any ? ", " : "");
    lap_svg_escape(out, key);
    fputc(' ', out);
    lap_svg_escape(out, json_is_string(value) ? json_string_value(value) : "?");
    any = true;
  }
  fputs("</dd>\n", out);
}

static void amendments(FILE *out, const json_t *report) {
  const json_t *list = json_object_get(report, "amendments");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *one = json_array_get(list, i);
    fputs("<dt>amended</dt><dd>", out);
    lap_svg_escape(out, lap_json_text(one, "date"));
    fputs(": ", out);
    lap_svg_escape(out, lap_json_text(one, "change"));
    fputs(" (what it adds is exploratory)</dd>\n", out);
  }
}

static void shared(FILE *out, const json_t *report) {
  const json_t *list = json_object_get(report, "shared");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *one = json_array_get(list, i);
    char hours[LAP_CELL];
    fputs("<dt>", out);
    lap_svg_escape(out, lap_json_text(one, "kind"));
    fputs("</dt><dd><code>", out);
    lap_svg_escape(out, lap_json_text(one, "directory"));
    fprintf(out, "</code>, %s core hours</dd>\n",
            lap_cell_hours(lap_json_real(one, "hours_cpu"), hours));
  }
}

void lap_page_provenance(FILE *out, const json_t *report) {
  fputs("<h2>Versions and hashes</h2>\n<dl>\n", out);
  fact(out, "plan.json, SHA-256", lap_json_text(report, "plan_sha256"));
  fact(out, "planned", lap_json_text(report, "created"));
  fact(out, "suite, SHA-256", lap_json_text(report, "suite_sha256"));
  fact(out, "lapidary", lap_json_text(report, "lapidary"));
  fact(out, "commit", lap_json_text(report, "git"));
  versions(out, report);
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i)
    fact(out, lap_json_text(json_array_get(sets, i), "name"),
         lap_json_text(json_array_get(sets, i), "tokens_sha256"));
  shared(out, report);
  amendments(out, report);
  fputs("</dl>\n", out);
}
