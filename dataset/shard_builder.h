/* shard_builder: collects documents and writes them as shards of a directory, tokens-00000.h5 and
 * on.
 *
 * A document that does not fit what is left of a shard begins the next one; one that is longer than
 * a shard is cut where shards end, and what follows goes on in the next shard without a BOS (its
 * first window has the BOS prefix anyway). Memory: one shard.
 *
 * A shard with the tokens of one written before, which a text that repeats itself gives, is left
 * out: a cache is found by its hash, so no two shards of a set may be alike
 * (dataset/token_shard.h).
 */
#ifndef LAP_DATASET_SHARD_BUILDER_H
#define LAP_DATASET_SHARD_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/status.h"
#include "dataset/tokenizer.h"

typedef struct {
  char *directory;
  uint64_t shard_tokens;
  lap_tokenizer *tokenizer;
  uint32_t *tokens; /* [token_capacity], token_count of them in use */
  uint64_t token_count, token_capacity;
  uint64_t *documents; /* [document_capacity], document_count of them in use */
  uint64_t document_count, document_capacity;
  uint64_t shard_count;           /* written so far */
  char (*hashes)[LAP_SHA256_HEX]; /* [shard_count], tokens_sha256 of each */
  uint64_t repeated;              /* shards left out */
  uint64_t repeated_first;        /* number of the shard that the first of them repeats */
  /* In the shards left out; bytes of text as far as it was known to the tokenizer. */
  uint64_t repeated_tokens, repeated_unknown, repeated_bytes, repeated_documents;
} lap_shard_builder;

/* `directory` must exist when the first shard is full. The tokenizer is the one that made the
 * tokens, and outlives the builder. */
void lap_shard_builder_init(lap_shard_builder *builder, const char *directory,
                            uint64_t shard_tokens, lap_tokenizer *tokenizer);

/* Adds BOS `ids` EOS. Errors are those of lap_token_shard_write. */
lap_code lap_shard_builder_add(lap_shard_builder *builder, const uint32_t *ids, size_t count,
                               lap_status *status);

/* Writes the last shard, where there is anything left to write. */
lap_code lap_shard_builder_finish(lap_shard_builder *builder, lap_status *status);
void lap_shard_builder_release(lap_shard_builder *builder);

#endif
