/* config: the shape of a Gemma 2 model, by the names of Hugging Face's config.json
 * (docs/design.md#model). */
#ifndef LAP_AUTOGRAD_GEMMA2_CONFIG_H
#define LAP_AUTOGRAD_GEMMA2_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { LAP_MAX_LAYERS = 512 };

typedef struct {
  int64_t vocab_size;
  int64_t hidden_size;
  int64_t intermediate_size; /* inner width of GeGLU: half of the paper's "feedforward dim" */
  int64_t num_hidden_layers;
  int64_t num_attention_heads;
  int64_t num_key_value_heads; /* divides num_attention_heads */
  int64_t head_dim;            /* even */
  int64_t sliding_window;
  double query_pre_attn_scalar;   /* scores are scaled by its -1/2 power */
  double attn_logit_softcapping;  /* 0: off (null in the config) */
  double final_logit_softcapping; /* 0: off (null in the config) */
  double rope_theta;
  double rms_norm_eps;
  int64_t max_position_embeddings;
  bool pre_norms_only;          /* no norms behind attention and feed-forward; Gemma 2 has them */
  bool sliding[LAP_MAX_LAYERS]; /* layer_types: true is sliding_attention; default even layers */
} lap_gemma2_config;

/* LAP_USAGE; the message begins with "KEY is VALUE; " and goes on with what it must be. */
lap_code lap_gemma2_config_check(const lap_gemma2_config *config, lap_status *status);

/* LAP_USAGE naming the key that so many model shards (mesh.model) do not divide. */
lap_code lap_gemma2_config_check_shards(const lap_gemma2_config *config, int shards,
                                        lap_status *status);

/* The two figures of the paper's Table 2. */
int64_t lap_gemma2_embedding_parameters(const lap_gemma2_config *config);
int64_t lap_gemma2_non_embedding_parameters(const lap_gemma2_config *config);

#endif
