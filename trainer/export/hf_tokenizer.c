#include "trainer/export/hf_tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/text.h"
#include "dataset/special_ids.h"

enum { BYTE_PAIR_ENCODING = 2 }; /* TrainerSpec.ModelType */

/* Control and byte pieces stand for no text, or for half a character: they keep their names. */
static const char *token_of(const lap_piece *piece) {
  return piece->kind == LAP_PIECE_NORMAL || piece->kind == LAP_PIECE_USER_DEFINED ? piece->text
                                                                                  : piece->name;
}

/* --- pieces by their text --- */

typedef struct {
  const char *text;
  size_t bytes;
  const lap_piece *piece;
} entry;

typedef struct {
  entry *entry; /* normal and user-defined pieces by text */
  size_t count;
} dictionary;

static int by_text(const void *a, const void *b) {
  const entry *x = a, *y = b;
  const int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
  return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static dictionary make_dictionary(const lap_tokenizer_model *model) {
  dictionary made = {.entry = lap_allocate(model->piece_count, sizeof *made.entry)};
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const lap_piece *piece = &model->pieces[id];
    if (piece->kind == LAP_PIECE_NORMAL || piece->kind == LAP_PIECE_USER_DEFINED)
      made.entry[made.count++] = (entry){piece->text, piece->text_bytes, piece};
  }
  qsort(made.entry, made.count, sizeof *made.entry, by_text);
  return made;
}

static const lap_piece *look_up(const dictionary *pieces, const char *text, size_t bytes) {
  const entry key = {.text = text, .bytes = bytes};
  const entry *found = bsearch(&key, pieces->entry, pieces->count, sizeof key, by_text);
  return found ? found->piece : NULL;
}

/* --- what has no counterpart --- */

static lap_code refuse_piece(const lap_tokenizer_model *model, const lap_piece *piece,
                             const char *why, lap_status *status) {
  return lap_fail(status, LAP_USAGE,
                  "the tokenizer's piece %td, '%.80s', %s: tokenizer.json cannot represent that",
                  piece - model->pieces, piece->name, why);
}

/* SentencePiece merges whatever makes a piece; a merge of tokenizer.json is one of two pieces. */
static lap_code check_characters(const lap_tokenizer_model *model, const dictionary *pieces,
                                 const lap_piece *piece, lap_status *status) {
  for (size_t at = 0; at < piece->text_bytes;) {
    const size_t length = lap_utf8_character(piece->text + at, piece->text_bytes - at);
    if (!look_up(pieces, piece->text + at, length))
      return refuse_piece(model, piece, "has a character that is not a piece", status);
    at += length;
  }
  return LAP_OK;
}

static lap_code check_pieces(const lap_tokenizer_model *model, const dictionary *pieces,
                             lap_status *status) {
  if (model->model_type != BYTE_PAIR_ENCODING)
    return lap_fail(status, LAP_USAGE,
                    "the tokenizer's model_type is %d; tokenizer.json is written for bpe, %d, only",
                    model->model_type, BYTE_PAIR_ENCODING);
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const lap_piece *piece = &model->pieces[id];
    if (piece->kind == LAP_PIECE_UNUSED) return refuse_piece(model, piece, "is unused", status);
    if (piece->kind == LAP_PIECE_NORMAL) LAP_TRY(check_characters(model, pieces, piece, status));
  }
  return LAP_OK;
}

/* --- the model: vocabulary and merges --- */

static lap_code make_vocabulary(const lap_tokenizer_model *model, json_t **vocabulary,
                                lap_status *status) {
  *vocabulary = json_object();
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const char *token = token_of(&model->pieces[id]);
    if (json_object_get(*vocabulary, token))
      return refuse_piece(model, &model->pieces[id], "has the text of another", status);
    json_object_set_new(*vocabulary, token, json_integer(id));
  }
  return LAP_OK;
}

/* Best score first; pieces of one score in the order of their ids. */
static int by_score(const void *a, const void *b) {
  const lap_piece *x = *(const lap_piece *const *)a, *y = *(const lap_piece *const *)b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return (x > y) - (x < y);
}

static bool is_normal(const lap_piece *piece) {
  return piece && piece->kind == LAP_PIECE_NORMAL && lap_piece_is_found(piece);
}

/* User-defined pieces are found before any merge, and take no part in one. */
static void add_merges(const dictionary *pieces, const lap_piece *piece, json_t *merges) {
  for (size_t at = 1; at < piece->text_bytes; ++at) {
    const lap_piece *left = look_up(pieces, piece->text, at);
    const lap_piece *right = look_up(pieces, piece->text + at, piece->text_bytes - at);
    if (is_normal(left) && is_normal(right))
      json_array_append_new(merges, json_pack("[s, s]", left->text, right->text));
  }
}

static json_t *make_merges(const lap_tokenizer_model *model, const dictionary *pieces) {
  const lap_piece **ranked = lap_allocate(model->piece_count, sizeof *ranked);
  size_t count = 0;
  for (uint32_t id = 0; id < model->piece_count; ++id)
    if (is_normal(&model->pieces[id])) ranked[count++] = &model->pieces[id];
  qsort(ranked, count, sizeof *ranked, by_score);
  json_t *merges = json_array();
  for (size_t i = 0; i < count; ++i) add_merges(pieces, ranked[i], merges);
  free(ranked);
  return merges;
}

static lap_code make_model(const lap_tokenizer_model *model, json_t **made, lap_status *status) {
  dictionary pieces = make_dictionary(model);
  json_t *vocabulary = NULL;
  lap_code code = check_pieces(model, &pieces, status);
  if (code == LAP_OK) code = make_vocabulary(model, &vocabulary, status);
  if (code == LAP_OK)
    *made =
        json_pack("{s:s, s:n, s:s, s:n, s:n, s:b, s:b, s:b, s:O, s:o}", "type", "BPE", "dropout",
                  "unk_token", model->pieces[LAP_UNK].name, "continuing_subword_prefix",
                  "end_of_word_suffix", "fuse_unk", 1, "byte_fallback", (int)model->has_bytes,
                  "ignore_merges", 0, "vocab", vocabulary, "merges", make_merges(model, &pieces));
  json_decref(vocabulary);
  free(pieces.entry);
  return code;
}

/* --- the rest --- */

/* Transformers looks for added tokens in a text as it is: a piece that SentencePiece never finds is
 * in the vocabulary alone. */
static bool is_added(const lap_piece *piece) {
  if (piece->kind == LAP_PIECE_USER_DEFINED) return lap_piece_is_found(piece);
  return piece->kind != LAP_PIECE_NORMAL && piece->kind != LAP_PIECE_BYTE;
}

static json_t *make_added_tokens(const lap_tokenizer_model *model) {
  json_t *tokens = json_array();
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const lap_piece *piece = &model->pieces[id];
    if (!is_added(piece)) continue;
    json_array_append_new(
        tokens, json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content",
                          token_of(piece), "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized",
                          0, "special", piece->kind != LAP_PIECE_USER_DEFINED));
  }
  return tokens;
}

/* BOS before each text. */
static json_t *make_post_processor(const char *bos) {
  return json_pack(
      "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}],"
      " s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}],"
      " s:{s:{s:s, s:[i], s:[s]}}}",
      "type", "TemplateProcessing",                                                            //
      "single", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,  //
      "pair", "SpecialToken", "id", bos, "type_id", 0, "Sequence", "id", "A", "type_id", 0,    //
      "SpecialToken", "id", bos, "type_id", 1, "Sequence", "id", "B", "type_id", 1,            //
      "special_tokens", bos, "id", bos, "ids", LAP_BOS, "tokens", bos);
}

lap_code lap_hf_tokenizer_make(const lap_tokenizer_model *model, json_t **tokenizer,
                               lap_status *status) {
  json_t *bpe = NULL;
  *tokenizer = NULL;
  LAP_TRY(make_model(model, &bpe, status));
  json_t *normalizer = json_null();
  if (!model->has_bytes) /* then U+2581 is a space to SentencePiece */
    normalizer = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String",
                           "\xE2\x96\x81", "content", " ");
  *tokenizer =
      json_pack("{s:s, s:n, s:n, s:o, s:o, s:n, s:o, s:{s:s, s:[{s:s}, {s:s}]}, s:o}", "version",
                "1.0", "truncation", "padding", "added_tokens", make_added_tokens(model),
                "normalizer", normalizer, "pre_tokenizer", "post_processor",
                make_post_processor(model->pieces[LAP_BOS].name), "decoder", "type", "Sequence",
                "decoders", "type", "ByteFallback", "type", "Fuse", "model", bpe);
  return LAP_OK;
}

json_t *lap_hf_tokenizer_config(const lap_tokenizer_model *model, int64_t most_tokens) {
  return json_pack("{s:s, s:b, s:b, s:b, s:b, s:s, s:I, s:s, s:s, s:s, s:s}", "tokenizer_class",
                   "PreTrainedTokenizerFast", "add_bos_token", 1, "add_eos_token", 0,
                   "split_special_tokens", 1, "clean_up_tokenization_spaces", 0, "padding_side",
                   "left", "model_max_length", (json_int_t)most_tokens, "pad_token",
                   model->pieces[LAP_PAD].name, "eos_token", model->pieces[LAP_EOS].name,
                   "bos_token", model->pieces[LAP_BOS].name, "unk_token",
                   model->pieces[LAP_UNK].name);
}
