/* config: everything a run is told, from one YAML file and key=value overrides
 * (docs/design.md#config-keys).
 *
 * The keys, their types, ranges and defaults are one table, config_schema.c; this page says what
 * they mean. Loading is strict: an unknown key, a wrong type, a value out of range, a key given
 * twice are LAP_USAGE with file, line, key, expected and found. `null` leaves a key at its default,
 * except the two soft-caps, where it switches them off.
 *
 * Loading in three steps, because a probe needs a model and nothing else:
 *   lap_config_load     reads, checks what is there, fills in the defaults that need nothing else
 *   lap_config_require  insists on the keys that a command cannot do without
 *   lap_config_resolve_tail, _warmup   settle what only the opened cache and data can tell
 * No function here is collective; every rank loads the same file and the ranks agree on the hash.
 */
#ifndef LAP_TRAINER_CONFIG_CONFIG_H
#define LAP_TRAINER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "autograd/op/objective.h"
#include "autograd/tape/recompute.h"
#include "mpi/tree/mesh.h"

typedef enum { LAP_SHARD_NONE, LAP_SHARD_OPTIMIZER, LAP_SHARD_GRADIENTS, LAP_SHARD_FULL } lap_shard;
typedef enum { LAP_PRECISION_FLOAT32, LAP_PRECISION_BFLOAT16 } lap_precision;
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
  int *origin; /* for each key of the schema: see lap_config_is_given */

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

  lap_objective objective; /* tail counts only once given or resolved: lap_config_resolve_tail */

  lap_mesh mesh;
  lap_shard shard;
  int model_ranks; /* ranks a replica is spread over; 0: the fewest that fit */
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
    int64_t keep_every;   /* steps whose multiples are kept for ever; 0: none */
    bool keep_best;       /* the one with the lowest evaluation loss is kept as well */
  } checkpoint;

  struct {
    int64_t every_steps; /* 0: only after the last step */
  } eval;

  int threads;     /* OpenMP threads of a rank */
  char *blas_core; /* "auto" or an OPENBLAS_CORETYPE such as "HASWELL" */
  lap_precision precision;
  double watchdog_seconds;
  int64_t max_bad_steps; /* consecutive non-finite steps before the run ends */
} lap_config;

/* Reads `path` (NULL: overrides alone) and then each of overrides [override_count],
 * "dotted.key=value" where a value that begins with [ { " or ' is YAML and any other is taken as it
 * stands. An override of steps, tokens or epochs replaces whichever of the three the file has.
 * LAP_USAGE where anything is wrong, an unreadable file too. *config is the caller's; NULL on
 * failure. */
lap_code lap_config_load(const char *path, const char *const *overrides, size_t override_count,
                         lap_config **config, lap_status *status);
/* The same without lap_config_check_availability: for `plan`, which describes what this version may
 * not do yet. */
lap_code lap_config_load_any(const char *path, const char *const *overrides, size_t override_count,
                             lap_config **config, lap_status *status);
/* As lap_config_load, from text; `name` stands for the file in messages. */
lap_code lap_config_parse(const char *name, const char *text, size_t bytes,
                          const char *const *overrides, size_t override_count, lap_config **config,
                          lap_status *status);
/* A config of defaults around a model whose shape something else than a config says; `name` as
 * above. LAP_USAGE where the shape is not valid. */
lap_code lap_config_for_model(const char *name, const lap_gemma2_config *model, lap_config **config,
                              lap_status *status);
void lap_config_destroy(lap_config *config);

/* What a command cannot do without; combine with |. */
typedef enum {
  LAP_NEEDS_MODEL = 1,    /* the shape of the model */
  LAP_NEEDS_BATCH = 2,    /* data.sequence_length, batch.sequences */
  LAP_NEEDS_DATA = 4,     /* tokenizer, data.train; teacher.cache where distill_weight > 0 */
  LAP_NEEDS_RUN = 8,      /* run_dir */
  LAP_NEEDS_SCHEDULE = 16 /* exactly one of schedule.steps, tokens, epochs */
} lap_config_needs;
enum { LAP_NEEDS_ALL = 31 };

/* LAP_USAGE naming the first key that is missing and where it belongs. */
lap_code lap_config_require(const lap_config *config, unsigned needs, lap_status *status);

/* Micro-batches that a lane has in a step. */
int64_t lap_config_micro_batches(const lap_config *config);

/* Whether file or command line set the key; false for defaults, resolved or not. */
bool lap_config_is_given(const lap_config *config, const char *key);

/* Settles objective.tail: where it is not given, ghost for the topk codec, none for the others. A
 * temperature other than 1 needs the topk codec and a renormalise rule: LAP_USAGE. `codec` is the
 * codec's name for the message. */
lap_code lap_config_resolve_tail(lap_config *config, const char *codec, lap_status *status);

/* Settles schedule.warmup_steps: where it is not given, 5 % of total_steps, rounded down. LAP_USAGE
 * where a given one exceeds total_steps. */
lap_code lap_config_resolve_warmup(lap_config *config, int64_t total_steps, lap_status *status);

/* The whole config as YAML, every key, malloc'ed. Loading it gives an equal config: numbers keep
 * their bits, what is unsettled is null. */
char *lap_config_print(const lap_config *config);

/* LAP_USAGE naming the first setting that docs/design.md#planned-work lists and this version cannot
 * do. Called by lap_config_load; its one list is what a later version shortens. */
lap_code lap_config_check_availability(const lap_config *config, lap_status *status);

#endif
