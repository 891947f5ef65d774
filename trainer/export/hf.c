#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "dataset/tokenizer_model.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/export/export.h"
#include "trainer/export/hf_tokenizer.h"
#include "trainer/hf/config.h"
#include "trainer/hf/end_ids.h"
#include "trainer/hf/safetensors.h"

typedef struct {
  const lap_model_source *model;
  const char *directory; /* under its temporary name */
  int64_t shard_bytes;
  int *file_of; /* [parameters->count]: which file of weights has the tensor */
  lap_export_report report;
} exporter;

static lap_code write_text(const exporter *e, const char *name, const char *text,
                           lap_status *status) {
  char *path = lap_format("%s/%s", e->directory, name);
  const lap_code code = lap_file_write(path, text, strlen(text), status);
  free(path);
  return code;
}

static lap_code write_json(const exporter *e, const char *name, const json_t *object,
                           lap_status *status) {
  char *text = lap_hf_print_json(object);
  const lap_code code = write_text(e, name, text, status);
  free(text);
  return code;
}

/* --- weights --- */

/* Tensors in order of their names fill one file after the other; a tensor is never divided. */
static void assign_tensors(exporter *e) {
  const lap_parameters *parameters = e->model->parameters;
  int64_t in_file = 0;
  e->report = (lap_export_report){.files = 1};
  e->file_of = lap_allocate(parameters->count, sizeof *e->file_of);
  for (int i = 0; i < parameters->count; ++i) {
    const int64_t bytes = parameters->parameter[i].elements * (int64_t)sizeof(float);
    if (in_file > 0 && in_file + bytes > e->shard_bytes) {
      ++e->report.files;
      in_file = 0;
    }
    e->file_of[i] = e->report.files - 1;
    e->report.bytes += bytes;
    in_file += bytes;
  }
}

static char *weights_name(const exporter *e, int file) {
  if (e->report.files == 1) return lap_copy_string("model.safetensors");
  return lap_format("model-%05d-of-%05d.safetensors", file + 1, e->report.files);
}

static lap_code write_weights_file(const exporter *e, int file, lap_status *status) {
  const lap_parameters *parameters = e->model->parameters;
  lap_safetensors_source *tensors = lap_allocate(parameters->count, sizeof *tensors);
  size_t count = 0;
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    if (e->file_of[i] == file)
      tensors[count++] =
          (lap_safetensors_source){.name = p->name,
                                   .dtype = LAP_DTYPE_F32,
                                   .dimensions = p->is_norm ? 1 : 2,
                                   .shape = {p->is_norm ? p->columns : p->rows, p->columns},
                                   .values = e->model->weights + p->offset};
  }
  char *name = weights_name(e, file), *path = lap_format("%s/%s", e->directory, name);
  const lap_code code = lap_safetensors_write(path, tensors, count, status);
  free(name);
  free(path);
  free(tensors);
  return code;
}

static lap_code write_index(const exporter *e, lap_status *status) {
  const lap_parameters *parameters = e->model->parameters;
  json_t *map = json_object();
  for (int i = 0; i < parameters->count; ++i) {
    char *name = weights_name(e, e->file_of[i]);
    json_object_set_new(map, parameters->parameter[i].name, json_string(name));
    free(name);
  }
  json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)e->report.bytes,
                            "weight_map", map);
  const lap_code code = write_json(e, "model.safetensors.index.json", index, status);
  json_decref(index);
  return code;
}

static lap_code write_weights(exporter *e, lap_status *status) {
  assign_tensors(e);
  for (int file = 0; file < e->report.files; ++file) LAP_TRY(write_weights_file(e, file, status));
  return e->report.files > 1 ? write_index(e, status) : LAP_OK;
}

/* --- tokenizer --- */

static lap_code write_tokenizer_json(const exporter *e, const lap_tokenizer_model *model,
                                     lap_status *status) {
  json_t *tokenizer;
  LAP_TRY(lap_hf_tokenizer_make(model, &tokenizer, status));
  char *text = json_dumps(tokenizer, JSON_COMPACT);
  lap_code code = write_text(e, "tokenizer.json", text, status);
  free(text);
  json_decref(tokenizer);
  if (code != LAP_OK) return code;
  json_t *config = lap_hf_tokenizer_config(model, e->model->config->model.max_position_embeddings);
  code = write_json(e, "tokenizer_config.json", config, status);
  json_decref(config);
  return code;
}

static lap_code write_tokenizer_model(const exporter *e, const char *bytes, size_t count,
                                      lap_status *status) {
  char *path = lap_format("%s/tokenizer.model", e->directory);
  const lap_code code = lap_file_write(path, bytes, count, status);
  free(path);
  return code;
}

static lap_code check_vocabulary(const exporter *e, const lap_tokenizer_model *model,
                                 lap_status *status) {
  const int64_t vocab = e->model->config->model.vocab_size;
  if (model->piece_count <= vocab) return LAP_OK;
  return lap_fail(status, LAP_DATA, "has %u pieces, but the model's vocab_size is %" PRId64,
                  model->piece_count, vocab);
}

static lap_code write_tokenizer(const exporter *e, lap_status *status) {
  const char *path = e->model->tokenizer_path;
  char *bytes;
  size_t count;
  if (!path) return LAP_OK;
  LAP_TRY(lap_file_read(path, LAP_MODEL_MAX_BYTES, &bytes, &count, status));
  lap_tokenizer_model model = {0};
  lap_code code = lap_tokenizer_model_parse(bytes, count, &model, status);
  if (code == LAP_OK) code = check_vocabulary(e, &model, status);
  if (code == LAP_OK) code = write_tokenizer_json(e, &model, status);
  if (code != LAP_OK) lap_fail_context(status, "%s", path);
  if (code == LAP_OK) code = write_tokenizer_model(e, bytes, count, status);
  lap_tokenizer_model_release(&model);
  free(bytes);
  return code;
}

/* --- the rest --- */

static lap_code write_generation_config(const exporter *e, const lap_end_ids *ends,
                                        lap_status *status) {
  json_t *object = lap_hf_generation_config(ends);
  const lap_code code = write_json(e, "generation_config.json", object, status);
  json_decref(object);
  return code;
}

static lap_code write_files(exporter *e, json_t *config, lap_status *status) {
  lap_end_ids ends;
  LAP_TRY(lap_hf_end_ids_read(e->model->path, e->model->config->model.vocab_size, &ends, status));
  json_object_set_new(config, "eos_token_id", lap_hf_end_ids_to_json(&ends));
  LAP_TRY(write_json(e, "config.json", config, status));
  LAP_TRY(write_generation_config(e, &ends, status));
  LAP_TRY(write_tokenizer(e, status)); /* before the long part: it may be refused */
  return write_weights(e, status);
}

static lap_code write_directory(exporter *e, const char *out, json_t *config, lap_status *status) {
  char *temporary;
  lap_checkpoint_tidy_beside(out); /* what a killed export of the same name left */
  LAP_TRY(lap_checkpoint_begin_directory(out, &temporary, status));
  e->directory = temporary;
  lap_code code = write_files(e, config, status);
  if (code == LAP_OK) code = lap_file_publish(temporary, out, status);
  lap_status ignored;
  if (code != LAP_OK) lap_file_remove_tree(temporary, &ignored);
  free(e->file_of);
  free(temporary);
  return code;
}

lap_code lap_export_hf(const lap_export_request *request, lap_export_report *report,
                       lap_status *status) {
  exporter e = {.model = request->model, .shard_bytes = request->shard_bytes};
  json_t *config;
  LAP_TRY(lap_hf_config_make(&request->model->config->model, &config, status));
  const lap_code code = write_directory(&e, request->out, config, status);
  json_decref(config);
  *report = e.report;
  return code;
}
