/* config: everything a run is told, from one YAML file and key=value overrides
 * (docs/design.md#config-keys).
 *
 * The keys, their types, ranges and defaults are one table, schema.c; this page says what they
 * mean. A config is made in three steps, because a probe needs a model and nothing else:
 *   load.h      reads, checks what is there, fills in the defaults that need nothing else
 *   resolve.h   insists on the keys that a command cannot do without (require), and
 *               resolves what only the opened cache and data can tell (tail, warm-up)
 * No function of this folder is collective; every rank loads the same file and the ranks agree on
 * the hash.
 */
#ifndef LAP_TRAINER_CONFIG_CONFIG_H
#define LAP_TRAINER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "autograd/kernel/gemm_backend.h"
#include "autograd/op/objective.h"
#include "autograd/tape/recompute.h"
#include "mpi/tree/mesh.h"

typedef enum {
  LAP_SHARDING_NONE,
  LAP_SHARDING_OPTIMIZER,
  LAP_SHARDING_GRADIENTS,
  LAP_SHARDING_FULL
} lap_sharding;
/* What a run does once a rank is known to compute wrongly. */
typedef enum {
  LAP_POLICY_STOP,    /* ends with exit code 4 */
  LAP_POLICY_EXCLUDE, /* names the host in RUN/excluded_hosts and ends with 75 */
} lap_integrity_policy;
typedef enum { LAP_OFF, LAP_ON } lap_switch;

/* What stands in the place of a teacher (objective.smoothing). */
typedef enum {
  LAP_SMOOTHING_NONE,
  LAP_SMOOTHING_UNIFORM,
  LAP_SMOOTHING_UNIGRAM
} lap_smoothing_kind;
typedef enum {
  LAP_SCHEDULE_COSINE,
  LAP_SCHEDULE_LINEAR,
  LAP_SCHEDULE_CONSTANT,
  LAP_SCHEDULE_WSD, /* warm up, stay, decay */
} lap_schedule_kind;

/* One glob of token shards; windows of several sources are mixed in proportion to their weights. */
typedef struct {
  char *path;
  double weight; /* > 0 */
} lap_data_source;

typedef struct {
  char *file;  /* where it was loaded from, for messages */
  int *origin; /* [keys of the schema] where each value comes from: origin.h */

  int64_t seed;
  char *init;      /* "random", or a checkpoint or Hugging Face directory: its weights, at step 0 */
  char *run_dir;   /* NULL: none */
  char *tokenizer; /* a SentencePiece .model file; NULL: none */
  lap_gemma2_config model;  /* sizes are 0 where the config does not say */
  int64_t layer_type_count; /* entries given in model.layer_types; 0: the default pattern */

  struct {
    lap_data_source *train; /* [train_count]; a plain glob is one source of weight 1 */
    size_t train_count;
    char *eval;              /* a glob; NULL: none */
    int64_t sequence_length; /* T, inputs of a window; 0: not given */
    bool document_mask;      /* attention stops at the start of a document */
  } data;

  struct {
    char *cache; /* a glob; NULL: no teacher */
    bool allow_context_mismatch;
    bool allow_shift;
  } teacher;

  lap_smoothing_kind smoothing; /* objective.smoothing */
  lap_objective objective; /* tail counts only once given or resolved: lap_config_resolve_tail */

  lap_mesh mesh;
  lap_sharding sharding; /* mesh.shard */
  int model_ranks;       /* ranks a replica is spread over; 0: the fewest that fit */
  lap_recompute recompute;

  struct {
    int64_t sequences;       /* of a step, over all lanes; 0: not given */
    int64_t micro_sequences; /* of one forward and backward in one lane */
  } batch;

  struct {
    double learning_rate; /* peak; 0 only where hidden_size is not given either */
    double beta1, beta2;
    double epsilon;
    double weight_decay; /* times the learning rate; matrices and embedding, not norms */
    double clip_norm;    /* of the mean gradient */
  } optimizer;

  struct {
    int64_t steps;        /* exactly one of the three is not 0 once lap_config_require has passed */
    int64_t tokens;       /* inputs, padding included: steps = ceil(tokens / (sequences T)) */
    double epochs;        /* over data.train */
    int64_t warmup_steps; /* -1: the default, 5 % of all steps */
    lap_schedule_kind kind;
    double final_ratio; /* last learning rate over the peak */
  } schedule;

  struct {
    int64_t every_steps;  /* 0: off */
    double every_minutes; /* 0: off */
    int64_t keep;         /* newest full checkpoints kept */
    int64_t keep_every;   /* steps whose multiples are never deleted; 0: none */
    bool behind;          /* written while steps go on, from a copy */
    bool keep_best;       /* the one with the lowest evaluation loss is kept as well */
  } checkpoint;

  struct {
    int64_t every_steps; /* 0: only after the last step */
  } eval;

  struct {
    int64_t recheck_lanes; /* computed again; more than there are: all */
    int64_t recheck_every; /* steps; 0: never */
    lap_integrity_policy policy;
    lap_switch messages; /* hashes of messages */
    lap_switch sums;     /* a part of the gradients' sums added again */
    lap_switch state;    /* checksums of weights and moments */
  } integrity;

  int threads; /* OpenMP threads of a rank */
  lap_gemm_backend gemm;
  char *blas_core; /* of OpenBLAS: "auto" or an OPENBLAS_CORETYPE such as "HASWELL" */
  lap_matmul_precision precision;
  double watchdog_seconds;
  int64_t max_bad_steps; /* consecutive non-finite steps before the run ends */
} lap_config;

/* What a command cannot do without; combine with |. */
typedef enum {
  LAP_NEEDS_MODEL = 1,    /* the shape of the model */
  LAP_NEEDS_BATCH = 2,    /* data.sequence_length, batch.sequences */
  LAP_NEEDS_DATA = 4,     /* tokenizer, data.train; teacher.cache where distill_weight > 0 */
  LAP_NEEDS_RUN = 8,      /* run_dir */
  LAP_NEEDS_SCHEDULE = 16 /* exactly one of schedule.steps, tokens, epochs */
} lap_config_needs;
enum { LAP_NEEDS_ALL = 31 };

/* What computes products; borrows blas_core. */
static inline lap_gemm_choice lap_config_gemm(const lap_config *config) {
  return (lap_gemm_choice){config->gemm, config->precision, config->blas_core};
}

/* Whether a row of smoothing is learned from: not where its weight is 0. */
static inline bool lap_config_smooths(const lap_config *config) {
  return config->smoothing != LAP_SMOOTHING_NONE && config->objective.distill_weight > 0;
}

/* Micro-batches that a lane has in a step. */
static inline int64_t lap_config_micro_batches(const lap_config *config) {
  return config->batch.sequences / lap_mesh_lanes(&config->mesh) / config->batch.micro_sequences;
}

#endif
