#include "trainer/commands/eval_choices.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/json.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/commands/text_model.h"
#include "trainer/measure/choices.h"
#include "trainer/measure/choices_table.h"
#include "trainer/measure/wilson.h"
#include "trainer/model/same_inputs.h"

typedef struct {
  lap_sharded_model model;
  lap_tokenizer *tokenizer;
  lap_choices choices;
  lap_token_set unigram;
} choices_inputs;

static lap_code open_inputs(const lap_session *session, const lap_model_flags *flags,
                            const lap_eval_choices_request *request, choices_inputs *in,
                            lap_status *status) {
  LAP_TRY(lap_choices_read(request->path, &in->choices, status));
  LAP_TRY(lap_sharded_model_open(request->checkpoint, flags->layout, session->comm, &in->model,
                                 status));
  const lap_model_source *source = &in->model.source;
  LAP_TRY(lap_precision_flag_apply(flags->precision, source->config, status));
  LAP_TRY(lap_sliding_window_apply(request->sliding_window, source->config, status));
  LAP_TRY(lap_text_model_tokenizer(source, &in->tokenizer, status));
  LAP_TRY(lap_sharded_model_read(&in->model, status));
  if (!request->unigram) return LAP_OK;
  return lap_model_open_tokens(source, request->unigram, &in->unigram, status);
}

static void close_inputs(choices_inputs *in) {
  lap_token_set_close(&in->unigram);
  lap_choices_release(&in->choices);
  lap_tokenizer_close(in->tokenizer);
  lap_sharded_model_close(&in->model);
}

static void print_seen(const json_t *list) {
  size_t i;
  const json_t *row;
  json_array_foreach(list, i, row) printf("seen %6" JSON_INTEGER_FORMAT
                                          " times      exposure %.2f bits (%.2f to %.2f), "
                                          "%" JSON_INTEGER_FORMAT " items\n",
                                          json_integer_value(json_object_get(row, "seen")),
                                          json_real_value(json_object_get(row, "exposure")),
                                          json_real_value(json_object_get(row, "least_exposure")),
                                          json_real_value(json_object_get(row, "most_exposure")),
                                          json_integer_value(json_object_get(row, "items")));
}

static lap_code print_result(const lap_choices *choices, const lap_choices_result *r,
                             const char *checkpoint, bool json, lap_status *status) {
  json_t *object = lap_choices_to_json(choices, r);
  lap_code code = LAP_OK;
  if (json) {
    json_object_set_new(object, "checkpoint", lap_json_path(checkpoint));
    code = lap_command_print_json(object, status);
  } else {
    printf("items                  %" PRIu64 "\n", r->items);
    lap_wilson_print("accuracy", r->model.correct, r->items);
    lap_wilson_print("accuracy per byte", r->model.correct_per_byte, r->items);
    printf("chance                 %6.2f %%\n", 100 * r->chance);
    if (r->has_unigram) {
      lap_wilson_print("unigram", r->unigram.correct, r->items);
      lap_wilson_print("unigram per byte", r->unigram.correct_per_byte, r->items);
    }
    print_seen(json_object_get(object, "by_seen"));
  }
  json_decref(object);
  return code;
}

/* On the first rank: the file, then what is printed. */
static lap_code finish(const lap_eval_choices_request *request, const choices_inputs *in,
                       const lap_choices_result *result, lap_status *status) {
  if (request->table)
    LAP_TRY(
        lap_choices_table_write(request->table, &in->model.source, &in->choices, result, status));
  return print_result(&in->choices, result, in->model.source.path, request->json, status);
}

lap_code lap_eval_choices(const lap_session *session, const lap_model_flags *flags,
                          const lap_eval_choices_request *request, lap_status *status) {
  choices_inputs in = {0};
  lap_status own = {0};
  own.code = open_inputs(session, flags, request, &in, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK)
    code = lap_agree_on_model(&in.model.source, request->checkpoint, session->comm, status);
  if (code == LAP_OK) code = lap_agree_on_file(request->path, session->comm, status);
  if (code == LAP_OK && request->unigram)
    code = lap_agree_on_tokens(&in.unigram, "--unigram", session->comm, status);
  if (code == LAP_OK && in.model.source.notice)
    lap_console_warn(session->console, "%s", in.model.source.notice);
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(in.model.source.config),
                                 (int)flags->threads, status);
  lap_choices_result result = {0};
  if (code == LAP_OK) {
    lap_session_say_cores(session, (int)flags->threads);
    lap_step_progress progress;
    const lap_progress_hook hook = lap_step_progress_begin(&progress, session->console);
    const lap_choices_request scored = {.model = &in.model,
                                        .choices = &in.choices,
                                        .tokenizer = in.tokenizer,
                                        .unigram = request->unigram ? &in.unigram : NULL,
                                        .threads = (int)flags->threads,
                                        .hook = &hook};
    code = lap_choices_score_all(&scored, &result, status);
    lap_step_progress_end(&progress);
  }
  if (code == LAP_OK && session->root) code = finish(request, &in, &result, status);
  lap_choices_result_release(&result);
  close_inputs(&in);
  return code;
}
