#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "trainer/report/json_file.h"
#include "trainer/report/measures.h"
#include "trainer/report/pictures.h"
#include "trainer/report/svg.h"

enum { HEIGHT = 258, LEFT = 40, RIGHT = 350, TOP = 26, BOTTOM = 222 };

static void find_range(const json_t *points, lap_scale *x, lap_scale *y) {
  for (size_t i = 0; i < json_array_size(points); ++i) {
    const json_t *point = json_array_get(points, i), *seeds = json_object_get(point, "by_seed");
    if (i > 0) { /* the first is what is to be matched */
      x->from = fmin(x->from, log(lap_json_real(point, "multiple")));
      x->to = fmax(x->to, log(lap_json_real(point, "multiple")));
    }
    for (size_t s = 0; s < json_array_size(seeds); ++s) {
      y->from = fmin(y->from, json_number_value(json_array_get(seeds, s)));
      y->to = fmax(y->to, json_number_value(json_array_get(seeds, s)));
    }
  }
  const double room = (y->to - y->from) * 0.08 + 1e-6, side = (x->to - x->from) * 0.04;
  y->from -= room;
  y->to += room;
  x->from -= side;
  x->to += side;
}

static void draw_points(const json_t *report, const json_t *points, const lap_scale *x,
                        const lap_scale *y, FILE *out) {
  for (size_t i = 1; i < json_array_size(points); ++i) {
    const json_t *point = json_array_get(points, i), *seeds = json_object_get(point, "by_seed");
    const double at = lap_scale_place(x, log(lap_json_real(point, "multiple")));
    char kind[16];
    const int color = lap_arm_color(report, lap_json_text(json_array_get(points, 1), "arm"));
    snprintf(kind, sizeof kind, "seed c%d", color);
    for (size_t s = 0; s < json_array_size(seeds); ++s)
      lap_svg_dot(out, kind, at, lap_scale_place(y, json_number_value(json_array_get(seeds, s))),
                  2.4);
    snprintf(kind, sizeof kind, "c%d", color);
    lap_svg_dot(out, kind, at, lap_scale_place(y, lap_json_real(point, "estimate")), 3.6);
    lap_svg_line(out, "tick", at, BOTTOM, at, BOTTOM + 3);
    lap_svg_text(out, "quiet", at, BOTTOM + 14, "middle", "%.3g\xC3\x97",
                 lap_json_real(point, "multiple"));
  }
}

/* The level to be matched, across; where the line meets it, down to the axis. */
static void draw_match(const json_t *even, int color, const lap_scale *x, const lap_scale *y,
                       FILE *out) {
  const json_t *arm = json_array_get(json_object_get(even, "points"), 0);
  const json_t *interval = json_object_get(even, "interval");
  const double level = lap_scale_place(y, lap_json_real(arm, "estimate"));
  const double multiple = log(lap_json_real(even, "multiple"));
  char kind[16];
  snprintf(kind, sizeof kind, "mean c%d", color);
  lap_svg_line(out, kind, LEFT, level, RIGHT, level);
  snprintf(kind, sizeof kind, "c%d", color);
  lap_svg_text(out, kind, LEFT + 2, level + 13, "start", "%.40s", lap_json_text(arm, "arm"));
  if (json_array_size(interval) == 2) {
    const double low = lap_scale_place(x, log(json_number_value(json_array_get(interval, 0))));
    const double high = lap_scale_place(x, log(json_number_value(json_array_get(interval, 1))));
    snprintf(kind, sizeof kind, "wide c%d", color);
    lap_svg_line(out, kind, low, BOTTOM - 3, high, BOTTOM - 3);
  }
  if (multiple < x->from || multiple > x->to || isnan(multiple)) return;
  const double at = lap_scale_place(x, multiple);
  lap_svg_line(out, "zero", at, level, at, BOTTOM);
  lap_svg_text(out, "strong", at + 5, BOTTOM - 12, "start", "%s", lap_json_text(even, "text"));
}

bool lap_picture_break_even(const json_t *report, bool standalone, FILE *out) {
  const json_t *even = json_object_get(report, "break_even");
  const json_t *points = json_object_get(even, "points");
  if (!lap_json_flag(even, "complete") || json_array_size(points) < 3) return false;
  lap_scale x = {INFINITY, -INFINITY, LEFT, RIGHT}, y = {INFINITY, -INFINITY, BOTTOM, TOP};
  find_range(points, &x, &y);
  const char *first = lap_json_text(json_array_get(points, 1), "arm");
  const int color = lap_arm_color(report, first);
  const double slope = lap_json_real(even, "slope"), intercept = lap_json_real(even, "intercept");
  char kind[16], title[120];
  const char *endpoint = lap_json_text(json_object_get(report, "endpoint"), "measure");
  const lap_measure *measure = lap_measure_find(endpoint);
  const char *name = measure ? measure->title : "loss";
  snprintf(title, sizeof title, "%c%.80s over multiples of the tokens", toupper(*name), name + 1);
  lap_svg_begin(out, HEIGHT, title, standalone);
  lap_svg_text(out, "quiet", 2, 11, "start", "%c%s, %s", toupper(*name), name + 1,
               measure ? measure->unit : "nats/token");
  lap_svg_axis_left(out, &y, LEFT, RIGHT, 5);
  lap_svg_line(out, "axis", LEFT, BOTTOM, RIGHT, BOTTOM);
  snprintf(kind, sizeof kind, "mean c%d", color);
  lap_svg_line(out, kind, LEFT, lap_scale_place(&y, intercept + slope * x.from), RIGHT,
               lap_scale_place(&y, intercept + slope * x.to));
  draw_match(even, lap_arm_color(report, lap_json_text(even, "arm")), &x, &y, out);
  draw_points(report, points, &x, &y, out);
  snprintf(kind, sizeof kind, "c%d", color);
  const json_t *start = json_array_get(points, 1);
  lap_svg_text(out, kind, lap_scale_place(&x, log(lap_json_real(start, "multiple"))) + 9,
               lap_scale_place(&y, lap_json_real(start, "estimate")) - 7, "start", "%.40s", first);
  lap_svg_text(out, "quiet", RIGHT, BOTTOM + 30, "end", "multiple of the tokens");
  lap_svg_end(out);
  return true;
}
