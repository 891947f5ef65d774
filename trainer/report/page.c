#include "trainer/report/page.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/page_parts.h"
#include "trainer/report/page_records.h"
#include "trainer/report/page_style.h"
#include "trainer/report/pictures.h"
#include "trainer/report/svg.h"
#include "trainer/report/tuning.h"

/* --- the head --- */

static void banner(const json_t *report, FILE *out) {
  if (lap_json_flag(report, "smoke"))
    fputs("<div class=\"smoke\">Smoke run: sizes are cut, the numbers mean nothing</div>\n", out);
}

static void warnings(const json_t *report, FILE *out) {
  const json_t *list = json_object_get(report, "warnings");
  if (json_array_size(list) == 0) return;
  fputs("<ul class=\"warnings\">\n", out);
  for (size_t i = 0; i < json_array_size(list); ++i) {
    const json_t *warning = json_array_get(list, i);
    fputs("<li><b>", out);
    lap_svg_escape(out, lap_json_text(warning, "kind"));
    fputs("</b> ", out);
    lap_svg_escape(out, lap_json_text(warning, "text"));
    fputs("</li>\n", out);
  }
  fputs("</ul>\n", out);
}

static void head(const json_t *report, FILE *out) {
  const json_t *runs = json_object_get(report, "runs");
  fputs("<header>\n<h1>", out);
  lap_svg_escape(out, lap_json_text(report, "name"));
  fputs("</h1>\n", out);
  if (json_is_object(runs)) {
    fprintf(out, "<p class=\"note\">%" PRId64 " of %" PRId64 " planned runs are done",
            lap_json_integer(runs, "done"), lap_json_integer(runs, "planned"));
    if (lap_json_integer(runs, "diverged") > 0)
      fprintf(out, ", %" PRId64 " diverged", lap_json_integer(runs, "diverged"));
    fprintf(out, "; %zu arms, %zu seeds; planned %.10s</p>\n",
            json_array_size(json_object_get(report, "arms")),
            json_array_size(json_object_get(report, "seeds")), lap_json_text(report, "created"));
  }
  fputs("</header>\n", out);
  warnings(report, out);
}

/* --- the primary endpoint --- */

static void sentence(const json_t *report, const json_t *measure, const json_t *one, FILE *out) {
  char difference[LAP_CELL], interval[LAP_CELL], confidence[LAP_CELL];
  const char *verdict = lap_json_text(one, "verdict");
  const bool has_direction = strcmp(verdict, "better") == 0 || strcmp(verdict, "worse") == 0;
  if (!lap_json_flag(one, "complete")) return;
  fputs("<p class=\"lede\"><b>", out);
  lap_svg_escape(out, lap_json_text(one, "arm"));
  if (has_direction)
    fprintf(out, "</b> is <b>%s</b> than ", verdict);
  else if (strcmp(verdict, "equivalent") == 0)
    fputs("</b> is <b>equivalent</b> to ", out);
  else if (strcmp(verdict, "same bits") == 0)
    fputs("</b> ends in the <b>same bits</b> as ", out);
  else
    fputs("</b> against ", out);
  lap_svg_escape(out, lap_json_text(one, "baseline"));
  if (strcmp(verdict, "undecided") == 0) fputs(": <b>undecided</b>", out);
  fprintf(out, "; the difference is %s %s, %s&nbsp;%% interval %s%s.</p>\n",
          lap_cell_signed(lap_json_real(one, "estimate"), difference),
          lap_json_text(measure, "unit"), lap_cell_confidence(report, confidence),
          lap_cell_interval(json_object_get(one, "interval"), interval),
          lap_json_flag(one, "exploratory") ? " (exploratory)" : "");
}

static void figure_begin(FILE *out) { fputs("<figure>", out); }

static void figure_end(FILE *out, const char *caption) {
  fputs("<figcaption>", out);
  lap_svg_escape(out, caption);
  fputs("</figcaption></figure>\n", out);
}

/* A picture drawn to memory first: whether there is one is known afterwards. */
typedef struct {
  char *text;
  size_t size;
  FILE *out;
} draft;

static void draft_begin(draft *d) {
  *d = (draft){0};
  d->out = lap_open_text(&d->text, &d->size);
}

static void draft_end(draft *d, bool drawn, const char *caption, FILE *out) {
  lap_close_text(d->out, &d->text);
  if (drawn) {
    figure_begin(out);
    fwrite(d->text, 1, d->size, out);
    figure_end(out, caption);
  }
  free(d->text);
}

static void comparison_pictures(const json_t *report, const json_t *measure, FILE *out) {
  const json_t *comparisons = json_object_get(measure, "comparisons");
  fputs("<div class=\"pictures\">\n", out);
  draft d;
  draft_begin(&d);
  bool drawn = lap_picture_overview(report, measure, false, d.out);
  char confidence[LAP_CELL], caption[200];
  snprintf(caption, sizeof caption,
           "All comparisons. Thick: %.16s %% interval; thin: the intervals that hold together; "
           "small dots: seeds; grey: within the margin of equivalence.",
           lap_cell_confidence(report, confidence));
  draft_end(&d, drawn, caption, out);
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    draft_begin(&d);
    drawn = lap_picture_pair(report, measure, json_array_get(comparisons, i), false, d.out);
    draft_end(&d, drawn, "A row a seed: both arms of the seed, and their difference.", out);
  }
  fputs("</div>\n", out);
}

static void primary(const json_t *report, FILE *out) {
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i);
    const json_t *measure = json_array_get(json_object_get(set, "measures"), 0);
    const json_t *comparisons = json_object_get(measure, "comparisons");
    char at[80];
    if (!lap_json_flag(measure, "primary")) continue;
    snprintf(at, sizeof at, "/sets/%zu/measures/0", i);
    fprintf(out, "<h2>Primary endpoint: %s on ", lap_json_text(measure, "title"));
    lap_svg_escape(out, lap_json_text(set, "name"));
    fprintf(out,
            "</h2>\n<p class=\"note\">In %s, over %" PRId64 " documents, by the final checkpoint. ",
            lap_json_text(measure, "unit"), lap_json_integer(set, "documents"));
    lap_svg_escape(out, lap_json_text(report, "estimand"));
    fputs("</p>\n", out);
    for (size_t c = 0; c < json_array_size(comparisons); ++c)
      sentence(report, measure, json_array_get(comparisons, c), out);
    comparison_pictures(report, measure, out);
    lap_page_comparisons(out, report, measure, at);
    lap_page_arms(out, report, measure, at);
    lap_page_workings(out, report);
  }
}

/* --- curves --- */

static void curves(const json_t *report, FILE *out) {
  static const struct {
    lap_curve_kind kind;
    lap_curve_by by;
    const char *caption;
  } pictures[] = {
      {LAP_CURVE_TRAIN, LAP_BY_TOKENS, "Training loss by tokens: mean and range over seeds."},
      {LAP_CURVE_TRAIN, LAP_BY_FLOPS, "The same by FLOPs of training, the teacher's not counted."},
      {LAP_CURVE_EVAL, LAP_BY_TOKENS, "Held-out loss during training, by tokens."},
      {LAP_CURVE_EVAL, LAP_BY_FLOPS, "The same by FLOPs."}};
  fputs("<h2>Curves</h2>\n<div class=\"pictures\">\n", out);
  for (size_t i = 0; i < sizeof pictures / sizeof *pictures; ++i) {
    draft d;
    draft_begin(&d);
    const bool drawn = lap_picture_curves(report, pictures[i].kind, pictures[i].by, false, d.out);
    draft_end(&d, drawn, pictures[i].caption, out);
  }
  fputs("</div>\n", out);
}

/* --- break-even --- */

static void hours_of_break_even(const json_t *even, FILE *out) {
  const json_t *hours = json_object_get(even, "hours");
  const json_t *students = json_object_get(hours, "students_to_pay");
  const double matching = lap_json_real(hours, "matching_hours");
  char own[LAP_CELL], with[LAP_CELL], text[LAP_CELL];
  fprintf(out, "<p>A run of it takes %s core hours, %s with the teacher and its cache; ",
          lap_cell_hours(lap_json_real(hours, "arm_hours"), own),
          lap_cell_hours(lap_json_real(hours, "arm_hours_with_teacher"), with));
  if (isfinite(matching))
    fprintf(out, "what matches it takes %s.", lap_cell_hours(matching, text));
  else
    fputs("what would match it was not trained, so that its hours are not known.", out);
  if (json_is_number(students))
    fprintf(out, " The teacher pays from <b>%.0f</b> students on.", json_number_value(students));
  if (json_is_string(students)) fputs(" By hours the teacher never pays.", out);
  fputs("</p>\n", out);
}

static void break_even(const json_t *report, FILE *out) {
  const json_t *even = json_object_get(report, "break_even");
  if (!json_is_object(even)) return;
  fputs("<h2>Break-even</h2>\n", out);
  if (!lap_json_flag(even, "complete")) {
    fputs("<p>None yet: ", out);
    lap_svg_escape(out, lap_json_text(even, "problem"));
    fputs(".</p>\n", out);
    return;
  }
  fputs("<p class=\"lede\"><b>", out);
  lap_svg_escape(out, lap_json_text(even, "arm"));
  const bool is_there = json_is_number(json_object_get(even, "multiple"));
  char confidence[LAP_CELL];
  fputs(is_there ? "</b> is matched with <b>" : "</b>: <b>", out);
  lap_svg_escape(out, lap_json_text(even, "text"));
  fprintf(out, "</b>%s; %s&nbsp;%% interval: ", is_there ? " the tokens" : "",
          lap_cell_confidence(report, confidence));
  lap_svg_escape(out, lap_json_text(even, "interval_text"));
  fputs(".</p>\n", out);
  hours_of_break_even(even, out);
  fputs("<div class=\"pictures\">\n", out);
  draft d;
  draft_begin(&d);
  const bool drawn = lap_picture_break_even(report, false, d.out);
  draft_end(&d, drawn,
            "Each multiple was trained with a schedule of its own. The interval on the axis: the "
            "multiples at which the interval of the difference from the line covers 0.",
            out);
  fputs("</div>\n", out);
}

/* --- the rest --- */

static void other_measures(const json_t *report, FILE *out) {
  const json_t *sets = json_object_get(report, "sets");
  bool begun = false;
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *set = json_array_get(sets, i), *measures = json_object_get(set, "measures");
    for (size_t m = 0; m < json_array_size(measures); ++m) {
      const json_t *measure = json_array_get(measures, m);
      char at[80];
      if (lap_json_flag(measure, "primary")) continue;
      if (!begun) fputs("<h2>Other measures</h2>\n<p class=\"note\">Descriptive.</p>\n", out);
      begun = true;
      snprintf(at, sizeof at, "/sets/%zu/measures/%zu", i, m);
      fprintf(out, "<h3>%s on ", lap_json_text(measure, "title"));
      lap_svg_escape(out, lap_json_text(set, "name"));
      fprintf(out, ", %s</h3>\n", lap_json_text(measure, "unit"));
      lap_page_comparisons(out, report, measure, at);
      lap_page_arms(out, report, measure, at);
    }
  }
}

/* Loss by the length of the context: a row a length and arm, or comparison. */
static void positions_of(const json_t *report, const json_t *set, size_t index, FILE *out) {
  static const char *const headers[] = {"context", "arm", "minus", "#loss, or difference",
                                        "interval over seeds"};
  const json_t *list = json_object_get(set, "by_position");
  if (json_array_size(list) == 0) return;
  fputs("<h3>Loss by the length of the context on ", out);
  lap_svg_escape(out, lap_json_text(set, "name"));
  fputs("</h3>\n", out);
  lap_page_table(out, headers, sizeof headers / sizeof *headers);
  for (size_t b = 0; b < json_array_size(list); ++b)
    for (int compared = 0; compared < 2; ++compared) {
      const json_t *measure = json_array_get(list, b);
      const char *kind = compared ? "comparisons" : "arms";
      const json_t *rows = json_object_get(measure, kind);
      for (size_t i = 0; i < json_array_size(rows); ++i) {
        const json_t *row = json_array_get(rows, i), *context = json_object_get(measure, "context");
        char at[120], text[LAP_CELL];
        snprintf(at, sizeof at, "/sets/%zu/by_position/%zu/%s/%zu", index, b, kind, i);
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
                 json_integer_value(json_array_get(context, 0)),
                 json_integer_value(json_array_get(context, 1)));
        fputs("<tr>", out);
        lap_page_text(out, "i", text);
        lap_page_arm(out, report, lap_json_text(row, "arm"));
        lap_page_text(out, "i", compared ? lap_json_text(row, "baseline") : "");
        if (compared)
          lap_page_signed(out, row, "estimate", at);
        else
          lap_page_number(out, row, "estimate", at);
        lap_page_interval(out, row, "seeds_interval", at);
        fputs("</tr>\n", out);
      }
    }
  lap_page_table_end(out);
}

static void positions(const json_t *report, FILE *out) {
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i)
    positions_of(report, json_array_get(sets, i), i, out);
}

static void detectable(const json_t *report, FILE *out) {
  const json_t *effect = json_object_get(report, "minimum_detectable_effect");
  char text[LAP_CELL], upper[LAP_CELL];
  if (!json_is_object(effect)) return;
  fprintf(out,
          "<p class=\"note\">By a pilot of %" PRId64
          " seeds the standard deviation over seeds of a difference is at most %s (80&nbsp;%% "
          "limit); over seeds alone this plan finds a difference of %s with probability 0.8.</p>\n",
          lap_json_integer(effect, "seeds"),
          lap_cell_number(lap_json_real(effect, "upper_80"), upper),
          lap_cell_number(lap_json_real(effect, "effect"), text));
}

void lap_report_write_page(const json_t *report, FILE *out) {
  fputs(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
      out);
  lap_svg_escape(out, lap_json_text(report, "name"));
  fputs("</title>\n<style>\n", out);
  lap_page_style(out);
  fputs("</style>\n</head>\n<body>\n", out);
  banner(report, out);
  fputs("<main>\n", out);
  head(report, out);
  primary(report, out);
  detectable(report, out);
  curves(report, out);
  break_even(report, out);
  other_measures(report, out);
  positions(report, out);
  lap_page_tuning(out, report);
  lap_page_configurations(out, report);
  lap_page_runs(out, report);
  lap_page_provenance(out, report);
  fputs("</main>\n</body>\n</html>\n", out);
}
