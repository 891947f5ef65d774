#include "autograd/gemma2/parameters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/core/memory.h"
#include "autograd/core/philox.h"
#include "autograd/kernel/scalar.h"

static void add(lap_parameters *parameters, const char *name, int64_t rows, int64_t columns) {
  parameters->parameter = lap_reallocate(parameters->parameter, (size_t)parameters->count + 1,
                                         sizeof *parameters->parameter);
  lap_parameter *p = &parameters->parameter[parameters->count++];
  *p = (lap_parameter){.rows = rows, .columns = columns, .elements = rows * columns};
  snprintf(p->name, sizeof p->name, "%s", name);
  p->is_norm = strstr(name, "norm.weight") != NULL;
  /* fan_in of a matrix, and hidden_size for the embedding: both are its columns. */
  p->deviation = p->is_norm ? 0 : __builtin_sqrt(1.0 / (double)columns);
}

static void add_layer(lap_parameters *parameters, int64_t layer, const char *suffix, int64_t rows,
                      int64_t columns) {
  char name[64];
  snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, suffix);
  add(parameters, name, rows, columns);
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const lap_parameter *)a)->name, ((const lap_parameter *)b)->name);
}

lap_parameters *lap_parameters_create(const lap_gemma2_config *c) {
  lap_parameters *parameters = lap_allocate(1, sizeof *parameters);
  const int64_t hidden = c->hidden_size, inner = c->intermediate_size;
  const int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
  add(parameters, "model.embed_tokens.weight", c->vocab_size, hidden);
  add(parameters, "model.norm.weight", 1, hidden);
  for (int64_t layer = 0; layer < c->num_hidden_layers; ++layer) {
    add_layer(parameters, layer, "input_layernorm", 1, hidden);
    add_layer(parameters, layer, "post_attention_layernorm", 1, hidden);
    add_layer(parameters, layer, "pre_feedforward_layernorm", 1, hidden);
    add_layer(parameters, layer, "post_feedforward_layernorm", 1, hidden);
    add_layer(parameters, layer, "self_attn.q_proj", q, hidden);
    add_layer(parameters, layer, "self_attn.k_proj", kv, hidden);
    add_layer(parameters, layer, "self_attn.v_proj", kv, hidden);
    add_layer(parameters, layer, "self_attn.o_proj", hidden, q);
    add_layer(parameters, layer, "mlp.gate_proj", inner, hidden);
    add_layer(parameters, layer, "mlp.up_proj", inner, hidden);
    add_layer(parameters, layer, "mlp.down_proj", hidden, inner);
  }
  qsort(parameters->parameter, (size_t)parameters->count, sizeof *parameters->parameter, by_name);
  for (int i = 0; i < parameters->count; ++i) {
    lap_parameter *p = &parameters->parameter[i];
    p->offset = parameters->elements;
    parameters->elements +=
        (p->elements + LAP_PARAMETER_PADDING - 1) / LAP_PARAMETER_PADDING * LAP_PARAMETER_PADDING;
  }
  return parameters;
}

void lap_parameters_destroy(lap_parameters *parameters) {
  if (!parameters) return;
  free(parameters->parameter);
  free(parameters);
}

const lap_parameter *lap_parameters_find(const lap_parameters *parameters, const char *name) {
  lap_parameter key;
  snprintf(key.name, sizeof key.name, "%s", name);
  return bsearch(&key, parameters->parameter, (size_t)parameters->count,
                 sizeof *parameters->parameter, by_name);
}

/* Two normal deviates of one draw, by Box and Muller: elements 2 i and 2 i + 1 of a tensor. */
static void normal_pair(uint64_t seed, uint64_t stream, uint64_t pair, double normal[2]) {
  const lap_random random = lap_philox(seed, LAP_PURPOSE_INIT, stream, pair);
  const lap_random second = {{random.word[2], random.word[3], 0, 0}};
  const double u = 1 - lap_uniform(random); /* in (0, 1] */
  const double radius = __builtin_sqrt(-2 * lap_scalar_log(u));
  double sine, cosine;
  lap_scalar_sincos(6.283185307179586 * lap_uniform(second), &sine, &cosine);
  normal[0] = radius * cosine;
  normal[1] = radius * sine;
}

static void initialise_tensor(const lap_parameter *p, uint64_t seed, int64_t begin, int64_t end,
                              float *out) {
  const uint64_t stream = lap_stream_of_name(p->name);
#pragma omp parallel for schedule(static)
  for (int64_t pair = begin / 2; pair < (end + 1) / 2; ++pair) {
    double normal[2];
    normal_pair(seed, stream, (uint64_t)pair, normal);
    for (int64_t i = 0; i < 2; ++i)
      if (2 * pair + i >= begin && 2 * pair + i < end)
        out[2 * pair + i - begin] = (float)(normal[i] * p->deviation);
  }
}

void lap_parameters_initialise(const lap_parameters *parameters, uint64_t seed, int64_t begin,
                               int64_t end, float *weights) {
  memset(weights, 0, (size_t)(end - begin) * sizeof *weights);
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const int64_t low = begin > p->offset ? begin : p->offset;
    const int64_t high = end < p->offset + p->elements ? end : p->offset + p->elements;
    if (p->is_norm || low >= high) continue;
    initialise_tensor(p, seed, low - p->offset, high - p->offset, weights + (low - begin));
  }
}
