#include "trainer/report/write.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/report/tables.h"

enum { DIGITS = 12 };

static void write_json(const json_t *report, FILE *out) {
  json_dumpf(report, out, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS));
  fputc('\n', out);
}

static lap_code write_one(const json_t *report, const char *directory, const char *name,
                          void (*write)(const json_t *, FILE *), lap_status *status) {
  char *text = NULL, *path = lap_format("%s/%s", directory, name);
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  write(report, out);
  fclose(out);
  const lap_code code = lap_file_write(path, text, size, status);
  free(text);
  free(path);
  return code;
}

lap_code lap_report_write(const json_t *report, const char *directory, lap_status *status) {
  static const struct {
    const char *name;
    void (*write)(const json_t *, FILE *);
  } files[] = {{"report.json", write_json},
               {"report.md", lap_report_write_markdown},
               {"report.tex", lap_report_write_latex},
               {"curves.csv", lap_report_write_curves}};
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i)
    LAP_TRY(write_one(report, directory, files[i].name, files[i].write, status));
  return LAP_OK;
}
