#include "trainer/model/computed_as.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/gemm_backend.h"
#include "autograd/kernel/numerics_version.h"
#include "core/hash.h"
#include "core/memory.h"

static void add_config(const lap_gemma2_config *c, lap_sha256_stream *stream) {
  char *text = lap_format(
      "vocab_size %" PRId64 "\nhidden_size %" PRId64 "\nintermediate_size %" PRId64
      "\nnum_hidden_layers %" PRId64 "\nnum_attention_heads %" PRId64
      "\nnum_key_value_heads %" PRId64 "\nhead_dim %" PRId64 "\nsliding_window %" PRId64
      "\nquery_pre_attn_scalar %.17g\nattn_logit_softcapping %.17g\nfinal_logit_softcapping %.17g"
      "\nrope_theta %.17g\nrms_norm_eps %.17g\npre_norms_only %d\nlayer_types ",
      c->vocab_size, c->hidden_size, c->intermediate_size, c->num_hidden_layers,
      c->num_attention_heads, c->num_key_value_heads, c->head_dim, c->sliding_window,
      c->query_pre_attn_scalar, c->attn_logit_softcapping, c->final_logit_softcapping,
      c->rope_theta, c->rms_norm_eps, c->pre_norms_only);
  lap_sha256_add(stream, text, strlen(text));
  for (int64_t i = 0; i < c->num_hidden_layers; ++i)
    lap_sha256_add(stream, c->sliding[i] ? "1" : "0", 1);
  lap_sha256_add(stream, "\n", 1);
  free(text);
}

void lap_computed_as(const lap_gemma2_config *const *configs, size_t count, int shards,
                     char text[LAP_COMPUTED_AS]) {
  lap_sha256_stream *stream = lap_sha256_create();
  for (size_t i = 0; i < count; ++i) add_config(configs[i], stream);
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
  const char *products = "lapidary";
  if (lap_gemm_backend_here() == LAP_GEMM_OPENBLAS)
    products = "openblas";
  else if (lap_gemm_precision_here() == LAP_MATMUL_BFLOAT16)
    products = "lapidary bfloat16";
  snprintf(text, LAP_COMPUTED_AS, "numerics %d, %s, model shards %d, model config %s",
           LAP_NUMERICS_VERSION, products, shards, hex);
}
