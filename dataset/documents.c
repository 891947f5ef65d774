#include "dataset/documents.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"
#include "core/text.h"

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

typedef struct {
  const lap_document_source *source;
  lap_document_visitor visit;
  void *context;
  lap_text_reader reader;
  char *block; /* mode blank: the lines so far */
  size_t block_bytes, block_capacity;
} walk;

static bool is_blank(const char *line, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    if (!isspace((unsigned char)line[i])) return false;
  return true;
}

static lap_code visit_file(walk *at, lap_status *status) {
  char *text;
  size_t bytes;
  LAP_TRY(lap_text_rest(&at->reader, &text, &bytes, status));
  const lap_code code = bytes > 0 ? at->visit(at->context, text, bytes, status) : LAP_OK;
  free(text);
  return code;
}

static lap_code end_block(walk *at, lap_status *status) {
  const size_t bytes = at->block_bytes;
  at->block_bytes = 0;
  return bytes > 0 ? at->visit(at->context, at->block, bytes, status) : LAP_OK;
}

static lap_code add_to_block(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (is_blank(line, bytes)) return end_block(at, status);
  if (at->block_bytes + bytes + 1 > at->block_capacity) {
    at->block_capacity = 2 * (at->block_bytes + bytes + 1);
    at->block = lap_reallocate(at->block, at->block_capacity, 1);
  }
  if (at->block_bytes > 0) at->block[at->block_bytes++] = '\n';
  memcpy(at->block + at->block_bytes, line, bytes);
  at->block_bytes += bytes;
  return LAP_OK;
}

static lap_code visit_json(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (is_blank(line, bytes)) return LAP_OK;
  const uint64_t number = at->reader.number;
  const size_t values = lap_json_values(line, bytes);
  if (values > LAP_JSON_MOST_VALUES)
    return lap_fail(status, LAP_DATA,
                    "%s: line %" PRIu64 ": has %zu JSON values; expected at most %d",
                    at->reader.path, number, values, LAP_JSON_MOST_VALUES);
  json_error_t error;
  json_t *object = json_loadb(line, bytes, 0, &error);
  if (!object)
    return lap_fail(status, LAP_DATA, "%s: line %" PRIu64 ": not JSON: %s (column %d)",
                    at->reader.path, number, error.text, error.column);
  const json_t *text = json_object_get(object, at->source->key);
  lap_code code = LAP_OK;
  if (!json_is_object(object))
    code = lap_fail(status, LAP_DATA, "%s: line %" PRIu64 ": expected a JSON object",
                    at->reader.path, number);
  else if (!json_is_string(text))
    code =
        lap_fail(status, LAP_DATA, "%s: line %" PRIu64 ": %s under the key \"%s\"", at->reader.path,
                 number, text ? "the value is not a string" : "there is nothing", at->source->key);
  else if (json_string_length(text) > 0)
    code = at->visit(at->context, json_string_value(text), json_string_length(text), status);
  json_decref(object);
  return code;
}

static lap_code visit_line(walk *at, const char *line, size_t bytes, lap_status *status) {
  if (at->source->mode == LAP_DOCUMENTS_JSONL) return visit_json(at, line, bytes, status);
  if (bytes > 0 && line[bytes - 1] == '\r') --bytes;
  if (at->source->mode == LAP_DOCUMENTS_BLANK) return add_to_block(at, line, bytes, status);
  return bytes > 0 ? at->visit(at->context, line, bytes, status) : LAP_OK;
}

static lap_code visit_lines(walk *at, lap_status *status) {
  for (;;) {
    const char *line;
    size_t bytes;
    LAP_TRY(lap_text_line(&at->reader, &line, &bytes, status));
    if (!line) return end_block(at, status);
    LAP_TRY(visit_line(at, line, bytes, status));
  }
}

lap_code lap_documents_visit(const lap_document_source *source, lap_document_visitor visit,
                             void *context, lap_status *status) {
  walk at = {.source = source, .visit = visit, .context = context};
  lap_code code = LAP_OK;
  for (size_t i = 0; i < source->text_count && code == LAP_OK; ++i) {
    if ((code = lap_text_open(source->texts[i], &at.reader, status)) != LAP_OK) break;
    code = source->mode == LAP_DOCUMENTS_FILE ? visit_file(&at, status) : visit_lines(&at, status);
    lap_text_close(&at.reader);
  }
  free(at.block);
  return code;
}

/* Where the block that begins at `text` ends; more than `block_bytes` are there. */
static size_t cut_of(const char *text, size_t block_bytes) {
  for (size_t cut = block_bytes; cut > block_bytes / 2; --cut)
    if (text[cut - 1] == '\n') return cut;
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
