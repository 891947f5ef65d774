#include "trainer/model/same_inputs.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/config/value.h"
#include "trainer/hf/weights.h"

/* Of a Hugging Face directory, which has no hash of its own; NULL after a failure. */
static char *identify(const lap_model_source *source, lap_status *status) {
  char weights[LAP_XXH128_HEX], config[LAP_XXH128_HEX];
  if (lap_hf_weights_fingerprint(source->path, source->parameters, weights, status) != LAP_OK)
    return NULL;
  char *text = lap_config_print(source->config);
  lap_xxh128_hex(text, strlen(text), config);
  free(text);
  return lap_format("weights %s, config %s", weights, config);
}

lap_code lap_agree_on_model(const lap_model_source *source, const char *path, lap_comm *comm,
                            lap_status *status) {
  /* One rank's may be a checkpoint, and another's none. */
  LAP_TRY(lap_checkpoint_agree(source->checkpoint, path, comm, status));
  if (source->checkpoint) return LAP_OK;
  lap_status own = {0};
  char *which = identify(source, &own);
  *status = own;
  lap_code code = lap_agree(comm, status);
  if (code == LAP_OK)
    code = lap_agree_same(comm, path, which, "give every node the same model", status);
  free(which);
  return code;
}

lap_code lap_agree_on_tokens(const lap_token_set *tokens, const char *what, lap_comm *comm,
                             lap_status *status) {
  char hex[LAP_SHA256_HEX];
  lap_token_set_content_sha256(tokens, hex);
  char *which = lap_format("%zu shard%s, %.16s", tokens->count, tokens->count == 1 ? "" : "s", hex);
  const lap_code code =
      lap_agree_same(comm, what, which, "give every node the same token shards", status);
  free(which);
  return code;
}

lap_code lap_agree_on_file(const char *path, lap_comm *comm, lap_status *status) {
  char hex[LAP_SHA256_HEX] = "";
  lap_status own = {0};
  own.code = lap_sha256_file(path, hex, &own);
  *status = own;
  LAP_TRY(lap_agree(comm, status));
  return lap_agree_same(comm, path, hex, "give every node the same file", status);
}
