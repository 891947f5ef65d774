#include "trainer/model/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/special_ids.h"
#include "trainer/config/load.h"
#include "trainer/config/resolve.h"
#include "trainer/hf/config.h"
#include "trainer/hf/weights.h"
#include "trainer/state/hash.h"

static bool has(const char *directory, const char *name) {
  char *path = lap_format("%s/%s", directory, name);
  const bool found = lap_file_exists(path);
  free(path);
  return found;
}

/* A checkpoint or run directory to which somebody added a config.json stays one. */
bool lap_model_is_hugging_face(const char *path) {
  return has(path, "config.json") && !has(path, "manifest.json") && !has(path, "checkpoints");
}

/* Memory for all weights in this form, and where a reader puts them; the caller releases that. */
static lap_weight_target allocate_weights(lap_model_source *source, lap_model_form form) {
  const lap_parameters *parameters = source->parameters;
  if (form == LAP_MODEL_BFLOAT16) {
    source->bfloat16 = lap_allocate_aligned(parameters->elements, sizeof *source->bfloat16);
    return lap_weight_target_of_bfloat16(parameters, source->bfloat16);
  }
  source->weights = lap_allocate_aligned(parameters->elements, sizeof *source->weights);
  return lap_weight_target_of_vector(parameters, source->weights);
}

static void find_tokenizer(lap_model_source *source) {
  if (has(source->path, "tokenizer.model"))
    source->tokenizer_path = lap_format("%s/tokenizer.model", source->path);
}

static lap_code open_checkpoint(const char *path, lap_model_form form, lap_model_source *source,
                                lap_status *status) {
  LAP_TRY(lap_checkpoint_open(path, &source->checkpoint, status));
  source->path = lap_copy_string(source->checkpoint->path);
  char *config = lap_format("%s/config.resolved.yaml", source->path);
  lap_code code = lap_config_load(config, NULL, 0, &source->config, status);
  if (code == LAP_OK) code = lap_config_require(source->config, LAP_NEEDS_MODEL, status);
  free(config);
  /* The user did not write this config: whatever is wrong with it is the checkpoint's. */
  if (code != LAP_OK) return status->code = LAP_DATA;
  source->parameters = lap_parameters_create(&source->config->model);
  find_tokenizer(source);
  if (form == LAP_MODEL_NO_WEIGHTS) return LAP_OK;
  lap_weight_target target = allocate_weights(source, form);
  const lap_code read = lap_checkpoint_read_weights(source->checkpoint, &target, status);
  lap_weight_target_release(&target);
  return read;
}

static lap_code open_hugging_face(const char *path, lap_model_form form, lap_model_source *source,
                                  lap_status *status) {
  lap_gemma2_config model;
  source->path = lap_copy_string(path);
  char *config = lap_format("%s/config.json", path);
  lap_code code = lap_hf_config_read(config, &model, status);
  if (code == LAP_OK && lap_config_for_model(config, &model, &source->config, status) != LAP_OK)
    code = status->code = LAP_DATA;
  free(config);
  if (code != LAP_OK) return code;
  source->parameters = lap_parameters_create(&model);
  find_tokenizer(source);
  /* Before memory is asked for: a config may announce more than the files hold. */
  LAP_TRY(lap_hf_weights_check(path, source->parameters, &source->notice, status));
  if (form == LAP_MODEL_NO_WEIGHTS) return LAP_OK;
  lap_weight_target target = allocate_weights(source, form);
  const lap_code read = lap_hf_weights_read(path, &target, status);
  lap_weight_target_release(&target);
  return read;
}

/* The newest of `names` under `directory` that is whole. */
static lap_code open_newest(const char *directory, char *const *names, size_t count,
                            lap_model_form form, lap_model_source *source, lap_status *status) {
  char *notice = NULL;
  lap_code code = LAP_DATA;
  for (size_t i = 0; i < count && code != LAP_OK; ++i) {
    char *path = lap_format("%s/%s", directory, names[i]);
    code = open_checkpoint(path, form, source, status);
    if (code != LAP_OK) {
      char *longer = lap_format("%s%spassed over: %s", notice ? notice : "", notice ? "; " : "",
                                status->message);
      free(notice);
      notice = longer;
      lap_model_close(source);
    }
    free(path);
  }
  if (code == LAP_OK) {
    source->notice = notice;
    return LAP_OK;
  }
  lap_fail(status, LAP_DATA, "%s: none of %zu checkpoints is whole: %s", directory, count, notice);
  free(notice);
  return LAP_DATA;
}

static lap_code check_directory(const char *path, lap_status *status) {
  struct stat facts;
  if (stat(path, &facts) != 0)
    return lap_fail(status, LAP_DATA,
                    "%s: %s; expected a checkpoint, a run directory or a Hugging Face directory on "
                    "this machine: lapidary downloads none",
                    path, strerror(errno));
  if (S_ISDIR(facts.st_mode)) return LAP_OK;
  return lap_fail(
      status, LAP_DATA,
      "%s: is not a directory; expected a checkpoint, a run directory or a Hugging Face "
      "directory: name the directory that holds the files",
      path);
}

lap_code lap_model_open(const char *path, lap_model_form form, lap_model_source *source,
                        lap_status *status) {
  *source = (lap_model_source){0};
  LAP_TRY(check_directory(path, status));
  char *inside = lap_format("%s/checkpoints", path);
  const char *directory = lap_file_exists(inside) ? inside : path;
  char **names = NULL;
  size_t count = 0;
  lap_code code;
  if (lap_model_is_hugging_face(path))
    code = open_hugging_face(path, form, source, status);
  else if (!has(path, "manifest.json") &&
           lap_checkpoint_list(directory, &names, &count, status) == LAP_OK && count > 0)
    code = open_newest(directory, names, count, form, source, status);
  else
    code = open_checkpoint(path, form, source, status);
  if (code != LAP_OK) lap_model_close(source);
  if (names) lap_checkpoint_list_destroy(names, count);
  free(inside);
  return code;
}

lap_code lap_model_find(const char *path, lap_model_source *source, lap_status *status) {
  *source = (lap_model_source){0};
  LAP_TRY(check_directory(path, status));
  if (lap_model_is_hugging_face(path))
    return lap_model_open(path, LAP_MODEL_NO_WEIGHTS, source, status);
  return lap_checkpoint_open(path, &source->checkpoint, status);
}

lap_model_form lap_model_form_of(const lap_model_source *source) {
  const lap_config *config = source->config;
  const bool fits =
      config->gemm == LAP_GEMM_LAPIDARY &&
      (config->precision == LAP_MATMUL_BFLOAT16 ||
       (!source->checkpoint && lap_hf_weights_are_bfloat16(source->path, source->parameters)));
  return fits ? LAP_MODEL_BFLOAT16 : LAP_MODEL_FLOAT32;
}

static lap_code read_hugging_face(const char *path, const lap_weight_target *target,
                                  lap_status *status) {
  lap_gemma2_config model; /* is it Gemma 2 at all? */
  char *config = lap_format("%s/config.json", path);
  const lap_code code = lap_hf_config_read(config, &model, status);
  free(config);
  return code == LAP_OK ? lap_hf_weights_read(path, target, status) : code;
}

lap_code lap_model_read_weights(const char *path, const lap_weight_target *target,
                                lap_status *status) {
  LAP_TRY(check_directory(path, status));
  if (lap_model_is_hugging_face(path)) return read_hugging_face(path, target, status);
  lap_checkpoint *checkpoint;
  LAP_TRY(lap_checkpoint_open(path, &checkpoint, status));
  const lap_code code = lap_checkpoint_read_weights(checkpoint, target, status);
  lap_checkpoint_close(checkpoint);
  return code;
}

/* --- identity --- */

static void hash_tensor(const lap_parameter *p, const float *values, lap_sha256_stream *stream) {
  char *line = p->is_norm ? lap_format("%s shard 0 float32 %" PRId64 "\n", p->name, p->columns)
                          : lap_format("%s shard 0 float32 %" PRId64 "x%" PRId64 "\n", p->name,
                                       p->rows, p->columns);
  lap_sha256_add(stream, line, strlen(line));
  free(line);
  uint8_t digest[LAP_SHA256_SIZE];
  for (int64_t begin = 0; begin < p->elements; begin += LAP_STATE_CHUNK) {
    const int64_t left = p->elements - begin,
                  count = left < LAP_STATE_CHUNK ? left : LAP_STATE_CHUNK;
    lap_sha256(values + begin, (size_t)count * sizeof *values, digest);
    lap_sha256_add(stream, digest, sizeof digest);
  }
}

/* Reads bucket `b` alone into `values`, whose first element is the bucket's. */
static lap_code read_bucket(const lap_model_source *source, int b, float *values,
                            lap_status *status) {
  const lap_bucket *bucket = &source->parameters->bucket[b];
  lap_weight_target target = lap_weight_target_create(source->parameters);
  target.held[b] = (lap_range){bucket->begin, bucket->end};
  target.at[b] = values;
  const lap_code code = lap_model_read_weights(source->path, &target, status);
  lap_weight_target_release(&target);
  return code;
}

lap_code lap_model_weights_sha256(const lap_model_source *source, char hex[LAP_SHA256_HEX],
                                  lap_status *status) {
  static const char head[] = "lapidary-weights 1\n";
  const lap_parameters *parameters = source->parameters;
  int64_t most = 0;
  for (int b = 0; b < parameters->bucket_count; ++b) {
    const int64_t count = parameters->bucket[b].end - parameters->bucket[b].begin;
    if (count > most) most = count;
  }
  float *values = lap_allocate_aligned(most, sizeof *values);
  lap_sha256_stream *stream = lap_sha256_create();
  lap_sha256_add(stream, head, sizeof head - 1);
  lap_code code = LAP_OK;
  for (int i = 0, read = -1; i < parameters->count && code == LAP_OK; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    if (p->bucket != read) code = read_bucket(source, read = p->bucket, values, status);
    if (code == LAP_OK)
      hash_tensor(p, values + (p->offset - parameters->bucket[read].begin), stream);
  }
  uint8_t digest[LAP_SHA256_SIZE];
  lap_sha256_finish(stream, digest);
  lap_sha256_hex(digest, hex);
  lap_release_aligned(values);
  return code;
}

lap_code lap_model_state_sha256(const lap_model_source *source, char hex[LAP_SHA256_HEX],
                                lap_status *status) {
  if (!source->checkpoint || !source->checkpoint->full)
    return lap_model_weights_sha256(source, hex, status);
  memcpy(hex, source->checkpoint->state_sha256, LAP_SHA256_HEX);
  return LAP_OK;
}

void lap_model_close(lap_model_source *source) {
  if (source->checkpoint) lap_checkpoint_close(source->checkpoint);
  if (source->config) lap_config_destroy(source->config);
  lap_parameters_destroy(source->parameters);
  lap_release_aligned(source->weights);
  lap_release_aligned(source->bfloat16);
  /* NOLINTBEGIN(clang-analyzer-unix.Malloc): closed twice, these are NULL the second time */
  free(source->path);
  free(source->tokenizer_path);
  free(source->notice);
  /* NOLINTEND(clang-analyzer-unix.Malloc) */
  *source = (lap_model_source){0};
}

static bool has_counted_position(const lap_token_shard *shard) {
  for (uint64_t i = 0; i + 1 < shard->token_count; ++i)
    if (shard->tokens[i] != LAP_EOS) return true;
  return false;
}

lap_code lap_check_counted(const lap_token_set *tokens, size_t first, lap_status *status) {
  for (size_t i = first; i < tokens->count; ++i)
    if (has_counted_position(tokens->shard[i])) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: no position is counted: the shards hold no text to predict",
                  tokens->shard[first]->path);
}

lap_code lap_check_tokens(const lap_token_set *tokens, int64_t vocab_size,
                          const char *tokenizer_path, lap_status *status) {
  const lap_token_shard *shard = tokens->shard[0]; /* all of a set are alike */
  if (shard->vocab_size > vocab_size)
    return lap_fail(status, LAP_DATA,
                    "%s: vocab_size is %u, but the model's is %" PRId64
                    "; it must be at least as large",
                    shard->path, shard->vocab_size, vocab_size);
  LAP_TRY(lap_check_counted(tokens, 0, status));
  if (!tokenizer_path) return LAP_OK;
  char hex[LAP_SHA256_HEX];
  LAP_TRY(lap_sha256_file(tokenizer_path, hex, status));
  if (strcmp(shard->tokenizer_sha256, hex))
    return lap_fail(
        status, LAP_DATA,
        "%s: made with tokenizer %.12s..., but tokenizer %s is %.12s...; tokenize the text "
        "with that one, or name the tokenizer that made the shards",
        shard->path, shard->tokenizer_sha256, tokenizer_path, hex);
  return LAP_OK;
}

lap_code lap_model_open_tokens(const lap_model_source *source, const char *pattern,
                               lap_token_set *tokens, lap_status *status) {
  LAP_TRY(lap_token_set_open(pattern, tokens, status));
  const lap_code code =
      lap_check_tokens(tokens, source->config->model.vocab_size, source->tokenizer_path, status);
  if (code != LAP_OK) lap_token_set_close(tokens);
  return code;
}
