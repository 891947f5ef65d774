/* model: Gemma 2 recorded on a tape (docs/design.md#model; arXiv 2408.00118, section 2).
 *
 * One lap_gemma2 is a model of one shape for micro-batches of one shape: all of it, or the shards
 * of a process (op/op.h says how shards compute together). Weights and gradients stay with the
 * caller, in the layout of gemma2/parameters.h, so that many lanes and modes share one copy.
 *
 * Blocks, for hooks and recompute: 0 is the embedding, 1 + layer a layer, layers + 1 the final norm
 * and the head. The head uses the embedding: buckets of block 0 are used by blocks 0 and
 * layers + 1. A bucket of copies (norms of a shard 0 that is elsewhere) is used by all but block 0.
 */
#ifndef LAP_AUTOGRAD_GEMMA2_MODEL_H
#define LAP_AUTOGRAD_GEMMA2_MODEL_H

#include "autograd/gemma2/config.h"
#include "autograd/gemma2/parameters.h"
#include "autograd/op/ops.h"
#include "autograd/tape/plan.h"
#include "autograd/tape/profile.h"
#include "autograd/tape/recompute.h"
#include "autograd/tape/run.h"

#define lap_gemma2_record LAP_PRECISION(lap_gemma2_record)
#define lap_gemma2_bytes LAP_PRECISION(lap_gemma2_bytes)
#define lap_gemma2_destroy LAP_PRECISION(lap_gemma2_destroy)
#define lap_gemma2_replay LAP_PRECISION(lap_gemma2_replay)
#define lap_gemma2_run LAP_PRECISION(lap_gemma2_run)
#define lap_gemma2_logits LAP_PRECISION(lap_gemma2_logits)
#define lap_gemma2_bucket_logits LAP_PRECISION(lap_gemma2_bucket_logits)
#define lap_gemma2_join_logits LAP_PRECISION(lap_gemma2_join_logits)

typedef enum {
  LAP_GEMMA2_TRAIN,  /* losses and gradients */
  LAP_GEMMA2_LOSS,   /* losses only */
  LAP_GEMMA2_HIDDEN, /* no head: lap_gemma2_logits afterwards */
} lap_gemma2_mode;

typedef struct {
  lap_gemma2_mode mode;
  const lap_objective *objective; /* copied; not read in mode HIDDEN */
  int64_t sequences, length;      /* of a micro-batch */
  int64_t teacher_k;              /* the largest k of the batches to come; 0: no teacher */
  int64_t threads;                /* at most, of OpenMP in the runs to come; decides no bit */
  lap_shard_range shards;         /* held here, at most LAP_MAX_SHARDS; {0}: the whole model */
  lap_recompute recompute;        /* of layers, in mode TRAIN */
  bool bfloat16;                  /* not allocated: of a process whose products are in bfloat16 */
  bool openblas;                  /* likewise: by OpenBLAS */
  bool allocate;                  /* false: it cannot run, but says what it would take */
} lap_gemma2_recording;

typedef struct {
  lap_gemma2_config config;
  lap_parameters *parameters; /* of the shards held here */
  lap_tape *tape;
  lap_value hidden; /* [BT, H] after the final norm */
  lap_gemma2_mode mode;
  int64_t sequences, length;
  real *rope_cosine, *rope_sine; /* [T, head_dim / 2]; NULL where nothing was allocated */
  const real **weights;          /* [buckets], of lap_gemma2_run */
  real **gradients;
} lap_gemma2;

/* Records and plans. */
lap_gemma2 *lap_gemma2_record(const lap_gemma2_config *config,
                              const lap_gemma2_recording *recording);
void lap_gemma2_destroy(lap_gemma2 *model);
/* Bytes that a model which can run has: the arena of its tape, and rotary angles. */
int64_t lap_gemma2_bytes(const lap_gemma2 *model);

/* One micro-batch; pointers are by bucket of model->parameters. Gradients of the sum over counted
 * positions are added into `gradients` (NULL unless training); where the model has several shards,
 * each process gets those of its own, and those of norms all the same on every process. `losses`
 * are written by the modes with a head, the same on every process. Collective over the processes
 * of the group. */
typedef lap_tape_pass lap_gemma2_pass;
void lap_gemma2_replay(lap_gemma2 *model, const lap_gemma2_pass *pass);

/* The same where all shards are held here, with vectors of reals in the layout of
 * gemma2/parameters.h. Not collective. */
void lap_gemma2_run(lap_gemma2 *model, const real *weights, real *gradients, const lap_batch *batch,
                    const lap_losses *losses);

/* Mode HIDDEN, after a run: soft-capped logits [S][count, V/M] of the micro-batch's rows from
 * `row`, of the S shards held here; `weights` is the vector, `pass` that of the run. */
void lap_gemma2_logits(const lap_gemma2 *model, const real *weights, int64_t row, int64_t count,
                       real *logits);
void lap_gemma2_bucket_logits(const lap_gemma2 *model, const lap_gemma2_pass *pass, int64_t row,
                              int64_t count, real *logits);
/* Whole rows [count, vocab_size] of what all shards have of them, [M][count, vocab_size / M]. */
void lap_gemma2_join_logits(const real *parts, int shards, int64_t count, int64_t vocab_size,
                            real *logits);

#endif
