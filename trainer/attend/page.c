#include "trainer/attend/page.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "trainer/attend/picture.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2127;--soft:#5b6570;--line:#d5dae0;--paper:#fff;"
    "--box:#f6f8fa;--mark:#b35900}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e2e7ec;--soft:#9aa5b1;--line:#38414b;"
    "--paper:#12161b;--box:#1a2027;--mark:#f0a35e}}\n"
    "body{margin:0 auto;max-width:1200px;padding:16px;background:var(--paper);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem;margin:0 0 8px}h2{font-size:1.15rem;margin:28px 0 8px}"
    "h3{font-size:1rem;margin:0 0 8px;overflow-wrap:anywhere}p{margin:8px 0;max-width:75ch}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:3px 10px;text-align:right;border-bottom:1px solid var(--line);"
    "white-space:nowrap}th{color:var(--soft);font-weight:600}"
    "th:first-child,td:first-child{text-align:left}\n"
    ".row{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px;"
    "margin:12px 0}.layer{background:var(--box);border:1px solid var(--line);border-radius:8px;"
    "padding:12px;min-width:0}\n"
    ".heads{display:flex;flex-wrap:wrap;gap:12px}details[open]{flex:1 1 100%;min-width:0}"
    "summary{cursor:pointer;list-style:none;font-size:.8rem;color:var(--soft)}"
    "summary::-webkit-details-marker{display:none}summary svg{display:block;width:112px;"
    "height:112px;border:1px solid var(--line);background:var(--paper)}"
    "summary b{color:var(--mark)}\n"
    "image{image-rendering:pixelated}.text{overflow-wrap:anywhere;background:var(--box);"
    "padding:8px;border-radius:8px}.text mark{background:none;color:var(--mark);"
    "font-weight:700}.soft{color:var(--soft)}\n"
    ".scale{display:inline-block;width:120px;height:10px;vertical-align:middle;border:1px solid "
    "var(--line);background:linear-gradient(90deg,transparent,#2f7de1)}\n"
    "@media print{body{max-width:none;padding:0;font-size:11px}.layer{break-inside:avoid}"
    "*{print-color-adjust:exact;-webkit-print-color-adjust:exact}.row{grid-template-columns:1fr "
    "1fr}"
    "th,td{padding:2px 5px}}\n";

/* --- text --- */

/* Text as HTML: what is not text becomes U+FFFD, white space what people can see. */
static void put_text(FILE *out, const char *text) {
  for (size_t bytes = strlen(text); bytes > 0;) {
    size_t length = lap_utf8_character(text, bytes);
    const unsigned char c = (unsigned char)*text;
    if (length == 0)
      length = lap_utf8_damage(text, bytes), fputs(LAP_REPLACEMENT, out);
    else if (c == '<' || c == '>' || c == '&' || c == '"')
      fprintf(out, "&#%d;", c);
    else if (c == '\n')
      fputs("\xE2\x8F\x8E", out);
    else if (c < 0x20 || c == 0x7F)
      fputs(LAP_REPLACEMENT, out);
    else
      fwrite(text, 1, length, out);
    text += length, bytes -= length;
  }
}

/* A piece as it stands in the text: U+2581 is a space. */
static void put_spaced(FILE *out, const char *piece) {
  static const char space[] = "\xE2\x96\x81";
  for (; strncmp(piece, space, sizeof space - 1) == 0; piece += sizeof space - 1) putc(' ', out);
  put_text(out, piece);
}

static void put_number(FILE *out, double value, int decimals) {
  if (isnan(value))
    fputs("<td>-</td>", out);
  else
    fprintf(out, "<td>%.*f</td>", decimals, value);
}

/* --- measures --- */

lap_head_measures lap_attend_mean(const lap_attend_model *model, bool local, int64_t *heads) {
  lap_head_measures mean = {0};
  int64_t with_pairs = 0;
  *heads = 0;
  for (int64_t layer = 0; layer < model->maps->layers; ++layer)
    for (int64_t h = 0; h < model->maps->heads && model->maps->local[layer] == local; ++h) {
      const lap_head_measures *m = &model->head[layer * model->maps->heads + h];
      ++*heads;
      mean.entropy += m->entropy, mean.distance += m->distance, mean.bos += m->bos;
      mean.in_window += m->in_window, mean.beyond_window += m->beyond_window;
      if (m->pairs == 0) continue;
      ++with_pairs;
      mean.name += m->name, mean.control += m->control, mean.pairs += m->pairs;
    }
  const double n = (double)*heads, p = (double)with_pairs;
  mean.entropy /= n, mean.distance /= n, mean.bos /= n, mean.in_window /= n,
      mean.beyond_window /= n;
  mean.name = with_pairs ? mean.name / p : NAN;
  mean.control = with_pairs ? mean.control / p : NAN;
  return mean;
}

static const char columns_of_measures[] =
    "<th>entropy</th><th>distance</th><th>on BOS</th><th>in window</th><th>beyond</th>"
    "<th>to name</th><th>control</th><th>pairs</th></tr>\n";

static void put_measures(FILE *out, const lap_head_measures *m) {
  put_number(out, m->entropy, 2);
  put_number(out, m->distance, 1);
  put_number(out, m->bos, 3);
  put_number(out, m->in_window, 3);
  put_number(out, m->beyond_window, 3);
  put_number(out, m->name, 4);
  put_number(out, m->control, 4);
  fprintf(out, "<td>%" PRId64 "</td></tr>\n", m->pairs);
}

static const char *kind_of(bool local) { return local ? "local" : "global"; }

/* What tells two models apart. */
static const char *letter_of(const lap_attend_page *page, int m) {
  return page->models == 1 ? "" : m == 0 ? "A " : "B ";
}

static void put_means(FILE *out, const lap_attend_page *page) {
  fputs(
      "<h2>Local and global layers</h2>\n<div class=\"scroll\"><table><tr><th>means</th>"
      "<th>heads</th>",
      out);
  fputs(columns_of_measures, out);
  for (int m = 0; m < page->models; ++m)
    for (int local = 1; local >= 0; --local) {
      int64_t heads;
      const lap_head_measures mean = lap_attend_mean(&page->model[m], local, &heads);
      if (heads == 0) continue;
      fprintf(out, "<tr><td>%s%s</td><td>%" PRId64 "</td>", letter_of(page, m), kind_of(local),
              heads);
      put_measures(out, &mean);
    }
  fputs("</table></div>\n", out);
}

static void put_heads(FILE *out, const lap_attend_page *page) {
  fputs("<h2>Every head</h2>\n<div class=\"scroll\"><table><tr><th>head</th><th>kind</th>", out);
  fputs(columns_of_measures, out);
  for (int m = 0; m < page->models; ++m) {
    const lap_attend_model *model = &page->model[m];
    for (int64_t i = 0; i < model->maps->layers * model->maps->heads; ++i) {
      const int64_t layer = i / model->maps->heads;
      fprintf(out, "<tr><td>%s%" PRId64 ".%" PRId64 "</td><td>%s</td>", letter_of(page, m), layer,
              i % model->maps->heads, kind_of(model->maps->local[layer]));
      put_measures(out, &model->head[i]);
    }
  }
  fputs("</table></div>\n", out);
}

/* --- maps --- */

enum { CELL = 12, LABELS = 110 }; /* of a map that is opened, in pixels */

/* The labels of queries and keys, once for all maps. */
static void put_labels(FILE *out, const lap_attend_page *page) {
  const int64_t length = page->model[0].maps->length;
  fputs(
      "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs><g "
      "id=\"labels\" fill=\"currentColor\" font-size=\"10\" font-family=\"monospace\">\n",
      out);
  for (int64_t i = 0; i < length; ++i) {
    const int64_t at = i * CELL + CELL - 3;
    fprintf(out, "<text text-anchor=\"end\" x=\"-4\" y=\"%" PRId64 "\">", at);
    put_text(out, page->piece[i]);
    fprintf(out, "</text><text transform=\"translate(%" PRId64 " -4)rotate(-90)\">", at);
    put_text(out, page->piece[i]);
    fputs("</text>\n", out);
  }
  fputs("</g></defs></svg>\n", out);
}

static void put_head(FILE *out, const lap_attend_model *model, int m, int64_t layer, int64_t head) {
  const int64_t length = model->maps->length, size = LABELS + length * CELL;
  const lap_head_measures *measures = &model->head[layer * model->maps->heads + head];
  char *picture = lap_attention_picture(lap_attention_map(model->maps, layer, head), length);
  char id[64];
  snprintf(id, sizeof id, "m%d-%" PRId64 "-%" PRId64, m, layer, head);
  fprintf(out,
          "<details><summary><svg viewBox=\"0 0 %" PRId64 " %" PRId64
          "\" role=\"img\" aria-label=\"layer %" PRId64 ", head %" PRId64
          "\"><image id=\"%s\" width=\"%" PRId64 "\" height=\"%" PRId64
          "\" href=\"%s\"/></svg>"
          "head %" PRId64 "<br>BOS %.2f",
          length, length, layer, head, id, length, length, picture, head, measures->bos);
  if (measures->pairs > 0 && measures->name > 2 * measures->control && measures->name > 0.05)
    fprintf(out, " <b>name %.2f</b>", measures->name);
  fprintf(out,
          "</summary><div class=\"scroll\"><svg width=\"%" PRId64 "\" height=\"%" PRId64
          "\" viewBox=\"-%d -%d %" PRId64 " %" PRId64
          "\"><use href=\"#%s\" transform=\"scale(%d)\"/><use href=\"#labels\"/></svg></div>"
          "</details>\n",
          size, size, LABELS, LABELS, size, size, id, CELL);
  free(picture);
}

static void put_layer(FILE *out, const lap_attend_page *page, int m, int64_t layer) {
  const lap_attend_model *model = &page->model[m];
  if (layer >= model->maps->layers) return;
  fputs("<div class=\"layer\"><h3>", out);
  fprintf(out, "%slayer %" PRId64 ", ", letter_of(page, m), layer);
  if (model->maps->local[layer])
    fprintf(out, "local, window %" PRId64, model->maps->window);
  else
    fputs("global", out);
  fputs("</h3><div class=\"heads\">\n", out);
  for (int64_t head = 0; head < model->maps->heads; ++head) put_head(out, model, m, layer, head);
  fputs("</div></div>\n", out);
}

/* Two layers in a row, local beside global as Gemma 2 has them; of two models, the same layer of
 * both. */
static void put_maps(FILE *out, const lap_attend_page *page) {
  int64_t layers = 0;
  for (int m = 0; m < page->models; ++m)
    if (page->model[m].maps->layers > layers) layers = page->model[m].maps->layers;
  fputs(
      "<h2>Maps</h2>\n<p>A row for each query, a column for each key; click a map for the tokens. "
      "0 <span class=\"scale\"></span> 1, as the square root of the probability.</p>\n",
      out);
  for (int64_t layer = 0; layer < layers; ++layer) {
    const bool begins = page->models > 1 || layer % 2 == 0;
    const bool ends = page->models > 1 || layer % 2 == 1 || layer + 1 == layers;
    if (begins) fputs("<div class=\"row\">\n", out);
    for (int m = 0; m < page->models; ++m) put_layer(out, page, m, layer);
    if (ends) fputs("</div>\n", out);
  }
}

/* --- the page --- */

static bool in_pair(const lap_name_pairs *pairs, int64_t token) {
  for (int64_t i = 0; i < pairs->count; ++i) {
    const lap_name_pair *pair = &pairs->pair[i];
    if (token == pair->query || (token >= pair->first && token < pair->first + pair->count))
      return true;
  }
  return false;
}

static void put_introduction(FILE *out, const lap_attend_page *page) {
  const lap_attention_maps *maps = page->model[0].maps;
  fputs("<h1>Attention</h1>\n", out);
  for (int m = 0; m < page->models; ++m) {
    fputs("<p class=\"soft\">", out);
    fputs(letter_of(page, m), out);
    put_text(out, page->model[m].name);
    fprintf(out, "</p>\n");
  }
  fputs("<p class=\"text\">", out);
  for (int64_t i = 1; i < maps->length; ++i) {
    const bool marked = in_pair(page->pairs, i);
    if (marked) fputs("<mark>", out);
    put_spaced(out, page->piece[i]);
    if (marked) fputs("</mark>", out);
  }
  fprintf(out,
          "</p>\n<p>%" PRId64 " tokens with BOS, %" PRId64
          " repeated names. Entropy is in nats, distance in tokens; shares are of the "
          "probability, means over queries. Beyond the window of %" PRId64
          " tokens is what a local layer does not see. To name: from a repeated name to the tokens "
          "of its last occurrence; control: to as many tokens at the same distance, from the "
          "nearest %d other queries.</p>\n",
          maps->length, page->pairs->count, maps->window, LAP_NAME_CONTROLS);
}

lap_code lap_attend_page_write(const char *path, const lap_attend_page *page, lap_status *status) {
  char *text;
  size_t bytes;
  FILE *out = lap_open_text(&text, &bytes);
  fputs(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><title>Attention</title><style>\n",
      out);
  fputs(style, out);
  fputs("</style></head><body>\n", out);
  put_introduction(out, page);
  put_means(out, page);
  put_labels(out, page);
  put_maps(out, page);
  put_heads(out, page);
  fputs("</body></html>\n", out);
  lap_close_text(out, &text);
  const lap_code code = lap_file_write(path, text, bytes, status);
  free(text);
  return code;
}
