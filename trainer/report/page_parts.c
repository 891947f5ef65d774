#include "trainer/report/page_parts.h"

#include <math.h>
#include <stdbool.h>

#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/pictures.h"
#include "trainer/report/svg.h"

void lap_page_table(FILE *out, const char *const *headers, size_t count) {
  fputs("<div class=\"scroll\"><table><thead><tr>", out);
  for (size_t i = 0; i < count; ++i) {
    const bool is_number = *headers[i] == '#';
    fprintf(out, "<th%s>", is_number ? " class=\"n\"" : "");
    lap_svg_escape(out, headers[i] + is_number);
    fputs("</th>", out);
  }
  fputs("</tr></thead><tbody>\n", out);
}

void lap_page_table_end(FILE *out) { fputs("</tbody></table></div>\n", out); }

static void cell(FILE *out, const char *kind, const char *place, const char *key,
                 const char *text) {
  fprintf(out, "<td class=\"%s\" data-at=\"%s/%s\">%s</td>", kind, place, key, text);
}

void lap_page_number(FILE *out, const json_t *object, const char *key, const char *place) {
  char text[LAP_CELL];
  cell(out, "n", place, key, lap_cell_number(lap_json_real(object, key), text));
}

void lap_page_signed(FILE *out, const json_t *object, const char *key, const char *place) {
  char text[LAP_CELL];
  cell(out, "n", place, key, lap_cell_signed(lap_json_real(object, key), text));
}

/* With the signs of HTML: "< 0.0001". */
static void p_value(FILE *out, const json_t *object, const char *key, const char *place) {
  char text[LAP_CELL];
  fprintf(out, "<td class=\"n\" data-at=\"%s/%s\">", place, key);
  lap_svg_escape(out, lap_cell_p(lap_json_real(object, key), text));
  fputs("</td>", out);
}

void lap_page_seeds(FILE *out, const json_t *object, const char *place) {
  const json_t *seeds = json_object_get(object, "by_seed");
  fputs("<td class=\"i\">", out);
  for (size_t s = 0; s < json_array_size(seeds); ++s) {
    const json_t *value = json_array_get(seeds, s);
    char text[LAP_CELL];
    fprintf(out, "%s<span data-at=\"%s/by_seed/%zu\">%s</span>", s ? " &ensp;" : "", place, s,
            lap_cell_number(json_is_number(value) ? json_number_value(value) : NAN, text));
  }
  fputs("</td>", out);
}

void lap_page_interval(FILE *out, const json_t *object, const char *key, const char *place) {
  char text[LAP_CELL];
  cell(out, "i", place, key, lap_cell_interval(json_object_get(object, key), text));
}

void lap_page_arm(FILE *out, const json_t *report, const char *arm) {
  fprintf(out, "<td class=\"i\"><span class=\"key k%d\"></span>", lap_arm_color(report, arm));
  lap_svg_escape(out, arm);
  fputs("</td>", out);
}

void lap_page_text(FILE *out, const char *kind, const char *text) {
  fprintf(out, "<td class=\"%s\">", kind);
  lap_svg_escape(out, text);
  fputs("</td>", out);
}

void lap_page_arms(FILE *out, const json_t *report, const json_t *measure, const char *place) {
  static const char *const headers[] = {"arm", "#estimate", "interval", "over seeds alone",
                                        "by seed"};
  const json_t *arms = json_object_get(measure, "arms");
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i);
    char at[120];
    snprintf(at, sizeof at, "%s/arms/%zu", place, i);
    fputs("<tr>", out);
    lap_page_arm(out, report, lap_json_text(arm, "arm"));
    lap_page_number(out, arm, "estimate", at);
    lap_page_interval(out, arm, "interval", at);
    lap_page_interval(out, arm, "seeds_interval", at);
    lap_page_seeds(out, arm, at);
    fputs("</tr>\n", out);
  }
  lap_page_table_end(out);
}

static void verdict_cell(FILE *out, const json_t *comparison) {
  const char *problem = lap_json_text(comparison, "problem");
  fputs("<td class=\"verdict\">", out);
  if (*problem) {
    fputs("<span class=\"alarm\">none: ", out);
    lap_svg_escape(out, problem);
    fputs("</span>", out);
  } else {
    lap_svg_escape(out, lap_json_text(comparison, "verdict"));
  }
  if (lap_json_flag(comparison, "exploratory")) fputs(" <em>(exploratory)</em>", out);
  fputs("</td>", out);
}

void lap_page_comparisons(FILE *out, const json_t *report, const json_t *measure,
                          const char *place) {
  char confidence[LAP_CELL], interval[LAP_CELL];
  snprintf(interval, sizeof interval, "%.16s %% interval", lap_cell_confidence(report, confidence));
  const char *const descriptive[] = {"arm", "baseline", "#difference", interval, "simultaneous"};
  const char *const primary[] = {"arm",    "baseline",     "verdict",   "#difference",
                                 interval, "simultaneous", "#p (Holm)", "#p (equivalence)"};
  const json_t *comparisons = json_object_get(measure, "comparisons");
  const bool is_primary = lap_json_flag(measure, "primary");
  if (json_array_size(comparisons) == 0) return;
  lap_page_table(out, is_primary ? primary : descriptive, is_primary ? 8 : 5);
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    const json_t *one = json_array_get(comparisons, i);
    char at[120];
    snprintf(at, sizeof at, "%s/comparisons/%zu", place, i);
    fputs("<tr>", out);
    lap_page_arm(out, report, lap_json_text(one, "arm"));
    lap_page_arm(out, report, lap_json_text(one, "baseline"));
    if (is_primary) verdict_cell(out, one);
    lap_page_signed(out, one, "estimate", at);
    lap_page_interval(out, one, "interval", at);
    lap_page_interval(out, one, "simultaneous_interval", at);
    if (is_primary) {
      p_value(out, one, "adjusted_p", at);
      p_value(out, one, "adjusted_equivalence_p", at);
    }
    fputs("</tr>\n", out);
  }
  lap_page_table_end(out);
}
