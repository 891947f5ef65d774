/* hf_tokenizer: a SentencePiece model as tokenizer.json and tokenizer_config.json, the files from
 * which transformers' AutoTokenizer makes a tokenizer that gives every text the ids of
 * lap_tokenizer_encode, after BOS.
 *
 * transformers' own GemmaTokenizer would not: it reads U+2581 in a text as a space and "<s>" as
 * BOS, and lets pieces of their own, such as runs of newlines, be built or taken apart by merges.
 * So tokenizer.json is complete: pieces as the texts they stand for, with plain spaces and without
 * a normalizer, so that U+2581 is three bytes; user-defined pieces as added tokens, which are found
 * first, longest first; control pieces as special tokens, which split_special_tokens leaves alone
 * in texts; and every pair of pieces that makes a piece as a merge, best score first.
 */
#ifndef LAP_TRAINER_EXPORT_HF_TOKENIZER_H
#define LAP_TRAINER_EXPORT_HF_TOKENIZER_H

#include <jansson.h>

#include "core/status.h"
#include "dataset/tokenizer_model.h"

/* New objects; `most_tokens` is the model's max_position_embeddings. LAP_USAGE saying which piece
 * or setting has no counterpart: another algorithm than bpe, unused pieces, pieces with the same
 * text, a piece with a character that is not a piece itself. */
lap_code lap_hf_tokenizer_make(const lap_tokenizer_model *model, json_t **tokenizer,
                               lap_status *status);
json_t *lap_hf_tokenizer_config(const lap_tokenizer_model *model, int64_t most_tokens);

#endif
