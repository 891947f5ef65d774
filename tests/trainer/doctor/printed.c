#include "tests/trainer/doctor/printed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

char *printed(const lap_diagnosis *findings) {
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  lap_diagnosis_print(findings, out);
  fclose(out);
  return text;
}

static bool has_line(const lap_diagnosis *findings, const char *verdict, const char *subject,
                     const char *text) {
  char start[64], *report = printed(findings);
  snprintf(start, sizeof start, "%-12s ", subject);
  bool found = false;
  for (char *line = strtok(report, "\n"); line && !found; line = strtok(NULL, "\n"))
    found = strlen(line) > 6 && (!verdict || !strncmp(line, verdict, strlen(verdict))) &&
            line[0] != ' ' && !strncmp(line + 6, start, strlen(start)) && strstr(line, text);
  free(report);
  return found;
}

bool printed_line(const lap_diagnosis *findings, const char *verdict, const char *subject,
                  const char *text) {
  return has_line(findings, verdict, subject, text);
}

bool printed_subject(const lap_diagnosis *findings, const char *subject) {
  return has_line(findings, NULL, subject, "");
}

void expect_line(const lap_diagnosis *findings, const char *verdict, const char *subject,
                 const char *text) {
  if (printed_line(findings, verdict, subject, text)) return;
  char *report = printed(findings);
  fprintf(stderr, "no line '%s %s .. %s' in\n%s", verdict, subject, text, report);
  free(report);
  fail();
}
