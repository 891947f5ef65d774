/* config: what transformers writes is read, what lapidary cannot represent is refused, and what
 * is written comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "tests/refusal.h"
#include "tests/scratch.h"
#include "trainer/hf/config.h"

static char *directory;

static int make_test_directory(void **state) {
  (void)state;
  directory = scratch_create();
  return 0;
}

static int remove_test_directory(void **state) {
  (void)state;
  scratch_remove(directory);
  return 0;
}

static lap_code read_text(const char *text, size_t bytes, lap_gemma2_config *model,
                          lap_status *status) {
  *status = (lap_status){0};
  return lap_hf_config_read(scratch_write(directory, "config.json", text, bytes), model, status);
}

static lap_gemma2_config read_valid(const char *text) {
  lap_status status;
  lap_gemma2_config model;
  if (read_text(text, strlen(text), &model, &status) != LAP_OK) fail_msg("%s", status.message);
  return model;
}

static void assert_refused(const char *text, size_t bytes, const char *fragment) {
  lap_status status;
  lap_gemma2_config model;
  const lap_code code = read_text(text, bytes, &model, &status);
  assert_refusal(code, LAP_DATA, &status, "config.json", fragment);
}

/* --- reading --- */

static void absent_keys_have_the_defaults_of_transformers(void **state) {
  (void)state;
  const lap_gemma2_config model = read_valid("{\"model_type\": \"gemma2\"}");
  assert_int_equal(model.vocab_size, 256000);
  assert_int_equal(model.hidden_size, 2304);
  assert_int_equal(model.intermediate_size, 9216);
  assert_int_equal(model.num_hidden_layers, 26);
  assert_int_equal(model.num_attention_heads, 8);
  assert_int_equal(model.num_key_value_heads, 4);
  assert_int_equal(model.head_dim, 256);
  assert_int_equal(model.sliding_window, 4096);
  assert_int_equal(model.max_position_embeddings, 8192);
  assert_true(model.query_pre_attn_scalar == 256 && model.attn_logit_softcapping == 50);
  assert_true(model.final_logit_softcapping == 30 && model.rms_norm_eps == 1e-6);
  assert_true(model.rope_theta == 10000);
  for (int i = 0; i < 26; ++i) assert_true(model.sliding[i] == (i % 2 == 0));
}

/* What a published model of transformers 4 and one saved by transformers 5 look like. */
static void both_generations_are_read(void **state) {
  (void)state;
  lap_gemma2_config old = read_valid(
      "{\"architectures\": [\"Gemma2ForCausalLM\"], \"attention_bias\": false, "
      "\"attention_dropout\": 0.0, \"attn_logit_softcapping\": 40.0, \"bos_token_id\": 2, "
      "\"cache_implementation\": \"hybrid\", \"eos_token_id\": [1, 107], "
      "\"final_logit_softcapping\": null, \"hidden_act\": \"gelu_pytorch_tanh\", "
      "\"hidden_activation\": \"gelu_pytorch_tanh\", \"model_type\": \"gemma2\", "
      "\"num_hidden_layers\": 3, \"query_pre_attn_scalar\": 224.0, \"rope_theta\": 500, "
      "\"rope_scaling\": null, \"torch_dtype\": \"float32\", \"transformers_version\": \"4.42\"}");
  assert_true(old.attn_logit_softcapping == 40 && old.final_logit_softcapping == 0);
  assert_true(old.query_pre_attn_scalar == 224 && old.rope_theta == 500);
  lap_gemma2_config new = read_valid(
      "{\"model_type\": \"gemma2\", \"num_hidden_layers\": 3, \"dtype\": \"bfloat16\", "
      "\"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"], "
      "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500.0}, "
      "\"use_bidirectional_attention\": null, \"tie_word_embeddings\": true}");
  assert_true(new.rope_theta == 500);
  assert_true(read_valid("{\"model_type\": \"gemma2\", \"rope_scaling\": {\"rope_type\": "
                         "\"default\", \"rope_theta\": 70}}")
                  .rope_theta == 70);
  assert_true(!new.sliding[0] && !new.sliding[1] && new.sliding[2]);
  read_valid("{\"model_type\": \"gemma2\", \"eos_token_id\": 107}"); /* an end of turn alone */
}

static void what_lapidary_cannot_represent_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *entry, *fragment; /* beside model_type gemma2 */
  } refused[] = {
      {"\"architectures\": [\"Gemma2ForSequenceClassification\"]", "Gemma2ForSequenceClass"},
      {"\"architectures\": []", "architectures is []"},
      {"\"hidden_activation\": \"gelu\"", "hidden_activation is \"gelu\""},
      {"\"tie_word_embeddings\": false", "tie_word_embeddings is false"},
      {"\"attention_bias\": true", "attention_bias is true"},
      {"\"attention_bias\": 1", "attention_bias is 1"},
      {"\"attention_dropout\": 0.1", "attention_dropout is 0.1"},
      {"\"attention_dropout\": \"none\"", "attention_dropout"},
      {"\"use_bidirectional_attention\": true", "use_bidirectional_attention is true"},
      {"\"quantization_config\": {\"bits\": 4}", "quantization_config is {\"bits\": 4}"},
      {"\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}", "rope_scaling is"},
      {"\"rope_parameters\": {\"rope_type\": \"yarn\"}", "rope_parameters is"},
      {"\"rope_parameters\": {\"rope_theta\": 1e4, \"factor\": 2.0}", "rope_parameters is"},
      {"\"rope_parameters\": {\"partial_rotary_factor\": 0.5}", "rope_parameters is"},
      {"\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e4}}", "rope_parameters is"},
      {"\"rope_parameters\": [1]", "rope_parameters is [1]"},
      {"\"rope_parameters\": {\"rope_theta\": -1}", "rope_parameters.rope_theta is -1"},
      {"\"rope_theta\": 500.0, \"rope_parameters\": {\"rope_theta\": 1e4}", "rope_theta is 500.0"},
      {"\"rope_theta\": 500.0, \"rope_scaling\": {\"rope_theta\": 1e4}",
       "rope_theta is 500.0; expected the same as in rope_scaling"},
      {"\"rope_scaling\": {\"rope_theta\": 5}, \"rope_parameters\": {\"rope_theta\": 1e4}",
       "rope_scaling.rope_theta is 5; expected the same as in rope_parameters"},
      {"\"rope_scaling\": {\"rope_theta\": \"5\"}", "rope_scaling.rope_theta is \"5\""},
      {"\"bos_token_id\": 1", "bos_token_id is 1"},
      {"\"eos_token_id\": 2", "eos_token_id is 2; expected 1, ids above 3"},
      {"\"eos_token_id\": [2, 3]", "eos_token_id is [2, 3]"},
      {"\"layer_types\": [\"sliding_attention\"]", "layer_types is"},
      {"\"num_hidden_layers\": 1, \"layer_types\": [\"chunked_attention\"]", "chunked_attention"},
      {"\"num_hidden_layers\": 1, \"layer_types\": [7]", "layer_types is 7"},
      {"\"sliding_window\": null", "sliding_window is null"},
      {"\"attn_logit_softcapping\": 0.0", "attn_logit_softcapping is 0.0"},
      {"\"query_pre_attn_scalar\": null", "query_pre_attn_scalar is null"},
      {"\"query_pre_attn_scalar\": \"256\"", "query_pre_attn_scalar is \"256\""},
      {"\"rms_norm_eps\": -1e-6", "rms_norm_eps"},
      {"\"hidden_size\": 2304.0", "hidden_size is 2304.0"},
      {"\"hidden_size\": 9223372036854775807", "hidden_size"},
      {"\"vocab_size\": -5", "vocab_size is -5"},
      {"\"num_hidden_layers\": 513", "num_hidden_layers is 513"},
      {"\"num_key_value_heads\": 3", "num_key_value_heads"},
      {"\"head_dim\": 7", "head_dim is 7"},
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; ++i) {
    char text[512];
    snprintf(text, sizeof text, "{\"model_type\": \"gemma2\", %s}", refused[i].entry);
    assert_refused(text, strlen(text), refused[i].fragment);
  }
}

static void other_architectures_are_refused_by_name(void **state) {
  (void)state;
  static const char *const names[] = {"gemma", "gemma3", "gemma3_text", "llama", "GEMMA2"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    char text[64], fragment[64];
    snprintf(text, sizeof text, "{\"model_type\": \"%s\"}", names[i]);
    snprintf(fragment, sizeof fragment, "model_type is \"%s\"; expected gemma2", names[i]);
    assert_refused(text, strlen(text), fragment);
  }
  assert_refused("{}", 2, "model_type is missing");
  assert_refused("{\"model_type\": 2}", 17, "model_type is 2");
}

static void hostile_files_are_refused(void **state) {
  (void)state;
  enum { LARGE = 2 << 20 };
  assert_refused("", 0, "JSON");
  assert_refused("{\"model_type\": \"gem", 18, "JSON");
  assert_refused("{\"model_type\": \"gemma2\"} x", 26, "JSON");
  assert_refused("{\"model_type\": \"gemma2\", \"model_type\": \"gemma2\"}", 49, "duplicate");
  assert_refused("{\"model_type\": \"gemma2\", \"rope_theta\": NaN}", 43, "JSON");
  assert_refused("{\"model_type\": \"gemma2\", \"rope_theta\": 1e999}", 45, "JSON");
  assert_refused("[1, 2]", 6, "expected a JSON object");
  assert_refused("\"\xff\"", 3, "JSON");
  char *large = lap_allocate(LARGE, 1);
  memset(large, '[', LARGE);
  assert_refused(large, LARGE, "config.json");     /* too large */
  assert_refused(large, LARGE / 4, "config.json"); /* too deep */
  memcpy(large, "{\"model_type\": \"", 16);
  memset(large + 16, 'x', LARGE / 4);
  memcpy(large + LARGE / 4, "\"}", 2);
  assert_refused(large, LARGE / 4 + 2, "xxx...; expected gemma2"); /* a message stays short */
  free(large);
  lap_status status = {0};
  lap_gemma2_config model;
  assert_int_equal(lap_hf_config_read(directory, &model, &status), LAP_DATA);
  assert_int_equal(lap_hf_config_read(scratch_path(directory, "none"), &model, &status), LAP_DATA);
}

/* --- writing --- */

static const lap_gemma2_config shape = {.vocab_size = 300,
                                        .hidden_size = 32,
                                        .intermediate_size = 48,
                                        .num_hidden_layers = 3,
                                        .num_attention_heads = 4,
                                        .num_key_value_heads = 2,
                                        .head_dim = 12,
                                        .sliding_window = 5,
                                        .query_pre_attn_scalar = 12,
                                        .attn_logit_softcapping = 50,
                                        .final_logit_softcapping = 0,
                                        .rope_theta = 10000.1,
                                        .rms_norm_eps = 1e-6,
                                        .max_position_embeddings = 64,
                                        .sliding = {false, true, true}};

static void what_is_written_comes_back(void **state) {
  (void)state;
  lap_status status = {0};
  json_t *config;
  assert_int_equal(lap_hf_config_make(&shape, &config, &status), LAP_OK);
  char *text = lap_hf_print_json(config);
  const lap_gemma2_config read = read_valid(text);
  json_t *again;
  assert_int_equal(lap_hf_config_make(&read, &again, &status), LAP_OK);
  assert_true(json_equal(config, again));
  assert_true(read.rope_theta == shape.rope_theta && read.rms_norm_eps == shape.rms_norm_eps);
  /* The strict reader of transformers 5 looks at the form of numbers. */
  static const char *const lines[] = {"\"query_pre_attn_scalar\": 12,",
                                      "\"attn_logit_softcapping\": 50.0,",
                                      "\"final_logit_softcapping\": null,",
                                      "\"attention_dropout\": 0.0,", "\"rope_theta\": 10000.1"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; ++i)
    if (!strstr(text, lines[i])) fail_msg("%s lacks %s", text, lines[i]);
  free(text);
  json_decref(config);
  json_decref(again);
}

static void assert_not_representable(const lap_gemma2_config *model, const char *fragment) {
  lap_status status = {0};
  json_t *config;
  assert_int_equal(lap_hf_config_make(model, &config, &status), LAP_USAGE);
  assert_null(config);
  if (!strstr(status.message, fragment)) fail_msg("'%s' lacks '%s'", status.message, fragment);
}

static void what_transformers_cannot_represent_is_refused(void **state) {
  (void)state;
  lap_gemma2_config model = shape;
  model.query_pre_attn_scalar = 12.5;
  assert_not_representable(&model, "model.query_pre_attn_scalar is 12.5");
  model.query_pre_attn_scalar = 1e300;
  assert_not_representable(&model, "model.query_pre_attn_scalar is 1");
  model = shape;
  model.hidden_size = 33;
  assert_not_representable(&model, "model.hidden_size is 33");
  model = shape;
  model.pre_norms_only = true;
  assert_not_representable(&model, "model.pre_norms_only is true");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(absent_keys_have_the_defaults_of_transformers),
      cmocka_unit_test(both_generations_are_read),
      cmocka_unit_test(what_lapidary_cannot_represent_is_refused),
      cmocka_unit_test(other_architectures_are_refused_by_name),
      cmocka_unit_test(hostile_files_are_refused),
      cmocka_unit_test(what_is_written_comes_back),
      cmocka_unit_test(what_transformers_cannot_represent_is_refused),
  };
  return cmocka_run_group_tests(tests, make_test_directory, remove_test_directory);
}
