/* tokenize: text files to token shards, OUT/train/tokens-00000.h5 ... and OUT/eval/
 * (docs/design.md#token-shard).
 *
 * Holdout is by whole documents where there are at least 20 of them. Where there are fewer, the
 * text is cut into contiguous blocks of 64 KiB (or a twentieth of the text where that is less, but
 * not below 1 KiB), each block is a document of its own, in train too, and blocks are held out.
 * Which ones: see dataset/holdout.h. The texts are then read two or three times, else once.
 *
 * OUT/train and OUT/eval appear, whole, at the end: shards are written to OUT/train.partial and
 * OUT/eval.partial, which a failure removes and the next call replaces after a kill. Memory: two
 * shards and the longest document (with --documents file: the longest file), plus 16 bytes a
 * document for the holdout.
 */
#ifndef LAP_DATASET_TOKENIZE_H
#define LAP_DATASET_TOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_SHARD_TOKENS = 1 << 20 }; /* the default of shard_tokens */

typedef struct {
  const char *tokenizer; /* path of M.model */
  const char *out;
  const char *documents; /* "file", "line", "blank" or "jsonl:KEY"; see dataset/documents.h */
  double holdout;        /* share of the bytes for eval, 0 to below 1 */
  uint64_t shard_tokens; /* 16 to 2^30 */
  const char *const *texts;
  size_t text_count;
  uint64_t seed; /* of the holdout */
} lap_tokenize_options;

typedef struct {
  uint64_t documents, tokens, bytes, shards; /* tokens with BOS and EOS; bytes of text */
} lap_tokenize_side;

typedef struct {
  lap_tokenize_side train, eval;
  uint64_t block_bytes; /* where documents were cut into blocks, else 0 */
} lap_tokenize_counts;

/* Called about every MiB of text and at the end, with what is done so far. `total_bytes` are the
 * sizes of the files: for jsonl more than their text. */
typedef void (*lap_tokenize_progress)(void *context, const lap_tokenize_counts *counts,
                                      uint64_t total_bytes);

/* `progress` may be NULL. LAP_USAGE: options out of range, OUT/train or OUT/eval not empty, too
 * little text to hold any out, a holdout from a pipe. LAP_DATA: a file that cannot be read or is
 * not UTF-8 (naming file and line), no text at all, a tokenizer that is invalid, a disk that is
 * full. */
lap_code lap_tokenize(const lap_tokenize_options *options, lap_tokenize_progress progress,
                      void *context, lap_tokenize_counts *counts, lap_status *status);

#endif
