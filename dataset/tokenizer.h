/* tokenizer: SentencePiece behind a C interface (C++ is here and in tokenizer_train.cc alone).
 *
 * A model without Gemma's special ids (dataset/special_ids.h) is refused, and so is one that
 * changes text before it is tokenized (normalisation, dummy prefix, removed white space): ids stand
 * for the bytes of the text. A model file is validated before the library sees it
 * (dataset/tokenizer_model.h), and a child process tries it first, for at most 10 seconds of
 * processor time and 1 GiB of memory (core/sandbox.h), because SentencePiece 0.1.97 crashes on
 * crafted ones.
 */
#ifndef LAP_DATASET_TOKENIZER_H
#define LAP_DATASET_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/status.h"
#include "dataset/special_ids.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct lap_tokenizer lap_tokenizer;

/* Opens M.model. LAP_DATA naming the file where it is missing, not a whole SentencePiece model, or
 * refused as above. The tokenizer is owned by the caller; not safe to share between threads. Not
 * collective; forks once. */
lap_code lap_tokenizer_open(const char *path, lap_tokenizer **tokenizer, lap_status *status);
void lap_tokenizer_close(lap_tokenizer *tokenizer);

uint32_t lap_tokenizer_vocab_size(const lap_tokenizer *tokenizer);
/* Whether it has byte pieces, so that no text is unknown to it. Without them what it does not know
 * becomes LAP_UNK. */
bool lap_tokenizer_has_bytes(const lap_tokenizer *tokenizer);
/* SHA-256 over the .model file's bytes, 64 hex digits. */
const char *lap_tokenizer_sha256(const lap_tokenizer *tokenizer);

/* Token ids of `text` (no BOS, no EOS), in a buffer that belongs to the tokenizer and lives until
 * the next call. Any bytes are accepted. With a model that has byte pieces (all that lapidary
 * trains, and Gemma's) decoding gives every text back exactly: NUL, U+2581, which SentencePiece
 * would read as a space, and what is not UTF-8 become byte pieces. "<s>" in a text is five bytes of
 * text, never a control id. A run of 1 MiB without white space is cut at a character. */
lap_code lap_tokenizer_encode(lap_tokenizer *tokenizer, const char *text, size_t bytes,
                              const uint32_t **ids, size_t *count, lap_status *status);

/* The text of `count` ids; BOS, EOS and pad give nothing, unk U+2047, ids outside the vocabulary
 * U+FFFD. The bytes are those of the pieces: ids that end inside a character give half of it.
 * Malloc'ed, NUL-terminated; `bytes` may be NULL. */
char *lap_tokenizer_decode(lap_tokenizer *tokenizer, const uint32_t *ids, size_t count,
                           size_t *bytes);

/* The piece of one id for people to read, e.g. "the", "<0x0A>", "<s>", U+2581 for a space; valid
 * until close; "<outside the vocabulary>" where it is. */
const char *lap_tokenizer_piece(lap_tokenizer *tokenizer, uint32_t id);

/* How many bytes of text the id stands for (0 for control tokens and unk): what bits per byte
 * divides by. */
size_t lap_tokenizer_piece_bytes(lap_tokenizer *tokenizer, uint32_t id);

#ifdef __cplusplus
}
#endif

#endif
