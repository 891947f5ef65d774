#include "trainer/report/svg.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/text.h"

void lap_svg_escape(FILE *out, const char *text) {
  for (; *text; ++text) switch (*text) {
      case '&':
        fputs("&amp;", out);
        break;
      case '<':
        fputs("&lt;", out);
        break;
      case '>':
        fputs("&gt;", out);
        break;
      case '"':
        fputs("&quot;", out);
        break;
      default: /* XML has no other control characters than these */
        if ((unsigned char)*text < ' ' && !strchr("\t\n\r", *text))
          fputs(LAP_REPLACEMENT, out);
        else
          fputc(*text, out);
    }
}

/* Where the letter `count` of a text begins; UTF-8. */
static const char *letter(const char *text, int count) {
  for (; *text; ++text)
    if (((unsigned char)*text & 0xC0) != 0x80 && count-- == 0) break;
  return text;
}

static int letters_of(const char *text) {
  int count = 0;
  for (; *text; ++text) count += ((unsigned char)*text & 0xC0) != 0x80;
  return count;
}

/* "arm,KEY=VALUE" without what the names of a grid have in common: "arm,VALUE"; malloc'ed. */
static char *without_keys(const char *name) {
  char *text = lap_copy_string(name);
  size_t count = 0;
  for (const char *at = name; *at; ++at) {
    text[count++] = *at;
    const char *equals = *at == ',' ? strpbrk(at + 1, ",=") : NULL;
    if (equals && *equals == '=') at = equals;
  }
  text[count] = '\0';
  return text;
}

const char *lap_svg_name(const char *name, int letters, char text[LAP_SVG_NAME]) {
  char *values = without_keys(name);
  const char *shown = letters_of(name) <= letters ? name : values;
  const int all = letters_of(shown), first = letters / 3, last = letters - first - 1;
  if (all <= letters)
    snprintf(text, LAP_SVG_NAME, "%s", shown);
  else
    snprintf(text, LAP_SVG_NAME, "%.*s\xE2\x80\xA6%s", (int)(letter(shown, first) - shown), shown,
             letter(shown, all - last));
  free(values);
  return text;
}

/* Okabe and Ito's colours, which people with any colour vision tell apart; in the dark lighter. */
static const char LIGHT[] =
    "--paper:#fdfdfb;--ink:#1d1d1f;--quiet:#62666d;--rule:#d9d9d4;--faint:#efefea;--alarm:#a33400;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#00815f;--c3:#b0508c;--c4:#a87000;--c5:#2f8fc4;--c6:#555a60;"
    "--c7:#6f4fa3;";
static const char DARK[] =
    "--paper:#15171a;--ink:#e9e8e4;--quiet:#a2a6ad;--rule:#3a3e44;--faint:#22262b;--alarm:#ff9d6b;"
    "--c0:#5ab4f0;--c1:#ff8f4d;--c2:#3cc79d;--c3:#e292c3;--c4:#f0b43c;--c5:#8fd0f5;--c6:#b4b9c0;"
    "--c7:#b79be6;";

void lap_svg_style(FILE *out) {
  fprintf(out, ":root{color-scheme:light dark;%s}\n", LIGHT);
  fprintf(out, "@media (prefers-color-scheme:dark){:root{%s}}\n", DARK);
  fprintf(out, "@media print{:root{color-scheme:light;%s--paper:#fff;}}\n", LIGHT);
  fputs(
      "svg text{font:11px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica "
      "Neue\",Arial,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}\n"
      "svg .quiet{fill:var(--quiet)}svg .strong{font-weight:600}\n"
      "svg .axis,svg .tick{stroke:var(--quiet);stroke-width:.75}"
      "svg .grid{stroke:var(--rule);stroke-width:.5}\n"
      "svg .zero{stroke:var(--ink);stroke-width:.75;stroke-dasharray:2 2}"
      "svg .margin{fill:var(--faint);stroke:none}\n"
      "svg .mean{fill:none;stroke-width:1.8;stroke-linejoin:round}svg .band{stroke:none;"
      "fill-opacity:.16}\n"
      "svg .link{stroke:var(--quiet);stroke-width:1}svg .lead{stroke-width:.6;stroke-opacity:.6}\n"
      "svg .open{fill:var(--paper);stroke-width:1.4}svg .seed{stroke:none;fill-opacity:.45}\n"
      "svg .wide{stroke-width:5;stroke-opacity:.55}svg .thin{stroke-width:1.2}\n",
      out);
  for (int i = 0; i < LAP_COLORS; ++i)
    fprintf(out,
            "svg .c%d{stroke:var(--c%d);fill:var(--c%d)}svg .mean.c%d{fill:none}svg "
            ".open.c%d{fill:var(--paper)}svg .band.c%d,svg .seed.c%d,svg text.c%d{stroke:none}\n",
            i, i, i, i, i, i, i, i);
}

void lap_svg_begin(FILE *out, double height, const char *title, bool standalone) {
  fprintf(out, "<svg%s viewBox=\"0 0 %d %.0f\" role=\"img\">",
          standalone ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", LAP_PICTURE_WIDTH, height);
  fputs("<title>", out);
  lap_svg_escape(out, title);
  fputs("</title>\n", out);
  if (!standalone) return;
  fputs("<style>", out);
  lap_svg_style(out);
  fputs("svg{background:var(--paper)}</style>\n", out);
}

void lap_svg_end(FILE *out) { fputs("</svg>\n", out); }

void lap_svg_line(FILE *out, const char *kind, double x1, double y1, double x2, double y2) {
  fprintf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", kind, x1,
          y1, x2, y2);
}

void lap_svg_dot(FILE *out, const char *kind, double x, double y, double radius) {
  fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", kind, x, y, radius);
}

void lap_svg_box(FILE *out, const char *kind, double x, double y, double width, double height) {
  fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", kind,
          x, y, width, height);
}

void lap_svg_path(FILE *out, const char *kind, const double *points, size_t count, bool closed) {
  if (count < 2) return;
  fprintf(out, "<path class=\"%s\" d=\"", kind);
  for (size_t i = 0; i < count; ++i)
    fprintf(out, "%s%.1f,%.1f", i ? " " : "M", points[2 * i], points[2 * i + 1]);
  fprintf(out, "%s\"/>\n", closed ? "Z" : "");
}

void lap_svg_text(FILE *out, const char *kind, double x, double y, const char *anchor,
                  const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", kind, x, y, anchor);
  lap_svg_escape(out, text);
  fputs("</text>\n", out);
}

/* --- scales --- */

void lap_scale_widen(lap_scale *scale, double value) {
  if (!isfinite(value)) return;
  scale->from = fmin(scale->from, value);
  scale->to = fmax(scale->to, value);
}

double lap_scale_place(const lap_scale *scale, double value) {
  const double share = (value - scale->from) / (scale->to - scale->from);
  return scale->at_from + share * (scale->at_to - scale->at_from);
}

size_t lap_scale_ticks(const lap_scale *scale, int wanted, double *values) {
  static const double nice[] = {1, 2, 5, 10};
  const double raw = (scale->to - scale->from) / wanted;
  const double power = pow(10, floor(log10(raw)));
  double step = 10 * power;
  for (size_t i = 4; i-- > 0;)
    if (nice[i] * power >= raw * 0.999) step = nice[i] * power;
  const double first = ceil(scale->from / step - 1e-9);
  size_t count = 0;
  while (count < LAP_TICKS && (first + (double)count) * step <= scale->to + step * 1e-6) {
    values[count] = (first + (double)count) * step;
    ++count;
  }
  return count;
}

static void plain(double value, char *text, size_t size) {
  snprintf(text, size, "%s%.6g", value < 0 ? "\xE2\x88\x92" : "",
           fabs(value) < 1e-12 ? 0 : fabs(value));
}

void lap_svg_axis_below(FILE *out, const lap_scale *x, double y, int wanted,
                        lap_tick_format format) {
  double values[LAP_TICKS];
  const size_t count = lap_scale_ticks(x, wanted, values);
  lap_svg_line(out, "axis", x->at_from, y, x->at_to, y);
  for (size_t i = 0; i < count; ++i) {
    char text[32];
    const double at = lap_scale_place(x, values[i]);
    (format ? format : plain)(values[i], text, sizeof text);
    lap_svg_line(out, "tick", at, y, at, y + 3);
    lap_svg_text(out, "quiet", at, y + 14, "middle", "%s", text);
  }
}

void lap_svg_axis_left(FILE *out, const lap_scale *y, double x, double right, int wanted) {
  double values[LAP_TICKS];
  const size_t count = lap_scale_ticks(y, wanted, values);
  for (size_t i = 0; i < count; ++i) {
    char text[32];
    const double at = lap_scale_place(y, values[i]);
    plain(values[i], text, sizeof text);
    lap_svg_line(out, "grid", x, at, right, at);
    lap_svg_text(out, "quiet", x - 5, at + 3.5, "end", "%s", text);
  }
}
