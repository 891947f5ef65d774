#include "trainer/inspect/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/status.h"
#include "core/text.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"

enum { KEY_WIDTH = 22, PATH_CHARACTERS = 4096, EXACT_BELOW = 10000 };

struct lap_report {
  char *path; /* cleaned */
  const char *kind;
  char *summary;
  json_t *root, *section;
  FILE *body; /* into `text` */
  char *text;
  size_t text_bytes;
};

lap_report *lap_report_create(const char *path) {
  lap_report *report = lap_allocate(1, sizeof *report);
  report->path = lap_report_clean(path, strlen(path), PATH_CHARACTERS);
  report->kind = "";
  report->summary = lap_copy_string("");
  report->root = json_object();
  report->section = report->root;
  report->body = lap_open_text(&report->text, &report->text_bytes);
  json_object_set_new(report->root, "path", json_string(report->path));
  return report;
}

void lap_report_destroy(lap_report *report) {
  if (!report) return;
  lap_close_text(report->body, &report->text);
  free(report->text);
  free(report->path);
  free(report->summary);
  json_decref(report->root);
  free(report);
}

void lap_report_set_kind(lap_report *report, const char *kind) {
  report->kind = kind;
  json_object_set_new(report->root, "kind", json_string(kind));
}

static char *format_text(const char *format, va_list arguments) {
  char *text = NULL;
  size_t bytes;
  FILE *out = lap_open_text(&text, &bytes);
  vfprintf(out, format, arguments);
  lap_close_text(out, &text);
  return text;
}

void lap_report_summarise(lap_report *report, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  free(report->summary);
  report->summary = format_text(format, arguments);
  va_end(arguments);
}

const char *lap_report_kind(const lap_report *report) { return report->kind; }
const char *lap_report_summary(const lap_report *report) { return report->summary; }

void lap_report_json_only(lap_report *report, const char *key, json_t *value) {
  json_object_set_new(report->section, key, value);
}

static void print_fact(lap_report *report, const char *key, const char *text) {
  fprintf(report->body, "  %-*s  %s\n", KEY_WIDTH, key, text);
}

void lap_report_fact(lap_report *report, const char *key, json_t *value, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = format_text(format, arguments);
  va_end(arguments);
  print_fact(report, key, text);
  free(text);
  if (value) lap_report_json_only(report, key, value);
}

void lap_report_text(lap_report *report, const char *key, const char *value) {
  char *clean = lap_report_clean(value, strlen(value), PATH_CHARACTERS);
  print_fact(report, key, clean);
  lap_report_json_only(report, key, json_string(clean));
  free(clean);
}

void lap_report_count(lap_report *report, const char *key, uint64_t count) {
  char human[LAP_HUMAN_TEXT];
  json_t *value = json_integer((json_int_t)count);
  if (count < EXACT_BELOW)
    lap_report_fact(report, key, value, "%" PRIu64, count);
  else
    lap_report_fact(report, key, value, "%" PRIu64 " (%s)", count,
                    lap_human_count((double)count, human));
}

void lap_report_note(lap_report *report, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = format_text(format, arguments);
  va_end(arguments);
  fprintf(report->body, "  %s\n", text);
  free(text);
}

void lap_report_section(lap_report *report, const char *key) {
  fprintf(report->body, "\n%s\n", key);
  report->section = json_object();
  json_object_set_new(report->root, key, report->section);
}

void lap_report_end_section(lap_report *report) { report->section = report->root; }

void lap_report_table(lap_report *report, lap_table *table) {
  char *text = NULL;
  size_t bytes;
  FILE *out = lap_open_text(&text, &bytes);
  lap_table_print(table, out);
  lap_close_text(out, &text);
  for (char *line = text, *end; *line; line = end) {
    end = strchr(line, '\n') + 1;
    fprintf(report->body, "  %.*s", (int)(end - line), line);
  }
  free(text);
  lap_table_destroy(table);
}

void lap_report_verbatim(lap_report *report, const char *text) { fputs(text, report->body); }

void lap_report_problem(lap_report *report, const char *message) {
  char *clean = lap_report_clean(message, strlen(message), LAP_MESSAGE_SIZE);
  json_object_set_new(report->root, "problem", json_string(clean));
  free(clean);
}

const json_t *lap_report_json(const lap_report *report) { return report->root; }

void lap_report_print(const lap_report *report, FILE *out) {
  fflush(report->body);
  fprintf(out, "%s: %s%s%s\n", report->path, report->kind, *report->summary ? ", " : "",
          report->summary);
  fputs(report->text, out);
}

/* --- text from files --- */

/* Beyond ASCII: the control characters of Latin-1, and what turns or hides the text around it. */
static bool is_dangerous(const char *character, size_t bytes) {
  const unsigned char *c = (const unsigned char *)character;
  if (bytes == 2) return c[0] == 0xC2 && c[1] < 0xA0;
  if (bytes != 3 || c[0] != 0xE2) return false;
  return (c[1] == 0x80 && c[2] >= 0xA8 && c[2] <= 0xAE) || /* U+2028 to U+202E */
         (c[1] == 0x81 && c[2] >= 0xA6 && c[2] <= 0xA9);   /* U+2066 to U+2069 */
}

static void print_control(FILE *out, unsigned char c) {
  if (c == '\n')
    fputs("\\n", out);
  else if (c == '\t')
    fputs("\\t", out);
  else
    fprintf(out, "\\x%02x", c);
}

char *lap_report_clean(const char *text, size_t bytes, size_t characters) {
  char *clean = NULL;
  size_t clean_bytes;
  FILE *out = lap_open_text(&clean, &clean_bytes);
  size_t at = 0;
  for (; at < bytes && characters > 0; --characters) {
    const unsigned char c = (unsigned char)text[at];
    const size_t length = c < 0x80 ? 1 : lap_utf8_character(text + at, bytes - at);
    if (c < 0x20 || c == 0x7F)
      print_control(out, c);
    else if (length == 0 || is_dangerous(text + at, length))
      fputs(LAP_REPLACEMENT, out);
    else
      fwrite(text + at, 1, length, out);
    at += length > 0 ? length : 1;
  }
  if (at < bytes) fputs("...", out);
  lap_close_text(out, &clean);
  return clean;
}
