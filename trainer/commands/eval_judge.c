#include "trainer/commands/eval_judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/measure/judge.h"
#include "trainer/measure/wilson.h"

typedef struct {
  lap_model_source model, judge;
  lap_token_set tokens;
} judge_inputs;

static lap_code check_length(const lap_model_source *source, lap_status *status) {
  enum { NEEDED = 1 + LAP_JUDGE_PROMPT + LAP_JUDGE_CONTINUATION };
  const int64_t positions = source->config->model.max_position_embeddings;
  if (positions >= NEEDED) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "--judge: needs %d positions, max_position_embeddings of %s is %" PRId64, NEEDED,
                  source->path, positions);
}

/* Both models are of the tokenizer of the shards, so of one. */
static lap_code open_inputs(const lap_model_flags *flags, const lap_eval_judge_request *request,
                            judge_inputs *in, lap_status *status) {
  LAP_TRY(lap_model_open(request->checkpoint, LAP_MODEL_FLOAT32, &in->model, status));
  LAP_TRY(lap_model_open(request->judge, LAP_MODEL_FLOAT32, &in->judge, status));
  LAP_TRY(lap_precision_flag_apply(flags->precision, in->model.config, status));
  LAP_TRY(lap_precision_flag_apply(flags->precision, in->judge.config, status));
  LAP_TRY(check_length(&in->model, status));
  LAP_TRY(check_length(&in->judge, status));
  LAP_TRY(lap_model_open_tokens(&in->judge, request->tokens, &in->tokens, status));
  lap_token_set_close(&in->tokens);
  return lap_model_open_tokens(&in->model, request->tokens, &in->tokens, status);
}

static lap_code print_result(const lap_eval_judge_request *request, const judge_inputs *in,
                             const lap_judged *judged, lap_status *status) {
  const lap_judged_means means = lap_judged_mean(judged);
  if (!request->json) {
    printf("prompts           %" PRIu64 " of %d tokens, up to %d more drawn\n", judged->count,
           LAP_JUDGE_PROMPT, LAP_JUDGE_CONTINUATION);
    printf("the judge's loss  %.6f nats/token; of the text itself %.6f\n", means.nats,
           means.text_nats);
    lap_wilson_print("preferred to the text itself", means.preferred, judged->count);
    return LAP_OK;
  }
  json_t *object = json_pack("{s:I, s:o, s:o, s:o, s:o}", "prompts", (json_int_t)judged->count,
                             "judge_loss", lap_json_number(means.nats), "text_loss",
                             lap_json_number(means.text_nats), "checkpoint",
                             lap_json_path(in->model.path), "judge", lap_json_path(in->judge.path));
  lap_wilson_json(object, "judge_preference", means.preferred, judged->count, true);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* Each computes as it was trained, or both as the flags say; a process has one OpenBLAS core. */
static lap_code draw_and_listen(const lap_session *session, const lap_model_flags *flags,
                                uint64_t prompts, const judge_inputs *in, lap_judged *judged,
                                lap_status *status) {
  const lap_judge_model model = {&in->model.config->model, in->model.weights};
  const lap_judge_model judge = {&in->judge.config->model, in->judge.weights};
  const int threads = (int)flags->threads;
  lap_gemm_choice products[] = {lap_config_gemm(in->model.config),
                                lap_config_gemm(in->judge.config)};
  if (products[0].backend == LAP_GEMM_OPENBLAS) products[1].core = products[0].core;
  LAP_TRY(lap_session_open_gemm(session, products[0], threads, status));
  LAP_TRY(lap_judge_draw(&model, judge.config->vocab_size, &in->tokens, prompts, threads, judged,
                         status));
  LAP_TRY(lap_session_open_gemm(session, products[1], threads, status));
  if (lap_judge_score(&judge, &in->tokens, threads, judged, status) == LAP_OK) return LAP_OK;
  return lap_fail_context(status, "%s", in->judge.path);
}

static lap_code judge_model(const lap_session *session, const lap_model_flags *flags,
                            const lap_eval_judge_request *request, const judge_inputs *in,
                            lap_status *status) {
  lap_judged judged = {0};
  lap_code code = draw_and_listen(session, flags, (uint64_t)request->prompts, in, &judged, status);
  if (code == LAP_OK && request->table)
    code = lap_judged_write(request->table, &in->model, &in->tokens, &judged, status);
  if (code == LAP_OK) code = print_result(request, in, &judged, status);
  free(judged.item);
  return code;
}

lap_code lap_eval_judge(const lap_session *session, const lap_model_flags *flags,
                        const lap_eval_judge_request *request, lap_status *status) {
  LAP_TRY(lap_session_alone(session, "eval --judge", status));
  judge_inputs in = {0};
  lap_code code = open_inputs(flags, request, &in, status);
  if (code == LAP_OK && in.model.notice) lap_console_warn(session->console, "%s", in.model.notice);
  if (code == LAP_OK && in.judge.notice) lap_console_warn(session->console, "%s", in.judge.notice);
  if (code == LAP_OK) code = judge_model(session, flags, request, &in, status);
  lap_token_set_close(&in.tokens);
  lap_model_close(&in.judge);
  lap_model_close(&in.model);
  return code;
}
