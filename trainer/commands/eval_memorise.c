#include "trainer/commands/eval_memorise.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/memory.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/measure/memorise.h"
#include "trainer/measure/wilson.h"
#include "trainer/model/source.h"

enum { KINDS = 2 };
static const char *const prefixes[KINDS] = {"", "control_"};

static lap_code measure(const lap_session *session, const lap_model_flags *flags,
                        const lap_model_source *source, const lap_eval_memorise_request *request,
                        lap_memorised found[KINDS], lap_status *status) {
  const lap_gemma2_config *config = &source->config->model;
  if (config->max_position_embeddings < 1 + LAP_MEMORISE_PROMPT + LAP_MEMORISE_CONTINUATION)
    return lap_fail(status, LAP_USAGE,
                    "--memorise: needs %d positions, the model's max_position_embeddings is "
                    "%" PRId64,
                    1 + LAP_MEMORISE_PROMPT + LAP_MEMORISE_CONTINUATION,
                    config->max_position_embeddings);
  LAP_TRY(
      lap_session_open_gemm(session, lap_config_gemm(source->config), (int)flags->threads, status));
  const char *const patterns[KINDS] = {request->seen, request->unseen};
  for (int k = 0; k < KINDS; ++k) {
    lap_token_set set = {0};
    lap_code code = lap_model_open_tokens(source, patterns[k], &set, status);
    if (code == LAP_OK)
      code = lap_memorise(config, source->weights, &set, (uint64_t)request->prompts, flags->threads,
                          &found[k], status);
    lap_token_set_close(&set);
    if (code != LAP_OK) return code;
  }
  return LAP_OK;
}

static json_t *to_json(const lap_memorised found[KINDS], const char *checkpoint) {
  json_t *object = json_pack("{s:o}", "checkpoint", lap_json_path(checkpoint));
  for (int k = 0; k < KINDS; ++k) {
    char *prompts = lap_format("%sprompts", prefixes[k]);
    char *exact = lap_format("%sexact", prefixes[k]), *near = lap_format("%snear", prefixes[k]);
    json_object_set_new(object, prompts, json_integer((json_int_t)found[k].prompts));
    lap_wilson_json(object, exact, found[k].exact, found[k].prompts, true);
    lap_wilson_json(object, near, found[k].near, found[k].prompts, true);
    free(prompts), free(exact), free(near);
  }
  return object;
}

static void print_text(const lap_memorised found[KINDS]) {
  static const char *const what[KINDS] = {"training text", "held-out text"};
  for (int k = 0; k < KINDS; ++k) {
    printf("%s, %" PRIu64 " prompts of %d tokens, %d more said:\n", what[k], found[k].prompts,
           LAP_MEMORISE_PROMPT, LAP_MEMORISE_CONTINUATION);
    lap_wilson_print("  exact", found[k].exact, found[k].prompts);
    lap_wilson_print("  within 10 % of edits", found[k].near, found[k].prompts);
  }
}

lap_code lap_eval_memorise(const lap_session *session, const lap_model_flags *flags,
                           const lap_eval_memorise_request *request, lap_status *status) {
  LAP_TRY(lap_session_alone(session, "eval --memorise", status));
  lap_memorised found[KINDS];
  lap_model_source source = {0};
  lap_code code = lap_model_open(request->checkpoint, LAP_MODEL_FLOAT32, &source, status);
  if (code == LAP_OK) code = lap_precision_flag_apply(flags->precision, source.config, status);
  if (code == LAP_OK && source.notice) lap_console_warn(session->console, "%s", source.notice);
  if (code == LAP_OK) code = measure(session, flags, &source, request, found, status);
  if (code == LAP_OK && request->json) {
    json_t *object = to_json(found, source.path);
    code = lap_command_print_json(object, status);
    json_decref(object);
  } else if (code == LAP_OK) {
    print_text(found);
  }
  lap_model_close(&source);
  return code;
}
