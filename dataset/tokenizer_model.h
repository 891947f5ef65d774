/* tokenizer_model: the bytes of a SentencePiece .model file, checked before the library sees them.
 *
 * A .model file is one protobuf message, ModelProto: repeated pieces (1: piece, score, type),
 * trainer_spec (2), normalizer_spec (3), self_test_data (4), denormalizer_spec (5). SentencePiece
 * 0.1.97 trusts much of it: it walks a precompiled normalisation table without bounds and asserts
 * on pieces and ids. Here every message that the library will interpret is read by hand:
 * well-formed wire format, bounded counts and lengths, UTF-8 pieces, finite scores, known types,
 * Gemma's special ids, identity normalisation.
 */
#ifndef LAP_DATASET_TOKENIZER_MODEL_H
#define LAP_DATASET_TOKENIZER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
  LAP_MODEL_MAX_BYTES = 64 << 20,
  LAP_MODEL_MAX_PIECES = 1 << 20,
  LAP_PIECE_MAX_BYTES = 1024,
};

/* The values of ModelProto.SentencePiece.Type. */
typedef enum {
  LAP_PIECE_NORMAL = 1,
  LAP_PIECE_UNKNOWN = 2,
  LAP_PIECE_CONTROL = 3,
  LAP_PIECE_USER_DEFINED = 4,
  LAP_PIECE_UNUSED = 5,
  LAP_PIECE_BYTE = 6,
} lap_piece_kind;

typedef struct {
  lap_piece_kind kind;
  float score; /* finite; of two possible merges bpe takes the one with the higher score */
  char *name;  /* as in the model, NUL-terminated: U+2581 for a space, "<0x0A>" for a byte */
  char *text;  /* the bytes that the id stands for; none for a control piece */
  size_t text_bytes;
} lap_piece;

typedef struct {
  int model_type; /* TrainerSpec.ModelType: 1 unigram, 2 bpe, 3 word, 4 char */
  uint32_t piece_count;
  lap_piece *pieces;
  bool has_bytes;        /* all 256 byte pieces are there */
  uint32_t byte_id[256]; /* where has_bytes */
  /* Where a text can be cut without changing its pieces: no piece goes on with a space after
   * something else, or with something else after a newline. */
  bool breaks_before_space, breaks_after_newline;
} lap_tokenizer_model;

/* Parses and checks `bytes`; LAP_DATA without the file's name, which the caller adds. */
lap_code lap_tokenizer_model_parse(const void *bytes, size_t count, lap_tokenizer_model *model,
                                   lap_status *status);
void lap_tokenizer_model_release(lap_tokenizer_model *model);

/* Whether SentencePiece can find the piece in a text. It spells the text's spaces U+2581 before it
 * looks, so a piece with a plain space in its name, as --user_defined_symbols='  ' makes one, is
 * never found. */
bool lap_piece_is_found(const lap_piece *piece);

#endif
