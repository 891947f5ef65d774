#include "trainer/doctor/diagnosis.h"

#include <stdarg.h>
#include <stdlib.h>

#include "core/memory.h"

typedef struct {
  lap_severity severity;
  const char *subject;
  char *text, *advice;
} finding;

struct lap_diagnosis {
  finding *list;
  size_t count;
  char *stop;
};

lap_diagnosis *lap_diagnosis_create(void) { return lap_allocate(1, sizeof(lap_diagnosis)); }

void lap_diagnosis_destroy(lap_diagnosis *findings) {
  if (!findings) return;
  for (size_t i = 0; i < findings->count; ++i) {
    free(findings->list[i].text);
    free(findings->list[i].advice);
  }
  free(findings->list);
  free(findings->stop);
  free(findings);
}

void lap_diagnosis_add(lap_diagnosis *findings, lap_severity severity, const char *subject,
                       const char *advice, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  findings->list = lap_reallocate(findings->list, findings->count + 1, sizeof *findings->list);
  findings->list[findings->count++] =
      (finding){severity, subject, lap_copy_string(text), lap_copy_string(advice)};
  if (severity == LAP_SEVERITY_STOP && !findings->stop)
    findings->stop = lap_format("%s: %s%s%s", subject, text, *advice ? ": " : "", advice);
}

void lap_diagnosis_print(const lap_diagnosis *findings, FILE *out) {
  static const char *const words[] = {"ok", "note", "slow", "STOP"};
  for (size_t i = 0; i < findings->count; ++i) {
    const finding *f = &findings->list[i];
    fprintf(out, "%-5s %-12s %s\n", words[f->severity], f->subject, f->text);
    if (*f->advice) fprintf(out, "%-5s %-12s   -> %s\n", "", "", f->advice);
  }
}

const char *lap_diagnosis_stop(const lap_diagnosis *findings) { return findings->stop; }
