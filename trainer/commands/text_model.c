#include "trainer/commands/text_model.h"

#include <inttypes.h>

#include "autograd/kernel/gemm_backend.h"
#include "core/memory.h"
#include "trainer/commands/precision_flag.h"

lap_code lap_text_model_tokenizer(const lap_model_source *source, lap_tokenizer **tokenizer,
                                  lap_status *status) {
  const char *path = source->tokenizer_path;
  if (!path)
    return lap_fail(status, LAP_DATA,
                    "%s: has no tokenizer.model, without which there is no text; put the "
                    "SentencePiece model of its tokenizer there (a tokenizer.json is not read)",
                    source->path);
  LAP_TRY(lap_tokenizer_open(path, tokenizer, status));
  const int64_t pieces = lap_tokenizer_vocab_size(*tokenizer);
  const int64_t vocab = source->config->model.vocab_size;
  if (pieces > vocab)
    return lap_fail(status, LAP_DATA,
                    "%s: has %" PRId64 " pieces, but the model's vocab_size is %" PRId64
                    "; it is not the tokenizer that this model was trained with",
                    path, pieces, vocab);
  return LAP_OK;
}

lap_code lap_text_model_open(const char *path, lap_text_model *model, lap_status *status) {
  LAP_TRY(lap_model_open(path, LAP_MODEL_FLOAT32, &model->source, status));
  return lap_text_model_tokenizer(&model->source, &model->tokenizer, status);
}

/* What the model is decides in which form its weights are held. */
static lap_code open_held(const char *path, const char *precision, lap_model_source *source,
                          lap_status *status) {
  LAP_TRY(lap_model_open(path, LAP_MODEL_NO_WEIGHTS, source, status));
  LAP_TRY(lap_precision_flag_apply(precision, source->config, status));
  const lap_model_form form = lap_model_form_of(source);
  lap_model_close(source);
  LAP_TRY(lap_model_open(path, form, source, status));
  return lap_precision_flag_apply(precision, source->config, status);
}

lap_code lap_text_model_open_held(const char *path, const char *precision, lap_text_model *model,
                                  lap_status *status) {
  LAP_TRY(open_held(path, precision, &model->source, status));
  return lap_text_model_tokenizer(&model->source, &model->tokenizer, status);
}

void lap_text_model_close(lap_text_model *model) {
  lap_model_close(&model->source);
  lap_tokenizer_close(model->tokenizer);
}

lap_code lap_text_model_gemm(const lap_config *config, lap_console *console, lap_status *status) {
  lap_gemm_choice choice = lap_config_gemm(config);
  const lap_code code = lap_gemm_open(&choice, status);
  if (code == LAP_OK || config->gemm != LAP_GEMM_OPENBLAS) return code;
  lap_console_warn(console, "%s; going on with gemm lapidary", status->message);
  choice.backend = LAP_GEMM_LAPIDARY;
  return lap_gemm_open(&choice, status);
}

lap_code lap_text_model_encode(const lap_text_model *model, const char *flag, const char *text,
                               size_t bytes, int32_t **tokens, int64_t *count, lap_status *status) {
  const uint32_t *ids;
  size_t id_count;
  LAP_TRY(lap_tokenizer_encode(model->tokenizer, text, bytes, &ids, &id_count, status));
  const int64_t most = model->source.config->model.max_position_embeddings;
  *count = 1 + (int64_t)id_count;
  if (*count > most)
    return lap_fail(status, LAP_USAGE,
                    "%s: has %" PRId64
                    " tokens with BOS; the model's max_position_embeddings is %" PRId64
                    ": shorten it",
                    flag, *count, most);
  *tokens = lap_allocate(*count, sizeof **tokens);
  (*tokens)[0] = LAP_BOS;
  for (size_t i = 0; i < id_count; ++i) (*tokens)[1 + i] = (int32_t)ids[i];
  return LAP_OK;
}
