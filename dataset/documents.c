#include "dataset/documents.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/text.h"
#include "dataset/corpus.h"
#include "dataset/json_text.h"
#include "dataset/text_reader.h"

enum { PART_BYTES = 1 << 20, REPORT_BYTES = 1 << 20 };

lap_code lap_documents_parse(const char *how, lap_document_source *source, lap_status *status) {
  static const char *const names[] = {"file", "line", "blank"};
  static const char jsonl[] = "jsonl:";
  for (int mode = LAP_DOCUMENTS_FILE; mode <= LAP_DOCUMENTS_BLANK; ++mode) {
    if (strcmp(how, names[mode]) != 0) continue;
    source->mode = (lap_document_mode)mode;
    return LAP_OK;
  }
  if (strncmp(how, jsonl, strlen(jsonl)) == 0 && how[strlen(jsonl)]) {
    source->mode = LAP_DOCUMENTS_JSONL;
    source->key = how + strlen(jsonl);
    return LAP_OK;
  }
  return lap_fail(status, LAP_USAGE,
                  "documents: expected file, line, blank or jsonl:KEY, found \"%s\"", how);
}

/* --- findings --- */

static const struct {
  const char *name, *one, *many;
} kinds[LAP_FINDING_KINDS] = {
    [LAP_FINDING_EMPTY_FILES] = {"empty_files", "file is empty", "files are empty"},
    [LAP_FINDING_EMPTY_DOCUMENTS] = {"empty_documents", "document is empty and was skipped",
                                     "documents are empty and were skipped"},
    [LAP_FINDING_BROKEN_JSON] = {"broken_json", "line is not a JSON object and was skipped",
                                 "lines are no JSON objects and were skipped"},
    [LAP_FINDING_NO_TEXT] = {"no_text", "line has no text under the key and was skipped",
                             "lines have no text under the key and were skipped"},
    [LAP_FINDING_REPLACED] = {"replaced_characters",
                              "character is not valid text and became U+FFFD",
                              "characters are not valid text and became U+FFFD"},
    [LAP_FINDING_CUT_FILES] = {"cut_files",
                               "compressed file is damaged: only what comes before was read",
                               "compressed files are damaged: only what comes before was read"},
};

const char *lap_finding_name(lap_finding_kind kind) { return kinds[kind].name; }
bool lap_finding_is_fault(lap_finding_kind kind) { return kind > LAP_FINDING_EMPTY_DOCUMENTS; }

const char *lap_finding_describe(lap_finding_kind kind, const lap_finding *finding, char *text,
                                 size_t size) {
  snprintf(text, size, "%" PRIu64 " %s%s: %s", finding->count,
           finding->count == 1 ? kinds[kind].one : kinds[kind].many,
           finding->count == 1 ? "" : "; the first", finding->first);
  return text;
}

lap_code lap_findings_no_text(const lap_findings *findings, const lap_document_source *source,
                              lap_status *status) {
  lap_fail(status, LAP_DATA, "%s%s: no text was found", source->texts[0],
           source->text_count > 1 ? " and the other files" : "");
  for (int kind = LAP_FINDING_KINDS; kind-- > 0;) {
    char text[2 * LAP_FINDING_TEXT];
    if (findings->of[kind].count == 0) continue;
    lap_finding_describe((lap_finding_kind)kind, &findings->of[kind], text, sizeof text);
    return lap_fail(status, LAP_DATA, "%s: %s", status->message, text);
  }
  return status->code;
}

typedef struct {
  const lap_document_source *source;
  const char *step;
  lap_document_visitor visit;
  void *context;
  lap_findings *findings;
  lap_text_reader reader;
  uint64_t bytes_before; /* of the files before this one */
  uint64_t reported_bytes;
  uint64_t first_line; /* of the document that is being collected */
  char *block;         /* the lines of it so far */
  size_t block_bytes, block_capacity;
  bool in_block;
  char *scratch; /* decoded and repaired text */
  size_t scratch_capacity;
} walk;

/* Counts a finding on line `line` (0: of the whole file). */
__attribute__((format(printf, 6, 7))) static lap_code note(walk *at, lap_finding_kind kind,
                                                           uint64_t count, uint64_t line,
                                                           lap_status *status, const char *format,
                                                           ...) {
  lap_finding *finding = &at->findings->of[kind];
  if (finding->count == 0) {
    char what[LAP_FINDING_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const char *path = strcmp(at->reader.path, "-") == 0 ? "standard input" : at->reader.path;
    if (line > 0)
      snprintf(finding->first, sizeof finding->first, "%s: line %" PRIu64 "%s%s", path, line,
               *what ? ": " : "", what);
    else
      snprintf(finding->first, sizeof finding->first, "%s%s%s", path, *what ? ": " : "", what);
  }
  finding->count += count;
  if (!at->source->strict || !lap_finding_is_fault(kind)) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s", finding->first);
}

/* Room for `bytes` in scratch; what is there stays. */
static void make_room(walk *at, size_t bytes) {
  if (bytes <= at->scratch_capacity) return;
  at->scratch_capacity = 2 * bytes;
  at->scratch = lap_reallocate(at->scratch, (int64_t)at->scratch_capacity, 1);
}

/* --- one document --- */

static uint64_t line_of(const char *text, size_t at, uint64_t first_line) {
  for (size_t i = 0; i < at; ++i) first_line += text[i] == '\n';
  return first_line;
}

static lap_code note_damage(walk *at, const char *text, size_t bytes, size_t where, uint64_t count,
                            lap_status *status) {
  /* In jsonl a line of the string is not one of the file. */
  const bool jsonl = at->source->mode == LAP_DOCUMENTS_JSONL;
  const uint64_t line = jsonl ? at->first_line : line_of(text, where, at->first_line);
  if (text[where] == '\0') return note(at, LAP_FINDING_REPLACED, count, line, status, "a NUL byte");
  char hex[16] = "";
  const size_t damage = lap_utf8_damage(text + where, bytes - where);
  for (size_t i = 0; i < damage; ++i)
    snprintf(hex + 3 * i, sizeof hex - 3 * i, " %02X", (unsigned)(uint8_t)text[where + i]);
  return note(at, LAP_FINDING_REPLACED, count, line, status, "not UTF-8:%s (hexadecimal)", hex);
}

/* Gives a document to the visitor, repaired where it has to be. `text` may lie in scratch. */
static lap_code give(walk *at, const char *text, size_t bytes, lap_status *status) {
  if (bytes == 0) return note(at, LAP_FINDING_EMPTY_DOCUMENTS, 1, at->first_line, status, "%s", "");
  const size_t clean = lap_utf8_clean(text, bytes);
  char *repaired = NULL;
  lap_code code = LAP_OK;
  if (clean < bytes) {
    uint64_t replaced;
    repaired = lap_allocate(3 * (int64_t)bytes, 1);
    const size_t repaired_bytes = lap_utf8_repair(text, bytes, repaired, &replaced);
    code = note_damage(at, text, bytes, clean, replaced, status);
    text = repaired;
    bytes = repaired_bytes;
  }
  if (code == LAP_OK) code = at->visit(at->context, text, bytes, status);
  free(repaired);
  return code;
}

static lap_code visit_whole(walk *at, lap_status *status) {
  const char *text;
  size_t bytes;
  LAP_TRY(lap_text_rest(&at->reader, &text, &bytes, status));
  if (bytes == 0) return LAP_OK; /* counted as an empty file */
  at->first_line = at->reader.number = 1;
  return give(at, text, bytes, status);
}

static void append(walk *at, const char *text, size_t bytes) {
  if (bytes == 0) return; /* perhaps there is no block yet */
  if (at->block_bytes + bytes > at->block_capacity) {
    at->block_capacity = 2 * (at->block_bytes + bytes);
    at->block = lap_reallocate(at->block, (int64_t)at->block_capacity, 1);
  }
  memcpy(at->block + at->block_bytes, text, bytes);
  at->block_bytes += bytes;
}

/* --- documents of lines --- */

static bool is_blank(const char *line, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    if (!isspace((unsigned char)line[i])) return false;
  return true;
}

static lap_code end_block(walk *at, lap_status *status) {
  const bool in_block = at->in_block;
  at->in_block = false;
  return in_block ? give(at, at->block, at->block_bytes, status) : LAP_OK;
}

static lap_code add_to_block(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (is_blank(line, bytes)) return end_block(at, status);
  if (!at->in_block) {
    at->first_line = at->reader.number;
    at->block_bytes = 0;
  }
  if (at->in_block) append(at, "\n", 1);
  append(at, line, bytes);
  at->in_block = true;
  return LAP_OK;
}

static lap_code add_to_part(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (!at->in_block) {
    at->first_line = at->reader.number;
    at->block_bytes = 0;
  }
  append(at, line, bytes);
  append(at, "\n", 1);
  at->in_block = true;
  return at->block_bytes >= PART_BYTES ? end_block(at, status) : LAP_OK;
}

static lap_code note_no_text(walk *at, const char *line, size_t bytes, lap_json_outcome outcome,
                             lap_status *status) {
  const uint64_t number = at->reader.number;
  const char *key = at->source->key;
  if (outcome == LAP_JSON_NO_TEXT)
    return note(at, LAP_FINDING_NO_TEXT, 1, number, status,
                "the value under the key \"%s\" is not a string", key);
  char keys[120] = "";
  if (at->findings->of[LAP_FINDING_NO_TEXT].count == 0)
    lap_json_list_keys(line, bytes, keys, sizeof keys);
  return note(at, LAP_FINDING_NO_TEXT, 1, number, status,
              "there is nothing under the key \"%s\"; the keys are %s", key, *keys ? keys : "none");
}

static lap_code visit_json(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (is_blank(line, bytes)) return LAP_OK;
  make_room(at, bytes);
  at->first_line = at->reader.number;
  const lap_json_text found = lap_json_find_text(line, bytes, at->source->key, at->scratch);
  if (found.outcome == LAP_JSON_BROKEN)
    return note(at, LAP_FINDING_BROKEN_JSON, 1, at->reader.number, status, "%s (column %zu)",
                found.reason, found.column);
  if (found.outcome != LAP_JSON_FOUND) return note_no_text(at, line, bytes, found.outcome, status);
  if (found.replaced > 0)
    LAP_TRY(note(at, LAP_FINDING_REPLACED, found.replaced, at->reader.number, status,
                 "\\u0000 or half of a surrogate pair"));
  return give(at, at->scratch, found.bytes, status);
}

static lap_code visit_line(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (at->source->mode == LAP_DOCUMENTS_JSONL) return visit_json(at, line, bytes, status);
  if (at->source->mode == LAP_DOCUMENTS_BLANK) return add_to_block(at, line, bytes, status);
  if (at->source->mode == LAP_DOCUMENTS_FILE) return add_to_part(at, line, bytes, status);
  at->first_line = at->reader.number;
  return give(at, line, bytes, status);
}

/* About every MiB of the files. */
static void report(walk *at, bool at_end) {
  const uint64_t done = at->bytes_before + lap_input_consumed(at->reader.file);
  if (!at->step || (!at_end && done - at->reported_bytes < REPORT_BYTES)) return;
  at->reported_bytes = done;
  lap_progress_report(
      at->source->hook,
      (lap_progress_state){
          .step = at->step, .unit = "bytes", .done = done, .total = at->source->text_bytes});
}

static lap_code visit_lines(walk *at, lap_status *status) {
  for (;;) {
    const char *line;
    size_t bytes;
    LAP_TRY(lap_text_line(&at->reader, &line, &bytes, status));
    if (!line) return end_block(at, status);
    LAP_TRY(visit_line(at, line, bytes, status));
    report(at, false);
  }
}

static lap_code visit_one(walk *at, lap_status *status) {
  LAP_TRY(lap_corpus_examine(&at->reader, status));
  if (at->source->mode == LAP_DOCUMENTS_FILE && !at->source->in_parts)
    LAP_TRY(visit_whole(at, status));
  else
    LAP_TRY(visit_lines(at, status));
  const char *damage = lap_input_damage(at->reader.file);
  if (*damage) LAP_TRY(note(at, LAP_FINDING_CUT_FILES, 1, 0, status, "%s", damage));
  if (at->reader.number == 0 && !*damage)
    LAP_TRY(note(at, LAP_FINDING_EMPTY_FILES, 1, 0, status, "%s", ""));
  report(at, true);
  at->bytes_before += lap_input_consumed(at->reader.file);
  return LAP_OK;
}

lap_code lap_documents_visit(const lap_document_source *source, const char *step,
                             lap_document_visitor visit, void *context, lap_findings *findings,
                             lap_status *status) {
  lap_findings unwanted = {0};
  walk at = {.source = source,
             .step = step,
             .visit = visit,
             .context = context,
             .findings = findings ? findings : &unwanted};
  *at.findings = (lap_findings){0};
  lap_code code = LAP_OK;
  for (size_t i = 0; i < source->text_count && code == LAP_OK; ++i) {
    if (source->at_text) *source->at_text = i;
    code = lap_text_open(source->texts[i], &at.reader, status);
    if (code == LAP_OK) code = visit_one(&at, status);
    lap_text_close(&at.reader);
  }
  free(at.block);
  free(at.scratch);
  return code;
}

/* --- blocks --- */

/* Where the block that begins at `text` ends; more than `block_bytes` are there. */
static size_t cut_of(const char *text, size_t block_bytes) {
  for (size_t cut = block_bytes; cut > block_bytes / 2; --cut)
    if (text[cut - 1] == '\n' || (text[cut - 1] == '\r' && text[cut] != '\n')) return cut;
  for (size_t cut = block_bytes; cut > block_bytes / 2; --cut)
    if (text[cut - 1] == ' ') return cut;
  return lap_utf8_floor(text, block_bytes);
}

lap_code lap_document_blocks(const char *text, size_t bytes, size_t block_bytes,
                             lap_document_visitor visit, void *context, lap_status *status) {
  while (bytes > 0) {
    const size_t cut = bytes > block_bytes ? cut_of(text, block_bytes) : bytes;
    LAP_TRY(visit(context, text, cut, status));
    text += cut;
    bytes -= cut;
  }
  return LAP_OK;
}
