#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/report/number_text.h"
#include "trainer/report/pictures.h"
#include "trainer/report/run_facts.h"
#include "trainer/report/svg.h"

enum { POINTS = 48, LEFT = 40, TOP = 24, LEAST_BOTTOM = 214, BELOW = 36, LABEL_GAP = 12 };
enum { LABEL_LETTERS = 20, LETTER_WIDTH = 6 };

int lap_arm_color(const json_t *report, const char *arm) {
  size_t place = 0;
  lap_json_find(json_object_get(report, "arms"), "name", arm, &place);
  return (int)(place % LAP_COLORS);
}

/* The mean over seeds, and the lowest and highest, at each point. */
typedef struct {
  const char *name;
  int color;
  size_t count;
  double x[POINTS], mean[POINTS], low[POINTS], high[POINTS];
  double label; /* where its name stands */
} line;

static double at(const json_t *curve, size_t row, size_t column) {
  const json_t *value = json_array_get(json_array_get(curve, row), column);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

/* The loss of a run by `tokens`: on the line between the rows around; NAN where it has not come so
 * far, or is no number. */
static double loss_by(const json_t *curve, double tokens) {
  const size_t count = json_array_size(curve);
  size_t row = 0;
  while (row < count && at(curve, row, 0) < tokens) ++row;
  if (row == count) return NAN;
  const double here = at(curve, row, 1);
  if (row == 0 || at(curve, row, 0) == tokens) return here;
  const double from = at(curve, row - 1, 0), before = at(curve, row - 1, 1);
  return before + (here - before) * (tokens - from) / (at(curve, row, 0) - from);
}

/* `grid` has the points of the line. A run that has not come so far ends it: one that is still
 * running, whose rows stand at other tokens. */
static void add_run(line *l, const json_t *grid, const json_t *curve, size_t runs_before) {
  for (size_t i = 0; i < l->count; ++i) {
    const double y = loss_by(curve, at(grid, i, 0));
    if (!isfinite(y)) {
      l->count = i;
      return;
    }
    l->mean[i] = (l->mean[i] * (double)runs_before + y) / (double)(runs_before + 1);
    l->low[i] = runs_before ? fmin(l->low[i], y) : y;
    l->high[i] = runs_before ? fmax(l->high[i], y) : y;
  }
}

static bool has_diverged(const json_t *run) {
  return strcmp(lap_json_text(run, "status"), "diverged") == 0;
}

/* In at most POINTS rows. A run that has diverged would end the line of those that have not. */
static json_t *rows_of(const json_t *runs, size_t r, lap_curve_kind kind) {
  const json_t *run = json_array_get(runs, r);
  bool others = false;
  for (size_t i = 0; i < json_array_size(runs); ++i)
    others = others || !has_diverged(json_array_get(runs, i));
  if (others && has_diverged(run)) return json_array();
  return lap_curve_thin(json_object_get(run, kind == LAP_CURVE_TRAIN ? "curve" : "evals"), POINTS);
}

static double end_of(const json_t *curve) { return at(curve, json_array_size(curve) - 1, 0); }

static void read_line(const json_t *report, const json_t *arm, lap_curve_kind kind, lap_curve_by by,
                      line *l) {
  const json_t *runs = json_object_get(arm, "runs");
  json_t *all = json_array(), *grid = NULL; /* of the run that has come furthest */
  double per_token = 1;
  *l = (line){.name = lap_json_text(arm, "name")};
  l->color = lap_arm_color(report, l->name);
  for (size_t r = 0; r < json_array_size(runs); ++r) {
    const double flops = lap_json_real(json_array_get(runs, r), "flops_per_token");
    json_t *rows = rows_of(runs, r, kind);
    if (json_array_size(rows) > 1 && (by == LAP_BY_TOKENS || !isnan(flops))) {
      json_array_append(all, rows);
      if (!grid || end_of(rows) > end_of(grid)) grid = rows;
      if (by == LAP_BY_FLOPS) per_token = flops;
    }
    json_decref(rows);
  }
  l->count = json_array_size(grid);
  for (size_t i = 0; i < l->count; ++i) l->x[i] = at(grid, i, 0) * per_token;
  for (size_t used = 0; used < json_array_size(all); ++used)
    add_run(l, grid, json_array_get(all, used), used);
  json_decref(all);
}

/* From the lowest to what the slowest arm had reached after an eighth of its way: what comes before
 * would flatten the rest. */
static void find_range(const line *lines, size_t count, lap_scale *x, lap_scale *y) {
  double low = INFINITY, high = -INFINITY, right = 0;
  for (size_t i = 0; i < count; ++i)
    for (size_t j = 0; j < lines[i].count; ++j) {
      right = fmax(right, lines[i].x[j]);
      if (lines[i].low[j] < low) low = lines[i].low[j];
      if (j >= lines[i].count / 8 && lines[i].high[j] > high) high = lines[i].high[j];
    }
  const double room = (high - low) * 0.04 + 1e-9;
  x->from = 0;
  x->to = right;
  y->from = low - room;
  y->to = high + room;
}

static void draw_line(const line *l, const lap_scale *x, const lap_scale *y, FILE *out) {
  double mean[2 * POINTS], area[4 * POINTS];
  size_t count = 0;
  for (size_t i = 0; i < l->count; ++i) {
    if (!(l->high[i] <= y->to)) continue;
    mean[2 * count] = lap_scale_place(x, l->x[i]);
    mean[2 * count + 1] = lap_scale_place(y, l->mean[i]);
    area[2 * count] = mean[2 * count];
    area[2 * count + 1] = lap_scale_place(y, l->high[i]);
    ++count;
  }
  size_t corner = count;
  for (size_t i = l->count; i-- > 0;) {
    if (!(l->high[i] <= y->to)) continue;
    area[2 * corner] = lap_scale_place(x, l->x[i]);
    area[2 * corner++ + 1] = lap_scale_place(y, l->low[i]);
  }
  char kind[16];
  snprintf(kind, sizeof kind, "band c%d", l->color);
  lap_svg_path(out, kind, area, corner, true);
  snprintf(kind, sizeof kind, "mean c%d", l->color);
  lap_svg_path(out, kind, mean, count, false);
}

static int order_of_ends(const void *a, const void *b) {
  const line *x = a, *y = b;
  const double one = x->mean[x->count - 1], two = y->mean[y->count - 1];
  return one < two ? 1 : one > two ? -1 : strcmp(x->name, y->name);
}

/* Names beside the ends of their lines, from the top down, none over another. */
static void place_labels(line *lines, size_t count, const lap_scale *y) {
  qsort(lines, count, sizeof *lines, order_of_ends);
  for (size_t i = 0; i < count; ++i) {
    lines[i].label = lap_scale_place(y, lines[i].mean[lines[i].count - 1]);
    if (i > 0 && lines[i].label < lines[i - 1].label + LABEL_GAP)
      lines[i].label = lines[i - 1].label + LABEL_GAP;
  }
  double floor = y->at_from;
  for (size_t i = count; i-- > 0;) {
    if (lines[i].label > floor) lines[i].label = floor;
    floor -= LABEL_GAP;
  }
}

static void draw_labels(const line *lines, size_t count, const lap_scale *x, const lap_scale *y,
                        FILE *out) {
  for (size_t i = 0; i < count; ++i) {
    char kind[16], text[LAP_SVG_NAME];
    const line *l = &lines[i];
    const double end = lap_scale_place(x, l->x[l->count - 1]);
    snprintf(kind, sizeof kind, "lead c%d", l->color);
    lap_svg_line(out, kind, end + 1, lap_scale_place(y, l->mean[l->count - 1]), x->at_to + 6,
                 l->label);
    snprintf(kind, sizeof kind, "c%d", l->color);
    lap_svg_text(out, kind, x->at_to + 9, l->label + 3.5, "start", "%s",
                 lap_svg_name(l->name, LABEL_LETTERS, text));
  }
}

static void count_text(double value, char *text, size_t size) {
  char cell[LAP_CELL];
  snprintf(text, size, "%s", value == 0 ? "0" : lap_cell_count(value, cell));
}

/* Where the axis below lies: so deep that the names of all arms have room. */
static double bottom_of(size_t count) {
  return fmax(LEAST_BOTTOM, TOP + LABEL_GAP * (double)count);
}

static void draw(line *lines, size_t count, lap_curve_kind kind, lap_curve_by by, FILE *out) {
  size_t letters = 0;
  for (size_t i = 0; i < count; ++i)
    if (strlen(lines[i].name) > letters) letters = strlen(lines[i].name);
  if (letters > LABEL_LETTERS) letters = LABEL_LETTERS;
  lap_scale x = {.at_from = LEFT,
                 .at_to = LAP_PICTURE_WIDTH - 12.0 - LETTER_WIDTH * (double)letters};
  const double bottom = bottom_of(count);
  lap_scale y = {.at_from = bottom, .at_to = TOP};
  find_range(lines, count, &x, &y);
  lap_svg_text(out, "quiet", 2, 11, "start", "%s, nats/token",
               kind == LAP_CURVE_TRAIN ? "Training loss" : "Held-out loss");
  lap_svg_axis_left(out, &y, LEFT, x.at_to, 5);
  lap_svg_axis_below(out, &x, bottom, 5, count_text);
  lap_svg_text(out, "quiet", x.at_to, bottom + 30, "end", "%s",
               by == LAP_BY_TOKENS ? "tokens" : "FLOPs of training");
  for (size_t i = 0; i < count; ++i) draw_line(&lines[i], &x, &y, out);
  place_labels(lines, count, &y);
  draw_labels(lines, count, &x, &y, out);
}

bool lap_picture_curves(const json_t *report, lap_curve_kind kind, lap_curve_by by, bool standalone,
                        FILE *out) {
  const json_t *arms = json_object_get(report, "arms");
  line *lines = lap_allocate((int64_t)json_array_size(arms), sizeof *lines);
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    read_line(report, json_array_get(arms, i), kind, by, &lines[count]);
    count += lines[count].count > 1;
  }
  if (count > 0) {
    lap_svg_begin(
        out, bottom_of(count) + BELOW,
        kind == LAP_CURVE_TRAIN ? "Training loss of each arm" : "Held-out loss of each arm",
        standalone);
    draw(lines, count, kind, by, out);
    lap_svg_end(out);
  }
  free(lines);
  return count > 0;
}
