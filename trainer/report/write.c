#include "trainer/report/write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/report/json_file.h"
#include "trainer/report/page.h"
#include "trainer/report/pictures.h"
#include "trainer/report/tables.h"
#include "trainer/report/tuning.h"

enum { DIGITS = 12 };
static const char REPORT[] = "report.json";

static void write_json(const json_t *report, FILE *out) {
  json_dumpf(report, out, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS));
  fputc('\n', out);
}

static lap_code write_one(const json_t *report, const char *directory, const char *name,
                          void (*write)(const json_t *, FILE *), lap_status *status) {
  char *text = NULL, *path = lap_format("%s/%s", directory, name);
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  write(report, out);
  lap_close_text(out, &text);
  const lap_code code = lap_file_write(path, text, size, status);
  free(text);
  free(path);
  return code;
}

/* --- pictures --- */

/* Publishes what was drawn, or nothing where there was nothing to draw. */
static lap_code keep_picture(FILE *drawing, bool drawn, char **text, size_t *size,
                             const char *directory, const char *name, lap_status *status) {
  lap_close_text(drawing, text);
  char *path = lap_format("%s/%s.svg", directory, name);
  const lap_code code = drawn ? lap_file_write(path, *text, *size, status) : LAP_OK;
  if (!drawn) unlink(path); /* that of an earlier report */
  free(path);
  free(*text);
  *text = NULL;
  return code;
}

static lap_code write_curve_pictures(const json_t *report, const char *directory,
                                     lap_status *status) {
  static const char *const names[] = {"training-loss-by-tokens", "training-loss-by-flops",
                                      "held-out-loss-by-tokens", "held-out-loss-by-flops"};
  for (int i = 0; i < 4; ++i) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = lap_open_text(&text, &size);
    const bool drawn = lap_picture_curves(report, i < 2 ? LAP_CURVE_TRAIN : LAP_CURVE_EVAL,
                                          i % 2 ? LAP_BY_FLOPS : LAP_BY_TOKENS, true, out);
    LAP_TRY(keep_picture(out, drawn, &text, &size, directory, names[i], status));
  }
  return LAP_OK;
}

/* What the picture of a pair is called. Names of two arms of a grid may be too long for a file. */
static char *name_of_pair(const json_t *one, size_t index) {
  enum { LONGEST = 200 };
  char *name = lap_format("%s-minus-%s", lap_json_text(one, "arm"), lap_json_text(one, "baseline"));
  if (strlen(name) <= LONGEST) return name;
  free(name);
  return lap_format("comparison-%zu", index + 1);
}

static lap_code write_pairs(const json_t *report, const json_t *measure, const char *directory,
                            lap_status *status) {
  const json_t *comparisons = json_object_get(measure, "comparisons");
  for (size_t i = 0; i < json_array_size(comparisons); ++i) {
    const json_t *one = json_array_get(comparisons, i);
    char *text = NULL, *name = name_of_pair(one, i);
    size_t size = 0;
    FILE *out = lap_open_text(&text, &size);
    const bool drawn = lap_picture_pair(report, measure, one, true, out);
    const lap_code code = keep_picture(out, drawn, &text, &size, directory, name, status);
    free(name);
    LAP_TRY(code);
  }
  return LAP_OK;
}

static lap_code write_comparison_pictures(const json_t *report, const char *directory,
                                          lap_status *status) {
  const json_t *sets = json_object_get(report, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *measure = json_array_get(json_object_get(json_array_get(sets, i), "measures"), 0);
    if (!lap_json_flag(measure, "primary")) continue;
    char *text = NULL;
    size_t size = 0;
    FILE *out = lap_open_text(&text, &size);
    const bool drawn = lap_picture_overview(report, measure, true, out);
    LAP_TRY(keep_picture(out, drawn, &text, &size, directory, "comparisons", status));
    LAP_TRY(write_pairs(report, measure, directory, status));
  }
  return LAP_OK;
}

static lap_code write_tuning_pictures(const json_t *report, const char *directory,
                                      lap_status *status) {
  for (size_t k = 0; lap_tuning_key(report, k); ++k) {
    char *text = NULL, *name = lap_format("tuning-%s", lap_tuning_key(report, k));
    size_t size = 0;
    FILE *out = lap_open_text(&text, &size);
    const bool drawn = lap_picture_tuning(report, lap_tuning_key(report, k), true, out);
    const lap_code code = keep_picture(out, drawn, &text, &size, directory, name, status);
    free(name);
    LAP_TRY(code);
  }
  return LAP_OK;
}

/* --- pictures of an earlier report --- */

static void remove_picture(const char *directory, const char *name) {
  char *path = lap_format("%s/%s.svg", directory, name);
  unlink(path); /* there may be none */
  free(path);
}

/* Those of its comparisons and tuned keys: the others have one name for ever. What else lies in the
 * directory is not ours. */
static void remove_pictures(const json_t *earlier, const char *directory) {
  const json_t *sets = json_object_get(earlier, "sets");
  for (size_t i = 0; i < json_array_size(sets); ++i) {
    const json_t *measure = json_array_get(json_object_get(json_array_get(sets, i), "measures"), 0);
    const json_t *comparisons = json_object_get(measure, "comparisons");
    if (!lap_json_flag(measure, "primary")) continue;
    for (size_t c = 0; c < json_array_size(comparisons); ++c) {
      char *name = name_of_pair(json_array_get(comparisons, c), c);
      if (!strchr(name, '/')) remove_picture(directory, name);
      free(name);
    }
  }
  for (size_t k = 0; lap_tuning_key(earlier, k); ++k) {
    char *name = lap_format("tuning-%s", lap_tuning_key(earlier, k));
    if (!strchr(name, '/')) remove_picture(directory, name);
    free(name);
  }
}

static void remove_earlier_pictures(const char *directory) {
  json_t *earlier = NULL;
  lap_status ignored; /* a damaged one says nothing of its pictures, and is about to be replaced */
  if (lap_json_file_read(directory, REPORT, false, &earlier, &ignored) == LAP_OK)
    remove_pictures(earlier, directory);
  json_decref(earlier);
}

static lap_code write_pictures(const json_t *report, const char *directory, lap_status *status) {
  LAP_TRY(write_curve_pictures(report, directory, status));
  LAP_TRY(write_comparison_pictures(report, directory, status));
  LAP_TRY(write_tuning_pictures(report, directory, status));
  char *text = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  const bool drawn = lap_picture_break_even(report, true, out);
  return keep_picture(out, drawn, &text, &size, directory, "break-even", status);
}

lap_code lap_report_write(const json_t *report, const char *directory, lap_status *status) {
  static const struct {
    const char *name;
    void (*write)(const json_t *, FILE *);
  } files[] = {{REPORT, write_json},
               {"report.md", lap_report_write_markdown},
               {"report.tex", lap_report_write_latex},
               {"report.html", lap_report_write_page},
               {"curves.csv", lap_report_write_curves},
               {"tuning.csv", lap_report_write_tuning}};
  remove_earlier_pictures(directory);
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
    LAP_TRY(write_one(report, directory, files[i].name, files[i].write, status));
  return write_pictures(report, directory, status);
}
