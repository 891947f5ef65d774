#include "tests/autograd/reference_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

/* One sequence on its way through the layers. */
typedef struct {
  const lap_gemma2_config *config;
  reference_weight weight;
  void *context;
  int64_t length;
  const int32_t *document_start;
} passage;

static double *doubles(int64_t n) { return lap_allocate(n, sizeof(double)); }

static const double *layer_weight(const passage *p, int64_t layer, const char *which) {
  char name[96];
  snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)layer, which);
  return p->weight(p->context, name);
}

/* out [length, outputs] = x [length, inputs] w^T, w [outputs, inputs]; out is new. */
static double *project(const passage *p, const double *x, const double *w, int64_t inputs,
                       int64_t outputs) {
  double *out = doubles(p->length * outputs);
  for (int64_t t = 0; t < p->length; ++t)
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t i = 0; i < inputs; ++i)
        out[t * outputs + o] += x[t * inputs + i] * w[o * inputs + i];
  return out;
}

/* RMSNorm "multiplies by (1 + w)"; the result is new. */
static double *normalise(const passage *p, const double *x, const double *w) {
  const int64_t hidden = p->config->hidden_size;
  double *out = doubles(p->length * hidden);
  for (int64_t t = 0; t < p->length; ++t) {
    double square = 0;
    for (int64_t i = 0; i < hidden; ++i) square += x[t * hidden + i] * x[t * hidden + i];
    const double size = sqrt(square / (double)hidden + p->config->rms_norm_eps);
    for (int64_t i = 0; i < hidden; ++i)
      out[t * hidden + i] = x[t * hidden + i] / size * (1 + w[i]);
  }
  return out;
}

/* "RoPE rotates halves": element d pairs with d + D/2, by position * theta^(-2 d / D). */
static void rotate(const passage *p, double *x, int64_t heads) {
  const int64_t dim = p->config->head_dim, half = dim / 2;
  for (int64_t t = 0; t < p->length; ++t)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t d = 0; d < half; ++d) {
        double *v = x + (t * heads + head) * dim;
        const double angle = (double)t * pow(p->config->rope_theta, -2.0 * (double)d / (double)dim);
        const double a = v[d], b = v[d + half];
        v[d] = a * cos(angle) - b * sin(angle);
        v[d + half] = a * sin(angle) + b * cos(angle);
      }
}

/* The output of one head at one position, into o [head_dim]: "scale, soft-cap, mask, softmax". */
static void attend(const passage *p, int64_t layer, int64_t i, int64_t head, const double *q,
                   const double *k, const double *v, double *o) {
  const lap_gemma2_config *c = p->config;
  const int64_t dim = c->head_dim, kv_heads = c->num_key_value_heads;
  const int64_t kv_head = head * kv_heads / c->num_attention_heads;
  double *score = doubles(p->length), largest = -INFINITY, sum = 0;
  for (int64_t j = 0; j <= i; ++j) {
    double s = 0;
    for (int64_t d = 0; d < dim; ++d)
      s += q[(i * c->num_attention_heads + head) * dim + d] * k[(j * kv_heads + kv_head) * dim + d];
    s /= sqrt(c->query_pre_attn_scalar);
    if (c->attn_logit_softcapping > 0)
      s = c->attn_logit_softcapping * tanh(s / c->attn_logit_softcapping);
    if (j < p->document_start[i] || (c->sliding[layer] && j <= i - c->sliding_window))
      s = -INFINITY;
    score[j] = s;
    if (s > largest) largest = s;
  }
  for (int64_t j = 0; j <= i; ++j) sum += score[j] = exp(score[j] - largest);
  for (int64_t d = 0; d < dim; ++d) {
    o[d] = 0;
    for (int64_t j = 0; j <= i; ++j) o[d] += score[j] / sum * v[(j * kv_heads + kv_head) * dim + d];
  }
  free(score);
}

/* x += the norm of the branch, or, of a model without these norms, the branch; frees it. */
static void add_branch(const passage *p, int64_t layer, double *x, double *branch,
                       const char *norm) {
  double *y = p->config->pre_norms_only ? NULL : normalise(p, branch, layer_weight(p, layer, norm));
  for (int64_t i = 0; i < p->length * p->config->hidden_size; ++i) x[i] += y ? y[i] : branch[i];
  free(y), free(branch);
}

static void attention_block(const passage *p, int64_t layer, double *x) {
  const lap_gemma2_config *c = p->config;
  const int64_t hidden = c->hidden_size, heads = c->num_attention_heads, dim = c->head_dim;
  const int64_t wide = heads * dim, narrow = c->num_key_value_heads * dim;
  double *a = normalise(p, x, layer_weight(p, layer, "input_layernorm"));
  double *q = project(p, a, layer_weight(p, layer, "self_attn.q_proj"), hidden, wide);
  double *k = project(p, a, layer_weight(p, layer, "self_attn.k_proj"), hidden, narrow);
  double *v = project(p, a, layer_weight(p, layer, "self_attn.v_proj"), hidden, narrow);
  double *o = doubles(p->length * wide);
  rotate(p, q, heads);
  rotate(p, k, c->num_key_value_heads);
  for (int64_t t = 0; t < p->length; ++t)
    for (int64_t head = 0; head < heads; ++head)
      attend(p, layer, t, head, q, k, v, o + (t * heads + head) * dim);
  add_branch(p, layer, x, project(p, o, layer_weight(p, layer, "self_attn.o_proj"), wide, hidden),
             "post_attention_layernorm");
  free(a), free(q), free(k), free(v), free(o);
}

static void feed_forward_block(const passage *p, int64_t layer, double *x) {
  const int64_t hidden = p->config->hidden_size, inner = p->config->intermediate_size;
  double *f = normalise(p, x, layer_weight(p, layer, "pre_feedforward_layernorm"));
  double *gate = project(p, f, layer_weight(p, layer, "mlp.gate_proj"), hidden, inner);
  double *up = project(p, f, layer_weight(p, layer, "mlp.up_proj"), hidden, inner);
  for (int64_t i = 0; i < p->length * inner; ++i) {
    const double g = gate[i];
    const double bend = tanh(sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * pow(g, 3)));
    gate[i] = 0.5 * g * (1 + bend) * up[i];
  }
  add_branch(p, layer, x, project(p, gate, layer_weight(p, layer, "mlp.down_proj"), inner, hidden),
             "post_feedforward_layernorm");
  free(f), free(gate), free(up);
}

static void sequence_logits(const passage *p, const int32_t *tokens, double *logits) {
  const lap_gemma2_config *c = p->config;
  const double *embedding = p->weight(p->context, "model.embed_tokens.weight");
  double *x = doubles(p->length * c->hidden_size);
  for (int64_t t = 0; t < p->length; ++t)
    for (int64_t i = 0; i < c->hidden_size; ++i)
      x[t * c->hidden_size + i] =
          embedding[tokens[t] * c->hidden_size + i] * sqrt((double)c->hidden_size);
  for (int64_t layer = 0; layer < c->num_hidden_layers; ++layer) {
    attention_block(p, layer, x);
    feed_forward_block(p, layer, x);
  }
  double *last = normalise(p, x, p->weight(p->context, "model.norm.weight"));
  double *z = project(p, last, embedding, c->hidden_size, c->vocab_size);
  const double cap = c->final_logit_softcapping;
  for (int64_t i = 0; i < p->length * c->vocab_size; ++i)
    logits[i] = cap > 0 ? cap * tanh(z[i] / cap) : z[i];
  free(x), free(last), free(z);
}

void reference_model_logits(const lap_gemma2_config *config, reference_weight weight, void *context,
                            int64_t sequences, int64_t length, const int32_t *tokens,
                            const int32_t *document_start, double *logits) {
  for (int64_t s = 0; s < sequences; ++s) {
    const passage p = {config, weight, context, length, document_start + s * length};
    sequence_logits(&p, tokens + s * length, logits + s * length * config->vocab_size);
  }
}
