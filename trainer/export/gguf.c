#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "dataset/special_ids.h"
#include "dataset/tokenizer_model.h"
#include "trainer/export/export.h"
#include "trainer/gguf/write.h"
#include "trainer/hf/end_ids.h"

/* --- what llama.cpp can represent --- */

/* It divides scores by the square root of head_dim, but for one shape that it takes for Gemma 2 27B
 * by the number of layers. */
static lap_code check_scalar(const lap_gemma2_config *c, lap_status *status) {
  enum { LAYERS_OF_27B = 46 };
  const bool as_27b = c->num_hidden_layers == LAYERS_OF_27B;
  const int64_t only = as_27b ? c->hidden_size / c->num_attention_heads : c->head_dim;
  if (c->query_pre_attn_scalar == (double)only) return LAP_OK;
  char found[LAP_NUMBER_TEXT];
  return lap_fail(status, LAP_USAGE,
                  "model.query_pre_attn_scalar is %s; llama.cpp takes %" PRId64
                  " for it, %s, whatever the file says: only a model that was trained with that "
                  "can be exported to gguf",
                  lap_number_print_real(c->query_pre_attn_scalar, found), only,
                  as_27b ? "hidden_size / num_attention_heads of 46 layers" : "the head_dim");
}

/* Soft-caps are read from the file, but there is no way to write that one is off. */
static lap_code check_soft_cap(const char *key, double cap, lap_status *status) {
  if (cap != 0) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "model.%s is null; llama.cpp always caps the logits of gemma2: only a number "
                  "can be exported to gguf",
                  key);
}

/* Newer versions of llama.cpp could read another pattern from the file; older ones ignore it. */
static lap_code check_layer_types(const lap_gemma2_config *c, lap_status *status) {
  for (int64_t i = 0; i < c->num_hidden_layers; ++i)
    if (c->sliding[i] != (i % 2 == 0))
      return lap_fail(status, LAP_USAGE,
                      "model.layer_types has %s at layer %" PRId64
                      "; llama.cpp takes sliding_attention for even layers, from 0, and "
                      "full_attention for odd ones: only that can be exported to gguf",
                      c->sliding[i] ? "sliding_attention" : "full_attention", i);
  return LAP_OK;
}

static lap_code check_norms(const lap_gemma2_config *c, lap_status *status) {
  if (!c->pre_norms_only) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "model.pre_norms_only is true; llama.cpp always has norms behind attention and "
                  "feed-forward: only a model with them can be exported to gguf");
}

static lap_code check_config(const lap_gemma2_config *c, lap_status *status) {
  LAP_TRY(check_scalar(c, status));
  LAP_TRY(check_soft_cap("attn_logit_softcapping", c->attn_logit_softcapping, status));
  LAP_TRY(check_soft_cap("final_logit_softcapping", c->final_logit_softcapping, status));
  LAP_TRY(check_layer_types(c, status));
  return check_norms(c, status);
}

/* --- the tokenizer --- */

/* As GGUF has it: an entry for every id of the model's vocabulary. */
typedef struct {
  lap_tokenizer_model model;
  int64_t count;
  char **spellings; /* [count] */
  float *scores;    /* [count] */
  int32_t *types;   /* [count]; the numbers are those of lap_piece_kind */
} gguf_tokenizer;

static void release_tokenizer(gguf_tokenizer *tokenizer) {
  for (int64_t id = 0; id < tokenizer->count; ++id) free(tokenizer->spellings[id]);
  free(tokenizer->spellings);
  free(tokenizer->scores);
  free(tokenizer->types);
  lap_tokenizer_model_release(&tokenizer->model);
}

static lap_code read_model(const lap_model_source *source, lap_tokenizer_model *model,
                           lap_status *status) {
  const char *path = source->tokenizer_path;
  if (!path)
    return lap_fail(status, LAP_DATA,
                    "%s: has no tokenizer.model, and a gguf file holds its tokenizer; make the "
                    "checkpoint from a config that has the key tokenizer, put the file into a "
                    "Hugging Face directory, or export --format hf",
                    source->path);
  char *bytes;
  size_t count;
  LAP_TRY(lap_file_read(path, LAP_MODEL_MAX_BYTES, &bytes, &count, status));
  const lap_code code = lap_tokenizer_model_parse(bytes, count, model, status);
  free(bytes);
  return code == LAP_OK ? LAP_OK : lap_fail_context(status, "%s", path);
}

static lap_code check_model(const lap_tokenizer_model *model, int64_t vocab_size,
                            lap_status *status) {
  if (model->piece_count > vocab_size)
    return lap_fail(status, LAP_DATA,
                    "has %" PRIu32 " pieces, but the model's vocab_size is %" PRId64
                    "; it is not the tokenizer that this model was trained with",
                    model->piece_count, vocab_size);
  enum { BYTE_PAIR_ENCODING = 2 };
  if (model->model_type != BYTE_PAIR_ENCODING)
    return lap_fail(status, LAP_USAGE,
                    "has model_type %d; llama.cpp merges pieces as bpe does: only model_type %d, "
                    "bpe, can be exported to gguf",
                    model->model_type, BYTE_PAIR_ENCODING);
  if (!model->has_bytes)
    return lap_fail(status, LAP_USAGE,
                    "has no byte pieces; llama.cpp needs them for what no piece covers: only a "
                    "model with byte_fallback can be exported to gguf");
  for (uint32_t id = 0; id < model->piece_count; ++id)
    if (model->pieces[id].kind == LAP_PIECE_UNUSED)
      return lap_fail(status, LAP_USAGE,
                      "piece %" PRIu32
                      ", %s, has type %d, unused; llama.cpp would give it out "
                      "for a text all the same: only a model without can be exported to gguf",
                      id, model->pieces[id].name, LAP_PIECE_UNUSED);
  return LAP_OK;
}

/* llama.cpp looks for user-defined pieces in a text as it is, and decodes them as they are spelled;
 * for all others a space is U+2581. So a spelling with a plain space is out of reach for any other:
 * padding is never found in a text, nor is a user-defined piece that SentencePiece never finds. */
static void fill_tokenizer(gguf_tokenizer *tokenizer, int64_t vocab_size) {
  tokenizer->count = vocab_size;
  tokenizer->spellings = lap_allocate(vocab_size, sizeof *tokenizer->spellings);
  tokenizer->scores = lap_allocate(vocab_size, sizeof *tokenizer->scores);
  tokenizer->types = lap_allocate(vocab_size, sizeof *tokenizer->types);
  for (int64_t id = 0; id < vocab_size; ++id) {
    if (id < tokenizer->model.piece_count) {
      const lap_piece *piece = &tokenizer->model.pieces[id];
      const bool user_defined = piece->kind == LAP_PIECE_USER_DEFINED;
      const bool verbatim = user_defined && lap_piece_is_found(piece);
      tokenizer->spellings[id] = lap_copy_string(verbatim ? piece->text : piece->name);
      tokenizer->scores[id] = piece->score;
      tokenizer->types[id] = user_defined && !verbatim ? LAP_PIECE_NORMAL : (int32_t)piece->kind;
    } else {
      tokenizer->spellings[id] = lap_format("<padding %" PRId64 ">", id);
      tokenizer->types[id] = LAP_PIECE_UNUSED;
    }
  }
}

static int by_spelling(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* llama.cpp finds ids by spelling and aborts where two are the same; SentencePiece keeps control
 * pieces apart from others. */
static lap_code check_spellings(const gguf_tokenizer *tokenizer, lap_status *status) {
  const size_t count = (size_t)tokenizer->count;
  const char **sorted = lap_allocate(count, sizeof *sorted);
  for (size_t id = 0; id < count; ++id) sorted[id] = tokenizer->spellings[id];
  qsort(sorted, count, sizeof *sorted, by_spelling);
  lap_code code = LAP_OK;
  for (size_t i = 1; i < count && code == LAP_OK; ++i)
    if (strcmp(sorted[i - 1], sorted[i]) == 0)
      code = lap_fail(status, LAP_USAGE,
                      "has two pieces that are spelled %s; llama.cpp tells pieces by their "
                      "spelling: only a model where they differ can be exported to gguf",
                      sorted[i]);
  free(sorted);
  return code;
}

static lap_code open_tokenizer(const lap_model_source *source, gguf_tokenizer *tokenizer,
                               lap_status *status) {
  const int64_t vocab_size = source->config->model.vocab_size;
  *tokenizer = (gguf_tokenizer){0};
  LAP_TRY(read_model(source, &tokenizer->model, status));
  lap_code code = check_model(&tokenizer->model, vocab_size, status);
  if (code == LAP_OK) {
    fill_tokenizer(tokenizer, vocab_size);
    code = check_spellings(tokenizer, status);
  }
  if (code != LAP_OK) {
    lap_fail_context(status, "%s", source->tokenizer_path);
    release_tokenizer(tokenizer);
  }
  return code;
}

/* --- keys --- */

static void add_model(lap_gguf *gguf, const lap_gemma2_config *c) {
  enum { ALL_FLOAT32 = 0, QUANTIZATION_VERSION = 2 };
  lap_gguf_add_string(gguf, "general.architecture", "gemma2");
  lap_gguf_add_string(gguf, "general.type", "model");
  lap_gguf_add_uint32(gguf, "general.file_type", ALL_FLOAT32);
  lap_gguf_add_uint32(gguf, "general.quantization_version", QUANTIZATION_VERSION);
  const struct {
    const char *key;
    int64_t value;
  } sizes[] = {
      {"gemma2.context_length", c->max_position_embeddings},
      {"gemma2.embedding_length", c->hidden_size},
      {"gemma2.block_count", c->num_hidden_layers},
      {"gemma2.feed_forward_length", c->intermediate_size},
      {"gemma2.attention.head_count", c->num_attention_heads},
      {"gemma2.attention.head_count_kv", c->num_key_value_heads},
      {"gemma2.attention.key_length", c->head_dim},
      {"gemma2.attention.value_length", c->head_dim},
      {"gemma2.attention.sliding_window", c->sliding_window},
      {"gemma2.rope.dimension_count", c->head_dim},
      {"gemma2.vocab_size", c->vocab_size},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    lap_gguf_add_uint32(gguf, sizes[i].key, (uint32_t)sizes[i].value);
  lap_gguf_add_float32(gguf, "gemma2.attention.layer_norm_rms_epsilon", (float)c->rms_norm_eps);
  lap_gguf_add_float32(gguf, "gemma2.attn_logit_softcapping", (float)c->attn_logit_softcapping);
  lap_gguf_add_float32(gguf, "gemma2.final_logit_softcapping", (float)c->final_logit_softcapping);
  lap_gguf_add_float32(gguf, "gemma2.rope.freq_base", (float)c->rope_theta);
}

/* GGUF has one id for the end of a turn. */
static void add_tokenizer(lap_gguf *gguf, const gguf_tokenizer *tokenizer,
                          const lap_end_ids *ends) {
  const size_t count = (size_t)tokenizer->count;
  lap_gguf_add_string(gguf, "tokenizer.ggml.model", "llama");
  lap_gguf_add_string(gguf, "tokenizer.ggml.pre", "default");
  lap_gguf_add_string_array(gguf, "tokenizer.ggml.tokens",
                            (const char *const *)tokenizer->spellings, count);
  lap_gguf_add_float32_array(gguf, "tokenizer.ggml.scores", tokenizer->scores, count);
  lap_gguf_add_int32_array(gguf, "tokenizer.ggml.token_type", tokenizer->types, count);
  lap_gguf_add_uint32(gguf, "tokenizer.ggml.bos_token_id", LAP_BOS);
  lap_gguf_add_uint32(gguf, "tokenizer.ggml.eos_token_id", LAP_EOS);
  if (ends->count > 0)
    lap_gguf_add_uint32(gguf, "tokenizer.ggml.eot_token_id", (uint32_t)ends->id[0]);
  lap_gguf_add_uint32(gguf, "tokenizer.ggml.unknown_token_id", LAP_UNK);
  lap_gguf_add_uint32(gguf, "tokenizer.ggml.padding_token_id", LAP_PAD);
  lap_gguf_add_bool(gguf, "tokenizer.ggml.add_bos_token", true);
  lap_gguf_add_bool(gguf, "tokenizer.ggml.add_eos_token", false);
  lap_gguf_add_bool(gguf, "tokenizer.ggml.add_space_prefix", false);
}

/* --- tensors --- */

static const struct {
  const char *ours, *gguf;
} layer_tensors[] = {
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"post_attention_layernorm", "post_attention_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};
enum { LAYER_TENSORS = sizeof layer_tensors / sizeof *layer_tensors };

/* `norms` points to room for those not yet added. */
static void add_tensor(lap_gguf *gguf, const lap_model_source *source, const char *ours,
                       const char *name, float **norms) {
  const lap_parameter *p = lap_parameters_find(source->parameters, ours);
  assert(p);
  const float *weights = source->weights + p->offset;
  if (p->is_norm) {
    for (int64_t i = 0; i < p->columns; ++i) (*norms)[i] = 1 + weights[i];
    lap_gguf_add_tensor(gguf, name, 0, p->columns, *norms);
    *norms += p->columns;
  } else {
    lap_gguf_add_tensor(gguf, name, p->rows, p->columns, weights);
  }
}

static void add_tensors(lap_gguf *gguf, const lap_model_source *source, float *norms) {
  add_tensor(gguf, source, "model.embed_tokens.weight", "token_embd.weight", &norms);
  for (int64_t layer = 0; layer < source->config->model.num_hidden_layers; ++layer)
    for (int i = 0; i < LAYER_TENSORS; ++i) {
      char ours[64], name[64];
      snprintf(ours, sizeof ours, "model.layers.%" PRId64 ".%s.weight", layer,
               layer_tensors[i].ours);
      snprintf(name, sizeof name, "blk.%" PRId64 ".%s.weight", layer, layer_tensors[i].gguf);
      add_tensor(gguf, source, ours, name, &norms);
    }
  add_tensor(gguf, source, "model.norm.weight", "output_norm.weight", &norms);
}

/* --- the whole --- */

static int64_t bytes_of_weights(const lap_gemma2_config *c) {
  return (lap_gemma2_embedding_parameters(c) + lap_gemma2_non_embedding_parameters(c)) *
         (int64_t)sizeof(float);
}

static lap_code write_file(const lap_export_request *request, const gguf_tokenizer *tokenizer,
                           lap_status *status) {
  const lap_gemma2_config *c = &request->model->config->model;
  lap_end_ids ends;
  LAP_TRY(lap_hf_end_ids_read(request->model->path, c->vocab_size, &ends, status));
  float *norms = lap_allocate((4 * c->num_hidden_layers + 1) * c->hidden_size, sizeof *norms);
  lap_gguf *gguf = lap_gguf_create();
  add_model(gguf, c);
  add_tokenizer(gguf, tokenizer, &ends);
  add_tensors(gguf, request->model, norms);
  lap_file_remove_temporaries(request->out);
  const lap_code code = lap_gguf_write(gguf, request->out, status);
  lap_gguf_destroy(gguf);
  free(norms);
  return code;
}

lap_code lap_export_gguf(const lap_export_request *request, lap_export_report *report,
                         lap_status *status) {
  const lap_model_source *model = request->model;
  gguf_tokenizer tokenizer;
  assert(model->weights);
  if (check_config(&model->config->model, status) != LAP_OK)
    return lap_fail_context(status, "%s", model->path);
  LAP_TRY(open_tokenizer(model, &tokenizer, status));
  const lap_code code = write_file(request, &tokenizer, status);
  release_tokenizer(&tokenizer);
  *report = (lap_export_report){.bytes = bytes_of_weights(&model->config->model), .files = 1};
  return code;
}
