/* Tokenizer models as they are opened: checked, tried in a child process, loaded by SentencePiece.
 * What the child lives through must not crash this process, whatever text comes. */
#include "dataset/tokenizer.h"
#include "fuzz.h"

void fuzz_one(const uint8_t *bytes, size_t count) {
  lap_tokenizer *tokenizer;
  lap_status status;
  if (lap_tokenizer_open(fuzz_file(bytes, count), &tokenizer, &status) != LAP_OK) return;
  const uint32_t *ids;
  size_t id_count;
  if (lap_tokenizer_encode(tokenizer, (const char *)bytes, count, &ids, &id_count, &status) ==
      LAP_OK)
    for (size_t i = 0; i < id_count; ++i)
      FUZZ_REQUIRE(ids[i] < lap_tokenizer_vocab_size(tokenizer));
  lap_tokenizer_close(tokenizer);
}
