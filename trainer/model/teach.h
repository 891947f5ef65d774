/* teach: a model writes what it expects of every position of the shards, once, as a teacher cache.
 *
 * The replicas share parts of 64 windows; finished parts are files with checksums, so that a kill
 * loses seconds, and a part's bits do not depend on the replica that made it. When all parts of a
 * shard are there, they become one file OUT/SHARD.TOKENS.h5, TOKENS being the first 12 digits of
 * tokens_sha256, so that train and eval shards can share one directory. Of a drawn codec one pass
 * of the teacher makes a cache for each of several draw seeds, each in a folder of its own.
 */
#ifndef LAP_TRAINER_MODEL_TEACH_H
#define LAP_TRAINER_MODEL_TEACH_H

#include "dataset/token_shard.h"
#include "teacher/schema.h"
#include "trainer/cli/session.h"
#include "trainer/state/block_weights.h"
#include "trainer/state/memory_table.h"

/* A model that teaches. */
typedef struct {
  const lap_gemma2_config *model;
  lap_state *state;
  lap_block_weights *weights; /* of `state` */
} lap_teach_model;

typedef struct {
  /* [model_count], at least one; of several the cache has the mean of their distributions, for
   * which they are of one vocabulary and one placement. Each has its activations. */
  const lap_teach_model *models;
  size_t model_count;
  const lap_token_set *tokens;
  const char *out;
  /* codec, k, draws, exact, swapped_percent, sequence_length, document_mask, teacher, ...;
   * draw_seed and computed_as are not used */
  lap_cache_schema schema;
  const int64_t *draw_seeds; /* [draw_seed_count] of a drawn codec: one writes to `out` itself, */
  size_t draw_seed_count;    /* several to out/draw-SEED; topk: 0 */
  const char *identity;      /* changes whenever the teacher's numbers would */
  int threads;
} lap_teach_request;

typedef struct {
  uint64_t positions; /* rows made by this rank, a leader, in this run */
  uint64_t parts_made, parts_found, files_written, files_found; /* of all draw seeds */
  double seconds, bytes_per_token;                              /* bytes of one cache */
  /* Of this rank: the model's forward pass with its useful FLOPs, and the choice of the ids that
   * are kept. */
  double forward_flops, forward_seconds, select_seconds;
} lap_teach_report;

/* Collective. The outcome is agreed. Memory with several models: T x V floats on leaders.
 * LAP_USAGE where OUT has a cache of the same tokens by another teacher, computed in another way
 * (trainer/model/computed_as.h), or of another schema; LAP_NONFINITE where the model gives NaN. */
lap_code lap_teach(const lap_teach_request *request, const lap_session *session,
                   lap_teach_report *report, lap_status *status);

/* What rank 0 would allocate at most with this state, of which an outline will do: windows of this
 * length, `shard_tokens` tokens in the largest shard, which it puts together as one file. Of
 * `model_count` models of this shape, whose weights are the caller's to count. */
void lap_teach_bytes(const lap_gemma2_config *model, size_t model_count, const lap_state *state,
                     int64_t length, int64_t k, int64_t shard_tokens, int threads,
                     lap_memory_table *memory);

#endif
