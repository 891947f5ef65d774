/* tokenize: text files to token shards, OUT/train/tokens-00000.h5 ... and OUT/eval/
 * (docs/design.md#token-shard).
 *
 * Which documents go where: dataset/split.h. OUT/train and OUT/eval appear, whole, at the end:
 * shards are written to OUT/train.partial and OUT/eval.partial, which a failure removes and the
 * next call replaces after a kill. Memory: two shards and the longest document (with --documents
 * file: the longest file), plus 16 bytes a document for the holdout.
 */
#ifndef LAP_DATASET_TOKENIZE_H
#define LAP_DATASET_TOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "dataset/split.h"

enum { LAP_SHARD_TOKENS = 1 << 20 }; /* the default of shard_tokens */

typedef struct {
  const char *tokenizer; /* path of M.model */
  const char *out;
  lap_split_options text;
  uint64_t shard_tokens; /* 16 to 2^30 */
  /* Share of the tokens that may be unknown to a tokenizer without byte pieces; with them none is.
   */
  double allow_unknown;
} lap_tokenize_options;

typedef struct {
  /* What is in the shards, tokens with BOS and EOS, bytes of text. */
  uint64_t documents, tokens, bytes, shards;
  uint64_t unknown;        /* of the tokens */
  uint64_t repeated;       /* shards with the tokens of another, which were left out */
  uint64_t repeated_first; /* number of the shard that the first of them repeats */
} lap_tokenize_side;

typedef struct {
  lap_tokenize_side train, eval;
  uint64_t block_bytes; /* where documents were cut into blocks, else 0 */
  lap_findings findings;
} lap_tokenize_counts;

/* LAP_USAGE: options out of range, OUT/train or OUT/eval not empty, too little text to hold any
 * out, a holdout from a pipe. LAP_DATA: a text that cannot be read (dataset/corpus.h), no text at
 * all, more unknown tokens than allowed - as soon as they are more than the whole text may have -,
 * a tokenizer that is invalid, a disk that is full; with text.strict, the first finding. */
lap_code lap_tokenize(const lap_tokenize_options *options, lap_tokenize_counts *counts,
                      lap_status *status);

#endif
