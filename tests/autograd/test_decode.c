/* decode: a decoder's logits are those of the whole forward pass at every position, however the
 * tokens are fed: of float bit for bit, with products in float32 and in bfloat16. Compiled for
 * float and double. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/decode.h"
#include "autograd/gemma2/model.h"
#include "autograd/kernel/blas.h"
#include "autograd/kernel/gemm_backend.h"
#include "core/memory.h"
#include "core/philox.h"

#ifdef LAP_DOUBLE
static const double tolerance = 1e-9;
#else
static const double tolerance = 0; /* one definition of sums: kernel/matmul/product.h */
#endif

enum { THREADS = 2 };

static lap_gemma2_config small_model(int64_t kv_heads, int64_t window) {
  lap_gemma2_config config = {.vocab_size = 53,
                              .hidden_size = 24,
                              .intermediate_size = 40,
                              .num_hidden_layers = 4,
                              .num_attention_heads = 4,
                              .num_key_value_heads = kv_heads,
                              .head_dim = 6,
                              .sliding_window = window,
                              .query_pre_attn_scalar = 5,
                              .attn_logit_softcapping = 2,
                              .final_logit_softcapping = 3,
                              .rope_theta = 100,
                              .rms_norm_eps = 1e-6,
                              .max_position_embeddings = 4096};
  for (int layer = 0; layer < 4; ++layer) config.sliding[layer] = layer % 2 == 0;
  return config;
}

/* Weights large enough for soft-caps, norms and positions to matter. */
static real *random_weights(const lap_gemma2_config *config) {
  lap_parameters *parameters = lap_parameters_create(config);
  real *weights = lap_allocate_aligned(parameters->elements, sizeof(real));
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const double width = p->is_norm ? 0.6 : 4 * p->deviation;
    for (int64_t j = 0; j < p->elements; ++j)
      weights[p->offset + j] =
          (real)(width *
                 (lap_uniform(lap_philox(7, LAP_PURPOSE_BENCH, (uint64_t)i, (uint64_t)j)) - 0.5));
  }
  lap_parameters_destroy(parameters);
  return weights;
}

typedef struct {
  lap_gemma2_config config;
  int64_t length;
  real *weights;
  int32_t *tokens; /* [T] */
  real *logits;    /* [T, V] of the whole forward pass */
} reference;

static reference make_reference(lap_gemma2_config config, int64_t length) {
  reference made = {.config = config, .length = length, .weights = random_weights(&config)};
  made.tokens = lap_allocate(length, sizeof *made.tokens);
  made.logits = lap_allocate(length * config.vocab_size, sizeof *made.logits);
  for (int64_t t = 0; t < length; ++t)
    made.tokens[t] = (int32_t)(lap_philox(3, LAP_PURPOSE_BENCH, 0, (uint64_t)t).word[0] %
                               (uint32_t)config.vocab_size);
  int32_t *document_start = lap_allocate(length, sizeof *document_start);
  const lap_batch batch = {
      .sequences = 1, .length = length, .tokens = made.tokens, .document_start = document_start};
  lap_gemma2 *model = lap_gemma2_record(&config, &(lap_gemma2_recording){.mode = LAP_GEMMA2_HIDDEN,
                                                                         .sequences = 1,
                                                                         .length = length,
                                                                         .threads = THREADS,
                                                                         .allocate = true});
  lap_gemma2_run(model, made.weights, NULL, &batch, NULL);
  lap_gemma2_logits(model, made.weights, 0, length, made.logits);
  lap_gemma2_destroy(model);
  free(document_start);
  return made;
}

static void release_reference(reference *made) {
  lap_release_aligned(made->weights);
  free(made->tokens);
  free(made->logits);
}

static void assert_logits(const reference *expected, int64_t position, const real *logits) {
  const int64_t vocab = expected->config.vocab_size;
  const real *row = expected->logits + position * vocab;
  double largest = 0;
  for (int64_t j = 0; j < vocab; ++j) { /* without fmax, on which GCC 12 for AArch64 crashes */
    const double size = fabs((double)row[j]);
    if (size > largest) largest = size;
  }
  for (int64_t j = 0; j < vocab; ++j) {
    const double difference = fabs((double)row[j] - (double)logits[j]);
    if (!(difference <= tolerance * largest))
      fail_msg("window %d, %d key-value heads, position %d: off by %g of %g",
               (int)expected->config.sliding_window, (int)expected->config.num_key_value_heads,
               (int)position, difference, largest);
  }
}

/* A prompt of `prompt` tokens at once, then one by one to the end. */
static void check_prompt(const reference *expected, lap_decoder *decoder, int64_t prompt) {
  lap_decoder_reset(decoder);
  assert_logits(expected, prompt - 1, lap_decoder_prefill(decoder, expected->tokens, prompt));
  for (int64_t t = prompt; t < expected->length; ++t)
    assert_logits(expected, t, lap_decoder_step(decoder, expected->tokens[t]));
  assert_int_equal(lap_decoder_position(decoder), expected->length);
}

static void steps_after_any_prompt_match_the_forward_pass(void **state) {
  (void)state;
  const int64_t kv_heads[] = {4, 2, 1}, windows[] = {1, 2, 3, 8, 29, 30, 31, 4096};
  for (size_t g = 0; g < sizeof kv_heads / sizeof *kv_heads; ++g)
    for (size_t w = 0; w < sizeof windows / sizeof *windows; ++w) {
      const int64_t window = windows[w], length = 30;
      reference expected = make_reference(small_model(kv_heads[g], window), length);
      lap_decoder *decoder =
          lap_decoder_create(&expected.config, expected.weights, length, THREADS);
      const int64_t prompts[] = {1, 2, window - 1, window, window + 1, 2 * window + 1, length};
      for (size_t p = 0; p < sizeof prompts / sizeof *prompts; ++p)
        if (prompts[p] >= 1 && prompts[p] <= length) check_prompt(&expected, decoder, prompts[p]);
      lap_decoder_destroy(decoder);
      release_reference(&expected);
    }
}

/* Longer than one block (128) and one tile of queries (64), around their edges. */
static void prompts_of_several_blocks_match_the_forward_pass(void **state) {
  (void)state;
  const int64_t windows[] = {3, 63, 100, 130, 200, 270, 4096},
                prompts[] = {63, 65, 127, 128, 129, 256, 257, 299};
  for (size_t w = 0; w < sizeof windows / sizeof *windows; ++w) {
    reference expected = make_reference(small_model(2, windows[w]), 300);
    lap_decoder *decoder = lap_decoder_create(&expected.config, expected.weights, 300, THREADS);
    for (size_t p = 0; p < sizeof prompts / sizeof *prompts; ++p)
      check_prompt(&expected, decoder, prompts[p]);
    lap_decoder_destroy(decoder);
    release_reference(&expected);
  }
}

static void tokens_may_come_in_pieces_of_any_length(void **state) {
  (void)state;
  const int64_t pieces[] = {1, 5, 1, 1, 7, 2, 13, 3, 130, 1, 4};
  const int64_t windows[] = {1, 3, 6, 20};
  for (size_t w = 0; w < sizeof windows / sizeof *windows; ++w) {
    reference expected = make_reference(small_model(2, windows[w]), 168);
    lap_decoder *decoder = lap_decoder_create(&expected.config, expected.weights, 168, THREADS);
    int64_t t = 0;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; ++i) {
      const real *logits = lap_decoder_prefill(decoder, expected.tokens + t, pieces[i]);
      t += pieces[i];
      assert_logits(&expected, t - 1, logits);
    }
    assert_int_equal(t, 168);
    lap_decoder_destroy(decoder);
    release_reference(&expected);
  }
}

static void soft_caps_may_be_off(void **state) {
  (void)state;
  lap_gemma2_config config = small_model(2, 5);
  config.attn_logit_softcapping = 0;
  config.final_logit_softcapping = 0;
  reference expected = make_reference(config, 20);
  lap_decoder *decoder = lap_decoder_create(&config, expected.weights, 20, THREADS);
  check_prompt(&expected, decoder, 9);
  lap_decoder_destroy(decoder);
  release_reference(&expected);
}

static void second_norms_may_be_missing(void **state) {
  (void)state;
  lap_gemma2_config config = small_model(2, 5);
  config.pre_norms_only = true;
  reference expected = make_reference(config, 20);
  lap_decoder *decoder = lap_decoder_create(&config, expected.weights, 20, THREADS);
  check_prompt(&expected, decoder, 9);
  lap_decoder_destroy(decoder);
  release_reference(&expected);
}

static void the_sequence_decides_the_logits_not_the_room_for_it(void **state) {
  (void)state;
  reference expected = make_reference(small_model(2, 6), 12);
  const int64_t room[] = {12, 13, 500};
  for (size_t i = 0; i < sizeof room / sizeof *room; ++i) {
    lap_decoder *decoder = lap_decoder_create(&expected.config, expected.weights, room[i], THREADS);
    check_prompt(&expected, decoder, 8);
    lap_decoder_destroy(decoder);
  }
  release_reference(&expected);
}

/* Enough positions for attention to be worth threads. */
static void logits_have_the_same_bits_with_any_number_of_threads(void **state) {
  (void)state;
  reference expected = make_reference(small_model(2, 90), 140);
  const size_t bytes = (size_t)expected.config.vocab_size * sizeof(real);
  real *alone = lap_allocate(expected.config.vocab_size, sizeof(real));
  for (int threads = 1; threads <= 4; ++threads) {
    omp_set_num_threads(threads);
    lap_decoder *decoder = lap_decoder_create(&expected.config, expected.weights, 140, threads);
    lap_decoder_prefill(decoder, expected.tokens, 133);
    const real *logits = lap_decoder_step(decoder, expected.tokens[133]);
    if (threads == 1)
      memcpy(alone, logits, bytes);
    else
      assert_memory_equal(alone, logits, bytes);
    lap_decoder_destroy(decoder);
  }
  omp_set_num_threads(THREADS);
  free(alone);
  release_reference(&expected);
}

static void the_cache_of_a_sliding_layer_is_its_window(void **state) {
  (void)state;
  lap_gemma2_config config = small_model(2, 10);
  const int64_t row = 2 * 2 * 6 * (int64_t)sizeof(real); /* key and value, heads, head_dim */
  const int64_t ring = 32;                               /* the window in whole groups of terms */
  assert_int_equal(lap_decoder_cache_bytes(&config, 1000), row * (2 * ring + 2 * 1000));
  assert_int_equal(lap_decoder_cache_bytes(&config, 10), row * 4 * 10);
  assert_int_equal(lap_decoder_cache_bytes(&config, 7), row * 4 * 7);
}

static void a_step_reads_every_weight_and_the_keys_it_sees(void **state) {
  (void)state;
  const lap_gemma2_config config = small_model(2, 10);
  lap_parameters *parameters = lap_parameters_create(&config);
  int64_t weights = 0;
  for (int i = 0; i < parameters->count; ++i) weights += parameters->parameter[i].elements;
  lap_parameters_destroy(parameters);
  const int64_t row = 2 * 2 * 6; /* key and value, heads, head_dim */
  const int64_t real_bytes = (int64_t)sizeof(real);
  assert_int_equal(lap_decoder_read_bytes(&config, 0, real_bytes),
                   real_bytes * (weights + 4 * row));
  assert_int_equal(lap_decoder_read_bytes(&config, 29, real_bytes),
                   real_bytes * (weights + (2 * 10 + 2 * 30) * row));
}

#ifndef LAP_DOUBLE

/* Cuts the weights to what bfloat16 holds, and returns them so. */
static uint16_t *hold_in_bfloat16(reference *made) {
  lap_parameters *parameters = lap_parameters_create(&made->config);
  uint16_t *held = lap_allocate_aligned(parameters->elements, sizeof *held);
  for (int64_t i = 0; i < parameters->elements; ++i) {
    uint32_t bits;
    memcpy(&bits, &made->weights[i], sizeof bits);
    held[i] = (uint16_t)(bits >> 16);
    bits &= 0xffff0000U;
    memcpy(&made->weights[i], &bits, sizeof bits);
  }
  lap_parameters_destroy(parameters);
  return held;
}

static void weights_held_in_bfloat16_give_the_same_bits(void **state) {
  (void)state;
  const int64_t prompt = 150;
  reference made = make_reference(small_model(2, 10), prompt + 5);
  uint16_t *held = hold_in_bfloat16(&made);
  const size_t bytes = (size_t)made.config.vocab_size * sizeof(float);
  lap_decoder *floats = lap_decoder_create(&made.config, made.weights, made.length, THREADS);
  lap_decoder *halves = lap_decoder_create_bfloat16(&made.config, held, made.length, THREADS);
  assert_memory_equal(lap_decoder_prefill(floats, made.tokens, prompt),
                      lap_decoder_prefill(halves, made.tokens, prompt), bytes);
  for (int64_t t = prompt; t < made.length; ++t)
    assert_memory_equal(lap_decoder_step(floats, made.tokens[t]),
                        lap_decoder_step(halves, made.tokens[t]), bytes);
  lap_decoder_destroy(floats);
  lap_decoder_destroy(halves);
  lap_release_aligned(held);
  release_reference(&made);
}

/* Of matrices of more rows and terms than meet a prompt at a time, and odd ones. */
static void weights_laid_out_give_the_same_bits(void **state) {
  (void)state;
  lap_gemma2_config config = small_model(2, 10);
  config.vocab_size = 131, config.hidden_size = 70, config.intermediate_size = 1060;
  config.num_hidden_layers = 2, config.head_dim = 34;
  reference made = make_reference(config, 40);
  uint16_t *held = hold_in_bfloat16(&made);
  const size_t bytes = (size_t)config.vocab_size * sizeof(float);
  const int64_t prompts[] = {1, 2, 5, 16, 17, 30};
  lap_decoder *rows = lap_decoder_create(&made.config, made.weights, made.length, THREADS);
  lap_parameters *parameters = lap_parameters_create(&config);
  real *copy = lap_allocate_aligned(parameters->elements, sizeof *copy);
  memcpy(copy, made.weights, (size_t)parameters->elements * sizeof *copy);
  lap_parameters_destroy(parameters);
  lap_decoder *strips[] = {lap_decoder_create_alone(&config, copy, NULL, made.length, THREADS),
                           lap_decoder_create_alone(&config, NULL, held, made.length, THREADS)};
  for (size_t i = 0; i < sizeof prompts / sizeof *prompts; ++i)
    for (int s = 0; s < 2; ++s) {
      lap_decoder_reset(rows), lap_decoder_reset(strips[s]);
      assert_memory_equal(lap_decoder_prefill(strips[s], made.tokens, prompts[i]),
                          lap_decoder_prefill(rows, made.tokens, prompts[i]), bytes);
      for (int64_t t = prompts[i]; t < made.length; ++t)
        assert_memory_equal(lap_decoder_step(strips[s], made.tokens[t]),
                            lap_decoder_step(rows, made.tokens[t]), bytes);
    }
  lap_decoder_destroy(rows);
  for (int s = 0; s < 2; ++s) lap_decoder_destroy(strips[s]);
  lap_release_aligned(held), lap_release_aligned(copy);
  release_reference(&made);
}

#endif

int main(void) {
  lap_status status = {0};
  if (lap_blas_open("auto", &status) != LAP_OK) {
    print_error("%s\n", status.message);
    return 1;
  }
  omp_set_num_threads(THREADS);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_after_any_prompt_match_the_forward_pass),
      cmocka_unit_test(prompts_of_several_blocks_match_the_forward_pass),
      cmocka_unit_test(tokens_may_come_in_pieces_of_any_length),
      cmocka_unit_test(soft_caps_may_be_off),
      cmocka_unit_test(second_norms_may_be_missing),
      cmocka_unit_test(the_sequence_decides_the_logits_not_the_room_for_it),
      cmocka_unit_test(logits_have_the_same_bits_with_any_number_of_threads),
      cmocka_unit_test(the_cache_of_a_sliding_layer_is_its_window),
      cmocka_unit_test(a_step_reads_every_weight_and_the_keys_it_sees),
#ifndef LAP_DOUBLE
      cmocka_unit_test(weights_held_in_bfloat16_give_the_same_bits),
      cmocka_unit_test(weights_laid_out_give_the_same_bits),
#endif
  };
#ifndef LAP_DOUBLE
  const lap_gemm_choice bfloat16 = {LAP_GEMM_LAPIDARY, LAP_MATMUL_BFLOAT16, NULL};
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (failed || lap_gemm_open(&bfloat16, &status) != LAP_OK) return 1;
#endif
  return cmocka_run_group_tests(tests, NULL, NULL);
}
