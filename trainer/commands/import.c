/* import: makes a checkpoint of a Hugging Face directory.
 *
 * For people who start from a model of others. It reads config.json, the safetensors and
 * tokenizer.model, checks every value, and writes a weights-only checkpoint at --out, where nothing
 * may be. The other commands take such a directory as it is; a checkpoint adds checksums and a
 * config to go on from. It runs alone: several ranks are refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/json.h"
#include "dataset/tokenizer.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/config/value.h"
#include "trainer/hf/config.h"
#include "trainer/hf/end_ids.h"
#include "trainer/hf/weights.h"
#include "trainer/model/source.h"

/* They fill one text. */
static const lap_flag flags_of_import[] = {
    {.name = "out", .value = "CHECKPOINT", .help = "directory to write: weights only"}, {0}};

static lap_code check_arguments(const char *directory, const char *out, lap_status *status) {
  if (!out) return lap_fail(status, LAP_USAGE, "--out CHECKPOINT is needed");
  if (lap_file_exists(out)) /* before gigabytes are read */
    return lap_fail(status, LAP_USAGE, "%s: exists; name a place where nothing is", out);
  if (lap_model_is_hugging_face(directory)) return LAP_OK;
  if (!lap_file_exists(directory))
    return lap_fail(status, LAP_DATA,
                    "%s: is not there; expected a Hugging Face directory on this machine: lapidary "
                    "downloads none",
                    directory);
  return lap_fail(status, LAP_DATA, "%s: is no Hugging Face directory, which has a config.json",
                  directory);
}

/* Without a tokenizer that lapidary can use, no command could do anything with the model. */
static lap_code check_tokenizer(const lap_model_source *model, lap_console *console,
                                lap_status *status) {
  if (!model->tokenizer_path) {
    lap_console_warn(console, "%s: has no tokenizer.model, so the checkpoint has none either",
                     model->path);
    return LAP_OK;
  }
  lap_tokenizer *tokenizer;
  LAP_TRY(lap_tokenizer_open(model->tokenizer_path, &tokenizer, status));
  const uint32_t pieces = lap_tokenizer_vocab_size(tokenizer);
  lap_tokenizer_close(tokenizer);
  const int64_t vocab = model->config->model.vocab_size;
  if (pieces <= vocab) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: has %u pieces, but vocab_size in config.json is %" PRId64
                  "; it is not the tokenizer of this model",
                  model->tokenizer_path, pieces, vocab);
}

/* generation_config.json as text, where texts end with more than EOS; else NULL. */
static lap_code print_ends(const lap_model_source *model, char **text, lap_status *status) {
  lap_end_ids ends;
  *text = NULL;
  LAP_TRY(lap_hf_end_ids_read(model->path, model->config->model.vocab_size, &ends, status));
  if (ends.count == 0) return LAP_OK;
  json_t *object = lap_hf_generation_config(&ends);
  *text = lap_hf_print_json(object);
  json_decref(object);
  return LAP_OK;
}

static lap_code write_checkpoint(const lap_model_source *model, const lap_session *session,
                                 const char *out, lap_status *status) {
  char *generation;
  LAP_TRY(print_ends(model, &generation, status));
  lap_state *state = lap_state_create_alone(&model->config->model, session->comm);
  lap_weight_target target = lap_state_weight_target(state);
  lap_code code = lap_hf_weights_read(model->path, &target, status);
  lap_weight_target_release(&target);
  if (code == LAP_OK) {
    char *text = lap_config_print(model->config);
    const lap_checkpoint_extras extras = {.config_text = text,
                                          .tokenizer_path = model->tokenizer_path,
                                          .generation_text = generation};
    code = lap_checkpoint_write_weights(out, state, &extras, status);
    free(text);
  }
  free(generation);
  lap_state_destroy(state);
  return code;
}

static lap_code print_result(const lap_model_source *model, const char *out, bool as_json,
                             lap_status *status) {
  const int64_t parameters = lap_gemma2_embedding_parameters(&model->config->model) +
                             lap_gemma2_non_embedding_parameters(&model->config->model);
  if (as_json) {
    json_t *object = json_pack("{s:o, s:o, s:I}", "out", lap_json_path(out), "from",
                               lap_json_path(model->path), "parameters", (json_int_t)parameters);
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char count[LAP_HUMAN_TEXT];
  printf("%s: weights of %s, %s parameters\n", out, model->path,
         lap_human_count((double)parameters, count));
  return LAP_OK;
}

static lap_code import(const lap_session *session, const lap_command_line *line, void *destination,
                       lap_status *status) {
  const char *out = *(const char **)destination, *directory = line->positional[0];
  lap_model_source model;
  LAP_TRY(lap_session_alone(session, "import", status));
  LAP_TRY(check_arguments(directory, out, status));
  LAP_TRY(lap_model_open(directory, LAP_MODEL_NO_WEIGHTS, &model, status));
  if (model.notice) lap_console_warn(session->console, "%s", model.notice);
  lap_code code = check_tokenizer(&model, session->console, status);
  if (code == LAP_OK) code = write_checkpoint(&model, session, out, status);
  if (code == LAP_OK) code = print_result(&model, out, line->json, status);
  lap_model_close(&model);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  const char *out = NULL;
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_import,
                                     .destination = &out};
  return lap_session_run(command, &syntax, argc, argv, NULL, import, status);
}

const lap_command lap_command_import = {
    .name = "import",
    .summary = "make a checkpoint of a Hugging Face directory",
    .usage = "HF_DIR --out CHECKPOINT",
    .description =
        "HF_DIR is what transformers' save_pretrained writes for a Gemma 2 model: config.json, "
        "model.safetensors or its shards and their index, in float32, bfloat16 or float16, and "
        "perhaps tokenizer.model. init, teach, eval, generate and export take such a directory as "
        "it is.",
    .run = run};
