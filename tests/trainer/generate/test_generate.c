/* generate: which tokens may be drawn and how often, what a seed fixes, and where a text ends. */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gemma2/parameters.h"
#include "autograd/kernel/blas.h"
#include "core/memory.h"
#include "core/philox.h"
#include "dataset/tokenizer.h"
#include "trainer/generate/generate.h"

/* --- choosing --- */

enum { IDS = 6, DRAWS = 40000 };

static int32_t choose(lap_sampler *sampler, const float *logits, uint64_t sample,
                      uint64_t position) {
  lap_status status = {0};
  int32_t token = -1;
  if (lap_sampler_choose(sampler, logits, sample, position, &token, &status) != LAP_OK)
    fail_msg("%s", status.message);
  return token;
}

/* Draws at DRAWS positions; the counts must be those of `expected` within five deviations, and
 * exactly 0 where it is 0. */
static void assert_distribution(lap_sampling sampling, const float *logits, int64_t ids,
                                const double *expected) {
  lap_sampler *sampler = lap_sampler_create(&sampling, ids);
  int64_t count[64] = {0};
  for (uint64_t position = 0; position < DRAWS; ++position)
    ++count[choose(sampler, logits, 0, position)];
  for (int64_t id = 0; id < ids; ++id) {
    const double mean = DRAWS * expected[id];
    const double deviation = sqrt(mean * (1 - expected[id]));
    if (fabs((double)count[id] - mean) > 5 * deviation)
      fail_msg("temperature %g, top_k %d, top_p %g: token %d came %d times, expected %g",
               sampling.temperature, (int)sampling.top_k, sampling.top_p, (int)id, (int)count[id],
               mean);
  }
  lap_sampler_destroy(sampler);
}

/* Logits of probabilities 0.1 0.4 0.05 0.25 0.15 0.05, shifted: softmax does not mind. */
static const double probability[IDS] = {0.1, 0.4, 0.05, 0.25, 0.15, 0.05};

static void make_logits(float logits[IDS]) {
  for (int i = 0; i < IDS; ++i) logits[i] = (float)(log(probability[i]) + 7);
}

static void tokens_come_as_often_as_the_model_says(void **state) {
  (void)state;
  float logits[IDS];
  make_logits(logits);
  const double sum_of_roots = sqrt(.1) + sqrt(.4) + sqrt(.05) + sqrt(.25) + sqrt(.15) + sqrt(.05);
  double flatter[IDS];
  for (int i = 0; i < IDS; ++i) flatter[i] = sqrt(probability[i]) / sum_of_roots;
  assert_distribution((lap_sampling){1, 0, 1, 1}, logits, IDS, probability);
  assert_distribution((lap_sampling){2, 0, 1, 1}, logits, IDS, flatter);
}

static void top_k_leaves_the_likeliest(void **state) {
  (void)state;
  float logits[IDS];
  make_logits(logits);
  const double one[IDS] = {0, 1}, two[IDS] = {0, .4 / .65, 0, .25 / .65};
  assert_distribution((lap_sampling){1, 1, 1, 1}, logits, IDS, one);
  assert_distribution((lap_sampling){1, 2, 1, 1}, logits, IDS, two);
  assert_distribution((lap_sampling){1, IDS, 1, 1}, logits, IDS, probability);
  assert_distribution((lap_sampling){1, 1000, 1, 1}, logits, IDS, probability);
  /* Of the two least likely, which are equal, the smaller id stays. */
  double five[IDS];
  for (int i = 0; i < IDS; ++i) five[i] = i == 5 ? 0 : probability[i] / .95;
  assert_distribution((lap_sampling){1, 5, 1, 1}, logits, IDS, five);
}

static void top_p_leaves_the_fewest_that_reach_it(void **state) {
  (void)state;
  float logits[IDS];
  make_logits(logits);
  const double one[IDS] = {0, 1}, two[IDS] = {0, .4 / .65, 0, .25 / .65};
  const double three[IDS] = {0, .5, 0, .25 / .8, .15 / .8};
  assert_distribution((lap_sampling){1, 0, 1e-9, 1}, logits, IDS, one);
  assert_distribution((lap_sampling){1, 0, 0.39, 1}, logits, IDS, one);
  assert_distribution((lap_sampling){1, 0, 0.41, 1}, logits, IDS, two);
  assert_distribution((lap_sampling){1, 0, 0.64, 1}, logits, IDS, two);
  assert_distribution((lap_sampling){1, 0, 0.66, 1}, logits, IDS, three);
  assert_distribution((lap_sampling){1, 0, 0.999, 1}, logits, IDS, probability);
}

/* top_p counts shares of what top_k has left: 0.4 / 0.65 = 0.615. */
static void top_p_comes_after_top_k(void **state) {
  (void)state;
  float logits[IDS];
  make_logits(logits);
  const double one[IDS] = {0, 1}, two[IDS] = {0, .4 / .65, 0, .25 / .65};
  assert_distribution((lap_sampling){1, 2, 0.61, 1}, logits, IDS, one);
  assert_distribution((lap_sampling){1, 2, 0.63, 1}, logits, IDS, two);
  assert_distribution((lap_sampling){1, 2, 0.999, 1}, logits, IDS, two);
}

static void temperature_0_is_greedy_and_ties_go_to_the_smaller_id(void **state) {
  (void)state;
  const float logits[IDS] = {-3, 2, 5, 5, 1, 5};
  const lap_sampling samplings[] = {{0, 0, 1, 1}, {0, 3, 0.5, 2}, {1e-30, 1, 1, 3}, {5, 1, 1, 4}};
  for (size_t i = 0; i < sizeof samplings / sizeof *samplings; ++i) {
    lap_sampler *sampler = lap_sampler_create(&samplings[i], IDS);
    for (uint64_t position = 0; position < 50; ++position)
      assert_int_equal(choose(sampler, logits, 0, position), 2);
    lap_sampler_destroy(sampler);
  }
}

static void a_tiny_temperature_does_not_overflow(void **state) {
  (void)state;
  const float logits[IDS] = {-1e30f, 2, 1, 3e30f, 0, -2};
  const double expected[IDS] = {0, 0, 0, 1};
  assert_distribution((lap_sampling){1e-300, 0, 1, 1}, logits, IDS, expected);
  assert_distribution((lap_sampling){1e-300, 0, 0.9, 1}, logits, IDS, expected);
}

/* A flat draw among the k likeliest must meet each of them, and no other. */
static void assert_ranking(const float *logits, int64_t vocab, int64_t k) {
  bool kept[16] = {false}, seen[16] = {false};
  for (int64_t i = 0; i < vocab; ++i) {
    int64_t better = 0;
    for (int64_t j = 0; j < vocab; ++j)
      better += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
    kept[i] = better < k;
  }
  lap_sampler *sampler = lap_sampler_create(&(lap_sampling){1e6, k, 1, 9}, vocab);
  for (uint64_t position = 0; position < 300; ++position)
    seen[choose(sampler, logits, 0, position)] = true;
  assert_memory_equal(seen, kept, sizeof seen);
  lap_sampler_destroy(sampler);
}

/* Against counting: every k of many small vocabularies, with few and with many equal logits. */
static void ranking_is_by_logit_then_id(void **state) {
  (void)state;
  for (int64_t vocab = 1; vocab <= 12; ++vocab)
    for (uint64_t round = 0; round < 40; ++round) {
      float logits[16];
      for (int64_t i = 0; i < vocab; ++i)
        logits[i] = (float)(lap_philox(round, LAP_PURPOSE_BENCH, 0, (uint64_t)i).word[0] %
                            (round % 2 ? 1000 : 4));
      for (int64_t k = 1; k <= vocab; ++k) assert_ranking(logits, vocab, k);
    }
}

static void a_draw_depends_on_seed_sample_and_position_alone(void **state) {
  (void)state;
  float logits[IDS];
  make_logits(logits);
  lap_sampler *one = lap_sampler_create(&(lap_sampling){1, 4, 0.9, 1}, IDS);
  lap_sampler *same = lap_sampler_create(&(lap_sampling){1, 4, 0.9, 1}, IDS);
  lap_sampler *other = lap_sampler_create(&(lap_sampling){1, 4, 0.9, 2}, IDS);
  int other_seed = 0, other_sample = 0, other_position = 0;
  for (uint64_t i = 0; i < 200; ++i) choose(same, logits, 5, i); /* leaves no trace */
  for (uint64_t i = 0; i < 200; ++i) {
    const int32_t token = choose(one, logits, 0, i);
    assert_int_equal(token, choose(same, logits, 0, i));
    other_seed += token != choose(other, logits, 0, i);
    other_sample += token != choose(one, logits, 1, i);
    other_position += token != choose(one, logits, 0, i + 1000);
  }
  assert_true(other_seed > 50 && other_sample > 50 && other_position > 50);
  lap_sampler_destroy(one);
  lap_sampler_destroy(same);
  lap_sampler_destroy(other);
}

static void a_vocabulary_of_one_has_one_choice(void **state) {
  (void)state;
  const float logits[1] = {-4};
  const double expected[1] = {1};
  assert_distribution((lap_sampling){1, 0, 1, 1}, logits, 1, expected);
  assert_distribution((lap_sampling){1, 1, 0.5, 1}, logits, 1, expected);
}

static void logits_that_are_not_numbers_are_refused(void **state) {
  (void)state;
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i)
    for (int temperature = 0; temperature < 2; ++temperature) {
      float logits[IDS] = {0};
      logits[4] = bad[i];
      lap_status status = {0};
      int32_t token;
      lap_sampler *sampler = lap_sampler_create(&(lap_sampling){temperature, 0, 1, 1}, IDS);
      assert_int_equal(lap_sampler_choose(sampler, logits, 0, 12, &token, &status), LAP_NONFINITE);
      assert_non_null(strstr(status.message, "the logit of token 4 at position 12 is "));
      lap_sampler_destroy(sampler);
    }
}

/* --- generating --- */

/* A small random model: its logits are nearly flat, so every token comes up, EOS among them. */
enum { VOCAB = 16 };

typedef struct {
  lap_gemma2_config config;
  float *weights;
} toy;

static toy make_toy(uint64_t seed) {
  toy made = {.config = {.vocab_size = VOCAB,
                         .hidden_size = 8,
                         .intermediate_size = 8,
                         .num_hidden_layers = 2,
                         .num_attention_heads = 2,
                         .num_key_value_heads = 1,
                         .head_dim = 4,
                         .sliding_window = 3,
                         .query_pre_attn_scalar = 4,
                         .attn_logit_softcapping = 50,
                         .final_logit_softcapping = 30,
                         .rope_theta = 10000,
                         .rms_norm_eps = 1e-6,
                         .max_position_embeddings = 64,
                         .sliding = {true}}};
  lap_parameters *parameters = lap_parameters_create(&made.config);
  made.weights = lap_allocate_aligned(parameters->elements, sizeof(float));
  lap_parameters_initialise(parameters, seed, 0, parameters->elements, made.weights);
  lap_parameters_destroy(parameters);
  return made;
}

typedef struct {
  int32_t seen[64];
  int64_t count, fail_at;
} listener;

static lap_code listen_to(void *context, int32_t token, lap_status *status) {
  listener *l = context;
  l->seen[l->count++] = token;
  return l->count == l->fail_at ? lap_fail(status, LAP_DATA, "nobody listens") : LAP_OK;
}

static lap_generation generate(lap_decoder *decoder, lap_sampling sampling, int64_t prompt_count,
                               int64_t max_tokens, uint64_t sample) {
  const int32_t prompt[] = {LAP_BOS, 5, 9, 7, 11};
  lap_sampler *sampler = lap_sampler_create(&sampling, VOCAB);
  lap_generation generation;
  listener heard = {0};
  lap_status status = {0};
  const lap_generate_request request = {.prompt = prompt,
                                        .prompt_count = prompt_count,
                                        .max_tokens = max_tokens,
                                        .sample = sample,
                                        .callback = listen_to,
                                        .context = &heard};
  assert_int_equal(lap_generate(decoder, sampler, &request, &generation, &status), LAP_OK);
  assert_int_equal(heard.count, generation.count);
  if (heard.count)
    assert_memory_equal(heard.seen, generation.tokens, (size_t)heard.count * sizeof *heard.seen);
  lap_sampler_destroy(sampler);
  return generation;
}

static void a_seed_fixes_every_sample_of_itself(void **state) {
  (void)state;
  toy model = make_toy(1);
  lap_decoder *decoder = lap_decoder_create(&model.config, model.weights, 40, 1);
  lap_decoder *again = lap_decoder_create(&model.config, model.weights, 64, 1);
  lap_generation first[3];
  for (uint64_t i = 0; i < 3; ++i)
    first[i] = generate(decoder, (lap_sampling){1, 0, 1, 1}, 5, 30, i);
  for (uint64_t i = 3; i-- > 0;) { /* in another order, in a decoder with more room */
    lap_generation same = generate(again, (lap_sampling){1, 0, 1, 1}, 5, 30, i);
    assert_int_equal(same.count, first[i].count);
    assert_memory_equal(same.tokens, first[i].tokens, (size_t)same.count * sizeof *same.tokens);
    free(same.tokens);
  }
  const size_t common = sizeof(int32_t) * 2;
  assert_memory_not_equal(first[0].tokens, first[1].tokens, common);
  for (int i = 0; i < 3; ++i) free(first[i].tokens);
  lap_decoder_destroy(decoder);
  lap_decoder_destroy(again);
  lap_release_aligned(model.weights);
}

static void a_text_ends_at_eos_at_max_tokens_or_where_positions_end(void **state) {
  (void)state;
  toy model = make_toy(1);
  lap_decoder *decoder = lap_decoder_create(&model.config, model.weights, 12, 1);
  int seen[3] = {0};
  for (uint64_t sample = 0; sample < 60; ++sample) {
    const int64_t max_tokens = sample % 2 ? 4 : 40;
    lap_generation made = generate(decoder, (lap_sampling){1, 0, 1, 3}, 3, max_tokens, sample);
    ++seen[made.finish];
    for (int64_t i = 0; i < made.count; ++i) assert_int_not_equal(made.tokens[i], LAP_EOS);
    if (made.finish == LAP_FINISH_MAX_TOKENS) assert_int_equal(made.count, 4);
    /* 12 positions hold the prompt of 3 and 9 tokens; the tenth is never fed back. */
    if (made.finish == LAP_FINISH_MAX_POSITIONS) assert_int_equal(made.count, 10);
    assert_int_equal(made.decode_steps,
                     made.finish == LAP_FINISH_EOS ? made.count : made.count - 1);
    free(made.tokens);
  }
  assert_true(seen[LAP_FINISH_EOS] && seen[LAP_FINISH_MAX_TOKENS] &&
              seen[LAP_FINISH_MAX_POSITIONS]);
  assert_string_equal(lap_finish_name(LAP_FINISH_EOS), "eos");
  assert_string_equal(lap_finish_name(LAP_FINISH_MAX_POSITIONS), "max_position_embeddings");
  lap_decoder_destroy(decoder);
  lap_release_aligned(model.weights);
}

static void a_text_ends_at_any_of_the_ids_that_end_it(void **state) {
  (void)state;
  toy model = make_toy(1);
  lap_decoder *decoder = lap_decoder_create(&model.config, model.weights, 40, 1);
  lap_generation whole = generate(decoder, (lap_sampling){1, 0, 1, 1}, 5, 30, 0);
  assert_true(whole.count > 6);
  int64_t first = 0; /* where the fifth token is there for the first time */
  while (whole.tokens[first] != whole.tokens[4]) ++first;
  const int32_t prompt[] = {LAP_BOS, 5, 9, 7, 11}, ends[] = {VOCAB + 5, whole.tokens[4]};
  lap_sampler *sampler = lap_sampler_create(&(lap_sampling){1, 0, 1, 1}, VOCAB);
  const lap_generate_request request = {
      .prompt = prompt, .prompt_count = 5, .max_tokens = 30, .ends = ends, .end_count = 2};
  lap_generation cut;
  lap_status status = {0};
  assert_int_equal(lap_generate(decoder, sampler, &request, &cut, &status), LAP_OK);
  assert_int_equal(cut.finish, LAP_FINISH_EOS);
  assert_int_equal(cut.count, first);
  assert_memory_equal(cut.tokens, whole.tokens, (size_t)first * sizeof *cut.tokens);
  free(cut.tokens);
  free(whole.tokens);
  lap_sampler_destroy(sampler);
  lap_decoder_destroy(decoder);
  lap_release_aligned(model.weights);
}

static void a_full_decoder_still_gives_one_token(void **state) {
  (void)state;
  toy model = make_toy(1);
  lap_decoder *decoder = lap_decoder_create(&model.config, model.weights, 5, 1);
  lap_generation made = generate(decoder, (lap_sampling){0, 0, 1, 1}, 5, 9, 0);
  assert_int_equal(made.count, 1);
  assert_int_equal(made.finish, LAP_FINISH_MAX_POSITIONS);
  free(made.tokens);
  made = generate(decoder, (lap_sampling){0, 0, 1, 1}, 5, 1, 0);
  assert_int_equal(made.finish, LAP_FINISH_MAX_TOKENS);
  free(made.tokens);
  made = generate(decoder, (lap_sampling){0, 0, 1, 1}, 5, 0, 0);
  assert_int_equal(made.count, 0);
  free(made.tokens);
  lap_decoder_destroy(decoder);
  lap_release_aligned(model.weights);
}

static void a_listener_that_fails_ends_the_text(void **state) {
  (void)state;
  toy model = make_toy(2);
  lap_decoder *decoder = lap_decoder_create(&model.config, model.weights, 40, 1);
  lap_sampler *sampler = lap_sampler_create(&(lap_sampling){0, 0, 1, 1}, VOCAB);
  const int32_t prompt[] = {LAP_BOS, 5};
  lap_generation generation;
  listener heard = {.fail_at = 1};
  lap_status status = {0};
  const lap_generate_request request = {.prompt = prompt,
                                        .prompt_count = 2,
                                        .max_tokens = 30,
                                        .callback = listen_to,
                                        .context = &heard};
  assert_int_equal(lap_generate(decoder, sampler, &request, &generation, &status), LAP_DATA);
  assert_string_equal(status.message, "nobody listens");
  assert_int_equal(generation.count, 1);
  free(generation.tokens);
  lap_sampler_destroy(sampler);
  lap_decoder_destroy(decoder);
  lap_release_aligned(model.weights);
}

int main(void) {
  lap_status status = {0};
  if (lap_blas_open("auto", &status) != LAP_OK) {
    print_error("%s\n", status.message);
    return 1;
  }
  omp_set_num_threads(1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tokens_come_as_often_as_the_model_says),
      cmocka_unit_test(top_k_leaves_the_likeliest),
      cmocka_unit_test(top_p_leaves_the_fewest_that_reach_it),
      cmocka_unit_test(top_p_comes_after_top_k),
      cmocka_unit_test(temperature_0_is_greedy_and_ties_go_to_the_smaller_id),
      cmocka_unit_test(a_tiny_temperature_does_not_overflow),
      cmocka_unit_test(ranking_is_by_logit_then_id),
      cmocka_unit_test(a_draw_depends_on_seed_sample_and_position_alone),
      cmocka_unit_test(a_vocabulary_of_one_has_one_choice),
      cmocka_unit_test(logits_that_are_not_numbers_are_refused),
      cmocka_unit_test(a_seed_fixes_every_sample_of_itself),
      cmocka_unit_test(a_text_ends_at_eos_at_max_tokens_or_where_positions_end),
      cmocka_unit_test(a_text_ends_at_any_of_the_ids_that_end_it),
      cmocka_unit_test(a_full_decoder_still_gives_one_token),
      cmocka_unit_test(a_listener_that_fails_ends_the_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
