/* Tokenizer models, as they are checked before SentencePiece sees them, and written for
 * transformers. */
#include <jansson.h>
#include <string.h>

#include "dataset/tokenizer_model.h"
#include "fuzz.h"
#include "trainer/export/hf_tokenizer.h"

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_tokenizer_model model;
  lap_status status;
  if (lap_tokenizer_model_parse(bytes, count, &model, &status) != LAP_OK) return;
  for (uint32_t id = 0; id < model.piece_count; ++id)
    FUZZ_REQUIRE(model.pieces[id].text_bytes <= strlen(model.pieces[id].name));
  for (int byte = 0; byte < 256; ++byte) FUZZ_REQUIRE(model.byte_id[byte] < model.piece_count);
  json_t *tokenizer;
  if (lap_hf_tokenizer_make(&model, &tokenizer, &status) == LAP_OK) json_decref(tokenizer);
  lap_tokenizer_model_release(&model);
}
