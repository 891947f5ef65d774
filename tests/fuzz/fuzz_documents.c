/* The user's text files; the first byte says what a document is. Plain, gzip and zstd: the file
 * says which. */
#include <string.h>

#include "core/text.h"
#include "dataset/documents.h"
#include "dataset/json_text.h"
#include "fuzz.h"

/* Text of more than this is not unpacked further: a bomb is slow, not wrong. */
enum { BLOCK_BYTES = 16, MOST_BYTES = 1 << 20 };

/* Blocks are a document cut up: nothing is lost, and none is larger than it may be. */
static lap_code add_block(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)status;
  const char **at = context;
  FUZZ_REQUIRE(text == *at && bytes > 0 && bytes <= BLOCK_BYTES);
  *at += bytes;
  return LAP_OK;
}

/* A document is UTF-8 without NUL, whatever the file was. */
static lap_code take_document(void *context, const char *text, size_t bytes, lap_status *status) {
  size_t *total = context;
  const char *at = text;
  FUZZ_REQUIRE(bytes > 0 && lap_utf8_clean(text, bytes) == bytes);
  const lap_code code = lap_document_blocks(text, bytes, BLOCK_BYTES, add_block, &at, status);
  FUZZ_REQUIRE(code == LAP_OK && at == text + bytes);
  *total += bytes;
  return *total < MOST_BYTES ? LAP_OK : lap_fail(status, LAP_STOPPED, "enough");
}

static void visit(lap_document_source *source, lap_findings *findings) {
  lap_status status = {0};
  size_t total = 0;
  const lap_code code =
      lap_documents_visit(source, "fuzz", take_document, &total, findings, &status);
  for (int kind = 0; kind < LAP_FINDING_KINDS; ++kind) {
    char text[2 * LAP_FINDING_TEXT];
    lap_finding_describe((lap_finding_kind)kind, &findings->of[kind], text, sizeof text);
    /* Strict stops exactly where there is a fault. */
    const bool fault = findings->of[kind].count > 0 && lap_finding_is_fault((lap_finding_kind)kind);
    FUZZ_REQUIRE(!(source->strict && fault && code == LAP_OK));
  }
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  if (count == 0) return;
  const char *path = fuzz_file(bytes + 1, count - 1);
  lap_document_source source = {.mode = (lap_document_mode)(bytes[0] % 4),
                                .key = "text",
                                .texts = &path,
                                .text_count = 1,
                                .strict = bytes[0] & 4,
                                .in_parts = bytes[0] & 8};
  lap_findings findings;
  visit(&source, &findings);
  char keys[32];
  lap_json_list_keys((const char *)bytes + 1, count - 1, keys, sizeof keys);
  FUZZ_REQUIRE(strlen(keys) < sizeof keys);
}
