#include "dataset/shard_builder.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "dataset/special_ids.h"
#include "dataset/token_shard.h"

void lap_shard_builder_init(lap_shard_builder *builder, const char *directory,
                            uint64_t shard_tokens, lap_tokenizer *tokenizer) {
  *builder = (lap_shard_builder){.directory = lap_copy_string(directory),
                                 .shard_tokens = shard_tokens,
                                 .tokenizer = tokenizer};
}

static void begin_document(lap_shard_builder *builder) {
  /* One slot more than documents: the end of the last. */
  if (builder->document_count + 1 >= builder->document_capacity) {
    builder->document_capacity = 2 * builder->document_capacity + 1024;
    builder->documents =
        lap_reallocate(builder->documents, builder->document_capacity, sizeof *builder->documents);
  }
  builder->documents[builder->document_count++] = builder->token_count;
}

/* Whether a shard written before has these tokens; if not, they are remembered. */
static bool is_repeated(lap_shard_builder *builder) {
  char hash[LAP_SHA256_HEX];
  lap_tokens_sha256(builder->tokens, builder->token_count, hash);
  for (uint64_t i = 0; i < builder->shard_count; ++i) {
    if (strcmp(builder->hashes[i], hash) != 0) continue;
    if (builder->repeated++ == 0) builder->repeated_first = i;
    return true;
  }
  builder->hashes =
      lap_reallocate(builder->hashes, (int64_t)builder->shard_count + 1, sizeof *builder->hashes);
  memcpy(builder->hashes[builder->shard_count], hash, sizeof hash);
  return false;
}

static lap_code write_tokens(lap_shard_builder *builder, lap_status *status) {
  char *path = lap_format("%s/tokens-%05" PRIu64 ".h5", builder->directory, builder->shard_count);
  builder->documents[builder->document_count] = builder->token_count;
  const lap_code code =
      lap_token_shard_write(path, builder->tokens, builder->token_count, builder->documents,
                            builder->document_count, lap_tokenizer_vocab_size(builder->tokenizer),
                            lap_tokenizer_sha256(builder->tokenizer), status);
  free(path);
  ++builder->shard_count;
  return code;
}

static void leave_out(lap_shard_builder *builder) {
  builder->repeated_tokens += builder->token_count;
  builder->repeated_documents += builder->document_count;
  for (uint64_t i = 0; i < builder->token_count; ++i) {
    builder->repeated_unknown += builder->tokens[i] == LAP_UNK;
    builder->repeated_bytes += lap_tokenizer_piece_bytes(builder->tokenizer, builder->tokens[i]);
  }
}

static lap_code write_shard(lap_shard_builder *builder, lap_status *status) {
  const bool repeated = is_repeated(builder);
  const lap_code code = repeated ? LAP_OK : write_tokens(builder, status);
  if (repeated) leave_out(builder);
  builder->token_count = builder->document_count = 0;
  return code;
}

static lap_code put(lap_shard_builder *builder, uint32_t token, lap_status *status) {
  if (builder->token_count == builder->shard_tokens) {
    LAP_TRY(write_shard(builder, status));
    begin_document(builder);
  }
  if (builder->token_count == builder->token_capacity) {
    builder->token_capacity = 2 * builder->token_capacity + 1024;
    builder->tokens =
        lap_reallocate(builder->tokens, builder->token_capacity, sizeof *builder->tokens);
  }
  builder->tokens[builder->token_count++] = token;
  return LAP_OK;
}

lap_code lap_shard_builder_add(lap_shard_builder *builder, const uint32_t *ids, size_t count,
                               lap_status *status) {
  const uint64_t needed = (uint64_t)count + 2;
  if (builder->token_count > 0 && builder->token_count + needed > builder->shard_tokens)
    LAP_TRY(write_shard(builder, status));
  begin_document(builder);
  LAP_TRY(put(builder, LAP_BOS, status));
  for (size_t i = 0; i < count; ++i) LAP_TRY(put(builder, ids[i], status));
  return put(builder, LAP_EOS, status);
}

lap_code lap_shard_builder_finish(lap_shard_builder *builder, lap_status *status) {
  return builder->token_count > 0 ? write_shard(builder, status) : LAP_OK;
}

void lap_shard_builder_release(lap_shard_builder *builder) {
  free(builder->directory);
  free(builder->tokens);
  free(builder->documents);
  free(builder->hashes);
  *builder = (lap_shard_builder){0};
}
