#include "trainer/attend/maps.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/gemma2/decode.h"
#include "core/memory.h"
#include "trainer/hf/safetensors.h"

int64_t lap_attention_maps_bytes(const lap_gemma2_config *config, int64_t length) {
  return config->num_hidden_layers * config->num_attention_heads * length * length *
         (int64_t)sizeof(float);
}

static void keep(void *context, int64_t layer, int64_t head, int64_t query, int64_t first,
                 const float *probability, int64_t count) {
  const lap_attention_maps *maps = context;
  float *row = maps->p + ((layer * maps->heads + head) * maps->length + query) * maps->length;
  memcpy(row + first, probability, (size_t)count * sizeof *row);
}

lap_attention_maps lap_attention_maps_make(const lap_gemma2_config *config, const float *weights,
                                           const int32_t *tokens, int64_t count, int64_t threads) {
  lap_attention_maps maps = {
      .layers = config->num_hidden_layers,
      .heads = config->num_attention_heads,
      .length = count,
      .window = config->sliding_window,
      .local = config->sliding,
      .p = lap_allocate_aligned(lap_attention_maps_bytes(config, count), 1),
  };
  lap_decoder *decoder = lap_decoder_create(config, weights, count, threads);
  lap_decoder_observe(decoder, keep, &maps);
  lap_decoder_prefill(decoder, tokens, count);
  lap_decoder_destroy(decoder);
  return maps;
}

void lap_attention_maps_release(lap_attention_maps *maps) {
  lap_release_aligned(maps->p);
  *maps = (lap_attention_maps){0};
}

const float *lap_attention_map(const lap_attention_maps *maps, int64_t layer, int64_t head) {
  return maps->p + (layer * maps->heads + head) * maps->length * maps->length;
}

lap_code lap_attention_maps_write(const char *path, const lap_attention_maps *maps,
                                  const int32_t *tokens, lap_status *status) {
  enum { NAME = 48 };
  const int64_t length = maps->length;
  lap_safetensors_source *tensors = lap_allocate(maps->layers + 1, sizeof *tensors);
  char(*names)[NAME] = lap_allocate(maps->layers, sizeof *names);
  for (int64_t layer = 0; layer < maps->layers; ++layer) {
    snprintf(names[layer], NAME, "layers.%" PRId64 ".attention", layer);
    tensors[layer] = (lap_safetensors_source){.name = names[layer],
                                              .dtype = LAP_DTYPE_F32,
                                              .dimensions = 3,
                                              .shape = {maps->heads, length, length},
                                              .values = lap_attention_map(maps, layer, 0)};
  }
  tensors[maps->layers] = (lap_safetensors_source){.name = "tokens",
                                                   .dtype = LAP_DTYPE_I32,
                                                   .dimensions = 1,
                                                   .shape = {length},
                                                   .values = tokens};
  const lap_code code = lap_safetensors_write(path, tensors, (size_t)maps->layers + 1, status);
  free(tensors);
  free(names);
  return code;
}
