/* parameters: the weights of a Gemma 2 model as one canonical vector
 * (docs/design.md#canonical-vector).
 *
 * The logical mesh cuts a model into M shards (mesh.model): heads and the inner width of the
 * feed-forward by M, the vocabulary by M. Each shard has its part of every matrix; norms belong to
 * shard 0. The canonical vector is the shards one after another, in each the tensors in byte order
 * of their Hugging Face names, each padded to segments of LAP_SEGMENT elements; padding stays 0.
 * Checkpoints and the state hash are defined on it.
 *
 * A process holds a range of shards: its vector is that part of the canonical vector. A process
 * without shard 0 needs the norms all the same: it has copies of them at the end of its vector,
 * which get the same updates, bit for bit, and are not part of the state. Weights, gradients and
 * both Adam moments have this layout.
 *
 * A bucket is what one block of the model (the embedding, a layer, the final norm) has in one
 * shard: the unit in which gradients and weights move between ranks while other blocks compute.
 */
#ifndef LAP_AUTOGRAD_GEMMA2_PARAMETERS_H
#define LAP_AUTOGRAD_GEMMA2_PARAMETERS_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "autograd/op/shard_range.h"
#include "core/segment.h"

/* How a tensor is cut: each shard has as many of its rows (q, k, v, gate, up, embedding), or of its
 * columns (o, down); norms are not cut. */
typedef enum { LAP_NOT_CUT, LAP_CUT_ROWS, LAP_CUT_COLUMNS } lap_cut;

/* One shard's part of a tensor. */
typedef struct {
  char name[64];         /* e.g. "model.layers.0.self_attn.q_proj.weight" */
  int64_t rows, columns; /* of the part; norms: 1 x hidden_size, a vector by its shape in files */
  int64_t elements;      /* rows * columns */
  int64_t offset;        /* in the vector of this process, a multiple of LAP_SEGMENT */
  int64_t canonical;     /* in the canonical vector; of a copy: that of the original */
  int64_t whole_rows, whole_columns; /* of the tensor */
  int model_shard;
  int bucket;
  lap_cut cut;
  bool is_norm;     /* starts at 0 and is not decayed */
  bool is_copy;     /* of a norm of shard 0, which is elsewhere */
  double deviation; /* of its random start: N(0, deviation^2) */
} lap_parameter;

typedef struct {
  int64_t begin, end; /* of the vector of this process */
  int block;          /* 0: the embedding; 1 + layer; layers + 1: the final norm; copies: 0 */
  int model_shard;
  bool is_copy;
} lap_bucket;

/* The buckets of one block, in increasing order. */
typedef struct {
  int *bucket;
  int count;
} lap_bucket_list;

typedef struct {
  lap_shard_range shards;
  lap_parameter *parameter; /* by shard and name, copies last */
  int count;
  lap_bucket *bucket; /* in order of `begin` */
  int bucket_count;
  lap_bucket_list *block;     /* [block_count]: which buckets are its own */
  int block_count;            /* layers + 2 */
  int64_t elements;           /* of the vector of this process, padding and copies included */
  int64_t canonical_elements; /* of the canonical vector */
} lap_parameters;

/* The whole model in one shard, and a range of its shards. `shards.of` divides heads, key-value
 * heads, intermediate_size and vocab_size. */
lap_parameters *lap_parameters_create(const lap_gemma2_config *config);
lap_parameters *lap_parameters_create_shards(const lap_gemma2_config *config,
                                             lap_shard_range shards);
void lap_parameters_destroy(lap_parameters *parameters);

static inline bool lap_parameters_is_layer(const lap_parameters *parameters, int block) {
  return block >= 1 && block < parameters->block_count - 1;
}
/* Elements of all buckets of a block. */
int64_t lap_parameters_block_elements(const lap_parameters *parameters, int block);

/* For memory in which only `at_once` layers have room: `slot` [buckets] gets the number of a slot
 * for each bucket, below the number of buckets. Layers take turns, those of consecutive numbers
 * never in the same slot; every other bucket has a slot of its own. */
void lap_parameters_layer_slots(const lap_parameters *parameters, int at_once, int *slot);

/* NULL where there is no such tensor. Of a matrix: the part of the first shard held here. */
const lap_parameter *lap_parameters_find(const lap_parameters *parameters, const char *name);
/* The part of shard `model_shard`; of a norm: the one held here, whatever the shard. */
const lap_parameter *lap_parameters_find_shard(const lap_parameters *parameters, const char *name,
                                               int model_shard);
/* The one that holds this element of the vector, or has it as padding. */
const lap_parameter *lap_parameters_at(const lap_parameters *parameters, int64_t element);

/* Elements of a part that are contiguous in the whole tensor too: elements [part, part + count) of
 * the part are elements [whole, whole + count) of the tensor. */
typedef struct {
  int64_t part, whole, count;
} lap_run;

/* The longest run that starts at element `part` of the part, and ends before `end`. */
lap_run lap_parameter_run(const lap_parameter *parameter, int64_t part, int64_t end);

/* Fills [begin, end) of the vector with the random start of docs/design.md#initialisation: norms 0,
 * embedding N(0, 1/hidden_size), matrices N(0, 1/fan_in); a function of (seed, tensor name, element
 * of the whole tensor), so that the number of shards changes no weight. */
void lap_parameters_initialise(const lap_parameters *parameters, uint64_t seed, int64_t begin,
                               int64_t end, float *weights);

#endif
