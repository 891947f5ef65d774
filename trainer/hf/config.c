#include "trainer/hf/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "dataset/special_ids.h"

/* A config.json of Gemma 2 has 1 to 3 KiB; the longest, of 512 layers, 20 KiB. */
enum { LARGEST_CONFIG = 1 << 20 };

static const char sliding_attention[] = "sliding_attention", full_attention[] = "full_attention";

/* --- the keys that both directions share --- */

typedef struct {
  const char *key;
  size_t offset;
  int64_t fallback; /* of transformers' Gemma2Config */
} size_key;

static const size_key sizes[] = {
    {"vocab_size", offsetof(lap_gemma2_config, vocab_size), 256000},
    {"hidden_size", offsetof(lap_gemma2_config, hidden_size), 2304},
    {"intermediate_size", offsetof(lap_gemma2_config, intermediate_size), 9216},
    {"num_hidden_layers", offsetof(lap_gemma2_config, num_hidden_layers), 26},
    {"num_attention_heads", offsetof(lap_gemma2_config, num_attention_heads), 8},
    {"num_key_value_heads", offsetof(lap_gemma2_config, num_key_value_heads), 4},
    {"head_dim", offsetof(lap_gemma2_config, head_dim), 256},
    {"sliding_window", offsetof(lap_gemma2_config, sliding_window), 4096},
    {"max_position_embeddings", offsetof(lap_gemma2_config, max_position_embeddings), 8192},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

typedef struct {
  const char *key;
  size_t offset;
  double fallback;
  bool may_be_null; /* a soft-cap: null is 0, off */
} real_key;

static const real_key reals[] = {
    {"query_pre_attn_scalar", offsetof(lap_gemma2_config, query_pre_attn_scalar), 256, false},
    {"attn_logit_softcapping", offsetof(lap_gemma2_config, attn_logit_softcapping), 50, true},
    {"final_logit_softcapping", offsetof(lap_gemma2_config, final_logit_softcapping), 30, true},
    {"rms_norm_eps", offsetof(lap_gemma2_config, rms_norm_eps), 1e-6, false},
};
enum { REALS = sizeof reals / sizeof *reals };
static const double default_rope_theta = 10000;

/* --- reading: refusals --- */

enum { VALUE_TEXT = 80 };

/* The beginning of a value as JSON, for a message. */
static const char *show(const json_t *value, char text[VALUE_TEXT]) {
  char *whole = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
  const bool cut = snprintf(text, VALUE_TEXT, "%s", whole) >= VALUE_TEXT;
  if (cut) strcpy(text + VALUE_TEXT - sizeof "...", "...");
  free(whole);
  return text;
}

typedef struct {
  const char *path;
  const json_t *object;
  lap_status *status;
} reader;

static lap_code refuse(const reader *r, const char *key, const json_t *value,
                       const char *expected) {
  char text[VALUE_TEXT];
  return lap_fail(r->status, LAP_DATA, "%s: %s is %s; expected %s", r->path, key,
                  value ? show(value, text) : "missing", expected);
}

/* A key that is null counts as absent. */
static const json_t *value_of(const reader *r, const char *key) {
  const json_t *value = json_object_get(r->object, key);
  return json_is_null(value) ? NULL : value;
}

static lap_code require_text(const reader *r, const char *key, const char *expected,
                             bool may_be_absent) {
  const json_t *value = value_of(r, key);
  if (!value && may_be_absent) return LAP_OK;
  const char *text = json_string_value(value);
  return text && strcmp(text, expected) == 0 ? LAP_OK : refuse(r, key, value, expected);
}

static lap_code require_boolean(const reader *r, const char *key, bool expected) {
  const json_t *value = value_of(r, key);
  if (!value || (json_is_boolean(value) && json_is_true(value) == expected)) return LAP_OK;
  return refuse(r, key, value,
                expected ? "true: lapidary cannot represent anything else"
                         : "false: lapidary cannot represent anything else");
}

static lap_code require_absent(const reader *r, const char *key) {
  const json_t *value = value_of(r, key);
  return value ? refuse(r, key, value, "null: lapidary cannot represent anything else") : LAP_OK;
}

static lap_code check_architecture(const reader *r) {
  static const char expected[] = "Gemma2ForCausalLM";
  LAP_TRY(require_text(r, "model_type", "gemma2", false));
  const json_t *names = value_of(r, "architectures");
  const char *name = json_string_value(json_array_get(names, 0));
  if (!names || (json_array_size(names) == 1 && name && strcmp(name, expected) == 0)) return LAP_OK;
  return refuse(r, "architectures", names, expected);
}

static bool may_end_a_text(const json_t *id) {
  const json_int_t value = json_integer_value(id);
  return value == LAP_EOS || value > LAP_UNK;
}

/* Tokens of documents begin with BOS and end with EOS, whose ids are Gemma's. An instruction-tuned
 * model may name other ends too, and some name those alone. */
static lap_code check_special_ids(const reader *r) {
  const json_t *bos = value_of(r, "bos_token_id"), *eos = value_of(r, "eos_token_id");
  if (bos && json_integer_value(bos) != LAP_BOS) return refuse(r, "bos_token_id", bos, "2");
  bool ends = !eos || may_end_a_text(eos);
  for (size_t i = 0; i < json_array_size(eos); ++i)
    ends = ends || may_end_a_text(json_array_get(eos, i));
  return ends ? LAP_OK : refuse(r, "eos_token_id", eos, "1, ids above 3, or a list with such");
}

static lap_code check_settings(const reader *r) {
  LAP_TRY(check_architecture(r));
  LAP_TRY(require_text(r, "hidden_activation", "gelu_pytorch_tanh", true));
  LAP_TRY(require_boolean(r, "tie_word_embeddings", true));
  LAP_TRY(require_boolean(r, "attention_bias", false));
  LAP_TRY(require_boolean(r, "use_bidirectional_attention", false));
  LAP_TRY(require_absent(r, "quantization_config"));
  const json_t *dropout = value_of(r, "attention_dropout");
  if (dropout && !(json_is_number(dropout) && json_number_value(dropout) == 0))
    return refuse(r, "attention_dropout", dropout, "0: lapidary has no dropout");
  return check_special_ids(r);
}

/* --- reading: values --- */

static lap_code read_sizes(const reader *r, lap_gemma2_config *model) {
  for (int i = 0; i < SIZES; ++i) {
    const json_t *value = json_object_get(r->object, sizes[i].key);
    if (value && !json_is_integer(value)) return refuse(r, sizes[i].key, value, "an integer");
    *(int64_t *)((char *)model + sizes[i].offset) =
        value ? json_integer_value(value) : sizes[i].fallback;
  }
  return LAP_OK;
}

static lap_code read_reals(const reader *r, lap_gemma2_config *model) {
  for (int i = 0; i < REALS; ++i) {
    const real_key *real = &reals[i];
    double *field = (double *)((char *)model + real->offset);
    const json_t *value = json_object_get(r->object, real->key);
    *field = value ? json_number_value(value) : real->fallback;
    if (!value || (real->may_be_null && json_is_null(value))) continue;
    if (!json_is_number(value) || *field <= 0)
      return refuse(r, real->key, value,
                    real->may_be_null ? "a number above 0, or null for off" : "a number above 0");
  }
  return LAP_OK;
}

/* rope_parameters of transformers 5, rope_scaling of transformers 4: the default rotation alone. */
static lap_code check_rope(const reader *r, const char *key, const json_t *rope) {
  static const char expected[] =
      "no more than rope_type \"default\" and rope_theta: lapidary cannot scale rotary positions";
  const char *name;
  json_t *value;
  if (!json_is_object(rope)) return refuse(r, key, rope, expected);
  json_object_foreach((json_t *)rope, name, value) {
    const char *text = json_string_value(value);
    const bool is_type = !strcmp(name, "rope_type") || !strcmp(name, "type");
    const bool whole = !strcmp(name, "partial_rotary_factor") && json_number_value(value) == 1;
    if (is_type ? !text || strcmp(text, "default") : strcmp(name, "rope_theta") && !whole)
      return refuse(r, key, rope, expected);
  }
  return LAP_OK;
}

/* All that are there say the same. transformers 5 takes what is in rope_scaling, 4 does not. */
static lap_code read_rope(const reader *r, lap_gemma2_config *model) {
  const json_t *scaling = value_of(r, "rope_scaling"), *parameters = value_of(r, "rope_parameters");
  if (scaling) LAP_TRY(check_rope(r, "rope_scaling", scaling));
  if (parameters) LAP_TRY(check_rope(r, "rope_parameters", parameters));
  const struct {
    const char *key, *same;
    const json_t *value;
  } thetas[] = {
      {"rope_parameters.rope_theta", "the same as in rope_parameters",
       json_object_get(parameters, "rope_theta")},
      {"rope_scaling.rope_theta", "the same as in rope_scaling",
       json_object_get(scaling, "rope_theta")},
      {"rope_theta", "", value_of(r, "rope_theta")},
  };
  const char *first = NULL; /* what the others are expected to be */
  model->rope_theta = default_rope_theta;
  for (size_t i = 0; i < sizeof thetas / sizeof *thetas; ++i) {
    const json_t *value = thetas[i].value;
    if (!value) continue;
    if (!json_is_number(value) || json_number_value(value) <= 0)
      return refuse(r, thetas[i].key, value, "a number above 0");
    if (first && json_number_value(value) != model->rope_theta)
      return refuse(r, thetas[i].key, value, first);
    if (!first) first = thetas[i].same;
    model->rope_theta = json_number_value(value);
  }
  return LAP_OK;
}

static lap_code read_layers(const reader *r, lap_gemma2_config *model) {
  const json_t *types = value_of(r, "layer_types");
  const size_t layers = (size_t)model->num_hidden_layers; /* checked: at most LAP_MAX_LAYERS */
  for (size_t i = 0; i < layers; ++i) model->sliding[i] = i % 2 == 0;
  if (!types) return LAP_OK;
  if (!json_is_array(types) || json_array_size(types) != layers)
    return refuse(r, "layer_types", types, "one entry for each of num_hidden_layers");
  for (size_t i = 0; i < layers; ++i) {
    const char *type = json_string_value(json_array_get(types, i));
    model->sliding[i] = type && strcmp(type, sliding_attention) == 0;
    if (!type || (!model->sliding[i] && strcmp(type, full_attention) != 0))
      return refuse(r, "layer_types", json_array_get(types, i),
                    "sliding_attention or full_attention");
  }
  return LAP_OK;
}

static lap_code read_model(const reader *r, lap_gemma2_config *model) {
  LAP_TRY(check_settings(r));
  LAP_TRY(read_sizes(r, model));
  LAP_TRY(read_reals(r, model));
  LAP_TRY(read_rope(r, model));
  if (lap_gemma2_config_check(model, r->status) != LAP_OK) {
    r->status->code = LAP_DATA; /* the user did not write it */
    return lap_fail_context(r->status, "%s", r->path);
  }
  return read_layers(r, model);
}

lap_code lap_hf_config_read(const char *path, lap_gemma2_config *model, lap_status *status) {
  json_t *object;
  *model = (lap_gemma2_config){0};
  LAP_TRY(lap_json_read_file(path, LARGEST_CONFIG, &object, status));
  const reader r = {.path = path, .object = object, .status = status};
  const lap_code code = read_model(&r, model);
  json_decref(object);
  return code;
}

/* --- writing --- */

static lap_code check_representable(const lap_gemma2_config *model, lap_status *status) {
  if (model->pre_norms_only)
    return lap_fail(status, LAP_USAGE,
                    "model.pre_norms_only is true; transformers always has norms behind attention "
                    "and feed-forward: this model cannot be a Hugging Face directory");
  if (model->query_pre_attn_scalar != floor(model->query_pre_attn_scalar) ||
      model->query_pre_attn_scalar > 0x1p53)
    return lap_fail(status, LAP_USAGE,
                    "model.query_pre_attn_scalar is %.17g; transformers takes an integer only: "
                    "this model cannot be a Hugging Face directory",
                    model->query_pre_attn_scalar);
  if (model->hidden_size % model->num_attention_heads == 0) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "model.hidden_size is %" PRId64
                  "; transformers takes a multiple of num_attention_heads, %" PRId64
                  ", only: this model cannot be a Hugging Face directory",
                  model->hidden_size, model->num_attention_heads);
}

static json_t *layer_types(const lap_gemma2_config *model) {
  json_t *types = json_array();
  for (int64_t i = 0; i < model->num_hidden_layers; ++i)
    json_array_append_new(types,
                          json_string(model->sliding[i] ? sliding_attention : full_attention));
  return types;
}

lap_code lap_hf_config_make(const lap_gemma2_config *model, json_t **config, lap_status *status) {
  *config = NULL;
  LAP_TRY(check_representable(model, status));
  json_t *object = json_pack(
      "{s:[s], s:s, s:b, s:f, s:s, s:b, s:f, s:o, s:{s:f, s:s}, s:i, s:i, s:i, s:s}",
      "architectures", "Gemma2ForCausalLM", "model_type", "gemma2", "attention_bias", 0,
      "attention_dropout", 0.0, "hidden_activation", "gelu_pytorch_tanh", "tie_word_embeddings", 1,
      "rope_theta", model->rope_theta, "layer_types", layer_types(model), "rope_parameters",
      "rope_theta", model->rope_theta, "rope_type", "default", "bos_token_id", LAP_BOS,
      "eos_token_id", LAP_EOS, "pad_token_id", LAP_PAD, "dtype", "float32");
  for (int i = 0; i < SIZES; ++i)
    json_object_set_new(object, sizes[i].key,
                        json_integer(*(const int64_t *)((const char *)model + sizes[i].offset)));
  for (int i = 0; i < REALS; ++i) {
    const double value = *(const double *)((const char *)model + reals[i].offset);
    json_object_set_new(object, reals[i].key,
                        reals[i].may_be_null && value == 0 ? json_null() : json_real(value));
  }
  json_object_set_new(object, "query_pre_attn_scalar",
                      json_integer((json_int_t)model->query_pre_attn_scalar));
  *config = object;
  return LAP_OK;
}

char *lap_hf_print_json(const json_t *object) {
  enum { FEWEST_DIGITS = 6, ENOUGH_DIGITS = 17 };
  for (size_t digits = FEWEST_DIGITS;; ++digits) {
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(digits));
    json_t *back = json_loads(text, 0, NULL);
    const bool same = json_equal(object, back);
    json_decref(back);
    if (same || digits == ENOUGH_DIGITS) return text;
    free(text);
  }
}
