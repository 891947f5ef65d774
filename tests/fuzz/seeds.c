#include "seeds.h"

#include <string.h>

#include "dataset/tokenizer.h"

lap_token_shard *seed_shard(void) {
  static uint32_t tokens[SEED_TOKENS];
  static uint64_t documents[] = {0, SEED_TOKENS / 2, SEED_TOKENS};
  static char path[] = "tokens.h5";
  static lap_token_shard shard = {.path = path,
                                  .token_count = SEED_TOKENS,
                                  .document_count = 2,
                                  .vocab_size = SEED_VOCABULARY,
                                  .tokens = tokens,
                                  .documents = documents};
  for (uint32_t i = 0; i < SEED_TOKENS; ++i) {
    const uint32_t at = i % (SEED_TOKENS / 2);
    tokens[i] = at == 0 ? LAP_BOS : at == SEED_TOKENS / 2 - 1 ? LAP_EOS : 4 + i;
  }
  memset(shard.tokenizer_sha256, 'a', LAP_SHA256_HEX - 1);
  lap_tokens_sha256(tokens, SEED_TOKENS, shard.tokens_sha256);
  return &shard;
}
