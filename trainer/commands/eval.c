/* eval: how well a trained model predicts held-out tokens, and how closely it follows a teacher.
 *
 * For people who compare models. It reads a checkpoint, a run directory or a Hugging Face
 * directory, token shards and, where --cache is given, a teacher's cache of them; it writes nothing
 * but its result. Collective: ranks form replicas of the model, which share the windows; the
 * figures have the same bits at any number of ranks and threads.
 */
#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "mpi/transport/agree.h"
#include "teacher/cache_open.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/model_flags.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/model/evaluate.h"

typedef struct {
  const char *tokens, *cache;
  lap_model_flags model;
} eval_flags;

static const lap_flag flags_of_eval[] = {
    {.name = "tokens",
     .value = "GLOB",
     .offset = offsetof(eval_flags, tokens),
     .help = "token shards to predict: a path, folder or glob"},
    {.name = "cache",
     .value = "GLOB",
     .offset = offsetof(eval_flags, cache),
     .help = "teacher cache of these shards, likewise: adds kl and agreement"},
    {0}};

/* --- opening --- */

typedef struct {
  lap_sharded_model model;
  lap_token_set tokens;
  lap_cache *cache;
  lap_data data;
  uint16_t *piece_bytes;
} eval_inputs;

static lap_code open_data(const eval_flags *flags, eval_inputs *in, lap_status *status) {
  const lap_config *config = in->model.source.config;
  LAP_TRY(lap_model_open_tokens(&in->model.source, flags->tokens, &in->tokens, status));
  if (in->model.source.tokenizer_path) {
    in->piece_bytes =
        lap_evaluate_piece_bytes(in->model.source.tokenizer_path, config->model.vocab_size, status);
    if (!in->piece_bytes) return status->code;
  }
  in->data = (lap_data){.tokens = &in->tokens, .document_mask = config->data.document_mask};
  LAP_TRY(lap_model_flags_length(&flags->model, config, &in->data.sequence_length, status));
  if (!flags->cache) return LAP_OK;
  const lap_cache_expectation expected = {
      .vocab_size = (uint32_t)config->model.vocab_size,
      .sequence_length = in->data.sequence_length,
      .document_mask = in->data.document_mask,
      .allow_context_mismatch = config->teacher.allow_context_mismatch,
      .allow_shift = config->teacher.allow_shift,
      .by_flags = true};
  LAP_TRY(lap_cache_open(flags->cache, &in->tokens, &expected, &in->cache, status));
  in->data.cache = in->cache;
  return LAP_OK;
}

static void close_inputs(eval_inputs *in) {
  lap_cache_close(in->cache); /* before the tokens it belongs to */
  lap_token_set_close(&in->tokens);
  lap_sharded_model_close(&in->model);
  free(in->piece_bytes);
}

/* --- output --- */

static void show_progress(void *context, uint64_t done, uint64_t total) {
  lap_console *console = context;
  if (done == 1) lap_console_progress_begin(console, "eval", "windows", (int64_t)total, 0);
  lap_console_progress(console, (int64_t)done, "");
  if (done == total) lap_console_progress_end(console);
}

static void print_evaluation(const lap_evaluation *e) {
  printf("loss           %.6f nats/token\nperplexity     %.4f\n", e->loss, e->perplexity);
  if (e->bits_per_byte == e->bits_per_byte) printf("bits per byte  %.4f\n", e->bits_per_byte);
  printf("accuracy       %.2f %%\n", 100 * e->accuracy);
  if (e->agreement == e->agreement) {
    printf("kl             %.6f nats/token, to the teacher's kept ids and the rest\n", e->kl);
    printf("agreement      %.2f %% with the teacher's likeliest token\n", 100 * e->agreement);
  }
  if (e->teacher_loss == e->teacher_loss)
    printf("teacher loss   %.6f nats/token\n", e->teacher_loss);
  if (lap_evaluation_lead(e) > 0)
    printf(
        "               the model is better than its teacher: its loss is %.6f nats/token below "
        "the teacher's on these positions\n",
        lap_evaluation_lead(e));
  char rate[LAP_HUMAN_TEXT];
  printf("positions      %" PRIu64 " in %" PRIu64 " windows, %s tokens/s\n", e->counted, e->windows,
         lap_human_count(e->tokens_per_second, rate));
}

static lap_code print_result(const lap_evaluation *e, int64_t peak_bytes, const char *path,
                             bool json, lap_status *status) {
  if (!json) {
    char peak[LAP_HUMAN_TEXT];
    print_evaluation(e);
    printf("memory peak    %s on the fullest rank\n", lap_human_bytes((double)peak_bytes, peak));
    return LAP_OK;
  }
  json_t *object = lap_evaluation_to_json(e);
  json_object_set_new(object, "peak_bytes", json_integer((json_int_t)peak_bytes));
  json_object_set_new(object, "checkpoint", json_string(path));
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* --- the command --- */

static lap_code evaluate_model(const lap_session *session, const eval_flags *flags,
                               const lap_command_line *line, lap_status *status) {
  eval_inputs in = {0};
  lap_status own = {0};
  if (!flags->tokens) own.code = lap_fail(&own, LAP_USAGE, "--tokens GLOB is needed");
  if (own.code == LAP_OK)
    own.code = lap_sharded_model_open(line->positional[0], flags->model.layout, session->comm,
                                      &in.model, &own);
  if (own.code == LAP_OK)
    own.code = lap_precision_flag_apply(flags->model.precision, in.model.source.config, &own);
  if (own.code == LAP_OK) own.code = open_data(flags, &in, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  const lap_model_source *source = &in.model.source;
  assert(source->config || code != LAP_OK);
  if (code == LAP_OK && source->notice) lap_console_warn(session->console, "%s", source->notice);
  if (code == LAP_OK && in.cache && lap_cache_notice(in.cache))
    lap_console_warn(session->console, "--cache: %s", lap_cache_notice(in.cache));
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(source->config),
                                 (int)flags->model.threads, status);
  lap_evaluation e;
  if (code == LAP_OK) {
    lap_session_say_cores(session, (int)flags->model.threads);
    const lap_evaluate_request request = {.model = &source->config->model,
                                          .state = in.model.state,
                                          .weights = in.model.weights,
                                          .data = &in.data,
                                          .piece_bytes = in.piece_bytes,
                                          .threads = (int)flags->model.threads,
                                          .progress = session->root ? show_progress : NULL,
                                          .context = session->console};
    code = lap_evaluate(&request, &e, status);
  }
  int64_t smallest, peak_bytes = 0;
  if (code == LAP_OK) lap_agree_range(session->comm, lap_memory_peak(), &smallest, &peak_bytes);
  if (code == LAP_OK && session->root)
    code = print_result(&e, peak_bytes, source->path, line->json, status);
  close_inputs(&in);
  return code;
}

static lap_code evaluate(const lap_session *session, const lap_command_line *line,
                         void *destination, lap_status *status) {
  const eval_flags *flags = destination;
  bool idle = false;
  LAP_TRY(lap_model_flags_employ(&flags->model, session, &idle, status));
  if (idle) return LAP_OK;
  lap_comm_set_watchdog(session->comm, LAP_PATIENT_SECONDS);
  return evaluate_model(session, flags, line, status);
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  eval_flags flags = {.model = {.threads = 1}};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 1,
                                     .json = true,
                                     .flags = flags_of_eval,
                                     .destination = &flags,
                                     .shared_flags = lap_flags_of_model,
                                     .shared_destination = &flags.model};
  return lap_session_run(command, &syntax, argc, argv, NULL, evaluate, status);
}

const lap_command lap_command_eval = {
    .name = "eval",
    .summary =
        "held-out loss, perplexity, bits per byte, distance to a teacher; under mpirun or alone",
    .usage = "CHECKPOINT --tokens GLOB [--cache GLOB]",
    .description =
        "CHECKPOINT is a checkpoint, a run directory (its newest whole checkpoint) or a "
        "Hugging Face directory.",
    .collective = true,
    .run = run};
