/* maps: the attention probabilities of every layer and head of a model over one text.
 *
 * They are those that the forward pass of decoding uses (gemma2/decode.h), whose logits are those
 * of training, bit for bit with our own products: scores scaled, soft-capped, masked, and through
 * softmax.
 */
#ifndef LAP_TRAINER_ATTEND_MAPS_H
#define LAP_TRAINER_ATTEND_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/gemma2/config.h"
#include "core/status.h"

typedef struct {
  int64_t layers, heads, length; /* length: T, tokens with BOS */
  int64_t window;                /* sliding_window, of the local layers */
  const bool *local;             /* [layers], of the model's config */
  float *p; /* [layers, heads, T, T]: by query, then by key; 0 where a query does not see a key */
} lap_attention_maps;

/* Bytes of p for a text of `length` tokens. */
int64_t lap_attention_maps_bytes(const lap_gemma2_config *config, int64_t length);

/* `weights` is the canonical vector of gemma2/parameters.h, tokens [count] begin with BOS. The
 * config must outlive the maps. At most `threads` threads; they decide no bit. */
lap_attention_maps lap_attention_maps_make(const lap_gemma2_config *config, const float *weights,
                                           const int32_t *tokens, int64_t count, int64_t threads);
void lap_attention_maps_release(lap_attention_maps *maps);

/* The map of one head, [T, T]. */
const float *lap_attention_map(const lap_attention_maps *maps, int64_t layer, int64_t head);

/* As safetensors (docs/formats.md#attention-maps): `layers.L.attention` F32 [heads, T, T] of each
 * layer, `tokens` I32 [T]. LAP_DATA naming the file. */
lap_code lap_attention_maps_write(const char *path, const lap_attention_maps *maps,
                                  const int32_t *tokens, lap_status *status);

#endif
