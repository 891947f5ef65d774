#include "autograd/gemma2/config.h"

#include <inttypes.h>
#include <stddef.h>

/* Bounds far above any model one would train here and far below where a product of two of them
 * could overflow int64_t or a token id could leave int32_t. */
enum { LARGEST_VOCABULARY = 1 << 24, LARGEST_WIDTH = 1 << 20, LARGEST_POSITIONS = 1 << 24 };

static lap_code check_sizes(const lap_gemma2_config *config, lap_status *status) {
  const struct {
    const char *key;
    int64_t value, smallest, largest;
  } sizes[] = {
      {"vocab_size", config->vocab_size, 2, LARGEST_VOCABULARY},
      {"hidden_size", config->hidden_size, 1, LARGEST_WIDTH},
      {"intermediate_size", config->intermediate_size, 1, LARGEST_WIDTH},
      {"num_hidden_layers", config->num_hidden_layers, 1, LAP_MAX_LAYERS},
      {"num_attention_heads", config->num_attention_heads, 1, LARGEST_WIDTH},
      {"num_key_value_heads", config->num_key_value_heads, 1, LARGEST_WIDTH},
      {"head_dim", config->head_dim, 2, LARGEST_WIDTH},
      {"sliding_window", config->sliding_window, 1, LARGEST_POSITIONS},
      {"max_position_embeddings", config->max_position_embeddings, 1, LARGEST_POSITIONS},
  };
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i)
    if (sizes[i].value < sizes[i].smallest || sizes[i].value > sizes[i].largest)
      return lap_fail(status, LAP_USAGE,
                      "%s is %" PRId64 "; it must be from %" PRId64 " to %" PRId64, sizes[i].key,
                      sizes[i].value, sizes[i].smallest, sizes[i].largest);
  return LAP_OK;
}

/* What float32 holds, with room for what is computed from it: scores and logits are divided by a
 * soft-cap, angles multiplied by powers of 1 / rope_theta, rows of zeros by rms_norm_eps^(-1/2). */
static lap_code check_numbers(const lap_gemma2_config *config, lap_status *status) {
  const struct {
    const char *key;
    double value, smallest;
    bool may_be_zero;
  } numbers[] = {
      {"query_pre_attn_scalar", config->query_pre_attn_scalar, 1e-30, false},
      {"attn_logit_softcapping", config->attn_logit_softcapping, 1e-6, true},
      {"final_logit_softcapping", config->final_logit_softcapping, 1e-6, true},
      {"rope_theta", config->rope_theta, 1e-6, false},
      {"rms_norm_eps", config->rms_norm_eps, 1e-30, false},
  };
  const double largest = 1e30;
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    const double value = numbers[i].value;
    if (value == 0 && numbers[i].may_be_zero) continue;
    if (!(value >= numbers[i].smallest && value <= largest))
      return lap_fail(status, LAP_USAGE, "%s is %g; it must be from %g to %g%s", numbers[i].key,
                      value, numbers[i].smallest, largest,
                      numbers[i].may_be_zero ? ", or null for off" : "");
  }
  return LAP_OK;
}

lap_code lap_gemma2_config_check(const lap_gemma2_config *config, lap_status *status) {
  LAP_TRY(check_sizes(config, status));
  LAP_TRY(check_numbers(config, status));
  if (config->num_attention_heads % config->num_key_value_heads != 0)
    return lap_fail(status, LAP_USAGE,
                    "num_attention_heads is %" PRId64
                    "; it must be a multiple of num_key_value_heads, which is %" PRId64,
                    config->num_attention_heads, config->num_key_value_heads);
  if (config->head_dim % 2 != 0)
    return lap_fail(status, LAP_USAGE,
                    "head_dim is %" PRId64 "; it must be even (RoPE rotates pairs of its halves)",
                    config->head_dim);
  const int64_t widest = LARGEST_WIDTH / config->head_dim;
  if (config->num_attention_heads > widest)
    return lap_fail(status, LAP_USAGE,
                    "num_attention_heads is %" PRId64 "; with head_dim %" PRId64
                    " it must be at most %" PRId64,
                    config->num_attention_heads, config->head_dim, widest);
  return LAP_OK;
}

int64_t lap_gemma2_embedding_parameters(const lap_gemma2_config *config) {
  return config->vocab_size * config->hidden_size;
}

int64_t lap_gemma2_non_embedding_parameters(const lap_gemma2_config *config) {
  const int64_t hidden = config->hidden_size;
  const int64_t queries = config->num_attention_heads * config->head_dim;
  const int64_t keys = config->num_key_value_heads * config->head_dim;
  const int64_t attention = hidden * queries                           /* q_proj */
                            + 2 * hidden * keys                        /* k_proj, v_proj */
                            + queries * hidden;                        /* o_proj */
  const int64_t feed_forward = 3 * hidden * config->intermediate_size; /* gate, up, down */
  /* Before attention and feed-forward, and after. */
  const int64_t norms = (config->pre_norms_only ? 2 : 4) * hidden;
  return config->num_hidden_layers * (attention + feed_forward + norms) + hidden; /* final norm */
}

lap_code lap_gemma2_config_check_shards(const lap_gemma2_config *c, int shards,
                                        lap_status *status) {
  const struct {
    const char *key;
    int64_t value;
  } cut[] = {{"num_attention_heads", c->num_attention_heads},
             {"num_key_value_heads", c->num_key_value_heads},
             {"intermediate_size", c->intermediate_size},
             {"vocab_size", c->vocab_size}};
  for (size_t i = 0; i < sizeof cut / sizeof *cut; ++i)
    if (cut[i].value % shards)
      return lap_fail(status, LAP_USAGE, "%d model shards do not divide model.%s, %" PRId64, shards,
                      cut[i].key, cut[i].value);
  return LAP_OK;
}
