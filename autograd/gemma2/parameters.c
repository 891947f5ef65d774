#include "autograd/gemma2/parameters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/scalar.h"
#include "core/memory.h"
#include "core/philox.h"

/* --- the list of tensors --- */

static int64_t padded(int64_t elements) {
  return (elements + LAP_SEGMENT - 1) / LAP_SEGMENT * LAP_SEGMENT;
}

typedef struct {
  lap_parameters *list;
  int model_shard;
  bool copies;
} listing;

static void add(const listing *of, const char *name, int64_t rows, int64_t columns, lap_cut cut) {
  lap_parameters *list = of->list;
  list->parameter = lap_reallocate(list->parameter, list->count + 1, sizeof *list->parameter);
  lap_parameter *p = &list->parameter[list->count++];
  *p = (lap_parameter){.whole_rows = rows,
                       .whole_columns = columns,
                       .rows = cut == LAP_CUT_ROWS ? rows / list->shards.of : rows,
                       .columns = cut == LAP_CUT_COLUMNS ? columns / list->shards.of : columns,
                       .model_shard = of->model_shard,
                       .cut = cut,
                       .is_norm = cut == LAP_NOT_CUT,
                       .is_copy = of->copies};
  p->elements = p->rows * p->columns;
  snprintf(p->name, sizeof p->name, "%s", name);
  /* fan_in of a matrix, and hidden_size for the embedding: both are columns of the whole. */
  p->deviation = p->is_norm ? 0 : __builtin_sqrt(1.0 / (double)columns);
}

static void add_layer(const listing *of, int64_t layer, const char *suffix, int64_t rows,
                      int64_t columns, lap_cut cut) {
  char name[64];
  snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", layer, suffix);
  add(of, name, rows, columns, cut);
}

static void add_norms(const listing *of, const lap_gemma2_config *c) {
  static const char *const names[] = {"input_layernorm", "pre_feedforward_layernorm",
                                      "post_attention_layernorm", "post_feedforward_layernorm"};
  const size_t count = c->pre_norms_only ? 2 : sizeof names / sizeof *names;
  for (int64_t layer = 0; layer < c->num_hidden_layers; ++layer)
    for (size_t i = 0; i < count; ++i)
      add_layer(of, layer, names[i], 1, c->hidden_size, LAP_NOT_CUT);
  add(of, "model.norm.weight", 1, c->hidden_size, LAP_NOT_CUT);
}

static void add_matrices(const listing *of, const lap_gemma2_config *c) {
  const int64_t hidden = c->hidden_size, inner = c->intermediate_size;
  const int64_t q = c->num_attention_heads * c->head_dim, kv = c->num_key_value_heads * c->head_dim;
  add(of, "model.embed_tokens.weight", c->vocab_size, hidden, LAP_CUT_ROWS);
  for (int64_t layer = 0; layer < c->num_hidden_layers; ++layer) {
    add_layer(of, layer, "self_attn.q_proj", q, hidden, LAP_CUT_ROWS);
    add_layer(of, layer, "self_attn.k_proj", kv, hidden, LAP_CUT_ROWS);
    add_layer(of, layer, "self_attn.v_proj", kv, hidden, LAP_CUT_ROWS);
    add_layer(of, layer, "self_attn.o_proj", hidden, q, LAP_CUT_COLUMNS);
    add_layer(of, layer, "mlp.gate_proj", inner, hidden, LAP_CUT_ROWS);
    add_layer(of, layer, "mlp.up_proj", inner, hidden, LAP_CUT_ROWS);
    add_layer(of, layer, "mlp.down_proj", hidden, inner, LAP_CUT_COLUMNS);
  }
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const lap_parameter *)a)->name, ((const lap_parameter *)b)->name);
}

static void sort_from(lap_parameters *list, int first) {
  qsort(list->parameter + first, (size_t)(list->count - first), sizeof *list->parameter, by_name);
}

/* --- where tensors lie --- */

static int block_of(const lap_gemma2_config *c, const lap_parameter *p) {
  static const char layers[] = "model.layers.";
  if (p->is_copy) return 0;
  if (strncmp(p->name, layers, sizeof layers - 1) == 0)
    return 1 + atoi(p->name + sizeof layers - 1);
  return p->is_norm ? (int)c->num_hidden_layers + 1 : 0;
}

static bool same_bucket(const lap_bucket *bucket, int block, const lap_parameter *p) {
  return bucket->block == block && bucket->model_shard == p->model_shard &&
         bucket->is_copy == p->is_copy;
}

/* Tensors of one block are neighbours: their names begin alike. */
static void put_into_bucket(lap_parameters *list, const lap_gemma2_config *c, lap_parameter *p) {
  const int block = block_of(c, p);
  lap_bucket *last = list->bucket_count ? &list->bucket[list->bucket_count - 1] : NULL;
  if (!last || !same_bucket(last, block, p)) {
    list->bucket = lap_reallocate(list->bucket, list->bucket_count + 1, sizeof *list->bucket);
    last = &list->bucket[list->bucket_count++];
    *last = (lap_bucket){
        .begin = p->offset, .block = block, .model_shard = p->model_shard, .is_copy = p->is_copy};
  }
  p->bucket = list->bucket_count - 1;
  last->end = p->offset + padded(p->elements);
}

static void set_slots(lap_parameters *list, const lap_gemma2_config *c) {
  for (int i = 0; i < list->count; ++i) {
    lap_parameter *p = &list->parameter[i];
    p->offset = list->elements;
    list->elements += padded(p->elements);
    put_into_bucket(list, c, p);
  }
}

/* Which buckets each block has: their numbers lie in one array, block by block. */
static void index_blocks(lap_parameters *list, const lap_gemma2_config *c) {
  list->block_count = (int)c->num_hidden_layers + 2;
  list->block = lap_allocate(list->block_count, sizeof *list->block);
  int *next = lap_allocate(list->bucket_count, sizeof *next);
  for (int block = 0; block < list->block_count; ++block) {
    lap_bucket_list *of_block = &list->block[block];
    of_block->bucket = next;
    for (int b = 0; b < list->bucket_count; ++b)
      if (list->bucket[b].block == block) of_block->bucket[of_block->count++] = b;
    next += of_block->count;
  }
}

/* Where every shard, held here or not, has its part in the canonical vector. */
static void set_canonical(lap_parameters *list, const lap_gemma2_config *c) {
  lap_parameters first = {.shards = {list->shards.of, 0, 1}};
  const listing all = {.list = &first};
  add_norms(&all, c);
  add_matrices(&all, c);
  sort_from(&first, 0);
  int64_t norms = 0, matrices = 0, *of_first = lap_allocate(first.count, sizeof(int64_t));
  int64_t *of_others = lap_allocate(first.count, sizeof(int64_t));
  for (int i = 0; i < first.count; ++i) {
    of_first[i] = norms + matrices;
    of_others[i] = matrices;
    *(first.parameter[i].is_norm ? &norms : &matrices) += padded(first.parameter[i].elements);
  }
  list->canonical_elements = norms + list->shards.of * matrices;
  for (int i = 0; i < list->count; ++i) {
    lap_parameter *p = &list->parameter[i];
    const lap_parameter *found =
        bsearch(p, first.parameter, (size_t)first.count, sizeof *p, by_name);
    const int64_t at = found - first.parameter;
    p->canonical =
        p->model_shard == 0 ? of_first[at] : norms + p->model_shard * matrices + of_others[at];
  }
  free(of_first);
  free(of_others);
  free(first.parameter);
}

lap_parameters *lap_parameters_create_shards(const lap_gemma2_config *c, lap_shard_range shards) {
  lap_parameters *list = lap_allocate(1, sizeof *list);
  list->shards = shards;
  for (int shard = shards.first; shard < shards.first + shards.count; ++shard) {
    const int first = list->count;
    const listing of = {.list = list, .model_shard = shard};
    if (shard == 0) add_norms(&of, c);
    add_matrices(&of, c);
    sort_from(list, first);
  }
  if (shards.first > 0) {
    const int first = list->count;
    const listing copies = {.list = list, .copies = true};
    add_norms(&copies, c);
    sort_from(list, first);
  }
  set_slots(list, c);
  index_blocks(list, c);
  set_canonical(list, c);
  return list;
}

lap_parameters *lap_parameters_create(const lap_gemma2_config *c) {
  return lap_parameters_create_shards(c, lap_whole_model());
}

void lap_parameters_destroy(lap_parameters *parameters) {
  if (!parameters) return;
  free(parameters->parameter);
  free(parameters->bucket);
  free(parameters->block[0].bucket); /* the array of all blocks */
  free(parameters->block);
  free(parameters);
}

/* --- blocks --- */

int64_t lap_parameters_block_elements(const lap_parameters *parameters, int block) {
  const lap_bucket_list *of_block = &parameters->block[block];
  int64_t elements = 0;
  for (int i = 0; i < of_block->count; ++i) {
    const lap_bucket *bucket = &parameters->bucket[of_block->bucket[i]];
    elements += bucket->end - bucket->begin;
  }
  return elements;
}

void lap_parameters_layer_slots(const lap_parameters *parameters, int at_once, int *slot) {
  for (int b = 0; b < parameters->bucket_count; ++b) slot[b] = b;
  for (int block = 1; lap_parameters_is_layer(parameters, block); ++block) {
    const lap_bucket_list *first = &parameters->block[1 + (block - 1) % at_once];
    const lap_bucket_list *of_block = &parameters->block[block];
    for (int i = 0; i < of_block->count; ++i) slot[of_block->bucket[i]] = first->bucket[i];
  }
}

/* --- looking up --- */

static const lap_parameter *find_between(const lap_parameters *list, int first, int end,
                                         const char *name) {
  lap_parameter key = {0};
  snprintf(key.name, sizeof key.name, "%s", name);
  return bsearch(&key, list->parameter + first, (size_t)(end - first), sizeof key, by_name);
}

const lap_parameter *lap_parameters_find_shard(const lap_parameters *parameters, const char *name,
                                               int model_shard) {
  const lap_parameter *found = NULL;
  for (int first = 0, end; first < parameters->count && !found; first = end) {
    const lap_parameter *p = &parameters->parameter[first];
    for (end = first;
         end < parameters->count && parameters->parameter[end].model_shard == p->model_shard &&
         parameters->parameter[end].is_copy == p->is_copy;
         ++end)
      continue;
    found = find_between(parameters, first, end, name);
    if (found && !found->is_norm && found->model_shard != model_shard) found = NULL;
  }
  return found;
}

const lap_parameter *lap_parameters_find(const lap_parameters *parameters, const char *name) {
  return lap_parameters_find_shard(parameters, name, parameters->shards.first);
}

const lap_parameter *lap_parameters_at(const lap_parameters *parameters, int64_t element) {
  const lap_parameter *found = &parameters->parameter[0];
  for (int i = 0; i < parameters->count; ++i)
    if (parameters->parameter[i].offset <= element &&
        (found->offset < parameters->parameter[i].offset))
      found = &parameters->parameter[i];
  return found;
}

lap_run lap_parameter_run(const lap_parameter *p, int64_t part, int64_t end) {
  if (p->cut != LAP_CUT_COLUMNS) {
    const int64_t before = p->cut == LAP_CUT_ROWS ? p->model_shard * p->elements : 0;
    return (lap_run){part, before + part, end - part};
  }
  const int64_t row = part / p->columns, column = part % p->columns;
  const int64_t whole = row * p->whole_columns + p->model_shard * p->columns + column;
  const int64_t rest = p->columns - column;
  return (lap_run){part, whole, end - part < rest ? end - part : rest};
}

/* --- the random start --- */

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

/* Elements [begin, end) of the whole tensor. */
static void initialise_elements(const lap_parameter *p, uint64_t seed, uint64_t stream,
                                int64_t begin, int64_t end, float *out) {
  for (int64_t pair = begin / 2; pair < (end + 1) / 2; ++pair) {
    double normal[2];
    normal_pair(seed, stream, (uint64_t)pair, normal);
    for (int64_t i = 0; i < 2; ++i)
      if (2 * pair + i >= begin && 2 * pair + i < end)
        out[2 * pair + i - begin] = (float)(normal[i] * p->deviation);
  }
}

/* Elements [begin, end) of the part, by threads in pieces of a constant size. */
static void initialise_part(const lap_parameter *p, uint64_t seed, int64_t begin, int64_t end,
                            float *out) {
  enum { PIECE = 4096 };
  const uint64_t stream = lap_stream_of_name(p->name);
#pragma omp parallel for schedule(static)
  for (int64_t first = begin; first < end; first += PIECE) {
    const int64_t last = end - first < PIECE ? end : first + PIECE;
    for (lap_run run = {.part = first}; run.part < last; run.part += run.count) {
      run = lap_parameter_run(p, run.part, last);
      initialise_elements(p, seed, stream, run.whole, run.whole + run.count,
                          out + (run.part - begin));
    }
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
    initialise_part(p, seed, low - p->offset, high - p->offset, weights + (low - begin));
  }
}
