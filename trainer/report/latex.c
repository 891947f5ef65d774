#include <string.h>

#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/tables.h"

/* What TeX would take for a command is escaped; our minus sign and dash become TeX's. */
static void text(FILE *out, const char *value) {
  for (; *value; ++value) {
    if (strncmp(value, "\xE2\x88\x92", 3) == 0) {
      fprintf(out, "$-$");
      value += 2;
    } else if (strncmp(value, "\xE2\x80\x93", 3) == 0) {
      fprintf(out, "--");
      value += 2;
    } else if (strchr("&%$#_{}", *value)) {
      fprintf(out, "\\%c", *value);
    } else if (strchr("\\~^<>", *value)) {
      fprintf(out, "\\char%d{}", (unsigned char)*value);
    } else {
      fputc(*value, out);
    }
  }
}

static void cell(FILE *out, const char *value, bool is_last) {
  text(out, value);
  fprintf(out, "%s", is_last ? " \\\\\n" : " & ");
}

/* The columns, their heads before that of the interval, its confidence, and the heads behind it. */
static void begin(FILE *out, const char *columns, const char *before, const char *confidence,
                  const char *behind) {
  fprintf(out, "\\begin{tabular}{%s}\n\\toprule\n%s & %s\\,\\%% interval & %s \\\\\n\\midrule\n",
          columns, before, confidence, behind);
}

static void end(FILE *out) { fprintf(out, "\\bottomrule\n\\end{tabular}\n\n"); }

static void arms(const json_t *report, const json_t *set, const json_t *measure, FILE *out) {
  const json_t *list = json_object_get(measure, "arms");
  char a[LAP_CELL];
  fprintf(out, "%% %s on %s\n", lap_json_text(measure, "title"), lap_json_text(set, "name"));
  begin(out, "lrll", "arm & estimate", lap_cell_confidence(report, a), "seeds alone");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *arm = json_array_get(list, i);
    cell(out, lap_json_text(arm, "arm"), false);
    cell(out, lap_cell_number(lap_json_real(arm, "estimate"), a), false);
    cell(out, lap_cell_interval(json_object_get(arm, "interval"), a), false);
    cell(out, lap_cell_interval(json_object_get(arm, "seeds_interval"), a), true);
  }
  end(out);
}

static void comparisons(const json_t *report, const json_t *set, const json_t *measure, FILE *out) {
  const json_t *list = json_object_get(measure, "comparisons");
  char a[LAP_CELL];
  if (json_array_size(list) == 0) return;
  fprintf(out, "%% differences in %s on %s\n", lap_json_text(measure, "title"),
          lap_json_text(set, "name"));
  begin(out, "llrllrl", "arm & baseline & difference", lap_cell_confidence(report, a),
        "simultaneous & $p$ (Holm) & verdict");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *one = json_array_get(list, i);
    cell(out, lap_json_text(one, "arm"), false);
    cell(out, lap_json_text(one, "baseline"), false);
    cell(out, lap_cell_signed(lap_json_real(one, "estimate"), a), false);
    cell(out, lap_cell_interval(json_object_get(one, "interval"), a), false);
    cell(out, lap_cell_interval(json_object_get(one, "simultaneous_interval"), a), false);
    cell(out, lap_cell_p(lap_json_real(one, "adjusted_p"), a), false);
    text(out, lap_json_text(one, "verdict"));
    if (lap_json_flag(one, "exploratory")) fprintf(out, " (exploratory)");
    cell(out, "", true);
  }
  end(out);
}

void lap_report_write_latex(const json_t *report, FILE *out) {
  const json_t *sets = json_object_get(report, "sets");
  fprintf(out, "%% %s%s; needs \\usepackage{booktabs}\n\n", lap_json_text(report, "name"),
          lap_json_flag(report, "smoke") ? " (SMOKE)" : "");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i), *measures = json_object_get(set, "measures");
    for (size_t m = 0; m < json_array_size(measures); ++m) {
      arms(report, set, json_array_get(measures, m), out);
      comparisons(report, set, json_array_get(measures, m), out);
    }
    const json_t *buckets = json_object_get(set, "by_position");
    for (size_t b = 0; b < json_array_size(buckets); ++b) {
      arms(report, set, json_array_get(buckets, b), out);
      comparisons(report, set, json_array_get(buckets, b), out);
    }
  }
  const json_t *shared = json_object_get(report, "shared_rate");
  if (!json_is_object(shared)) return;
  fprintf(out, "%% all arms at one setting; descriptive\n");
  const json_t *set = lap_json_find(sets, "name", lap_json_text(shared, "set"), NULL);
  arms(report, set, json_object_get(shared, "measure"), out);
  comparisons(report, set, json_object_get(shared, "measure"), out);
}
