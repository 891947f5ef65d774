/* gguf: the file is read back by a reader that shares nothing with the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/scratch.h"
#include "tests/trainer/export/gguf_fixture.h"
#include "trainer/config/load.h"

/* --- a reader of the format --- */

typedef struct {
  char *bytes;
  size_t count, at;
} reader;

static const void *take(reader *r, size_t count) {
  assert_true(count <= r->count - r->at);
  r->at += count;
  return r->bytes + r->at - count;
}

static uint64_t take_number(reader *r, size_t bytes) {
  const uint8_t *at = take(r, bytes);
  uint64_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= (uint64_t)at[i] << 8 * i;
  return value;
}

static void take_string(reader *r, char text[256]) {
  const uint64_t length = take_number(r, 8);
  assert_true(length < 256);
  memcpy(text, take(r, (size_t)length), (size_t)length);
  text[length] = '\0';
}

/* By type number; 8 and 9 are strings and arrays. */
static const size_t type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static void skip_value(reader *r, uint64_t type) {
  char ignored[256];
  assert_true(type < 13);
  if (type == 8) {
    take_string(r, ignored);
  } else if (type == 9) {
    const uint64_t of = take_number(r, 4), count = take_number(r, 8);
    assert_true(of != 9);
    for (uint64_t i = 0; i < count; ++i) skip_value(r, of);
  } else {
    take(r, type_bytes[type]);
  }
}

typedef struct {
  char name[256];
  int dimensions;
  uint64_t shape[4], offset;
} tensor_info;

enum { MOST_PAIRS = 64, MOST_TENSORS = 1024 };

typedef struct {
  char *bytes;
  int pair_count, tensor_count;
  struct {
    char key[256];
    uint64_t type;
    reader value; /* at the value */
    bool seen;
  } pairs[MOST_PAIRS];
  tensor_info tensors[MOST_TENSORS];
  size_t data, bytes_count; /* where the data begins; of the whole file */
} gguf_file;

static void read_gguf(const gguf_fixture *f, gguf_file *file) {
  *file = (gguf_file){.pair_count = 0};
  reader r = {.at = 0};
  r.bytes = file->bytes = scratch_read(scratch_path(f->directory, "x.gguf"), &r.count);
  assert_memory_equal(take(&r, 4), "GGUF", 4);
  assert_int_equal(take_number(&r, 4), 3);
  file->tensor_count = (int)take_number(&r, 8);
  file->pair_count = (int)take_number(&r, 8);
  assert_in_range(file->tensor_count, 1, MOST_TENSORS);
  assert_in_range(file->pair_count, 1, MOST_PAIRS);
  for (int i = 0; i < file->pair_count; ++i) {
    take_string(&r, file->pairs[i].key);
    file->pairs[i].type = take_number(&r, 4);
    file->pairs[i].value = r;
    skip_value(&r, file->pairs[i].type);
  }
  for (int i = 0; i < file->tensor_count; ++i) {
    tensor_info *info = &file->tensors[i];
    take_string(&r, info->name);
    info->dimensions = (int)take_number(&r, 4);
    assert_in_range(info->dimensions, 1, 4);
    for (int d = 0; d < info->dimensions; ++d) info->shape[d] = take_number(&r, 8);
    assert_int_equal(take_number(&r, 4), 0); /* F32 */
    info->offset = take_number(&r, 8);
  }
  file->data = (r.at + 31) / 32 * 32;
  file->bytes_count = r.count;
}

/* A reader at the value of a key that is there once, with this type. */
static reader value_of(gguf_file *file, const char *key, uint64_t type) {
  int found = -1;
  for (int i = 0; i < file->pair_count; ++i)
    if (strcmp(file->pairs[i].key, key) == 0) {
      assert_int_equal(found, -1);
      found = i;
    }
  if (found < 0) fail_msg("no key %s", key);
  assert_int_equal(file->pairs[found].type, type);
  file->pairs[found].seen = true;
  return file->pairs[found].value;
}

static void assert_uint32(gguf_file *file, const char *key, uint64_t expected) {
  reader value = value_of(file, key, 4);
  assert_int_equal(take_number(&value, 4), expected);
}

static void assert_float32(gguf_file *file, const char *key, float expected) {
  reader value = value_of(file, key, 6);
  assert_memory_equal(take(&value, 4), &expected, 4);
}

static void assert_bool(gguf_file *file, const char *key, bool expected) {
  reader value = value_of(file, key, 7);
  assert_int_equal(take_number(&value, 1), expected);
}

static void assert_string(gguf_file *file, const char *key, const char *expected) {
  char text[256];
  reader value = value_of(file, key, 8);
  take_string(&value, text);
  assert_string_equal(text, expected);
}

/* A reader at the first element of an array of the vocabulary's length. */
static reader array_of(gguf_file *file, const char *key, uint64_t type) {
  reader value = value_of(file, key, 9);
  assert_int_equal(take_number(&value, 4), type);
  assert_int_equal(take_number(&value, 8), VOCABULARY);
  return value;
}

/* --- what is in the file --- */

static void every_key_says_what_the_model_is(void **state) {
  static gguf_file file;
  const gguf_fixture *f = *state;
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  gguf_export_well(f);
  read_gguf(f, &file);
  assert_string(&file, "general.architecture", "gemma2");
  assert_string(&file, "general.type", "model");
  assert_uint32(&file, "general.file_type", 0);
  assert_uint32(&file, "general.quantization_version", 2);
  assert_uint32(&file, "gemma2.context_length", 48);
  assert_uint32(&file, "gemma2.embedding_length", HIDDEN);
  assert_uint32(&file, "gemma2.block_count", LAYERS);
  assert_uint32(&file, "gemma2.feed_forward_length", INNER);
  assert_uint32(&file, "gemma2.attention.head_count", HEADS);
  assert_uint32(&file, "gemma2.attention.head_count_kv", 1);
  assert_uint32(&file, "gemma2.attention.key_length", HEAD_DIM);
  assert_uint32(&file, "gemma2.attention.value_length", HEAD_DIM);
  assert_uint32(&file, "gemma2.attention.sliding_window", 7);
  assert_uint32(&file, "gemma2.rope.dimension_count", HEAD_DIM);
  assert_uint32(&file, "gemma2.vocab_size", VOCABULARY);
  assert_float32(&file, "gemma2.attention.layer_norm_rms_epsilon", 3e-5f);
  assert_float32(&file, "gemma2.attn_logit_softcapping", 20.5f);
  assert_float32(&file, "gemma2.final_logit_softcapping", 10.25f);
  assert_float32(&file, "gemma2.rope.freq_base", 12345.5f);
  assert_string(&file, "tokenizer.ggml.model", "llama");
  assert_string(&file, "tokenizer.ggml.pre", "default");
  assert_uint32(&file, "tokenizer.ggml.padding_token_id", 0);
  assert_uint32(&file, "tokenizer.ggml.eos_token_id", 1);
  assert_uint32(&file, "tokenizer.ggml.bos_token_id", 2);
  assert_uint32(&file, "tokenizer.ggml.unknown_token_id", 3);
  assert_bool(&file, "tokenizer.ggml.add_bos_token", true);
  assert_bool(&file, "tokenizer.ggml.add_eos_token", false);
  assert_bool(&file, "tokenizer.ggml.add_space_prefix", false);
  value_of(&file, "tokenizer.ggml.tokens", 9);
  value_of(&file, "tokenizer.ggml.scores", 9);
  value_of(&file, "tokenizer.ggml.token_type", 9);
  for (int i = 0; i < file.pair_count; ++i)
    if (!file.pairs[i].seen) fail_msg("unexpected key %s", file.pairs[i].key);
  free(file.bytes);
}

static void the_end_of_a_turn_is_named(void **state) {
  static gguf_file file;
  const gguf_fixture *f = *state;
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  scratch_write(f->directory, "model/generation_config.json", "{\"eos_token_id\": [1, 107]}", 26);
  gguf_export_well(f);
  read_gguf(f, &file);
  assert_uint32(&file, "tokenizer.ggml.eos_token_id", 1);
  assert_uint32(&file, "tokenizer.ggml.eot_token_id", 107);
  free(file.bytes);
}

static void every_id_has_its_piece(void **state) {
  static gguf_file file;
  static char spellings[VOCABULARY][256];
  const gguf_fixture *f = *state;
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  gguf_export_well(f);
  read_gguf(f, &file);
  float scores[VOCABULARY];
  int types[VOCABULARY];
  reader at = array_of(&file, "tokenizer.ggml.tokens", 8);
  for (int id = 0; id < VOCABULARY; ++id) take_string(&at, spellings[id]);
  at = array_of(&file, "tokenizer.ggml.scores", 6);
  memcpy(scores, take(&at, sizeof scores), sizeof scores);
  at = array_of(&file, "tokenizer.ggml.token_type", 5);
  for (int id = 0; id < VOCABULARY; ++id) types[id] = (int)take_number(&at, 4);

  static const struct {
    int id, type;
    const char *spelling;
    float score;
  } expected[] = {
      {0, CONTROL, "<pad>", 0},
      {1, CONTROL, "</s>", 0},
      {2, CONTROL, "<s>", 0},
      {3, UNKNOWN, "<unk>", 0},
      {4, BYTE, "<0x00>", 0},
      {4 + 255, BYTE, "<0xFF>", 0},
      {FIRST_EXTRA, NORMAL, "\xE2\x96\x81the", -1.5f},
      {FIRST_EXTRA + 1, USER_DEFINED, "  ", 0}, /* looked for in the text as it is */
      {FIRST_EXTRA + 2, USER_DEFINED, "\n\n", 0},
      {FIRST_EXTRA + 3, NORMAL, "e", -2.5f},
      {FIRST_EXTRA + 4, CONTROL, "<mask>", 0},
      {FIRST_EXTRA + 5, NORMAL, "   ", 0}, /* user-defined, but SentencePiece never finds it */
  };
  for (size_t i = 0; i < sizeof expected / sizeof *expected; ++i) {
    const int id = expected[i].id;
    assert_string_equal(spellings[id], expected[i].spelling);
    assert_int_equal(types[id], expected[i].type);
    assert_memory_equal(&scores[id], &expected[i].score, sizeof(float));
  }
  for (int id = FIRST_EXTRA + EXTRAS; id < VOCABULARY; ++id) {
    assert_int_equal(types[id], UNUSED);
    assert_non_null(strchr(spellings[id], ' ')); /* no text has it after its spaces are marked */
    for (int other = 0; other < id; ++other)
      assert_string_not_equal(spellings[id], spellings[other]);
  }
  free(file.bytes);
}

static void assert_tensor(const gguf_file *file, const lap_parameters *parameters,
                          const float *weights, int index, const char *name, const char *ours) {
  const tensor_info *info = &file->tensors[index];
  assert_string_equal(info->name, name);
  const lap_parameter *p = lap_parameters_find(parameters, ours);
  assert_non_null(p);
  assert_int_equal(info->dimensions, p->is_norm ? 1 : 2);
  assert_int_equal(info->shape[0], p->columns);
  if (!p->is_norm) assert_int_equal(info->shape[1], p->rows);
  assert_int_equal(info->offset % 32, 0);
  const size_t bytes = (size_t)p->elements * sizeof(float), begin = file->data + info->offset;
  const size_t next = index + 1 < file->tensor_count ? file->data + file->tensors[index + 1].offset
                                                     : file->bytes_count;
  assert_int_equal(next, begin + (bytes + 31) / 32 * 32);
  for (int64_t i = 0; i < p->elements; ++i) {
    float found;
    memcpy(&found, file->bytes + begin + (size_t)i * sizeof found, sizeof found);
    const float weight = weights[p->offset + i], expected = p->is_norm ? 1 + weight : weight;
    assert_memory_equal(&found, &expected, sizeof found);
  }
}

static void every_tensor_is_there_in_its_place(void **state) {
  static gguf_file file;
  const gguf_fixture *f = *state;
  lap_status status = {0};
  lap_config *config;
  gguf_write_checkpoint(f, MODEL_OF("3"), NULL, gguf_good_model(f));
  gguf_export_well(f);
  read_gguf(f, &file);
  assert_int_equal(
      lap_config_parse("config", MODEL_OF("3"), strlen(MODEL_OF("3")), NULL, 0, &config, &status),
      LAP_OK);
  lap_parameters *parameters = lap_parameters_create(&config->model);
  float *weights = lap_allocate(parameters->elements, sizeof *weights);
  gguf_fill(parameters, weights);

  static const char *const names[][2] = {{"attn_norm", "input_layernorm"},
                                         {"attn_q", "self_attn.q_proj"},
                                         {"attn_k", "self_attn.k_proj"},
                                         {"attn_v", "self_attn.v_proj"},
                                         {"attn_output", "self_attn.o_proj"},
                                         {"post_attention_norm", "post_attention_layernorm"},
                                         {"ffn_norm", "pre_feedforward_layernorm"},
                                         {"ffn_gate", "mlp.gate_proj"},
                                         {"ffn_up", "mlp.up_proj"},
                                         {"ffn_down", "mlp.down_proj"},
                                         {"post_ffw_norm", "post_feedforward_layernorm"}};
  enum { IN_LAYER = sizeof names / sizeof *names };
  assert_int_equal(file.tensor_count, LAYERS * IN_LAYER + 2);
  assert_int_equal(file.tensors[0].offset, 0);
  assert_tensor(&file, parameters, weights, 0, "token_embd.weight", "model.embed_tokens.weight");
  for (int layer = 0; layer < LAYERS; ++layer)
    for (int i = 0; i < IN_LAYER; ++i) {
      char *name = lap_format("blk.%d.%s.weight", layer, names[i][0]);
      char *ours = lap_format("model.layers.%d.%s.weight", layer, names[i][1]);
      assert_tensor(&file, parameters, weights, 1 + layer * IN_LAYER + i, name, ours);
      free(name);
      free(ours);
    }
  assert_tensor(&file, parameters, weights, file.tensor_count - 1, "output_norm.weight",
                "model.norm.weight");
  free(weights);
  lap_parameters_destroy(parameters);
  lap_config_destroy(config);
  free(file.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_key_says_what_the_model_is),
      cmocka_unit_test(the_end_of_a_turn_is_named),
      cmocka_unit_test(every_id_has_its_piece),
      cmocka_unit_test(every_tensor_is_there_in_its_place),
  };
  return cmocka_run_group_tests(tests, gguf_set_up, gguf_tear_down);
}
