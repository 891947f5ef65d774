/* source: a trained model as every command takes it that names one: a checkpoint directory, a run
 * directory (its newest whole checkpoint), or a Hugging Face directory. */
#ifndef LAP_TRAINER_MODEL_SOURCE_H
#define LAP_TRAINER_MODEL_SOURCE_H

#include <stdbool.h>

#include "autograd/gemma2/parameters.h"
#include "dataset/token_shard.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/config/config.h"

/* In which form the weights of a model are held. */
typedef enum { LAP_MODEL_NO_WEIGHTS, LAP_MODEL_FLOAT32, LAP_MODEL_BFLOAT16 } lap_model_form;

typedef struct {
  char *path;                 /* of the checkpoint or the Hugging Face directory */
  lap_checkpoint *checkpoint; /* NULL: a Hugging Face directory */
  lap_config *config;         /* config.resolved.yaml of the checkpoint, or config.json */
  lap_parameters *parameters;
  float *weights;       /* canonical vector, checked; NULL where they were not asked for so */
  uint16_t *bfloat16;   /* the same, held in bfloat16 */
  char *notice;         /* newer checkpoints that were passed over, odd names; NULL: none */
  char *tokenizer_path; /* tokenizer.model beside the weights; NULL: none there */
} lap_model_source;

/* Not collective. With a form of weights they are read and checked too. In a run directory a
 * checkpoint that is not whole is passed over for the one before; the caller says `notice`.
 * LAP_DATA naming the file. */
lap_code lap_model_open(const char *path, lap_model_form form, lap_model_source *source,
                        lap_status *status);
/* The same as far as lap_agree_on_model needs it: of a checkpoint no config is read. */
lap_code lap_model_find(const char *path, lap_model_source *source, lap_status *status);
void lap_model_close(lap_model_source *source);

/* Not collective. LAP_MODEL_BFLOAT16 where that changes no bit of a pass forward with the gemm and
 * the precision of source->config: in bfloat16, or where every weight is BF16 as it is. */
lap_model_form lap_model_form_of(const lap_model_source *source);

/* Whether lap_model_open takes `path` for a Hugging Face directory: it has a config.json, and is
 * neither a checkpoint nor a run directory. */
bool lap_model_is_hugging_face(const char *path);

/* Not collective. The weights of what lap_model_open takes, checked, into what a process holds of
 * the model (that of a run which starts from them, say). LAP_DATA naming the tensor. */
lap_code lap_model_read_weights(const char *path, const lap_weight_target *target,
                                lap_status *status);

/* Not collective. The identity of the weights, however they are sharded: teacher_sha256 as
 * docs/formats.md#who-the-teacher-is defines it, which is lap_weights_sha256 of the whole model in
 * one shard. Reads one layer, or the embedding, at a time. */
lap_code lap_model_weights_sha256(const lap_model_source *source, char hex[LAP_SHA256_HEX],
                                  lap_status *status);

/* Not collective. The identity of a model in tables: state_sha256 of a checkpoint of a run, else
 * lap_model_weights_sha256. */
lap_code lap_model_state_sha256(const lap_model_source *source, char hex[LAP_SHA256_HEX],
                                lap_status *status);

/* Not collective. Opens token shards for the model: their vocabulary must fit, their tokenizer be
 * the model's own, where it has one, and some position be counted. LAP_DATA showing both; then none
 * are open. */
lap_code lap_model_open_tokens(const lap_model_source *source, const char *pattern,
                               lap_token_set *tokens, lap_status *status);

/* LAP_DATA where no position of the shards from `first` on is counted (docs/design.md#windows). */
lap_code lap_check_counted(const lap_token_set *tokens, size_t first, lap_status *status);

/* Not collective. The same check for shards and a tokenizer file that were opened otherwise. */
lap_code lap_check_tokens(const lap_token_set *tokens, int64_t vocab_size,
                          const char *tokenizer_path, lap_status *status);

#endif
