/* svg: a small writer of pictures: shapes with classes, whose colours are the page's, light or
 * dark.
 *
 * A picture is LAP_PICTURE_WIDTH wide, so that its letters are read on a phone; a page sets several
 * beside each other. By hand: what is needed of SVG is six shapes, and no library that Debian has
 * writes them without fonts, bitmaps or C++.
 */
#ifndef LAP_TRAINER_REPORT_SVG_H
#define LAP_TRAINER_REPORT_SVG_H

#include <stdbool.h>
#include <stdio.h>

enum { LAP_PICTURE_WIDTH = 360, LAP_COLORS = 8, LAP_TICKS = 12 };

/* A text with & < > " as entities. */
void lap_svg_escape(FILE *out, const char *text);

/* The rules that pictures and pages share: colours by variables, light and dark. */
void lap_svg_style(FILE *out);

/* `title` is what a reader without eyes gets. `standalone`: a file of its own, with the rules. */
void lap_svg_begin(FILE *out, double height, const char *title, bool standalone);
void lap_svg_end(FILE *out);

/* `kind` is a class: "axis", "grid", "zero", "margin", or "c0" to "c7" with what is drawn. */
void lap_svg_line(FILE *out, const char *kind, double x1, double y1, double x2, double y2);
void lap_svg_dot(FILE *out, const char *kind, double x, double y, double radius);
void lap_svg_box(FILE *out, const char *kind, double x, double y, double width, double height);
/* points [2 count] x, y; closed: an area. */
void lap_svg_path(FILE *out, const char *kind, const double *points, size_t count, bool closed);
/* `anchor`: "start", "middle", "end". */
void lap_svg_text(FILE *out, const char *kind, double x, double y, const char *anchor,
                  const char *format, ...) __attribute__((format(printf, 6, 7)));

enum { LAP_SVG_NAME = 128 };
/* A name in at most `letters` of them, 4 to 40. Of a longer one, which is that of an arm of a grid,
 * the keys are left out ("arm,VALUE"), and where that is too long still, the middle. Returns
 * `text`. */
const char *lap_svg_name(const char *name, int letters, char text[LAP_SVG_NAME]);

/* From values to places. */
typedef struct {
  double from, to;       /* values; from < to */
  double at_from, at_to; /* places */
} lap_scale;

double lap_scale_place(const lap_scale *scale, double value);
/* Takes a value into the range of values, unless it is not finite. */
void lap_scale_widen(lap_scale *scale, double value);

/* Round values within the scale, about `wanted` of them: values [LAP_TICKS]. Returns how many. */
size_t lap_scale_ticks(const lap_scale *scale, int wanted, double *values);

/* An axis along the bottom at y, with ticks and, above them as high as `grid`, lines. `format`
 * prints a tick: NULL for numbers as they are. */
typedef void (*lap_tick_format)(double value, char *text, size_t size);
void lap_svg_axis_below(FILE *out, const lap_scale *x, double y, int wanted,
                        lap_tick_format format);
void lap_svg_axis_left(FILE *out, const lap_scale *y, double x, double right, int wanted);

#endif
