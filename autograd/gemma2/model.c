#include "autograd/gemma2/model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "autograd/core/memory.h"
#include "autograd/tape/record.h"

static lap_value weight(const lap_gemma2 *model, const char *name) {
  const lap_parameter *p = lap_parameters_find(model->parameters, name);
  assert(p);
  return lap_tape_parameter(model->tape, p->rows, p->columns, p->offset);
}

static lap_value layer_weight(const lap_gemma2 *model, int64_t layer, const char *suffix) {
  char name[64];
  snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, suffix);
  return weight(model, name);
}

static lap_value norm(lap_gemma2 *model, lap_value x, lap_value w) {
  return lap_record_rmsnorm(model->tape, x, w, model->config.rms_norm_eps);
}

/* One block: x += post_norm(attention(pre_norm(x))), x += post_norm(geglu(pre_norm(x))). */
static lap_value record_block(lap_gemma2 *model, int64_t layer, lap_value x) {
  const lap_gemma2_config *c = &model->config;
  lap_tape *tape = model->tape;
  const lap_rope_attributes q_rope = {c->num_attention_heads, c->head_dim, model->rope_cosine,
                                      model->rope_sine};
  const lap_rope_attributes k_rope = {c->num_key_value_heads, c->head_dim, model->rope_cosine,
                                      model->rope_sine};
  const lap_attention_attributes attention = {
      .heads = c->num_attention_heads,
      .kv_heads = c->num_key_value_heads,
      .head_dim = c->head_dim,
      .window = c->sliding[layer] ? c->sliding_window : 0,
      .scale = 1 / __builtin_sqrt(c->query_pre_attn_scalar),
      .softcap = c->attn_logit_softcapping,
  };

  lap_value a = norm(model, x, layer_weight(model, layer, "input_layernorm"));
  lap_value q = lap_record_linear(tape, a, layer_weight(model, layer, "self_attn.q_proj"));
  lap_value k = lap_record_linear(tape, a, layer_weight(model, layer, "self_attn.k_proj"));
  lap_value v = lap_record_linear(tape, a, layer_weight(model, layer, "self_attn.v_proj"));
  q = lap_record_rope(tape, q, &q_rope);
  k = lap_record_rope(tape, k, &k_rope);
  lap_value o = lap_record_attention(tape, q, k, v, &attention);
  o = lap_record_linear(tape, o, layer_weight(model, layer, "self_attn.o_proj"));
  o = norm(model, o, layer_weight(model, layer, "post_attention_layernorm"));
  x = lap_record_residual(tape, x, o);

  lap_value f = norm(model, x, layer_weight(model, layer, "pre_feedforward_layernorm"));
  lap_value gate = lap_record_linear(tape, f, layer_weight(model, layer, "mlp.gate_proj"));
  lap_value up = lap_record_linear(tape, f, layer_weight(model, layer, "mlp.up_proj"));
  f = lap_record_geglu(tape, gate, up);
  f = lap_record_linear(tape, f, layer_weight(model, layer, "mlp.down_proj"));
  f = norm(model, f, layer_weight(model, layer, "post_feedforward_layernorm"));
  return lap_record_residual(tape, x, f);
}

static void record(lap_gemma2 *model, lap_gemma2_mode mode, const lap_objective *objective) {
  const lap_gemma2_config *c = &model->config;
  const lap_value embedding = weight(model, "model.embed_tokens.weight");
  lap_value x = lap_record_embedding(model->tape, embedding, model->sequences * model->length,
                                     __builtin_sqrt((double)c->hidden_size));
  for (int64_t layer = 0; layer < c->num_hidden_layers; ++layer) x = record_block(model, layer, x);
  model->hidden = norm(model, x, weight(model, "model.norm.weight"));
  if (mode == LAP_GEMMA2_HIDDEN) return;
  const lap_head_attributes head = {c->final_logit_softcapping, *objective};
  lap_record_head(model->tape, model->hidden, embedding, &head);
}

static int64_t rope_table_size(const lap_gemma2 *model) {
  return model->length * (model->config.head_dim / 2);
}

static void allocate_rope_tables(lap_gemma2 *model) {
  const size_t size = (size_t)rope_table_size(model);
  model->rope_cosine = lap_allocate_aligned(size, sizeof(real));
  model->rope_sine = lap_allocate_aligned(size, sizeof(real));
  lap_rope_table(model->length, model->config.head_dim, model->config.rope_theta,
                 model->rope_cosine, model->rope_sine);
}

lap_gemma2 *lap_gemma2_record(const lap_gemma2_config *config, lap_gemma2_mode mode,
                              const lap_objective *objective, int64_t sequences, int64_t length,
                              int64_t teacher_k, int64_t threads, bool allocate) {
  lap_gemma2 *model = lap_allocate(1, sizeof *model);
  model->config = *config;
  model->parameters = lap_parameters_create(config);
  model->tape = lap_tape_create();
  model->sequences = sequences;
  model->length = length;
  if (allocate) allocate_rope_tables(model);
  record(model, mode, objective);
  const lap_op_extent extent = {sequences, length, teacher_k, threads};
  const lap_tape_mode tape_mode = mode == LAP_GEMMA2_TRAIN ? LAP_TRAINING : LAP_FORWARD;
  if (allocate)
    lap_tape_plan(model->tape, tape_mode, &extent);
  else
    lap_tape_layout(model->tape, tape_mode, &extent);
  return model;
}

int64_t lap_gemma2_bytes(const lap_gemma2 *model) {
  return lap_tape_bytes(model->tape) + 2 * rope_table_size(model) * (int64_t)sizeof(real);
}

void lap_gemma2_destroy(lap_gemma2 *model) {
  if (!model) return;
  lap_tape_destroy(model->tape);
  lap_parameters_destroy(model->parameters);
  lap_release_aligned(model->rope_cosine);
  lap_release_aligned(model->rope_sine);
  free(model);
}

void lap_gemma2_run(lap_gemma2 *model, const real *weights, real *gradients, const lap_batch *batch,
                    const lap_losses *losses) {
  assert(batch->sequences == model->sequences && batch->length == model->length);
  lap_tape_run(model->tape, weights, gradients, batch, losses);
}

void lap_gemma2_logits(const lap_gemma2 *model, const real *weights, int64_t row, int64_t count,
                       real *logits) {
  const lap_gemma2_config *c = &model->config;
  const lap_parameter *embedding =
      lap_parameters_find(model->parameters, "model.embed_tokens.weight");
  const real *hidden = lap_tape_value(model->tape, model->hidden) + row * c->hidden_size;
  lap_head_logits(hidden, weights + embedding->offset, count, c->hidden_size, c->vocab_size,
                  c->final_logit_softcapping, logits);
}
