/* tokenizer_train: a SentencePiece model from text, with the settings of docs/design.md#commands
 * (bpe, byte fallback, split digits, identity normalisation, no dummy prefix, keep whitespace; pad
 * 0 eos 1 bos 2 unk 3).
 *
 * Runs of up to four line breaks, and of up to four tabs, are pieces of their own; runs of spaces
 * are learned. The same input gives the same bytes.
 *
 * The text is read once and kept as words with their counts, which is all that the trainer learns
 * from: pieces never cross the place before a space, a tab or a line break. Text with spaces thus
 * takes memory by its different words; text without (Chinese, Japanese, one long line) by its
 * length, and there a sample bounds it.
 */
#ifndef LAP_DATASET_TOKENIZER_TRAIN_H
#define LAP_DATASET_TOKENIZER_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "dataset/split.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  lap_split_options text; /* what is held out is not learned from */
  uint32_t vocab_size;
  /* Bytes of text to learn from at most, 0: all of it. Documents (of more than 64 KiB: parts of
   * them) are drawn by random keys of (text.seed, their place), and the smallest keys are kept: one
   * pass, no more memory than this. */
  uint64_t sample_bytes;
  /* Share of the text whose characters become pieces, above 0 up to 1; the others are spelled in
   * bytes. 0: .9995, or as much as fits the vocabulary, leaving a quarter of it to longer pieces.
   */
  double character_coverage;
  const char *out; /* the .model file to write */
} lap_tokenizer_training;

typedef struct {
  uint64_t bytes;      /* of text that it learned from */
  uint64_t sampled_of; /* bytes that they were drawn from; 0: no sample was needed */
  uint64_t words;      /* different ones */
  uint64_t characters, character_pieces; /* different ones, and how many of them became pieces */
  double coverage;                       /* share of the text that these are */
  bool coverage_lowered;                 /* below .9995, to fit the vocabulary */
  lap_findings findings;
} lap_tokenizer_report;

/* `report` may be NULL. The model appears whole (temporary name, then rename). LAP_USAGE: options
 * out of range, as lap_split_open, a vocabulary too large for the text or too small for the wanted
 * coverage, saying what is possible. LAP_DATA: as lap_split_open and lap_documents_visit, no text,
 * a disk that is full. */
lap_code lap_tokenizer_train(const lap_tokenizer_training *training, lap_tokenizer_report *report,
                             lap_status *status);

#ifdef __cplusplus
}
#endif

#endif
