#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/pictures.h"
#include "trainer/report/svg.h"

enum { ROW = 18, HEAD = 36, LEFT_FROM = 40, LEFT_TO = 178, RIGHT_FROM = 206, RIGHT_TO = 350 };
enum { ENTRY = 46, OVERVIEW_LEFT = 10, OVERVIEW_RIGHT = 350 };
enum { WORDS_ABOVE = 15, BELOW_WORDS = 11, ABOVE_WORDS = 17 }; /* from the interval of an entry */
enum { SEED_DIGITS = 10, DIGIT = 7 };

static void give_room(lap_scale *scale) {
  const double room = fmax((scale->to - scale->from) * 0.08, 1e-6);
  scale->from -= room;
  scale->to += room;
}

static double end_of(const json_t *interval, size_t which) {
  const json_t *value = json_array_get(interval, which);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

/* The range of differences: 0, the margin, the seeds, the intervals. */
static void widen_by_comparison(lap_scale *x, const json_t *report, const json_t *measure,
                                const json_t *comparison) {
  const json_t *seeds = json_object_get(comparison, "seeds");
  const json_t *together = json_object_get(comparison, "simultaneous_interval");
  lap_scale_widen(x, 0);
  for (size_t i = 0; i < json_array_size(seeds); ++i)
    lap_scale_widen(x, lap_json_real(json_array_get(seeds, i), "difference"));
  for (size_t i = 0; i < 2; ++i) lap_scale_widen(x, end_of(together, i));
  const double margin = lap_json_real(report, "margin");
  if (lap_json_flag(measure, "primary") && margin > 0) {
    lap_scale_widen(x, margin);
    lap_scale_widen(x, -margin);
  }
}

static void draw_margin(const json_t *report, const json_t *measure, const lap_scale *x, double top,
                        double height, FILE *out) {
  const double margin = lap_json_real(report, "margin");
  if (lap_json_flag(measure, "primary") && margin > 0)
    lap_svg_box(out, "margin", lap_scale_place(x, -margin), top,
                lap_scale_place(x, margin) - lap_scale_place(x, -margin), height);
}

/* Where no words stand. */
static void draw_zero(const lap_scale *x, double top, double bottom, FILE *out) {
  lap_svg_line(out, "zero", lap_scale_place(x, 0), top, lap_scale_place(x, 0), bottom);
}

/* By itself wide, simultaneous thin, the estimate a dot. */
static void draw_interval(const json_t *comparison, int color, const lap_scale *x, double y,
                          FILE *out) {
  const json_t *own = json_object_get(comparison, "interval");
  const json_t *together = json_object_get(comparison, "simultaneous_interval");
  const double estimate = lap_json_real(comparison, "estimate");
  char kind[24];
  if (json_array_size(together) == 2) {
    snprintf(kind, sizeof kind, "thin c%d", color);
    const double low = lap_scale_place(x, end_of(together, 0));
    const double high = lap_scale_place(x, end_of(together, 1));
    lap_svg_line(out, kind, low, y, high, y);
    lap_svg_line(out, kind, low, y - 3, low, y + 3);
    lap_svg_line(out, kind, high, y - 3, high, y + 3);
    snprintf(kind, sizeof kind, "wide c%d", color);
    lap_svg_line(out, kind, lap_scale_place(x, end_of(own, 0)), y,
                 lap_scale_place(x, end_of(own, 1)), y);
  }
  snprintf(kind, sizeof kind, "c%d", color);
  if (isfinite(estimate)) lap_svg_dot(out, kind, lap_scale_place(x, estimate), y, 4);
}

/* --- one comparison --- */

typedef struct {
  int arm, baseline; /* colours */
  double seeds;      /* where their numbers end */
  lap_scale loss, difference;
} panels;

/* The number of a seed; of one that is very long both ends. */
static const char *name_of_seed(const json_t *seed, char text[LAP_SVG_NAME]) {
  char digits[32];
  snprintf(digits, sizeof digits, "%" PRId64, lap_json_integer(seed, "seed"));
  return lap_svg_name(digits, SEED_DIGITS, text);
}

static bool set_up(const json_t *report, const json_t *measure, const json_t *comparison,
                   panels *p) {
  const json_t *seeds = json_object_get(comparison, "seeds");
  *p = (panels){.arm = lap_arm_color(report, lap_json_text(comparison, "arm")),
                .baseline = lap_arm_color(report, lap_json_text(comparison, "baseline")),
                .loss = {INFINITY, -INFINITY, LEFT_FROM, LEFT_TO},
                .difference = {INFINITY, -INFINITY, RIGHT_FROM, RIGHT_TO}};
  bool any = false;
  for (size_t i = 0; i < json_array_size(seeds); ++i) {
    const json_t *seed = json_array_get(seeds, i);
    char digits[LAP_SVG_NAME];
    const double room = DIGIT * (double)strlen(name_of_seed(seed, digits));
    p->loss.at_from = fmax(p->loss.at_from, room + 10);
    lap_scale_widen(&p->loss, lap_json_real(seed, "arm"));
    lap_scale_widen(&p->loss, lap_json_real(seed, "baseline"));
    any = any || isfinite(lap_json_real(seed, "difference"));
  }
  widen_by_comparison(&p->difference, report, measure, comparison);
  p->seeds = p->loss.at_from - 8;
  give_room(&p->loss);
  give_room(&p->difference);
  return any;
}

static void draw_seed(const panels *p, const json_t *seed, double y, FILE *out) {
  const double arm = lap_json_real(seed, "arm"), baseline = lap_json_real(seed, "baseline");
  const double difference = lap_json_real(seed, "difference");
  char kind[16], digits[LAP_SVG_NAME];
  lap_svg_text(out, "quiet", p->seeds, y + 3.5, "end", "%s", name_of_seed(seed, digits));
  if (isfinite(difference))
    lap_svg_line(out, "link", lap_scale_place(&p->loss, baseline), y,
                 lap_scale_place(&p->loss, arm), y);
  snprintf(kind, sizeof kind, "open c%d", p->baseline);
  if (isfinite(baseline)) lap_svg_dot(out, kind, lap_scale_place(&p->loss, baseline), y, 3.6);
  snprintf(kind, sizeof kind, "c%d", p->arm);
  if (isfinite(arm)) lap_svg_dot(out, kind, lap_scale_place(&p->loss, arm), y, 3.6);
  if (isfinite(difference))
    lap_svg_dot(out, kind, lap_scale_place(&p->difference, difference), y, 3.2);
  else
    lap_svg_text(out, "quiet", RIGHT_TO, y + 3.5, "end", "not there yet");
}

static void draw_heads(const panels *p, const json_t *measure, const json_t *comparison,
                       FILE *out) {
  enum { LETTERS = 27 };
  char kind[16], arm[LAP_SVG_NAME], baseline[LAP_SVG_NAME];
  lap_svg_text(out, "strong", 2, 11, "start", "%s minus %s",
               lap_svg_name(lap_json_text(comparison, "arm"), LETTERS, arm),
               lap_svg_name(lap_json_text(comparison, "baseline"), LETTERS, baseline));
  lap_svg_text(out, "quiet", 2, 27, "start", "seed");
  snprintf(kind, sizeof kind, "open c%d", p->baseline);
  lap_svg_dot(out, kind, LEFT_FROM + 4, 23.5, 3.6);
  lap_svg_text(out, "quiet", LEFT_FROM + 12, 27, "start", "baseline");
  snprintf(kind, sizeof kind, "c%d", p->arm);
  lap_svg_dot(out, kind, LEFT_FROM + 66, 23.5, 3.6);
  lap_svg_text(out, "quiet", LEFT_FROM + 74, 27, "start", "arm");
  lap_svg_text(out, "quiet", RIGHT_FROM, 27, "start", "difference, %s",
               lap_json_text(measure, "unit"));
}

bool lap_picture_pair(const json_t *report, const json_t *measure, const json_t *comparison,
                      bool standalone, FILE *out) {
  panels p;
  const json_t *seeds = json_object_get(comparison, "seeds");
  const size_t count = json_array_size(seeds);
  if (!set_up(report, measure, comparison, &p)) return false;
  const double rows = HEAD + ROW * (double)count, all = rows + ROW / 2.0 + 3, axis = all + 15;
  char title[200];
  snprintf(title, sizeof title, "%.80s minus %.80s, seed by seed", lap_json_text(comparison, "arm"),
           lap_json_text(comparison, "baseline"));
  lap_svg_begin(out, axis + 20, title, standalone);
  draw_heads(&p, measure, comparison, out);
  draw_margin(report, measure, &p.difference, HEAD - 2, axis - HEAD + 2, out);
  draw_zero(&p.difference, HEAD - 2, axis, out);
  for (size_t i = 0; i < count; ++i)
    draw_seed(&p, json_array_get(seeds, i), HEAD + ROW * ((double)i + 0.5), out);
  if (json_is_number(json_object_get(comparison, "estimate"))) {
    lap_svg_line(out, "grid", 0, rows + 1, RIGHT_TO, rows + 1);
    lap_svg_text(out, "strong", p.seeds, all + 3.5, "end", "all");
    char estimate[LAP_CELL];
    lap_svg_text(out, "", LEFT_TO, all + 3.5, "end", "%s",
                 lap_cell_signed(lap_json_real(comparison, "estimate"), estimate));
    draw_interval(comparison, p.arm, &p.difference, all, out);
  }
  lap_svg_axis_below(out, &p.loss, axis, 3, NULL);
  lap_svg_axis_below(out, &p.difference, axis, 3, NULL);
  lap_svg_end(out);
  return true;
}

/* --- all of them --- */

static void draw_entry(const json_t *report, const json_t *comparison, const lap_scale *x, double y,
                       FILE *out) {
  const json_t *seeds = json_object_get(comparison, "seeds");
  const int color = lap_arm_color(report, lap_json_text(comparison, "arm"));
  const char *verdict = lap_json_text(comparison, "verdict");
  enum { LETTERS = 21 };
  char kind[24], arm[LAP_SVG_NAME], baseline[LAP_SVG_NAME];
  lap_svg_text(out, "", OVERVIEW_LEFT, y - WORDS_ABOVE, "start", "%s minus %s%s",
               lap_svg_name(lap_json_text(comparison, "arm"), LETTERS, arm),
               lap_svg_name(lap_json_text(comparison, "baseline"), LETTERS, baseline),
               lap_json_flag(comparison, "exploratory") ? " (exploratory)" : "");
  lap_svg_text(out, "strong", OVERVIEW_RIGHT, y - WORDS_ABOVE, "end", "%s",
               lap_json_flag(comparison, "complete") ? verdict : "no verdict");
  draw_zero(x, y - BELOW_WORDS, y + ABOVE_WORDS, out);
  draw_interval(comparison, color, x, y, out);
  snprintf(kind, sizeof kind, "seed c%d", color);
  for (size_t i = 0; i < json_array_size(seeds); ++i) {
    const double value = lap_json_real(json_array_get(seeds, i), "difference");
    if (isfinite(value)) lap_svg_dot(out, kind, lap_scale_place(x, value), y + 8, 2.2);
  }
}

/* What the axis counts, below it, in two lines where one would be too long. */
typedef struct {
  char first[160], second[80]; /* "": none */
} caption;

static caption caption_of(const json_t *measure) {
  enum { LETTERS = 60 };
  const char *title = lap_json_text(measure, "title"), *unit = lap_json_text(measure, "unit");
  caption c = {.second = ""};
  if (snprintf(c.first, sizeof c.first, "difference in %s, %s", title, unit) > LETTERS) {
    snprintf(c.first, sizeof c.first, "%s:", title);
    snprintf(c.second, sizeof c.second, "difference, %s", unit);
  }
  return c;
}

bool lap_picture_overview(const json_t *report, const json_t *measure, bool standalone, FILE *out) {
  const json_t *comparisons = json_object_get(measure, "comparisons");
  const size_t count = json_array_size(comparisons);
  lap_scale x = {INFINITY, -INFINITY, OVERVIEW_LEFT, OVERVIEW_RIGHT};
  if (count == 0) return false;
  for (size_t i = 0; i < count; ++i)
    widen_by_comparison(&x, report, measure, json_array_get(comparisons, i));
  give_room(&x);
  enum { LINE = 14 };
  const caption below = caption_of(measure);
  const double axis = ENTRY * (double)count + 6;
  const double height = axis + 34 + (*below.second ? LINE : 0);
  lap_svg_begin(out, height, "Differences of all comparisons with their intervals", standalone);
  draw_margin(report, measure, &x, 2, axis - 2, out);
  for (size_t i = 0; i < count; ++i)
    draw_entry(report, json_array_get(comparisons, i), &x, ENTRY * ((double)i + 0.62), out);
  lap_svg_axis_below(out, &x, axis, 5, NULL);
  lap_svg_text(out, "quiet", OVERVIEW_RIGHT, axis + 29, "end", "%s", below.first);
  if (*below.second)
    lap_svg_text(out, "quiet", OVERVIEW_RIGHT, axis + 29 + LINE, "end", "%s", below.second);
  lap_svg_end(out);
  return true;
}
