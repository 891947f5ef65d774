/* gemma2 config: the parameter counts of the paper's Table 2, and every refusal. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/config.h"

static lap_gemma2_config shape(int64_t hidden, int64_t inner, int64_t layers, int64_t heads,
                               int64_t key_value_heads, int64_t head_dim) {
  return (lap_gemma2_config){.vocab_size = 256128,
                             .hidden_size = hidden,
                             .intermediate_size = inner,
                             .num_hidden_layers = layers,
                             .num_attention_heads = heads,
                             .num_key_value_heads = key_value_heads,
                             .head_dim = head_dim,
                             .sliding_window = 4096,
                             .query_pre_attn_scalar = 256,
                             .attn_logit_softcapping = 50,
                             .final_logit_softcapping = 30,
                             .rope_theta = 10000,
                             .rms_norm_eps = 1e-6,
                             .max_position_embeddings = 8192};
}

static void parameter_counts_are_those_of_the_paper(void **state) {
  (void)state;
  const struct {
    lap_gemma2_config config;
    int64_t embedding, non_embedding;
  } sizes[] = {
      {shape(2304, 9216, 26, 8, 4, 256), 590118912, 2024517888},
      {shape(3584, 14336, 42, 16, 8, 256), 917962752, 8324201984},
      {shape(4608, 36864, 46, 32, 16, 128), 1180237824, 26047480320},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    lap_status status = {0};
    assert_int_equal(lap_gemma2_config_check(&sizes[i].config, &status), LAP_OK);
    assert_int_equal(lap_gemma2_embedding_parameters(&sizes[i].config), sizes[i].embedding);
    assert_int_equal(lap_gemma2_non_embedding_parameters(&sizes[i].config), sizes[i].non_embedding);
    lap_gemma2_config fewer = sizes[i].config; /* two norms of each layer */
    fewer.pre_norms_only = true;
    assert_int_equal(lap_gemma2_non_embedding_parameters(&fewer),
                     sizes[i].non_embedding - 2 * fewer.hidden_size * fewer.num_hidden_layers);
  }
}

static void assert_refused(lap_gemma2_config config, const char *message) {
  lap_status status = {0};
  assert_int_equal(lap_gemma2_config_check(&config, &status), LAP_USAGE);
  assert_string_equal(status.message, message);
}

static void impossible_shapes_are_refused_by_key(void **state) {
  (void)state;
  assert_refused(shape(0, 8, 1, 4, 2, 16), "hidden_size is 0; it must be from 1 to 1048576");
  assert_refused(shape(64, -1, 1, 4, 2, 16),
                 "intermediate_size is -1; it must be from 1 to 1048576");
  assert_refused(shape(64, 8, 513, 4, 2, 16), "num_hidden_layers is 513; it must be from 1 to 512");
  assert_refused(shape(64, 8, 1, 4, 3, 16),
                 "num_attention_heads is 4; it must be a multiple of num_key_value_heads, which "
                 "is 3");
  assert_refused(shape(64, 8, 1, 4, 0, 16),
                 "num_key_value_heads is 0; it must be from 1 to 1048576");
  assert_refused(shape(64, 8, 1, 4, 2, 15),
                 "head_dim is 15; it must be even (RoPE rotates pairs of its halves)");
  assert_refused(shape(64, 8, 1, 1 << 20, 1, 16),
                 "num_attention_heads is 1048576; with head_dim 16 it must be at most 65536");
  lap_gemma2_config config = shape(64, 8, 1, 4, 2, 16);
  config.rms_norm_eps = 0;
  assert_refused(config, "rms_norm_eps is 0; it must be from 1e-30 to 1e+30");
  config = shape(64, 8, 1, 4, 2, 16);
  config.attn_logit_softcapping = -1;
  assert_refused(config,
                 "attn_logit_softcapping is -1; it must be from 1e-06 to 1e+30, or null for off");
  config.attn_logit_softcapping = 0;
  lap_status status = {0};
  assert_int_equal(lap_gemma2_config_check(&config, &status), LAP_OK);
}

/* Ranges are of what float32 holds: a soft-cap of 1e39 is infinite there, 1e-40 has no inverse. */
static void numbers_that_float32_cannot_hold_are_refused(void **state) {
  (void)state;
  lap_gemma2_config config = shape(64, 8, 1, 4, 2, 16);
  const struct {
    double *field, bad[3], good[2];
    const char *message;
  } cases[] = {
      {&config.attn_logit_softcapping, {1e39, 1e-40, NAN}, {1e-6, 1e30}, "attn_logit_softcapping"},
      {&config.final_logit_softcapping, {1e39, 1e-40, NAN}, {1e-6, 0}, "final_logit_softcapping"},
      {&config.query_pre_attn_scalar, {1e-80, INFINITY, 0}, {1e-30, 1e30}, "query_pre_attn_scalar"},
      {&config.rope_theta, {1e-300, 0, 1e31}, {1e-6, 1e30}, "rope_theta is "},
      {&config.rms_norm_eps, {1e-46, NAN, -1}, {1e-30, 1}, "rms_norm_eps is "}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const double before = *cases[i].field;
    for (int j = 0; j < 3; ++j) {
      lap_status status = {0};
      *cases[i].field = cases[i].bad[j];
      assert_int_equal(lap_gemma2_config_check(&config, &status), LAP_USAGE);
      assert_non_null(strstr(status.message, cases[i].message));
    }
    for (int j = 0; j < 2; ++j) {
      lap_status status = {0};
      *cases[i].field = cases[i].good[j];
      assert_int_equal(lap_gemma2_config_check(&config, &status), LAP_OK);
    }
    *cases[i].field = before;
  }
}

static void shards_that_do_not_divide_are_refused(void **state) {
  (void)state;
  lap_gemma2_config config = shape(64, 24, 1, 12, 12, 16);
  config.vocab_size = 36;
  lap_status status = {0};
  assert_int_equal(lap_gemma2_config_check_shards(&config, 12, &status), LAP_OK);
  const struct {
    int64_t *field;
    const char *message;
  } cut[] = {
      {&config.num_attention_heads, "12 model shards do not divide model.num_attention_heads, 13"},
      {&config.num_key_value_heads, "model.num_key_value_heads, 13"},
      {&config.intermediate_size, "model.intermediate_size, 25"},
      {&config.vocab_size, "model.vocab_size, 37"}};
  for (int i = 0; i < 4; ++i) {
    *cut[i].field += 1;
    assert_int_equal(lap_gemma2_config_check_shards(&config, 12, &status), LAP_USAGE);
    assert_non_null(strstr(status.message, cut[i].message));
    *cut[i].field -= 1;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parameter_counts_are_those_of_the_paper),
      cmocka_unit_test(impossible_shapes_are_refused_by_key),
      cmocka_unit_test(numbers_that_float32_cannot_hold_are_refused),
      cmocka_unit_test(shards_that_do_not_divide_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
