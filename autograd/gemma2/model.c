#include "autograd/gemma2/model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm.h"
#include "autograd/op/folded_shards.h"
#include "autograd/tape/record.h"
#include "autograd/tape/tape.h"
#include "core/memory.h"

/* --- weights --- */

static lap_value parameter(const lap_gemma2 *model, const char *name, int shard) {
  const lap_parameter *p = lap_parameters_find_shard(model->parameters, name, shard);
  assert(p);
  const int64_t begin = model->parameters->bucket[p->bucket].begin;
  return lap_tape_parameter(model->tape, p->rows, p->columns, p->bucket, p->offset - begin);
}

/* The parts of the shards held here. */
static lap_shard_weights matrix(const lap_gemma2 *model, const char *name) {
  const lap_shard_range shards = model->parameters->shards;
  lap_shard_weights weights = {.count = shards.count};
  for (int s = 0; s < shards.count; ++s)
    weights.shard[s] = parameter(model, name, shards.first + s);
  return weights;
}

enum { NAME_SIZE = 64 };

static void layer_name(int64_t layer, const char *suffix, char name[NAME_SIZE]) {
  snprintf(name, NAME_SIZE, "model.layers.%" PRId64 ".%s.weight", layer, suffix);
}

/* --- the parts of a layer --- */

static lap_value norm(const lap_gemma2 *model, lap_value x, const char *name) {
  return lap_record_rmsnorm(model->tape, x, parameter(model, name, 0), model->config.rms_norm_eps);
}

static lap_value layer_norm(const lap_gemma2 *model, int64_t layer, const char *suffix,
                            lap_value x) {
  char name[NAME_SIZE];
  layer_name(layer, suffix, name);
  return norm(model, x, name);
}

/* A value that all shards share, for the projections of each. */
static lap_value copy_to_shards(const lap_gemma2 *model, lap_value x) {
  const lap_shard_range shards = model->parameters->shards;
  return shards.of == 1 ? x : lap_record_copy_to_shards(model->tape, x, shards.count);
}

static lap_value column_projection(const lap_gemma2 *model, int64_t layer, const char *suffix,
                                   lap_value x) {
  char name[NAME_SIZE];
  layer_name(layer, suffix, name);
  const lap_shard_weights weights = matrix(model, name);
  return lap_record_column_linear(model->tape, x, &weights);
}

static lap_value row_projection(const lap_gemma2 *model, int64_t layer, const char *suffix,
                                lap_value x) {
  char name[NAME_SIZE];
  layer_name(layer, suffix, name);
  const lap_shard_weights weights = matrix(model, name);
  return model->parameters->shards.of == 1 ? lap_record_column_linear(model->tape, x, &weights)
                                           : lap_record_row_linear(model->tape, x, &weights);
}

/* --- the model --- */

static lap_value record_attention(lap_gemma2 *model, int64_t layer, lap_value x) {
  const lap_gemma2_config *c = &model->config;
  const int shards = model->parameters->shards.of;
  const int64_t heads = c->num_attention_heads / shards, kv_heads = c->num_key_value_heads / shards;
  const lap_rope_attributes q_rope = {heads, c->head_dim, model->rope_cosine, model->rope_sine};
  const lap_rope_attributes k_rope = {kv_heads, c->head_dim, model->rope_cosine, model->rope_sine};
  const lap_attention_attributes attention = {
      .heads = heads,
      .kv_heads = kv_heads,
      .head_dim = c->head_dim,
      .window = c->sliding[layer] ? c->sliding_window : 0,
      .scale = 1 / __builtin_sqrt(c->query_pre_attn_scalar),
      .softcap = c->attn_logit_softcapping,
  };
  x = copy_to_shards(model, x);
  lap_value q = column_projection(model, layer, "self_attn.q_proj", x);
  lap_value k = column_projection(model, layer, "self_attn.k_proj", x);
  const lap_value v = column_projection(model, layer, "self_attn.v_proj", x);
  q = lap_record_rope(model->tape, q, &q_rope);
  k = lap_record_rope(model->tape, k, &k_rope);
  const lap_value o = lap_record_attention(model->tape, q, k, v, &attention);
  return row_projection(model, layer, "self_attn.o_proj", o);
}

static lap_value record_feed_forward(lap_gemma2 *model, int64_t layer, lap_value x) {
  x = copy_to_shards(model, x);
  const lap_value gate = column_projection(model, layer, "mlp.gate_proj", x);
  const lap_value up = column_projection(model, layer, "mlp.up_proj", x);
  return row_projection(model, layer, "mlp.down_proj", lap_record_geglu(model->tape, gate, up));
}

/* The second norm of a branch, where the model has one. */
static lap_value post_norm(const lap_gemma2 *model, int64_t layer, const char *suffix,
                           lap_value x) {
  return model->config.pre_norms_only ? x : layer_norm(model, layer, suffix, x);
}

/* x += post_norm(attention(pre_norm(x))), x += post_norm(geglu(pre_norm(x))). */
static lap_value record_layer(lap_gemma2 *model, int64_t layer, lap_value x) {
  lap_value a = layer_norm(model, layer, "input_layernorm", x);
  a = record_attention(model, layer, a);
  a = post_norm(model, layer, "post_attention_layernorm", a);
  x = lap_record_residual(model->tape, x, a);

  lap_value f = layer_norm(model, layer, "pre_feedforward_layernorm", x);
  f = record_feed_forward(model, layer, f);
  f = post_norm(model, layer, "post_feedforward_layernorm", f);
  return lap_record_residual(model->tape, x, f);
}

static void record(lap_gemma2 *model, const lap_gemma2_recording *recording) {
  const lap_gemma2_config *c = &model->config;
  const lap_shard_range shards = model->parameters->shards;
  const int layers = (int)c->num_hidden_layers;
  const lap_embedding_attributes scaled = {__builtin_sqrt((double)c->hidden_size), shards};
  const lap_shard_weights embedding = matrix(model, "model.embed_tokens.weight");
  lap_tape_block(model->tape, 0, LAP_RECOMPUTE_NONE);
  lap_value x =
      lap_record_embedding(model->tape, &embedding, model->sequences * model->length, &scaled);
  for (int layer = 0; layer < layers; ++layer) {
    lap_tape_block(model->tape, 1 + layer, recording->recompute);
    x = record_layer(model, layer, x);
  }
  lap_tape_block(model->tape, layers + 1, LAP_RECOMPUTE_NONE);
  model->hidden = norm(model, x, "model.norm.weight");
  if (recording->mode == LAP_GEMMA2_HIDDEN) return;
  const lap_lm_head_loss_attributes head = {c->final_logit_softcapping, *recording->objective,
                                            shards};
  lap_record_lm_head_loss(model->tape, model->hidden, &embedding, &head);
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

lap_gemma2 *lap_gemma2_record(const lap_gemma2_config *config,
                              const lap_gemma2_recording *recording) {
  const lap_shard_range shards = recording->shards.of ? recording->shards : lap_whole_model();
  assert(shards.count > 0 && shards.count <= LAP_MAX_SHARDS);
  lap_gemma2 *model = lap_allocate(1, sizeof *model);
  model->config = *config;
  model->parameters = lap_parameters_create_shards(config, shards);
  model->tape = lap_tape_create();
  model->mode = recording->mode;
  model->sequences = recording->sequences;
  model->length = recording->length;
  if (recording->allocate) allocate_rope_tables(model);
  const size_t buckets = (size_t)model->parameters->bucket_count;
  model->weights = lap_allocate(buckets, sizeof *model->weights);
  model->gradients = lap_allocate(buckets, sizeof *model->gradients);
  record(model, recording);
  const bool openblas = lap_gemm_backend_here() == LAP_GEMM_OPENBLAS;
  const lap_op_extent extent = {
      .sequences = recording->sequences,
      .length = recording->length,
      .teacher_k = recording->teacher_k,
      .threads = recording->threads,
      .bfloat16 = recording->allocate ? lap_gemm_holds() : recording->bfloat16,
      .openblas = recording->allocate ? openblas : recording->openblas};
  const lap_tape_mode mode = recording->mode == LAP_GEMMA2_TRAIN ? LAP_TRAINING : LAP_FORWARD;
  if (recording->allocate)
    lap_tape_plan(model->tape, mode, &extent);
  else
    lap_tape_layout(model->tape, mode, &extent);
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
  free(model->weights);
  free(model->gradients);
  free(model);
}

void lap_gemma2_replay(lap_gemma2 *model, const lap_gemma2_pass *pass) {
  const lap_batch *batch = pass->batch;
  assert(batch->sequences == model->sequences && batch->length == model->length);
  assert(pass->group || model->parameters->shards.of == 1);
  lap_tape_run(model->tape, pass);
}

void lap_gemma2_run(lap_gemma2 *model, const real *weights, real *gradients, const lap_batch *batch,
                    const lap_losses *losses) {
  const lap_shard_range *shards = &model->parameters->shards;
  assert(shards->count == shards->of);
  const lap_shard_group group = lap_folded_shards(&shards->of);
  for (int b = 0; b < model->parameters->bucket_count; ++b) {
    model->weights[b] = weights + model->parameters->bucket[b].begin;
    model->gradients[b] = gradients ? gradients + model->parameters->bucket[b].begin : NULL;
  }
  const lap_gemma2_pass pass = {.weights = model->weights,
                                .gradients = gradients ? model->gradients : NULL,
                                .batch = batch,
                                .losses = losses,
                                .group = shards->of > 1 ? &group : NULL};
  lap_gemma2_replay(model, &pass);
}

/* --- logits --- */

static const lap_parameter *embedding_of(const lap_gemma2 *model, int s) {
  return lap_parameters_find_shard(model->parameters, "model.embed_tokens.weight",
                                   model->parameters->shards.first + s);
}

/* Of shard s, whose part of the embedding is `weight`. */
static void shard_logits(const lap_gemma2 *model, int s, const lap_operand *weight, int64_t row,
                         int64_t count, real *logits) {
  const lap_gemma2_config *c = &model->config;
  lap_lm_head_logits(lap_tape_value(model->tape, model->hidden) + row * c->hidden_size, weight,
                     count, c->final_logit_softcapping, logits + s * count * weight->rows);
}

void lap_gemma2_logits(const lap_gemma2 *model, const real *weights, int64_t row, int64_t count,
                       real *logits) {
  for (int s = 0; s < model->parameters->shards.count; ++s) {
    const lap_parameter *p = embedding_of(model, s);
    const lap_operand weight = {
        .rows = p->rows, .columns = p->columns, .value = (real *)weights + p->offset};
    shard_logits(model, s, &weight, row, count, logits);
  }
}

void lap_gemma2_bucket_logits(const lap_gemma2 *model, const lap_gemma2_pass *pass, int64_t row,
                              int64_t count, real *logits) {
  for (int s = 0; s < model->parameters->shards.count; ++s) {
    const lap_parameter *p = embedding_of(model, s);
    const int64_t begin = p->offset - model->parameters->bucket[p->bucket].begin;
    lap_operand weight = {.rows = p->rows, .columns = p->columns};
    if (pass->weights)
      weight.value = (real *)pass->weights[p->bucket] + begin;
    else
      weight.bfloat16 = pass->bfloat16[p->bucket] + begin;
    shard_logits(model, s, &weight, row, count, logits);
  }
}

void lap_gemma2_join_logits(const real *parts, int shards, int64_t count, int64_t vocab_size,
                            real *logits) {
  const int64_t of_shard = vocab_size / shards;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < count; ++row)
    for (int s = 0; s < shards; ++s)
      memcpy(logits + row * vocab_size + s * of_shard, parts + (s * count + row) * of_shard,
             (size_t)of_shard * sizeof *logits);
}
