/* The user's text files; the first byte says what a document is. */
#include <string.h>

#include "dataset/documents.h"
#include "fuzz.h"

enum { BLOCK_BYTES = 16 };

/* Blocks are a document cut up: nothing is lost, and none is larger than it may be. */
static lap_code add_block(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)status;
  const char **at = context;
  FUZZ_REQUIRE(text == *at && bytes > 0 && bytes <= BLOCK_BYTES);
  *at += bytes;
  return LAP_OK;
}

static lap_code take_document(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)context;
  const char *at = text;
  FUZZ_REQUIRE(bytes > 0);
  const lap_code code = lap_document_blocks(text, bytes, BLOCK_BYTES, add_block, &at, status);
  FUZZ_REQUIRE(code == LAP_OK && at == text + bytes);
  return LAP_OK;
}

void fuzz_one(const uint8_t *bytes, size_t count) {
  if (count == 0) return;
  const char *path = fuzz_file(bytes + 1, count - 1);
  lap_document_source source = {
      .mode = (lap_document_mode)(bytes[0] % 4), .key = "text", .texts = &path, .text_count = 1};
  lap_status status;
  lap_documents_visit(&source, take_document, NULL, &status);
}
