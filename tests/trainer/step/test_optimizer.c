/* optimizer: AdamW against the algorithm of the paper (Loshchilov & Hutter 2019, algorithm 2),
 * element by element in double precision; sums of squares against their definition. */
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "trainer/config/schema.h"
#include "trainer/step/optimizer.h"

static lap_gemma2_config small_model(void) {
  return (lap_gemma2_config){.vocab_size = 50,
                             .hidden_size = 24,
                             .intermediate_size = 56,
                             .num_hidden_layers = 2,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .head_dim = 8};
}

/* A number in (-1, 1) that looks random: one for each element, purpose and update. */
static double noise(int64_t element, int purpose, uint64_t update) {
  uint64_t bits = (uint64_t)element * 4 + (uint64_t)purpose + update * UINT64_C(1000003) + 1;
  bits = (bits ^ bits >> 31) * UINT64_C(0xBF58476D1CE4E5B9);
  bits = (bits ^ bits >> 29) * UINT64_C(0x94D049BB133111EB);
  return (double)(int64_t)(bits ^ bits >> 32) * 0x1p-63;
}

typedef struct {
  lap_parameters *parameters;
  float *gradient, *weight, *exp_avg, *exp_avg_sq; /* [parameters->elements] */
} vectors;

static vectors vectors_create(lap_parameters *parameters) {
  const int64_t elements = parameters->elements;
  return (vectors){parameters, lap_allocate_aligned(elements, sizeof(float)),
                   lap_allocate_aligned(elements, sizeof(float)),
                   lap_allocate_aligned(elements, sizeof(float)),
                   lap_allocate_aligned(elements, sizeof(float))};
}

static void vectors_destroy(vectors *v) {
  lap_parameters_destroy(v->parameters);
  lap_release_aligned(v->gradient);
  lap_release_aligned(v->weight);
  lap_release_aligned(v->exp_avg);
  lap_release_aligned(v->exp_avg_sq);
}

static void update_whole(const lap_adamw *adamw, float factor, vectors *v) {
  lap_adamw_update(adamw, v->parameters, 0, v->parameters->elements, factor, v->gradient, v->weight,
                   v->exp_avg, v->exp_avg_sq);
}

/* --- the paper --- */

typedef struct {
  double weight, m, v;
} element;

/* Lines 6 to 12 with eta = 1: theta -= alpha m^ / (sqrt(v^) + epsilon) + lambda theta, where the
 * rate of this step multiplies both, as everywhere today. `power1` and `power2` are beta^t. */
static void paper(const lap_adamw *a, bool decays, double power1, double power2, double gradient,
                  element *e) {
  e->m = a->beta1 * e->m + (1 - a->beta1) * gradient;
  e->v = a->beta2 * e->v + (1 - a->beta2) * gradient * gradient;
  const double m_hat = e->m / (1 - power1), v_hat = e->v / (1 - power2);
  const double decay = decays ? a->weight_decay * e->weight : 0;
  e->weight -= a->learning_rate * (m_hat / (sqrt(v_hat) + a->epsilon) + decay);
}

static bool decays(const lap_parameter *p) { return strstr(p->name, "norm") == NULL; }

/* The tensor that an element of the vector belongs to; NULL: padding. */
static const lap_parameter *tensor_of(const lap_parameters *parameters, int64_t at) {
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    if (at >= p->offset && at < p->offset + p->rows * p->columns) return p;
  }
  return NULL;
}

static double power_of(double base, uint64_t exponent) {
  double power = 1;
  for (uint64_t i = 0; i < exponent; ++i) power *= base;
  return power;
}

/* Padding has something in it too, which must stay. */
static void fill(vectors *v, uint64_t seed, double gradient_scale) {
  for (int64_t i = 0; i < v->parameters->elements; ++i) {
    v->gradient[i] = (float)(gradient_scale * noise(i, 0, seed));
    v->weight[i] = (float)noise(i, 1, seed);
    v->exp_avg[i] = (float)(0.3 * noise(i, 2, seed));
    v->exp_avg_sq[i] = (float)(0.2 * fabs(noise(i, 3, seed)));
  }
}

static void assert_near(double found, double expected, double tolerance, const char *what,
                        const char *tensor, int64_t at) {
  if (!(fabs(found - expected) <= tolerance))
    fail_msg("%s of %s, element %" PRId64 ": %.9g, expected %.9g", what, tensor, at, found,
             expected);
}

/* The rounding of float is all that may be between them. */
static void compare_one_update(const lap_adamw *adamw, float factor, double gradient_scale,
                               lap_parameters *parameters) {
  vectors v = vectors_create(parameters);
  fill(&v, adamw->update, gradient_scale);
  const size_t bytes = (size_t)parameters->elements * sizeof(float);
  float *weight = memcpy(malloc(bytes), v.weight, bytes);
  float *exp_avg = memcpy(malloc(bytes), v.exp_avg, bytes);
  float *exp_avg_sq = memcpy(malloc(bytes), v.exp_avg_sq, bytes);
  update_whole(adamw, factor, &v);
  const double power1 = power_of(adamw->beta1, adamw->update);
  const double power2 = power_of(adamw->beta2, adamw->update);
  for (int64_t i = 0; i < parameters->elements; ++i) {
    const lap_parameter *p = tensor_of(parameters, i);
    if (!p) {
      assert_true(v.weight[i] == weight[i] && v.exp_avg[i] == exp_avg[i] &&
                  v.exp_avg_sq[i] == exp_avg_sq[i]);
      continue;
    }
    element e = {weight[i], exp_avg[i], exp_avg_sq[i]};
    const double g = (double)factor * (double)v.gradient[i], ulp = 0x1p-23;
    paper(adamw, decays(p), power1, power2, g, &e);
    const double moved = fabs(e.weight - (double)weight[i]);
    assert_near(v.exp_avg[i], e.m, 2 * ulp * (fabs((double)exp_avg[i]) + fabs(g)), "exp_avg",
                p->name, i);
    assert_near(v.exp_avg_sq[i], e.v, 4 * ulp * e.v, "exp_avg_sq", p->name, i);
    /* What m may be wrong by weighs more where its two terms almost cancel. */
    assert_near(v.weight[i], e.weight,
                ulp * (fabs((double)weight[i]) + 20 * moved) +
                    20 * ulp * adamw->learning_rate *
                        (fabs((double)exp_avg[i]) + fabs(g) + adamw->weight_decay) / (1 - power1) /
                        (sqrt(e.v / (1 - power2)) + adamw->epsilon),
                "weight", p->name, i);
  }
  free(weight);
  free(exp_avg);
  free(exp_avg_sq);
  vectors_destroy(&v);
}

static const lap_adamw usual = {.learning_rate = 2e-3,
                                .beta1 = 0.9,
                                .beta2 = 0.95,
                                .epsilon = 1e-8,
                                .weight_decay = 0.1,
                                .update = 1};

static void an_update_is_that_of_the_paper(void **state) {
  (void)state;
  static const uint64_t updates[] = {1, 2, 3, 10, 57, 400, 5000, 30000};
  const lap_gemma2_config model = small_model();
  for (size_t u = 0; u < sizeof updates / sizeof *updates; ++u) {
    lap_adamw adamw = usual;
    adamw.update = updates[u];
    compare_one_update(&adamw, 1, 1, lap_parameters_create(&model));
    /* The mean over 1000 positions, of a gradient that is clipped to a third. */
    compare_one_update(&adamw, (float)(1.0 / 3 / 1000), 500, lap_parameters_create(&model));
    /* An epsilon that is felt, no decay, other decay rates. */
    adamw.epsilon = 0.25;
    adamw.weight_decay = 0;
    compare_one_update(&adamw, 1, 1, lap_parameters_create(&model));
    adamw.beta1 = 0.5;
    adamw.beta2 = 0.999;
    adamw.weight_decay = 3;
    compare_one_update(&adamw, 1, 1, lap_parameters_create(&model));
  }
}

/* With several shards a process may hold copies of norms, which are norms as well. */
static void copies_of_norms_do_not_decay_either(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  for (int shard = 0; shard < 2; ++shard) {
    lap_parameters *parameters =
        lap_parameters_create_shards(&model, (lap_shard_range){2, shard, 1});
    int copies = 0;
    for (int i = 0; i < parameters->count; ++i) copies += parameters->parameter[i].is_copy;
    assert_int_equal(copies, shard == 0 ? 0 : 9); /* four a layer, and the last */
    compare_one_update(&usual, 1, 1, parameters);
  }
}

/* --- many updates --- */

/* From the start of a run, with a schedule, noisy gradients that have a direction, and some steps
 * without any. */
static void thousands_of_updates_follow_the_paper(void **state) {
  (void)state;
  enum { UPDATES = 3000, WATCHED = 64, PLACES = 3 };
  const lap_gemma2_config model = small_model();
  vectors v = vectors_create(lap_parameters_create(&model));
  static const char *const names[PLACES] = {"model.embed_tokens.weight",
                                            "model.layers.0.input_layernorm.weight",
                                            "model.layers.1.mlp.down_proj.weight"};
  int64_t watched[PLACES];
  element expected[PLACES][WATCHED] = {0};
  for (int w = 0; w < PLACES; ++w) {
    const lap_parameter *p = lap_parameters_find(v.parameters, names[w]);
    watched[w] = p->offset;
    for (int i = 0; i < WATCHED; ++i)
      v.weight[watched[w] + i] = (float)(expected[w][i].weight = (float)noise(i, w, 0));
  }
  double power1 = 1, power2 = 1;
  for (uint64_t t = 1; t <= UPDATES; ++t) {
    lap_adamw adamw = usual;
    adamw.update = t;
    adamw.learning_rate = 1e-3 * (1 - (double)t / (2 * UPDATES));
    power1 *= adamw.beta1;
    power2 *= adamw.beta2;
    const float factor = t % 10 ? 0.25F : 0.125F;
    for (int w = 0; w < PLACES; ++w) {
      for (int i = 0; i < WATCHED; ++i) {
        const int64_t at = watched[w] + i;
        const double drift = noise(i, 3, 0);
        v.gradient[at] = t % 100 == 7 ? 0 : (float)(noise(i, 2, t) + drift);
        const lap_parameter *p = tensor_of(v.parameters, at);
        if (p)
          paper(&adamw, decays(p), power1, power2, (double)factor * (double)v.gradient[at],
                &expected[w][i]);
      }
      lap_adamw_update(&adamw, v.parameters, watched[w], watched[w] + WATCHED, factor,
                       v.gradient + watched[w], v.weight + watched[w], v.exp_avg + watched[w],
                       v.exp_avg_sq + watched[w]);
      for (int i = 0; i < WATCHED && t % 250 == 0; ++i)
        assert_near(v.weight[watched[w] + i], expected[w][i].weight,
                    2e-5 * (1 + fabs(expected[w][i].weight)), "weight", names[w], watched[w] + i);
    }
  }
  vectors_destroy(&v);
}

static void without_gradients_matrices_shrink_and_norms_stay(void **state) {
  (void)state;
  enum { UPDATES = 50 };
  const lap_gemma2_config model = small_model();
  vectors v = vectors_create(lap_parameters_create(&model));
  for (int64_t i = 0; i < v.parameters->elements; ++i) v.weight[i] = (float)noise(i, 1, 0);
  lap_adamw adamw = usual;
  for (adamw.update = 1; adamw.update <= UPDATES; ++adamw.update) update_whole(&adamw, 0.5F, &v);
  const double shrunk = power_of(1 - adamw.learning_rate * adamw.weight_decay, UPDATES);
  for (int64_t i = 0; i < v.parameters->elements; ++i) {
    const lap_parameter *p = tensor_of(v.parameters, i);
    const float before = (float)noise(i, 1, 0);
    assert_true(v.exp_avg[i] == 0 && v.exp_avg_sq[i] == 0);
    if (p && decays(p))
      assert_near(v.weight[i], shrunk * (double)before, 1e-5 * fabs((double)before), "weight",
                  p->name, i);
    else
      assert_true(v.weight[i] == before);
  }
  vectors_destroy(&v);
}

/* --- who updates what --- */

static void compare_bits(const vectors *a, const vectors *b) {
  const size_t bytes = (size_t)a->parameters->elements * sizeof(float);
  assert_memory_equal(a->weight, b->weight, bytes);
  assert_memory_equal(a->exp_avg, b->exp_avg, bytes);
  assert_memory_equal(a->exp_avg_sq, b->exp_avg_sq, bytes);
}

/* Owners have ranges that cross tensors, begin inside of them, or are empty. */
static void ranges_and_threads_change_no_bit(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  vectors whole = vectors_create(lap_parameters_create(&model));
  vectors cut = vectors_create(lap_parameters_create(&model));
  fill(&whole, 1, 1);
  omp_set_num_threads(1);
  update_whole(&usual, 0.3F, &whole);
  for (int threads = 1; threads <= 3; ++threads)
    for (int64_t length = 700; length <= 13000; length = length * 3 - 100) {
      fill(&cut, 1, 1);
      omp_set_num_threads(threads);
      const int64_t elements = cut.parameters->elements;
      for (int64_t begin = 0; begin < elements; begin += length) {
        const int64_t end = begin + length < elements ? begin + length : elements;
        lap_adamw_update(&usual, cut.parameters, begin, end, 0.3F, cut.gradient + begin,
                         cut.weight + begin, cut.exp_avg + begin, cut.exp_avg_sq + begin);
        lap_adamw_update(&usual, cut.parameters, end, end, 0.3F, NULL, NULL, NULL, NULL);
      }
      compare_bits(&whole, &cut);
    }
  vectors_destroy(&whole);
  vectors_destroy(&cut);
}

/* --- sums of squares --- */

/* Sixteen sums over every sixteenth element, then halves added: part of a run's numbers. */
static double squares_of(const float *values, int64_t first, int64_t stride) {
  if (stride < 16)
    return squares_of(values, first, 2 * stride) + squares_of(values, first + stride, 2 * stride);
  double sum = 0;
  for (int64_t i = first; i < 1024; i += 16) sum += (double)values[i] * (double)values[i];
  return sum;
}

static void squares_are_summed_block_by_block_in_double(void **state) {
  (void)state;
  enum { BLOCKS = 7, ELEMENTS = BLOCKS * 1024 };
  float *values = lap_allocate_aligned(ELEMENTS, sizeof *values);
  double partials[BLOCKS + 1];
  for (int threads = 1; threads <= 3; ++threads) {
    omp_set_num_threads(threads);
    for (int i = 0; i < ELEMENTS; ++i) values[i] = (float)ldexp(noise(i, threads, 0), i % 40 - 20);
    partials[BLOCKS] = -1;
    lap_square_partials(values, ELEMENTS, partials);
    for (int block = 0; block < BLOCKS; ++block) {
      long double sum = 0;
      for (int i = block * 1024; i < (block + 1) * 1024; ++i)
        sum += (long double)values[i] * (long double)values[i];
      assert_near(partials[block], (double)sum, 1e-14 * (double)sum, "squares", "a block", block);
      assert_true(partials[block] == squares_of(values + block * 1024, 0, 1));
    }
    assert_true(partials[BLOCKS] == -1);
  }
  /* Squares that float could not hold. */
  for (int i = 0; i < 1024; ++i) values[i] = 1e30F;
  lap_square_partials(values, 1024, partials);
  assert_near(partials[0], 1024 * 1e60, 1e-6 * 1024e60, "squares", "large values", 0);
  partials[0] = -1;
  lap_square_partials(values, 0, partials);
  assert_true(partials[0] == -1);
  lap_release_aligned(values);
}

/* --- subnormal moments --- */

enum { LAST_NORMAL = 1000 }; /* updates without a gradient: 0.9^1000 = 2e-46 */

static bool is_subnormal(float x) { return x != 0 && fabsf(x) < 0x1p-126F; }

static void moments_without_a_gradient_end_in_zero(void **state) {
  (void)state;
  const lap_gemma2_config model = small_model();
  vectors v = vectors_create(lap_parameters_create(&model));
  lap_adamw adamw = {.learning_rate = 1e-3, .beta1 = 0.9, .beta2 = 0.9, .epsilon = 1e-8};
  fill(&v, 1, 1);
  memset(v.gradient, 0, (size_t)v.parameters->elements * sizeof(float));
  for (adamw.update = 1; adamw.update <= LAST_NORMAL; ++adamw.update) {
    update_whole(&adamw, 1, &v);
    for (int64_t i = 0; i < v.parameters->elements; ++i)
      if (tensor_of(v.parameters, i))
        assert_false(is_subnormal(v.exp_avg[i]) || is_subnormal(v.exp_avg_sq[i]));
  }
  for (int64_t i = 0; i < v.parameters->elements; ++i)
    if (tensor_of(v.parameters, i)) assert_true(v.exp_avg[i] == 0 && v.exp_avg_sq[i] == 0);
  vectors_destroy(&v);
}

/* The least moments that stay, and what a square of a small gradient adds. */
static void moments_stay_from_the_least_normal_number_on(void **state) {
  (void)state;
  static const struct {
    float gradient, exp_avg, exp_avg_sq, m, v;
  } cases[] = {{0, 0x1p-125F, 0x1p-125F, 0x1p-126F, 0x1p-126F},
               {0, -0x1p-125F, 0x1.fp-126F, -0x1p-126F, 0},
               {0, 0x1.fffffcp-126F, 1, 0, 0.5F},
               {0x1p-62F, 0, 0, 0x1p-63F, 0x1p-125F},
               {0x1p-63F, 0, 0x1p-125F, 0x1p-64F, 0x1.8p-126F},
               {-0x1.fp-64F, 0, 0x1p-100F, -0x1.fp-65F, 0x1p-101F},
               {0x1p-63F, 0, 0, 0x1p-64F, 0}};
  const lap_gemma2_config model = small_model();
  const lap_adamw adamw = {
      .learning_rate = 1e-3, .beta1 = 0.5, .beta2 = 0.5, .epsilon = 1e-8, .update = 3};
  vectors v = vectors_create(lap_parameters_create(&model));
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
    const lap_parameter *p = &v.parameters->parameter[0];
    for (int64_t i = p->offset; i < p->offset + p->elements; ++i)
      v.gradient[i] = cases[c].gradient, v.exp_avg[i] = cases[c].exp_avg,
      v.exp_avg_sq[i] = cases[c].exp_avg_sq;
    update_whole(&adamw, 1, &v);
    for (int64_t i = p->offset; i < p->offset + p->elements; ++i)
      if (v.exp_avg[i] != cases[c].m || v.exp_avg_sq[i] != cases[c].v)
        fail_msg("case %zu: %a %a", c, (double)v.exp_avg[i], (double)v.exp_avg_sq[i]);
  }
  vectors_destroy(&v);
}

/* Without decay an update moves no weight by more than the learning rate, but for rounding, also
 * where the square of the gradient is so small that it became 0. */
static void the_least_epsilon_bounds_every_update(void **state) {
  (void)state;
  size_t keys;
  const double epsilon = lap_config_schema(&keys)[lap_config_find("optimizer.epsilon")].minimum;
  const double decays[] = {0, 0.9, 0.95, 0.999, 0.999999};
  const lap_gemma2_config model = small_model();
  vectors v = vectors_create(lap_parameters_create(&model));
  for (size_t i = 0; i < sizeof decays / sizeof *decays; ++i)
    for (int exponent = -150; exponent < 20; ++exponent) {
      const lap_adamw adamw = {
          .learning_rate = 1, .beta1 = 0.9, .beta2 = decays[i], .epsilon = epsilon, .update = 1};
      memset(v.weight, 0, (size_t)v.parameters->elements * sizeof(float));
      memset(v.exp_avg, 0, (size_t)v.parameters->elements * sizeof(float));
      memset(v.exp_avg_sq, 0, (size_t)v.parameters->elements * sizeof(float));
      for (int64_t j = 0; j < v.parameters->elements; ++j)
        v.gradient[j] = exponent == -150 ? 0 : ldexpf(1.99F, exponent);
      update_whole(&adamw, 1, &v);
      for (int64_t j = 0; j < v.parameters->elements; ++j)
        if (tensor_of(v.parameters, j) && !(fabsf(v.weight[j]) <= 1.1F))
          fail_msg("gradient 1.99 2^%d, beta2 %g: an update of %g", exponent, decays[i],
                   (double)v.weight[j]);
    }
  vectors_destroy(&v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(moments_without_a_gradient_end_in_zero),
      cmocka_unit_test(moments_stay_from_the_least_normal_number_on),
      cmocka_unit_test(the_least_epsilon_bounds_every_update),
      cmocka_unit_test(an_update_is_that_of_the_paper),
      cmocka_unit_test(copies_of_norms_do_not_decay_either),
      cmocka_unit_test(thousands_of_updates_follow_the_paper),
      cmocka_unit_test(without_gradients_matrices_shrink_and_norms_stay),
      cmocka_unit_test(ranges_and_threads_change_no_bit),
      cmocka_unit_test(squares_are_summed_block_by_block_in_double),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
