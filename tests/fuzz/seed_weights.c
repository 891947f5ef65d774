#include "seed_weights.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "trainer/hf/safetensors.h"

lap_gemma2_config seed_model(void) {
  return (lap_gemma2_config){.vocab_size = 16,
                             .hidden_size = 8,
                             .intermediate_size = 8,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 2,
                             .num_key_value_heads = 1,
                             .head_dim = 4,
                             .sliding_window = 8,
                             .query_pre_attn_scalar = 4,
                             .attn_logit_softcapping = 50,
                             .final_logit_softcapping = 30,
                             .rope_theta = 10000,
                             .rms_norm_eps = 1e-6,
                             .max_position_embeddings = 64,
                             .sliding = {true}};
}

const char *seed_part_name(int part, char name[SEED_PART_NAME]) {
  snprintf(name, SEED_PART_NAME, "part-%d.safetensors", part);
  return name;
}

lap_code seed_part_write(const char *path, const lap_parameters *parameters, int part,
                         lap_status *status) {
  static const float values[16 * 16];
  lap_safetensors_source *tensors = lap_allocate(parameters->count, sizeof *tensors);
  size_t count = 0;
  for (int i = part; i < parameters->count; i += SEED_PARTS) {
    const lap_parameter *p = &parameters->parameter[i];
    tensors[count++] = (lap_safetensors_source){
        .name = p->name,
        .dtype = LAP_DTYPE_F32,
        .dimensions = p->is_norm ? 1 : 2,
        .shape = {p->is_norm ? p->columns : p->rows, p->is_norm ? 0 : p->columns},
        .values = values};
  }
  const lap_code code = lap_safetensors_write(path, tensors, count, status);
  free(tensors);
  return code;
}
