#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/report/json_file.h"
#include "trainer/report/pictures.h"
#include "trainer/report/svg.h"

enum { LEFT = 40, RIGHT = 350, TOP = 40, BOTTOM = 214, ROW = 13, POINTS = 64 };

const char *lap_tuning_key(const json_t *report, size_t i) {
  const json_t *first = json_array_get(json_object_get(report, "tuning"), 0);
  const char *key;
  json_t *value;
  json_object_foreach(json_object_get(first, "values"), key, value) {
    if (i-- == 0) return key;
  }
  return NULL;
}

/* log2 of the factor, or of the value where its factor is not known. */
static double place_of(const json_t *point, const char *key) {
  const double factor = lap_json_real(json_object_get(point, "factors"), key);
  return log2(isnan(factor) ? lap_json_real(json_object_get(point, "values"), key) : factor);
}

static bool is_of(const json_t *point, const char *arm) {
  return strcmp(lap_json_text(point, "arm"), arm) == 0;
}

/* The best point of an arm at each factor of the key: best [POINTS], by the factor. */
static size_t line_of(const json_t *tuning, const char *arm, const char *key,
                      const json_t *best[POINTS]) {
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(tuning); ++i) {
    const json_t *point = json_array_get(tuning, i);
    if (!is_of(point, arm) || !isfinite(place_of(point, key))) continue;
    size_t at = 0;
    while (at < count && place_of(best[at], key) < place_of(point, key)) ++at;
    if (at < count && place_of(best[at], key) == place_of(point, key)) {
      const double own = lap_json_real(point, "loss"), other = lap_json_real(best[at], "loss");
      if (lap_json_flag(point, "chosen") || (!lap_json_flag(best[at], "chosen") && own < other))
        best[at] = point;
    } else if (count < POINTS) {
      memmove(&best[at + 1], &best[at], (count - at) * sizeof *best);
      best[at] = point;
      ++count;
    }
  }
  return count;
}

static double loss_of_seed(const json_t *point, size_t s) {
  const json_t *value = json_array_get(json_object_get(point, "by_seed"), s);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void find_range(const json_t *tuning, const char *key, lap_scale *x, lap_scale *y) {
  for (size_t i = 0; i < json_array_size(tuning); ++i) {
    const json_t *point = json_array_get(tuning, i);
    lap_scale_widen(x, place_of(point, key));
    for (size_t s = 0; s < json_array_size(json_object_get(point, "by_seed")); ++s)
      lap_scale_widen(y, loss_of_seed(point, s));
  }
  const double room = fmax((y->to - y->from) * .06, 1e-6);
  y->from -= room;
  y->to += room;
  x->from -= .2;
  x->to += .2;
}

static void draw_arm(const json_t *report, const json_t *tuning, const char *arm, const char *key,
                     const lap_scale *x, const lap_scale *y, FILE *out) {
  const json_t *best[POINTS + 1];
  const int color = lap_arm_color(report, arm);
  const size_t count = line_of(tuning, arm, key, best);
  double line[2 * POINTS];
  size_t drawn = 0;
  char kind[24];
  for (size_t i = 0; i < count; ++i) {
    const double loss = lap_json_real(best[i], "loss"),
                 at = lap_scale_place(x, place_of(best[i], key));
    snprintf(kind, sizeof kind, "seed c%d", color);
    for (size_t s = 0; s < json_array_size(json_object_get(best[i], "by_seed")); ++s)
      if (isfinite(loss_of_seed(best[i], s)))
        lap_svg_dot(out, kind, at, lap_scale_place(y, loss_of_seed(best[i], s)), 2.2);
    if (!isfinite(loss)) continue;
    line[2 * drawn] = at;
    line[2 * drawn++ + 1] = lap_scale_place(y, loss);
    snprintf(kind, sizeof kind, "open c%d", color);
    if (lap_json_flag(best[i], "chosen")) lap_svg_dot(out, kind, at, lap_scale_place(y, loss), 5);
  }
  snprintf(kind, sizeof kind, "mean c%d", color);
  if (drawn > 1) lap_svg_path(out, kind, line, drawn, false);
}

static void factor_text(double value, char *text, size_t size) {
  snprintf(text, size, "%.3g", exp2(value));
}

static void draw_names(const json_t *report, const json_t *tuning, double y, FILE *out) {
  const json_t *arms = json_object_get(report, "arms");
  for (size_t i = 0; i < json_array_size(arms); ++i) {
    const char *arm = lap_json_text(json_array_get(arms, i), "name");
    if (!lap_json_find(tuning, "arm", arm, NULL)) continue;
    char kind[16];
    snprintf(kind, sizeof kind, "c%d", lap_arm_color(report, arm));
    lap_svg_dot(out, kind, 8, y - 3.5, 3.6);
    lap_svg_text(out, "", 16, y, "start", "%.50s", arm);
    y += ROW;
  }
}

bool lap_picture_tuning(const json_t *report, const char *key, bool standalone, FILE *out) {
  const json_t *tuning = json_object_get(report, "tuning"), *arms = json_object_get(report, "arms");
  lap_scale x = {INFINITY, -INFINITY, LEFT, RIGHT}, y = {INFINITY, -INFINITY, BOTTOM, TOP};
  find_range(tuning, key, &x, &y);
  if (!isfinite(x.from) || !isfinite(y.from)) return false;
  size_t names = 0;
  for (size_t i = 0; i < json_array_size(arms); ++i)
    names +=
        lap_json_find(tuning, "arm", lap_json_text(json_array_get(arms, i), "name"), NULL) != NULL;
  lap_svg_begin(out, BOTTOM + 38 + ROW * (double)names, "Loss on dev by what was tuned",
                standalone);
  lap_svg_text(out, "strong", 2, 11, "start", "%.50s", key);
  lap_svg_text(out, "quiet", 2, 27, "start", "Loss on dev, nats/token");
  lap_svg_axis_left(out, &y, LEFT, RIGHT, 5);
  lap_svg_axis_below(out, &x, BOTTOM, 4, factor_text);
  const double factor = lap_json_real(json_object_get(json_array_get(tuning, 0), "factors"), key);
  lap_svg_text(out, "quiet", RIGHT, BOTTOM + 29, "end", "%s",
               isnan(factor) ? "value" : "times the arm's own value");
  for (size_t i = 0; i < json_array_size(arms); ++i)
    draw_arm(report, tuning, lap_json_text(json_array_get(arms, i), "name"), key, &x, &y, out);
  draw_names(report, tuning, BOTTOM + 46, out);
  lap_svg_end(out);
  return true;
}
