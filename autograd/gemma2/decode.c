#include "autograd/gemma2/decode.h"

#include <assert.h>
#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/decode_linear.h"
#include "autograd/gemma2/parameters.h"
#include "autograd/kernel/elementary.h"
#include "autograd/kernel/gemm.h"
#include "autograd/kernel/gemv.h"
#include "autograd/kernel/row_strips.h"
#include "autograd/kernel/vector.h"
#include "autograd/op/ops.h"
#include "core/memory.h"

enum {
  BLOCK = 128,             /* positions that a prompt advances at once */
  WORTH_THREADS = 1 << 16, /* multiplications; below, waking other threads takes longer */
  TILE = 64,               /* queries of a head that meet their keys in one matrix product */
};

/* Position p of a layer lies in row p mod capacity. */
typedef struct {
  lap_operand input_norm, q_proj, k_proj, v_proj, o_proj, post_attention_norm;
  lap_operand pre_feedforward_norm, gate_proj, up_proj, down_proj, post_feedforward_norm;
  int64_t window;      /* 0: every key is visible */
  int64_t capacity;    /* rows of the cache */
  real *keys, *values; /* [capacity, M D] */
} decoder_layer;

struct lap_decoder {
  lap_gemma2_config config;
  int64_t max_positions, position;
  decoder_layer *layers;
  lap_operand embedding, final_norm;
  bool in_strips;                    /* how the matrices lie (kernel/row_strips.h) */
  real *cache;                       /* the keys and values of all layers */
  real *memory;                      /* everything below */
  real *rope_cosine, *rope_sine;     /* [max_positions, D / 2] */
  real *x, *y, *q, *o, *gate, *up;   /* a block's activations, [rows, H], [rows, N D], [rows, I] */
  real *scale;                       /* [rows], what the norms save for a backward pass */
  real *norm_weight;                 /* [H], a norm's weight as it is used */
  real *staged_keys, *staged_values; /* [window - 1 + rows, M D] */
  real *scores;                      /* [threads, TILE, max_positions] */
  real *chain;                       /* [threads, D]: a sum over a block of keys, so far */
  real *logits;                      /* [V] */
  real *part;                        /* of weights in strips (decode_linear.h) */
  lap_attention_observer observer;   /* NULL: none */
  void *observer_context;
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- shape and memory --- */

/* A window that no sequence outgrows does not limit anything. */
static int64_t layer_window(const lap_gemma2_config *config, int64_t layer, int64_t max_positions) {
  return config->sliding[layer] && config->sliding_window < max_positions ? config->sliding_window
                                                                          : 0;
}

/* A ring has whole groups of terms, so that none goes around its end: in bfloat16 the sum over a
 * group's keys is one product. */
static int64_t layer_capacity(const lap_gemma2_config *config, int64_t layer,
                              int64_t max_positions) {
  enum { GROUP = LAP_MATMUL_GROUP };
  const int64_t window = layer_window(config, layer, max_positions);
  return window ? smaller((window + GROUP - 1) / GROUP * GROUP, max_positions) : max_positions;
}

static int64_t key_width(const lap_gemma2_config *config) {
  return config->num_key_value_heads * config->head_dim;
}

int64_t lap_decoder_cache_bytes(const lap_gemma2_config *config, int64_t max_positions) {
  int64_t rows = 0;
  for (int64_t layer = 0; layer < config->num_hidden_layers; ++layer)
    rows += layer_capacity(config, layer, max_positions);
  return 2 * rows * key_width(config) * (int64_t)sizeof(real);
}

int64_t lap_decoder_read_bytes(const lap_gemma2_config *config, int64_t position,
                               int64_t weight_bytes) {
  const int64_t weights = lap_gemma2_embedding_parameters(config) /* the head's; tied */
                          + lap_gemma2_non_embedding_parameters(config);
  int64_t rows = 0;
  for (int64_t layer = 0; layer < config->num_hidden_layers; ++layer)
    rows += config->sliding[layer] ? smaller(config->sliding_window, position + 1) : position + 1;
  return weights * weight_bytes + 2 * rows * key_width(config) * (int64_t)sizeof(real);
}

/* The vector of all weights, in one of its forms. */
typedef struct {
  const real *values;
  const uint16_t *bfloat16;
} all_weights;

static lap_operand find_weight(const lap_parameters *parameters, all_weights weights,
                               const char *name) {
  const lap_parameter *p = lap_parameters_find(parameters, name);
  assert(p);
  return (lap_operand){.rows = p->rows,
                       .columns = p->columns,
                       .value = weights.values ? (real *)weights.values + p->offset : NULL,
                       .bfloat16 = weights.bfloat16 ? weights.bfloat16 + p->offset : NULL};
}

static void find_layer_weights(decoder_layer *layer, int64_t index, bool pre_norms_only,
                               const lap_parameters *parameters, all_weights weights) {
  const struct {
    lap_operand *weight;
    const char *suffix;
  } wanted[] = {
      {&layer->input_norm, "input_layernorm"},
      {&layer->q_proj, "self_attn.q_proj"},
      {&layer->k_proj, "self_attn.k_proj"},
      {&layer->v_proj, "self_attn.v_proj"},
      {&layer->o_proj, "self_attn.o_proj"},
      {&layer->pre_feedforward_norm, "pre_feedforward_layernorm"},
      {&layer->gate_proj, "mlp.gate_proj"},
      {&layer->up_proj, "mlp.up_proj"},
      {&layer->down_proj, "mlp.down_proj"},
      {&layer->post_attention_norm, "post_attention_layernorm"}, /* these two may be missing */
      {&layer->post_feedforward_norm, "post_feedforward_layernorm"},
  };
  const size_t count = sizeof wanted / sizeof *wanted - (pre_norms_only ? 2 : 0);
  for (size_t i = 0; i < count; ++i) {
    char name[64];
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", index, wanted[i].suffix);
    *wanted[i].weight = find_weight(parameters, weights, name);
  }
}

static void create_layers(lap_decoder *d, all_weights weights) {
  const lap_gemma2_config *c = &d->config;
  lap_parameters *parameters = lap_parameters_create(c);
  d->embedding = find_weight(parameters, weights, "model.embed_tokens.weight");
  d->final_norm = find_weight(parameters, weights, "model.norm.weight");
  d->layers = lap_allocate(c->num_hidden_layers, sizeof *d->layers);
  d->cache = lap_allocate_aligned(lap_decoder_cache_bytes(c, d->max_positions), 1);
  real *next = d->cache;
  for (int64_t i = 0; i < c->num_hidden_layers; ++i) {
    decoder_layer *layer = &d->layers[i];
    find_layer_weights(layer, i, c->pre_norms_only, parameters, weights);
    layer->window = layer_window(c, i, d->max_positions);
    layer->capacity = layer_capacity(c, i, d->max_positions);
    layer->keys = next;
    layer->values = layer->keys + layer->capacity * key_width(c);
    next = layer->values + layer->capacity * key_width(c);
  }
  lap_parameters_destroy(parameters);
}

static void create_scratch(lap_decoder *d, int64_t threads) {
  const lap_gemma2_config *c = &d->config;
  const int64_t rows = smaller(BLOCK, d->max_positions);
  const int64_t table = d->max_positions * c->head_dim / 2;
  const int64_t staged = smaller(c->sliding_window - 1 + rows, d->max_positions);
  const struct {
    real **pointer;
    int64_t count;
  } wanted[] = {
      {&d->rope_cosine, table},
      {&d->rope_sine, table},
      {&d->x, rows * c->hidden_size},
      {&d->y, rows * c->hidden_size},
      {&d->q, rows * c->num_attention_heads * c->head_dim},
      {&d->o, rows * c->num_attention_heads * c->head_dim},
      {&d->gate, rows * c->intermediate_size},
      {&d->up, rows * c->intermediate_size},
      {&d->scale, rows},
      {&d->norm_weight, c->hidden_size},
      {&d->staged_keys, staged * key_width(c)},
      {&d->staged_values, staged * key_width(c)},
      {&d->scores, threads * smaller(TILE, rows) * d->max_positions},
      {&d->chain, threads * c->head_dim},
      {&d->logits, c->vocab_size},
      {&d->part, d->in_strips ? lap_strips_part(rows * c->hidden_size) : 0},
  };
  enum { ALIGNED = LAP_ALIGNMENT / sizeof(real) };
  int64_t total = 0;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; ++i)
    total += (wanted[i].count + ALIGNED - 1) / ALIGNED * ALIGNED;
  d->memory = lap_allocate_aligned(total, sizeof(real));
  real *next = d->memory;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; ++i) {
    *wanted[i].pointer = next;
    next += (wanted[i].count + ALIGNED - 1) / ALIGNED * ALIGNED;
  }
}

static void lay_out(const lap_decoder *d) {
  for (int64_t i = 0; i < d->config.num_hidden_layers; ++i) {
    const decoder_layer *l = &d->layers[i];
    const lap_operand *const matrices[] = {&l->q_proj,    &l->k_proj,  &l->v_proj,   &l->o_proj,
                                           &l->gate_proj, &l->up_proj, &l->down_proj};
    for (size_t j = 0; j < sizeof matrices / sizeof *matrices; ++j) lap_strips_lay_out(matrices[j]);
  }
  lap_strips_lay_out(&d->embedding);
}

static lap_decoder *create(const lap_gemma2_config *config, all_weights weights,
                           int64_t max_positions, int64_t threads, bool in_strips) {
  assert(max_positions > 0 && threads > 0);
  lap_decoder *d = lap_allocate(1, sizeof *d);
  d->config = *config;
  d->max_positions = max_positions;
  d->in_strips = in_strips;
  create_layers(d, weights);
  if (in_strips) lay_out(d);
  create_scratch(d, threads);
  lap_rope_table(max_positions, config->head_dim, config->rope_theta, d->rope_cosine, d->rope_sine);
  return d;
}

lap_decoder *lap_decoder_create(const lap_gemma2_config *config, const real *weights,
                                int64_t max_positions, int64_t threads) {
  return create(config, (all_weights){.values = weights}, max_positions, threads, false);
}

lap_decoder *lap_decoder_create_bfloat16(const lap_gemma2_config *config, const uint16_t *weights,
                                         int64_t max_positions, int64_t threads) {
  return create(config, (all_weights){.bfloat16 = weights}, max_positions, threads, false);
}

lap_decoder *lap_decoder_create_alone(const lap_gemma2_config *config, real *weights,
                                      uint16_t *bfloat16, int64_t max_positions, int64_t threads) {
  return create(config, (all_weights){weights, bfloat16}, max_positions, threads,
                lap_row_strips_usable(bfloat16 != NULL));
}

void lap_decoder_destroy(lap_decoder *d) {
  if (!d) return;
  lap_release_aligned(d->cache);
  lap_release_aligned(d->memory);
  free(d->layers);
  free(d);
}

int64_t lap_decoder_position(const lap_decoder *d) { return d->position; }
int64_t lap_decoder_max_positions(const lap_decoder *d) { return d->max_positions; }
void lap_decoder_reset(lap_decoder *d) { d->position = 0; }

void lap_decoder_observe(lap_decoder *d, lap_attention_observer observer, void *context) {
  d->observer = observer;
  d->observer_context = context;
}

/* --- the ops of training on one block of rows --- */

static lap_operand operand(int64_t rows, int64_t columns, const real *value) {
  return (lap_operand){.rows = rows, .columns = columns, .value = (real *)value};
}

static void embed(lap_decoder *d, const int32_t *tokens, int64_t rows) {
  const lap_gemma2_config *c = &d->config;
  const lap_embedding_attributes attributes = {__builtin_sqrt((double)c->hidden_size),
                                               lap_whole_model()};
  int32_t row[BLOCK];
  const lap_operand embedding =
      d->in_strips ? lap_strips_rows(&d->embedding, tokens, rows, d->part) : d->embedding;
  for (int32_t r = 0; r < rows; ++r) row[r] = r;
  const lap_batch batch = {.sequences = 1, .length = rows, .tokens = d->in_strips ? row : tokens};
  const lap_op_call call = {.attributes = &attributes,
                            .input = {embedding},
                            .output = operand(rows, c->hidden_size, d->x),
                            .batch = &batch};
  lap_op_embedding.forward(&call);
}

static void norm(lap_decoder *d, const real *x, const lap_operand *weight, int64_t rows, real *y) {
  const int64_t hidden = d->config.hidden_size;
  const lap_rmsnorm_attributes attributes = {d->config.rms_norm_eps};
  const lap_op_call call = {.attributes = &attributes,
                            .input = {operand(rows, hidden, x), *weight},
                            .output = operand(rows, hidden, y),
                            .saved = d->scale,
                            .scratch = d->norm_weight};
  lap_op_rmsnorm.forward(&call);
}

/* What y becomes of x; x is rounded as the product rounds it. */
static void linear(const lap_decoder *d, real *x, const lap_operand *weight, int64_t rows,
                   real *y) {
  if (d->in_strips)
    lap_strips_linear(weight, rows, x, y, d->part);
  else
    lap_rows_linear(weight, rows, x, y);
}

/* Rotates the heads of rows that begin at the decoder's position. */
static void rotate(const lap_decoder *d, real *x, int64_t rows, int64_t heads) {
  const int64_t offset = d->position * (d->config.head_dim / 2);
  const lap_rope_attributes attributes = {heads, d->config.head_dim, d->rope_cosine + offset,
                                          d->rope_sine + offset};
  const lap_batch batch = {.sequences = 1, .length = rows};
  const lap_operand rotated = operand(rows, heads * d->config.head_dim, x);
  const lap_op_call call = {
      .attributes = &attributes, .input = {rotated}, .output = rotated, .batch = &batch};
  lap_op_rope.forward(&call);
}

static void geglu(const lap_decoder *d, int64_t rows) {
  const lap_operand gate = operand(rows, d->config.intermediate_size, d->gate);
  const lap_operand up = operand(rows, d->config.intermediate_size, d->up);
  const lap_op_call call = {.input = {gate, up}, .output = gate};
  lap_op_geglu.forward(&call);
}

/* x += y */
static void add_residual(const lap_decoder *d, int64_t rows) {
  const lap_operand x = operand(rows, d->config.hidden_size, d->x);
  const lap_operand y = operand(rows, d->config.hidden_size, d->y);
  const lap_op_call call = {.input = {x, y}, .output = x};
  lap_op_residual.forward(&call);
}

/* --- the cache --- */

/* The keys and values that a block's queries may see: `before` rows of earlier positions, then the
 * block's own. Query r sees rows [first_visible(r), before + r + 1). */
typedef struct {
  real *keys, *values;         /* [before + rows, M D] */
  real *new_keys, *new_values; /* where the block's own are to be written */
  int64_t before, window, layer;
  int64_t oldest; /* the row of the earliest key; others follow, around the end of the ring */
  int64_t ring;   /* its rows */
  bool staged;
} key_view;

static int64_t first_visible(const key_view *view, int64_t r) {
  const int64_t end = view->before + r + 1;
  return view->window && end > view->window ? end - view->window : 0;
}

/* A ring has no room for a block beside the keys that its first queries still see, and is not in
 * order; so a block meets a copy, in order, and goes into the ring afterwards. One token can
 * replace a key that has left its window. */
static key_view open_keys(const lap_decoder *d, const decoder_layer *layer, int64_t rows) {
  const int64_t width = key_width(&d->config), position = d->position;
  const int64_t seen = layer->window ? layer->window : layer->capacity;
  key_view view = {.before = smaller(position, seen - 1),
                   .window = layer->window,
                   .layer = layer - d->layers,
                   .ring = layer->capacity,
                   .staged = layer->window && rows > 1};
  view.oldest = view.staged ? 0 : (position - view.before) % layer->capacity;
  view.keys = view.staged ? d->staged_keys : layer->keys;
  view.values = view.staged ? d->staged_values : layer->values;
  const int64_t row = view.staged ? view.before : position % layer->capacity;
  view.new_keys = view.keys + row * width;
  view.new_values = view.values + row * width;
  if (!view.staged) return view;
  const size_t bytes = (size_t)width * sizeof(real);
  for (int64_t i = 0; i < view.before; ++i) {
    const int64_t from = (position - view.before + i) % layer->capacity;
    memcpy(view.keys + i * width, layer->keys + from * width, bytes);
    memcpy(view.values + i * width, layer->values + from * width, bytes);
  }
  return view;
}

static void close_keys(const lap_decoder *d, decoder_layer *layer, const key_view *view,
                       int64_t rows) {
  if (!view->staged) return;
  const int64_t width = key_width(&d->config);
  const size_t bytes = (size_t)width * sizeof(real);
  for (int64_t r = rows - smaller(rows, layer->capacity); r < rows; ++r) {
    const int64_t to = (d->position + r) % layer->capacity;
    memcpy(layer->keys + to * width, view->new_keys + r * width, bytes);
    memcpy(layer->values + to * width, view->new_values + r * width, bytes);
  }
}

/* --- attention --- */

/* Scaled, soft-capped softmax of scores [begin, end); the rest of the row becomes 0. */
static void make_probabilities(const lap_gemma2_config *c, real *row, int64_t begin, int64_t end,
                               int64_t keys) {
  const real scale = (real)(1 / __builtin_sqrt(c->query_pre_attn_scalar));
  lap_vector_softcap(row + begin, end - begin, scale, (real)c->attn_logit_softcapping);
  const real maximum = lap_vector_max(row + begin, end - begin);
  const real inverse_sum = 1 / lap_vector_exp(row + begin, end - begin, maximum);
  for (int64_t j = 0; j < begin; ++j) row[j] = 0;
  lap_vector_scale(row + begin, end - begin, inverse_sum);
  for (int64_t j = end; j < keys; ++j) row[j] = 0;
}

/* Shows row r of the block its probabilities; p[0] is that of the first key of the view. */
static void observe(const lap_decoder *d, const key_view *view, int64_t head, int64_t r,
                    const real *p) {
  if (!d->observer) return;
  const int64_t begin = first_visible(view, r), end = view->before + r + 1;
  d->observer(d->observer_context, view->layer, head, d->position + r,
              d->position - view->before + begin, p + begin, end - begin);
}

/* Queries [i0, i0 + rows) of a head, in two matrix products with all the keys that they can see. */
static void attend_tile(const lap_decoder *d, const key_view *view, int64_t head, int64_t i0,
                        int64_t rows, real *scores) {
  const lap_gemma2_config *c = &d->config;
  const int64_t dim = c->head_dim, q_width = c->num_attention_heads * dim;
  const int64_t width = key_width(c);
  const int64_t low = first_visible(view, i0), keys = view->before + i0 + rows - low;
  const int64_t kv_head = head / (c->num_attention_heads / c->num_key_value_heads);
  const int64_t query = i0 * q_width + head * dim, key = low * width + kv_head * dim;
  lap_gemm_here(&(lap_gemm_operands){.m = rows,
                                     .n = keys,
                                     .k = dim,
                                     .a = d->q + query,
                                     .lda = q_width,
                                     .b = view->keys + key,
                                     .ldb = width,
                                     .transpose_b = true,
                                     .c = scores,
                                     .ldc = keys});
  for (int64_t r = 0; r < rows; ++r) {
    make_probabilities(c, scores + r * keys, first_visible(view, i0 + r) - low,
                       view->before + i0 + r + 1 - low, keys);
    observe(d, view, head, i0 + r, scores + r * keys - low);
  }
  lap_gemm_here(&(lap_gemm_operands){.m = rows,
                                     .n = dim,
                                     .k = keys,
                                     .a = scores,
                                     .lda = keys,
                                     .b = view->values + key,
                                     .ldb = width,
                                     .c = d->o + query,
                                     .ldc = q_width,
                                     .first = d->position - view->before + low});
}

/* The rows of keys [begin, end), counted from the earliest, until they go around the end of the
 * ring. Returns the first of them. */
static int64_t rows_in_order(const key_view *view, int64_t begin, int64_t end, int64_t *count) {
  const int64_t row = (view->oldest + begin) % view->ring;
  *count = smaller(end - begin, view->ring - row);
  return row;
}

/* o = sum over keys j of p_j v_j, by the blocks of their positions (kernel/matmul/product.h). */
static void weigh_values(const lap_decoder *d, const key_view *view, const real *p,
                         const real *values, real *chain, real *o) {
  const int64_t dim = d->config.head_dim, width = key_width(&d->config), keys = view->before + 1;
  const int64_t first = d->position - view->before, block = lap_gemm_chain_block();
  for (int64_t i = 0; i < dim; ++i) o[i] = 0;
  for (int64_t begin = 0, end; begin < keys; begin = end) {
    end = block - (first + begin) % block < keys - begin ? begin + block - (first + begin) % block
                                                         : keys;
    for (int64_t i = 0; i < dim; ++i) chain[i] = 0;
    for (int64_t j = begin, count; j < end; j += count) {
      const int64_t row = rows_in_order(view, j, end, &count);
      lap_gemv_here(&(lap_gemm_operands){.m = 1,
                                         .n = dim,
                                         .k = count,
                                         .a = p + j,
                                         .lda = keys,
                                         .b = values + row * width,
                                         .ldb = width,
                                         .c = chain,
                                         .ldc = dim,
                                         .into = LAP_MATMUL_CHAIN,
                                         .first = first + j});
    }
    for (int64_t i = 0; i < dim; ++i) o[i] = o[i] + chain[i];
  }
}

/* The one query of a head when a single token is decoded. */
static void attend_one(const lap_decoder *d, const key_view *view, int64_t head, real *scores,
                       real *chain) {
  const lap_gemma2_config *c = &d->config;
  const int64_t dim = c->head_dim, width = key_width(c), keys = view->before + 1;
  const int64_t kv_head = head / (c->num_attention_heads / c->num_key_value_heads);
  for (int64_t j = 0, count; j < keys; j += count) {
    const int64_t row = rows_in_order(view, j, keys, &count);
    lap_gemv_here(&(lap_gemm_operands){.m = 1,
                                       .n = count,
                                       .k = dim,
                                       .a = d->q + head * dim,
                                       .lda = dim,
                                       .b = view->keys + row * width + kv_head * dim,
                                       .ldb = width,
                                       .transpose_b = true,
                                       .c = scores + j,
                                       .ldc = keys});
  }
  make_probabilities(c, scores, 0, keys, keys);
  observe(d, view, head, 0, scores);
  weigh_values(d, view, scores, view->values + kv_head * dim, chain, d->o + head * dim);
}

static void attend(const lap_decoder *d, const key_view *view, int64_t rows) {
  const int64_t tile = smaller(TILE, smaller(BLOCK, d->max_positions));
  const int64_t q_width = d->config.num_attention_heads * d->config.head_dim;
  /* cppcheck-suppress unreadVariable ; the pragma reads it */
  const int64_t work = rows * (view->before + rows) * q_width;
#pragma omp parallel for schedule(static) if (work >= WORTH_THREADS)
  for (int64_t head = 0; head < d->config.num_attention_heads; ++head) {
    real *scores = d->scores + omp_get_thread_num() * tile * d->max_positions;
    if (rows == 1)
      attend_one(d, view, head, scores, d->chain + omp_get_thread_num() * d->config.head_dim);
    else
      for (int64_t i0 = 0; i0 < rows; i0 += tile)
        attend_tile(d, view, head, i0, smaller(tile, rows - i0), scores);
  }
}

/* --- the model --- */

static void run_layer(lap_decoder *d, decoder_layer *layer, int64_t rows) {
  const lap_gemma2_config *c = &d->config;
  norm(d, d->x, &layer->input_norm, rows, d->y);
  const key_view view = open_keys(d, layer, rows);
  linear(d, d->y, &layer->q_proj, rows, d->q);
  linear(d, d->y, &layer->k_proj, rows, view.new_keys);
  linear(d, d->y, &layer->v_proj, rows, view.new_values);
  rotate(d, d->q, rows, c->num_attention_heads);
  rotate(d, view.new_keys, rows, c->num_key_value_heads);
  attend(d, &view, rows);
  close_keys(d, layer, &view, rows);
  linear(d, d->o, &layer->o_proj, rows, d->y);
  if (!c->pre_norms_only) norm(d, d->y, &layer->post_attention_norm, rows, d->y);
  add_residual(d, rows);

  norm(d, d->x, &layer->pre_feedforward_norm, rows, d->y);
  linear(d, d->y, &layer->gate_proj, rows, d->gate);
  linear(d, d->y, &layer->up_proj, rows, d->up);
  geglu(d, rows);
  linear(d, d->gate, &layer->down_proj, rows, d->y);
  if (!c->pre_norms_only) norm(d, d->y, &layer->post_feedforward_norm, rows, d->y);
  add_residual(d, rows);
}

/* Soft-capped logits of row `row` of the block. */
static const real *make_logits(lap_decoder *d, int64_t row) {
  enum { CHUNK = 4096 };
  const lap_gemma2_config *c = &d->config;
  norm(d, d->x + row * c->hidden_size, &d->final_norm, 1, d->y);
  linear(d, d->y, &d->embedding, 1, d->logits);
#pragma omp parallel for schedule(static) if (c->vocab_size > CHUNK)
  for (int64_t begin = 0; begin < c->vocab_size; begin += CHUNK)
    lap_vector_softcap(d->logits + begin, smaller(CHUNK, c->vocab_size - begin), 1,
                       (real)c->final_logit_softcapping);
  return d->logits;
}

const real *lap_decoder_prefill(lap_decoder *d, const int32_t *tokens, int64_t count) {
  assert(count > 0 && d->position + count <= d->max_positions);
  for (int64_t i = 0; i < count; ++i) assert(tokens[i] >= 0 && tokens[i] < d->config.vocab_size);
  int64_t rows = 0;
  for (int64_t begin = 0; begin < count; begin += rows) {
    rows = smaller(BLOCK, count - begin);
    embed(d, tokens + begin, rows);
    for (int64_t layer = 0; layer < d->config.num_hidden_layers; ++layer)
      run_layer(d, &d->layers[layer], rows);
    d->position += rows;
  }
  return make_logits(d, rows - 1);
}

const real *lap_decoder_step(lap_decoder *d, int32_t token) {
  return lap_decoder_prefill(d, &token, 1);
}
