/* token_shard: HDF5 files of tokens (docs/design.md#token-shard), written and read.
 *
 * A shard is a stream of documents, each BOS text EOS, as one dataset `tokens` [N] and the start
 * offset of every document as `documents` [D + 1] (documents[D] = N). Root attributes: format =
 * "lapidary-tokens", format_version = 1, vocab_size, tokenizer_sha256, tokens_sha256.
 *
 * A shard is read whole into memory (1 Mi tokens are 4 MiB) and checked whole: dims and types are
 * bounded before anything is read (N <= 2^30), 0 <= tokens < vocab_size, documents ascending (equal
 * offsets are empty documents) from 0 to N, tokens_sha256 recomputed. Shards by other programs are
 * read as well: any unsigned or signed integer type, plain h5py defaults, string attributes of
 * fixed or variable length up to 4 KiB. Variable-length datasets, external storage, external and
 * soft links are refused.
 *
 * HDF5 here is not thread-safe: all functions of this module and of teacher/ are called from one
 * thread of the process.
 */
#ifndef LAP_DATASET_TOKEN_SHARD_H
#define LAP_DATASET_TOKEN_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/progress.h"
#include "core/status.h"

typedef struct {
  char *path;
  uint64_t token_count;    /* N */
  uint64_t document_count; /* D */
  uint32_t vocab_size;
  char tokenizer_sha256[LAP_SHA256_HEX];
  char tokens_sha256[LAP_SHA256_HEX];
  uint32_t *tokens;    /* [N] */
  uint64_t *documents; /* [D + 1] */
} lap_token_shard;

/* LAP_DATA naming file, dataset or attribute, expected and found. Owned by the caller. Reads the
 * file twice: a child process does it first (core/sandbox.h). */
lap_code lap_token_shard_open(const char *path, lap_token_shard **shard, lap_status *status);
void lap_token_shard_close(lap_token_shard *shard);
/* The numbers of tokens and documents that the file says it has; nothing else is checked. */
lap_code lap_token_shard_measure(const char *path, uint64_t *token_count, uint64_t *document_count,
                                 lap_status *status);

/* Writes a shard of 1 to 2^30 tokens, as uint16 where the vocabulary fits, with libver latest,
 * chunked, fletcher32, compressed, to a temporary name beside `path`, renamed when whole
 * (lap_hdf5_end). LAP_DATA naming the path and the system's reason. */
lap_code lap_token_shard_write(const char *path, const uint32_t *tokens, uint64_t token_count,
                               const uint64_t *documents, uint64_t document_count,
                               uint32_t vocab_size, const char *tokenizer_sha256,
                               lap_status *status);

/* A set of shards, in byte order of their file names (not the locale's). */
typedef struct {
  lap_token_shard **shard;
  size_t count;
  uint64_t token_count;
  const lap_progress_hook *hook; /* told while shards are added; NULL: nobody */
} lap_token_set;

/* Opens every file that `pattern` means (core/paths.h): a path, a folder, a glob. LAP_DATA where
 * there is none, where a shard is invalid, where two shards have different vocab_size or tokenizer,
 * and where shards have the tokens_sha256 of others, naming them all. */
lap_code lap_token_set_open(const char *pattern, lap_token_set *set, lap_status *status);
/* The same, added behind the shards that are there already; on failure nothing is added. */
lap_code lap_token_set_add(const char *pattern, lap_token_set *set, lap_status *status);
void lap_token_set_close(lap_token_set *set);
/* The identity of a set, which has a shard: of one shard its tokens_sha256, of several the SHA-256
 * over the hex digits of all in order. */
void lap_token_set_sha256(const lap_token_set *set, char hex[LAP_SHA256_HEX]);
/* Likewise over all that decides what its windows hold: its tokens, and where documents begin. */
void lap_token_set_content_sha256(const lap_token_set *set, char hex[LAP_SHA256_HEX]);
/* Bytes of memory that the tokens and documents of its shards take. */
uint64_t lap_token_set_bytes(const lap_token_set *set);

/* How large the shards that a glob matches are, without reading their tokens: for `plan`. */
typedef struct {
  uint64_t tokens, documents;
  uint64_t windows; /* of `sequence_length` inputs, in all shards */
  uint64_t largest; /* tokens of the largest shard */
  uint64_t bytes;   /* of memory that the open shards take */
} lap_token_set_size;
/* LAP_DATA as lap_token_set_open, as far as it shows without tokens; *size is then undefined. */
lap_code lap_token_set_measure(const char *pattern, uint32_t sequence_length,
                               lap_token_set_size *size, lap_status *status);

#endif
