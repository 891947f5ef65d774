#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/shared_rate.h"
#include "trainer/report/tables.h"

/* Bars would end a cell. */
static void text(FILE *out, const char *value) {
  for (; *value; ++value) {
    if (*value == '|') fputc('\\', out);
    fputc(*value == '\n' ? ' ' : *value, out);
  }
}

static void arms_table(const json_t *report, const json_t *measure, FILE *out) {
  char a[LAP_CELL], b[LAP_CELL], c[LAP_CELL];
  fprintf(out, "| arm | %s | %s %% interval | seeds alone | by seed |\n|---|---:|---|---|---|\n",
          lap_json_text(measure, "unit"), lap_cell_confidence(report, a));
  const json_t *arms = json_object_get(measure, "arms");
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const json_t *arm = json_array_get(arms, i), *seeds = json_object_get(arm, "by_seed");
    fprintf(out, "| ");
    text(out, lap_json_text(arm, "arm"));
    fprintf(out, " | %s | %s | %s |", lap_cell_number(lap_json_real(arm, "estimate"), a),
            lap_cell_interval(json_object_get(arm, "interval"), b),
            lap_cell_interval(json_object_get(arm, "seeds_interval"), c));
    for (size_t s = 0; s < json_array_size(seeds); ++s) {
      const json_t *value = json_array_get(seeds, s);
      fprintf(out, " %s",
              lap_cell_number(json_is_number(value) ? json_number_value(value) : NAN, a));
    }
    fprintf(out, " |\n");
  }
  fprintf(out, "\n");
}

static void comparisons_table(const json_t *report, const json_t *measure, FILE *out) {
  char a[LAP_CELL], b[LAP_CELL], c[LAP_CELL], d[LAP_CELL];
  const json_t *comparisons = json_object_get(measure, "comparisons");
  const bool is_primary = lap_json_flag(measure, "primary");
  if (json_array_size(comparisons) == 0) return;
  fprintf(out,
          "| arm minus baseline | difference | %s %% interval | simultaneous | p (Holm) | %s "
          "|\n|---|---:|---|---|---:|---|\n",
          lap_cell_confidence(report, a), is_primary ? "verdict" : "descriptive");
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    const json_t *one = json_array_get(comparisons, i);
    fprintf(out, "| ");
    text(out, lap_json_text(one, "arm"));
    fprintf(out, " minus ");
    text(out, lap_json_text(one, "baseline"));
    fprintf(out, "%s | %s | %s | %s | %s | ",
            lap_json_flag(one, "exploratory") ? " (exploratory)" : "",
            lap_cell_signed(lap_json_real(one, "estimate"), a),
            lap_cell_interval(json_object_get(one, "interval"), b),
            lap_cell_interval(json_object_get(one, "simultaneous_interval"), c),
            lap_cell_p(lap_json_real(one, "adjusted_p"), d));
    text(out, lap_json_text(one, "verdict"));
    if (*lap_json_text(one, "problem")) {
      fprintf(out, ": ");
      text(out, lap_json_text(one, "problem"));
    }
    fprintf(out, " |\n");
  }
  fprintf(out, "\n");
}

static void sets(const json_t *report, FILE *out) {
  const json_t *list = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *set = json_array_get(list, i), *measures = json_object_get(set, "measures");
    fprintf(out, "## On %s (%" PRId64 " documents)%s\n\n", lap_json_text(set, "name"),
            lap_json_integer(set, "documents"),
            lap_json_flag(set, "primary") ? ": the primary endpoint" : "");
    for (size_t m = 0; m < json_array_size(measures); ++m) {
      const json_t *measure = json_array_get(measures, m);
      fprintf(out, "### %s\n\n", lap_json_text(measure, "title"));
      arms_table(report, measure, out);
      comparisons_table(report, measure, out);
    }
  }
}

/* By the length of the context. */
static void positions(const json_t *report, FILE *out) {
  const json_t *list = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *set = json_array_get(list, i), *buckets = json_object_get(set, "by_position");
    for (size_t b = 0; b < json_array_size(buckets); ++b) {
      fprintf(out, "### %s, on %s\n\n", lap_json_text(json_array_get(buckets, b), "title"),
              lap_json_text(set, "name"));
      arms_table(report, json_array_get(buckets, b), out);
      comparisons_table(report, json_array_get(buckets, b), out);
    }
  }
}

static void tuning(const json_t *report, FILE *out) {
  const json_t *list = json_object_get(report, "tuning");
  const json_t *shared = json_object_get(report, "shared_rate");
  char a[LAP_CELL];
  if (json_array_size(list) == 0) return;
  fprintf(out, "## Tuning\n\n| arm | tried | loss on dev | |\n|---|---|---:|---|\n");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *point = json_array_get(list, i);
    fprintf(out, "| ");
    text(out, lap_json_text(point, "arm"));
    fprintf(out, " | %s | %s | %s |\n", lap_json_text(point, "point"),
            lap_cell_number(lap_json_real(point, "loss"), a),
            lap_json_flag(point, "chosen") ? "chosen" : "");
  }
  fprintf(out, "\n");
  if (!json_is_object(shared)) return;
  char *name = lap_shared_rate_name(shared);
  fprintf(out,
          "### All arms at one setting: %s\n\nDescriptive; the verdicts are of each arm at its own "
          "best.\n\n",
          name);
  free(name);
  arms_table(report, json_object_get(shared, "measure"), out);
  comparisons_table(report, json_object_get(shared, "measure"), out);
}

static void break_even(const json_t *report, FILE *out) {
  const json_t *even = json_object_get(report, "break_even");
  const json_t *hours = json_object_get(even, "hours");
  char a[LAP_CELL], b[LAP_CELL], c[LAP_CELL];
  if (!json_is_object(even)) return;
  fprintf(out, "## Break-even\n\n");
  if (!lap_json_flag(even, "complete")) {
    fprintf(out, "None yet: %s.\n\n", lap_json_text(even, "problem"));
    return;
  }
  const bool is_there = json_is_number(json_object_get(even, "multiple"));
  fprintf(out, "%s%s%s%s (%s %% interval: %s).\n\n", lap_json_text(even, "arm"),
          is_there ? " is matched at " : ": ", lap_json_text(even, "text"),
          is_there ? " the tokens" : "", lap_cell_confidence(report, a),
          lap_json_text(even, "interval_text"));
  const double matching = lap_json_real(hours, "matching_hours");
  fprintf(out, "Core hours of a run: %s; with the teacher: %s; of what matches it: %s.\n",
          lap_cell_hours(lap_json_real(hours, "arm_hours"), a),
          lap_cell_hours(lap_json_real(hours, "arm_hours_with_teacher"), b),
          isfinite(matching) ? lap_cell_hours(matching, c) : "not known, since it was not trained");
  const json_t *students = json_object_get(hours, "students_to_pay");
  if (json_is_number(students))
    fprintf(out, "The teacher pays from %.0f students on.\n", json_number_value(students));
  if (json_is_string(students)) fprintf(out, "The teacher never pays by hours.\n");
  fprintf(out, "\n");
}

static void arms(const json_t *report, FILE *out) {
  const json_t *list = json_object_get(report, "arms");
  char a[LAP_CELL], b[LAP_CELL], c[LAP_CELL], d[LAP_CELL];
  fprintf(out,
          "## Arms\n\n| arm | tokens | FLOPs | core hours | training loss | differs in "
          "|\n|---|---:|---:|---:|---:|---|\n");
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *arm = json_array_get(list, i);
    json_t *value;
    const char *key;
    fprintf(out, "| ");
    text(out, lap_json_text(arm, "name"));
    fprintf(out, " | %s | %s | %s | %s |", lap_cell_count(lap_json_real(arm, "tokens"), a),
            lap_cell_count(lap_json_real(arm, "flops"), b),
            lap_cell_hours(lap_json_real(arm, "hours_cpu"), c),
            lap_cell_number(lap_json_real(arm, "train_loss"), d));
    json_object_foreach(json_object_get(arm, "difference"), key, value) {
      const char *own = json_string_value(json_array_get(value, 1));
      fprintf(out, " `%s: ", key);
      text(out, own ? own : "(not there)");
      fprintf(out, "`");
    }
    fprintf(out, " |\n");
  }
  fprintf(out, "\n");
}

void lap_report_write_markdown(const json_t *report, FILE *out) {
  const json_t *warnings = json_object_get(report, "warnings");
  fprintf(out, "# %s%s\n\n", lap_json_text(report, "name"),
          lap_json_flag(report, "smoke") ? " (smoke)" : "");
  if (*lap_json_text(report, "estimand")) fprintf(out, "%s\n\n", lap_json_text(report, "estimand"));
  for (size_t i = 0; i < json_array_size(warnings); ++i)
    fprintf(out, "> **%s**: %s\n>\n", lap_json_text(json_array_get(warnings, i), "kind"),
            lap_json_text(json_array_get(warnings, i), "text"));
  if (json_array_size(warnings)) fprintf(out, "\n");
  sets(report, out);
  positions(report, out);
  break_even(report, out);
  tuning(report, out);
  arms(report, out);
  if (*lap_json_text(report, "plan_sha256"))
    fprintf(out, "Plan %s of %s, lapidary %s, commit %s.\n", lap_json_text(report, "plan_sha256"),
            lap_json_text(report, "created"), lap_json_text(report, "lapidary"),
            lap_json_text(report, "git"));
}
