/* report: what inspect found out, said twice: as text for people and as one JSON object.
 *
 * Both have the same names in the same order, so that what was read on the screen can be asked for
 * by a script. A report has a kind and a summary of one line, then facts, some of them in sections;
 * a section is an object of the JSON. Texts that come out of files may hold anything: they are
 * shown with lap_report_clean.
 */
#ifndef LAP_TRAINER_INSPECT_REPORT_H
#define LAP_TRAINER_INSPECT_REPORT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "trainer/cli/table.h"

typedef struct lap_report lap_report;
lap_report *lap_report_create(const char *path);
void lap_report_destroy(lap_report *report);

/* "token shard", "checkpoint", ...: a constant text. */
void lap_report_set_kind(lap_report *report, const char *kind);
/* What matters, in one line. */
void lap_report_summarise(lap_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The kind and summary so far, "" where there is none; both belong to the report. */
const char *lap_report_kind(const lap_report *report);
const char *lap_report_summary(const lap_report *report);

/* A fact: its JSON value, whose reference is taken (NULL: it is not in the JSON), and its text. */
void lap_report_fact(lap_report *report, const char *key, json_t *value, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void lap_report_text(lap_report *report, const char *key, const char *value);
/* 27612 is shown as "27612 (27.6 k)". */
void lap_report_count(lap_report *report, const char *key, uint64_t count);
/* A warning or advice, on the screen only; the newline is added. */
void lap_report_note(lap_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The facts that follow belong to `key`, under a heading; until the next section or its end. */
void lap_report_section(lap_report *report, const char *key);
void lap_report_end_section(lap_report *report);
/* A value in the JSON only; its reference is taken. */
void lap_report_json_only(lap_report *report, const char *key, json_t *value);
/* A table, on the screen only; it is destroyed. */
void lap_report_table(lap_report *report, lap_table *table);
/* Text as it is, on the screen only. */
void lap_report_verbatim(lap_report *report, const char *text);

/* What is wrong with the thing, in the JSON only: people read it on stderr. */
void lap_report_problem(lap_report *report, const char *message);

/* The object belongs to the report. */
const json_t *lap_report_json(const lap_report *report);
void lap_report_print(const lap_report *report, FILE *out);

/* At most `characters` characters of `text` [bytes] that a terminal and JSON can take: line breaks
 * and other control characters are escaped, what is not UTF-8 becomes U+FFFD; "..." where it is
 * cut. Malloc'ed. */
char *lap_report_clean(const char *text, size_t bytes, size_t characters);

#endif
