/* documents: what a document is in the user's text files (`--documents` of tokenizer, tokenize).
 *
 *   file        each file is one document
 *   line        each line
 *   blank       each run of lines between blank ones (empty or all white space), joined by "\n"
 *   jsonl:KEY   each line is a JSON object; the string under KEY is the document
 *
 * A line ends with LF, CRLF or CR, and a document of `file` has LF for each of them. Documents
 * without any text are skipped. Files may be compressed (dataset/input_file.h).
 *
 * One bad line among millions must not cost the job: what is wrong is skipped or repaired, counted,
 * and told at the end with the place of the first (lap_findings); `strict` stops there instead.
 * Documents are UTF-8 without NUL: bytes that are not, NUL, and in JSON \u0000 and lone surrogates,
 * become U+FFFD. In jsonl only the string under KEY is looked at.
 */
#ifndef LAP_DATASET_DOCUMENTS_H
#define LAP_DATASET_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/progress.h"
#include "core/status.h"

typedef enum {
  LAP_DOCUMENTS_FILE,
  LAP_DOCUMENTS_LINE,
  LAP_DOCUMENTS_BLANK,
  LAP_DOCUMENTS_JSONL,
} lap_document_mode;

/* What is out of the ordinary in a corpus. */
typedef enum {
  LAP_FINDING_EMPTY_FILES,     /* without a byte, or a byte order mark alone */
  LAP_FINDING_EMPTY_DOCUMENTS, /* empty lines of `line`, empty strings of jsonl */
  LAP_FINDING_BROKEN_JSON,     /* lines that are no JSON object; skipped */
  LAP_FINDING_NO_TEXT,         /* objects without a string under KEY; skipped */
  LAP_FINDING_REPLACED,        /* what has become U+FFFD */
  LAP_FINDING_CUT_FILES,       /* compressed files that end early; the text up to there is used */
  LAP_FINDING_KINDS,
} lap_finding_kind;

enum { LAP_FINDING_TEXT = 512 };

typedef struct {
  uint64_t count;
  char first[LAP_FINDING_TEXT]; /* file, line, and what is wrong there */
} lap_finding;

typedef struct {
  lap_finding of[LAP_FINDING_KINDS];
} lap_findings;

/* Where documents come from, and how. The strings and paths belong to the caller. */
typedef struct {
  lap_document_mode mode;
  const char *key; /* jsonl */
  const char *const *texts;
  size_t text_count;
  uint64_t text_bytes; /* of all files, for the progress; 0: not known */
  bool strict;         /* the first finding that is not about emptiness is an error */
  bool in_parts;       /* mode file: a file is given in parts of about a MiB, cut at line ends */
  const lap_progress_hook *hook;
  size_t *at_text; /* is set to the index of the text that is being visited; NULL: it is not */
} lap_document_source;

/* Sets mode and key from "file", "line", "blank" or "jsonl:KEY"; LAP_USAGE for anything else. */
lap_code lap_documents_parse(const char *how, lap_document_source *source, lap_status *status);

/* Called for each document; a code other than LAP_OK ends the visit and is its result. */
typedef lap_code (*lap_document_visitor)(void *context, const char *text, size_t bytes,
                                         lap_status *status);

/* Visits every document of every file in order, with one document (mode file: one file, or part) in
 * memory at a time. `step` is the name of the visit, NULL: no progress. *findings, which may be
 * NULL, is set. LAP_DATA naming file and line where a file cannot be read or examined
 * (dataset/corpus.h) and, with strict, at the first finding. */
lap_code lap_documents_visit(const lap_document_source *source, const char *step,
                             lap_document_visitor visit, void *context, lap_findings *findings,
                             lap_status *status);

/* "3 lines are no JSON object and were skipped; the first: a.jsonl: line 7: ..." for a count above
 * 0. Returns `text`. */
const char *lap_finding_describe(lap_finding_kind kind, const lap_finding *finding, char *text,
                                 size_t size);
/* Its name in --json: "broken_json". */
const char *lap_finding_name(lap_finding_kind kind);
/* Whether it is a fault, not mere emptiness. */
bool lap_finding_is_fault(lap_finding_kind kind);

/* LAP_DATA "no text was found", with the finding that explains it. */
lap_code lap_findings_no_text(const lap_findings *findings, const lap_document_source *source,
                              lap_status *status);

/* Cuts a document into contiguous blocks of at most `block_bytes` >= 8 and visits them in order. A
 * cut lies after a line break, else after a space, else between characters, in the last half of the
 * block; the blocks together are the document. */
lap_code lap_document_blocks(const char *text, size_t bytes, size_t block_bytes,
                             lap_document_visitor visit, void *context, lap_status *status);

#endif
