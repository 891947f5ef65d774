/* documents: what a document is in the user's text files (`tokenize --documents`).
 *
 *   file        each file is one document
 *   line        each line that is not empty, without its line break ("\n" or "\r\n")
 *   blank       each run of lines between blank ones (empty or all white space), joined by "\n"
 *   jsonl:KEY   each line is a JSON object; the string under KEY is the document; blank lines
 *               are skipped
 *
 * Documents without any text are skipped.
 */
#ifndef LAP_DATASET_DOCUMENTS_H
#define LAP_DATASET_DOCUMENTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef enum {
  LAP_DOCUMENTS_FILE,
  LAP_DOCUMENTS_LINE,
  LAP_DOCUMENTS_BLANK,
  LAP_DOCUMENTS_JSONL,
} lap_document_mode;

/* Where documents come from. The strings belong to the caller. */
typedef struct {
  lap_document_mode mode;
  const char *key; /* jsonl */
  const char *const *texts;
  size_t text_count;
} lap_document_source;

/* Sets mode and key from "file", "line", "blank" or "jsonl:KEY"; LAP_USAGE for anything else. */
lap_code lap_documents_parse(const char *how, lap_document_source *source, lap_status *status);

/* Called for each document; a code other than LAP_OK ends the visit and is its result. */
typedef lap_code (*lap_document_visitor)(void *context, const char *text, size_t bytes,
                                         lap_status *status);

/* Visits every document of every file in order, with one document (mode file: one file) in memory
 * at a time. LAP_DATA naming file and line where a file cannot be read, is not UTF-8 or not such
 * JSON. */
lap_code lap_documents_visit(const lap_document_source *source, lap_document_visitor visit,
                             void *context, lap_status *status);

/* Cuts a document into contiguous blocks of at most `block_bytes` >= 8 and visits them in order. A
 * cut lies after a line break, else after a space, else between characters, in the last half of the
 * block; the blocks together are the document. */
lap_code lap_document_blocks(const char *text, size_t bytes, size_t block_bytes,
                             lap_document_visitor visit, void *context, lap_status *status);

#endif
