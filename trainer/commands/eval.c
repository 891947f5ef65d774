/* eval: how well a trained model predicts held-out tokens, and how closely it follows a teacher.
 *
 * For people who compare models. It reads a checkpoint, a run directory or a Hugging Face
 * directory, token shards and, where --cache is given, a teacher's cache of them; it writes its
 * result, and with --document-losses a file. Collective: ranks form replicas of the model, which
 * share the windows; the figures have the same bits at any number of ranks and threads.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/cli/human.h"
#include "trainer/cli/session.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/eval_choices.h"
#include "trainer/commands/eval_judge.h"
#include "trainer/commands/eval_memorise.h"
#include "trainer/commands/model_flags.h"
#include "trainer/measure/breakdown.h"
#include "trainer/measure/calibration.h"
#include "trainer/measure/document_losses.h"
#include "trainer/model/evaluate.h"
#include "trainer/model/examine_cache.h"
#include "trainer/model/same_inputs.h"

typedef struct {
  const char *tokens, *cache, *document_losses, *by, *choices, *unigram, *memorise, *judge;
  int64_t context, stride, prompts, sliding_window; /* 0: not given */
  lap_model_flags model;
} eval_flags;

enum { USUAL_PROMPTS = 200 };

static const lap_flag flags_of_eval[] = {
    {.name = "tokens",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(eval_flags, tokens),
     .help = "token shards to predict: a path, folder or glob"},
    {.name = "cache",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(eval_flags, cache),
     .help = "teacher cache of these shards, likewise: adds kl and agreement"},
    {.name = "context",
     .value = "C",
     .integer = {2, 1 << 24},
     .offset = offsetof(eval_flags, context),
     .help = "inputs of a window, as --sequence-length, for --stride"},
    {.name = "stride",
     .value = "S",
     .integer = {1, 1 << 24},
     .offset = offsetof(eval_flags, stride),
     .help = "windows that overlap, S tokens from one to the next: each token is predicted from at "
             "least C - S tokens where its document has them; takes C/S times as long"},
    {.name = "document-losses",
     .value = "FILE.h5",
     .offset = offsetof(eval_flags, document_losses),
     .help = "write the sums of every document, or what is found of every item of --choices or "
             "prompt of --judge, to an HDF5 file"},
    {.name = "by",
     .value = "WHAT",
     .offset = offsetof(eval_flags, by),
     .help = "also by document, or by position: by the length of the context, in powers of two"},
    {.name = "choices",
     .value = "FILE.jsonl",
     .offset = offsetof(eval_flags, choices),
     .help = "instead of tokens: lines of {\"context\", \"choices\": [...], \"answer\": index}, of "
             "which the likeliest is chosen"},
    {.name = "unigram",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(eval_flags, unigram),
     .help = "for --choices: token shards whose frequencies are a baseline"},
    {.name = "memorise",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(eval_flags, memorise),
     .help =
         "instead of a loss: what the model says by heart of these shards, which it was trained "
         "on, beside the held-out ones of --tokens"},
    {.name = "judge",
     .value = "CHECKPOINT",
     .offset = offsetof(eval_flags, judge),
     .help = "instead of a loss: what this other model thinks of what the model says after prompts "
             "of --tokens"},
    {.name = "sliding-window",
     .value = "W",
     .integer = {1, 1 << 24},
     .offset = offsetof(eval_flags, sliding_window),
     .help = "tokens that a sliding_attention layer sees [as in the model's training]"},
    {.name = "prompts",
     .value = "N",
     .integer = {1, 1000000},
     .offset = offsetof(eval_flags, prompts),
     .help = "for --memorise and --judge: how many prompts of each [200]"},
    {0}};

/* --- opening --- */

typedef struct {
  lap_sharded_model model;
  lap_token_set tokens;
  lap_cache *cache;
  lap_data data;
  uint16_t *piece_bytes;
} eval_inputs;

/* Their length, and how far they are from each other. */
static lap_code set_windows(const eval_flags *flags, const lap_config *config, lap_data *data,
                            lap_status *status) {
  const int64_t most = config->model.max_position_embeddings;
  if (flags->context > most)
    return lap_fail(status, LAP_USAGE,
                    "--context: %" PRId64 " exceeds model.max_position_embeddings, %" PRId64,
                    flags->context, most);
  if (flags->context)
    data->sequence_length = (uint32_t)flags->context;
  else
    LAP_TRY(lap_model_flags_length(&flags->model, config, &data->sequence_length, status));
  if (flags->stride > data->sequence_length)
    return lap_fail(status, LAP_USAGE,
                    "--stride: %" PRId64 " exceeds the context, %u: tokens would be left out",
                    flags->stride, data->sequence_length);
  /* A window has its prefix and C - 1 tokens: no stride is longer. */
  if (flags->stride && flags->stride < data->sequence_length - 1)
    data->step = (uint32_t)flags->stride;
  return LAP_OK;
}

static lap_cache_expectation expectation(const eval_inputs *in) {
  const lap_config *config = in->model.source.config;
  return (lap_cache_expectation){.vocab_size = (uint32_t)config->model.vocab_size,
                                 .sequence_length = in->data.sequence_length,
                                 .document_mask = in->data.document_mask,
                                 .allow_context_mismatch = config->teacher.allow_context_mismatch,
                                 .allow_shift = config->teacher.allow_shift,
                                 .by_flags = true,
                                 .to_measure = true};
}

static lap_code open_data(const eval_flags *flags, eval_inputs *in, lap_status *status) {
  const lap_config *config = in->model.source.config;
  LAP_TRY(lap_model_open_tokens(&in->model.source, flags->tokens, &in->tokens, status));
  if (in->model.source.tokenizer_path) {
    in->piece_bytes =
        lap_evaluate_piece_bytes(in->model.source.tokenizer_path, config->model.vocab_size, status);
    if (!in->piece_bytes) return status->code;
  }
  in->data = (lap_data){.tokens = &in->tokens, .document_mask = config->data.document_mask};
  LAP_TRY(set_windows(flags, config, &in->data, status));
  if (!flags->cache) return LAP_OK;
  const lap_cache_expectation expected = expectation(in);
  LAP_TRY(lap_cache_find(flags->cache, &in->tokens, &expected, &in->cache, status));
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

static void print_evaluation(const lap_evaluation *e) {
  printf("loss           %.6f nats/token\nperplexity     %.4f\n", e->loss, e->perplexity);
  if (e->bits_per_byte == e->bits_per_byte) printf("bits per byte  %.4f\n", e->bits_per_byte);
  printf("accuracy       %.2f %%\n", 100 * e->accuracy);
  if (e->agreement == e->agreement) {
    printf("kl             %.6f nats/token, to the teacher's kept ids and the rest\n", e->kl);
    printf("agreement      %.2f %% with the teacher's likeliest token\n", 100 * e->agreement);
  }
  if (e->acceptance == e->acceptance)
    printf("acceptance     %.4f to %.4f of its tokens, were it the draft of the teacher\n",
           e->acceptance, e->acceptance_most);
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

/* On rank 0. */
typedef struct {
  lap_evaluation evaluation;
  lap_evaluation_detail detail;
  double calibration_error;
  json_t *breakdown; /* NULL: not asked for */
  int64_t peak_bytes;
} eval_result;

static void print_text(const eval_result *r, const eval_inputs *in, bool by_document) {
  char peak[LAP_HUMAN_TEXT];
  print_evaluation(&r->evaluation);
  printf("calibration    %.4f error of the likeliest token's probability, in %d bins\n",
         r->calibration_error, LAP_CALIBRATION_BINS);
  printf("memory peak    %s on the fullest rank\n", lap_human_bytes((double)r->peak_bytes, peak));
  if (r->breakdown && by_document)
    lap_breakdown_print_documents(r->breakdown, &in->tokens, stdout);
  else if (r->breakdown)
    lap_breakdown_print_positions(r->breakdown, stdout);
}

static lap_code print_result(const eval_result *r, const eval_inputs *in, const eval_flags *flags,
                             bool json, lap_status *status) {
  const bool by_document = flags->by && strcmp(flags->by, "document") == 0;
  if (!json) {
    print_text(r, in, by_document);
    return LAP_OK;
  }
  json_t *object = lap_evaluation_to_json(&r->evaluation);
  json_object_set_new(object, "ece", lap_json_number(r->calibration_error));
  json_object_set_new(object, "sequence_length", json_integer(in->data.sequence_length));
  json_object_set_new(object, "stride", in->data.step ? json_integer(in->data.step) : json_null());
  json_object_set_new(object, "document_mask", json_boolean(in->data.document_mask));
  json_object_set_new(object, "sliding_window",
                      json_integer(in->model.source.config->model.sliding_window));
  json_object_set_new(object, "peak_bytes", json_integer((json_int_t)r->peak_bytes));
  json_object_set_new(object, "checkpoint", lap_json_path(in->model.source.path));
  if (r->breakdown)
    json_object_set(object, by_document ? "by_document" : "by_position", r->breakdown);
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

/* What is made of the detail, on rank 0. */
static lap_code digest(const eval_flags *flags, const eval_inputs *in, eval_result *r,
                       lap_status *status) {
  if (flags->document_losses)
    LAP_TRY(lap_document_losses_write(flags->document_losses, &in->model.source, &in->data,
                                      &r->detail, status));
  r->calibration_error =
      lap_calibration_error(r->detail.confidence, r->detail.counted, LAP_CALIBRATION_BINS);
  if (flags->by)
    r->breakdown = strcmp(flags->by, "document") == 0
                       ? lap_breakdown_by_document(&r->detail)
                       : lap_breakdown_by_position(&r->detail, in->data.cache != NULL);
  return LAP_OK;
}

static void release_result(eval_result *r) {
  lap_evaluation_detail_release(&r->detail);
  json_decref(r->breakdown);
}

/* --- the command --- */

static lap_code check_flags(const eval_flags *flags, lap_status *status) {
  if (flags->unigram)
    return lap_fail(status, LAP_USAGE, "--unigram is the baseline of --choices, which is missing");
  if (flags->prompts)
    return lap_fail(status, LAP_USAGE,
                    "--prompts are those of --memorise or --judge, which are missing");
  if (!flags->tokens)
    return lap_fail(status, LAP_USAGE, "--tokens GLOB or --choices FILE.jsonl is needed");
  if (flags->by && strcmp(flags->by, "document") != 0 && strcmp(flags->by, "position") != 0)
    return lap_fail(status, LAP_USAGE, "--by: is \"%s\", must be document or position", flags->by);
  if (flags->context && flags->model.sequence_length)
    return lap_fail(status, LAP_USAGE, "--context is --sequence-length: give one of them");
  if (flags->stride && flags->cache)
    return lap_fail(status, LAP_USAGE,
                    "--stride: a cache holds what the teacher says in windows that do not overlap; "
                    "leave out --cache, or evaluate the teacher itself with the same --stride");
  return LAP_OK;
}

/* The flags that --choices, --memorise, or --judge leaves without a meaning. */
static lap_code check_other_flags(const eval_flags *flags, lap_status *status) {
  const char *means = flags->choices ? "--choices" : flags->memorise ? "--memorise" : "--judge";
  const struct {
    const char *name;
    bool given;
  } meaningless[] = {{"--tokens", flags->choices && flags->tokens},
                     {"--memorise", flags->choices && flags->memorise},
                     {"--judge", means[2] != 'j' && flags->judge},
                     {"--prompts", flags->choices && flags->prompts},
                     {"--unigram", !flags->choices && flags->unigram},
                     {"--cache", flags->cache},
                     {"--document-losses", flags->memorise && flags->document_losses},
                     {"--sliding-window", !flags->choices && flags->sliding_window},
                     {"--by", flags->by},
                     {"--context", flags->context != 0},
                     {"--stride", flags->stride != 0},
                     {"--sequence-length", flags->model.sequence_length != 0},
                     {"--document-mask", flags->model.document_mask},
                     {"--model-shards", !flags->choices && flags->model.layout.model_shards},
                     {"--model-ranks", !flags->choices && flags->model.layout.model_ranks}};
  for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; ++i)
    if (meaningless[i].given)
      return lap_fail(status, LAP_USAGE, "%s scores texts of its own kind: leave out %s", means,
                      meaningless[i].name);
  if (flags->memorise && !flags->tokens)
    return lap_fail(status, LAP_USAGE,
                    "--memorise needs --tokens GLOB: held-out text, which says what is no memory");
  if (flags->judge && !flags->tokens)
    return lap_fail(status, LAP_USAGE,
                    "--judge needs --tokens GLOB: held-out text, which the prompts are from");
  return LAP_OK;
}

/* Collective. Opens all, agrees on it, and says what is odd. */
static lap_code open_inputs(const lap_session *session, const eval_flags *flags,
                            const lap_command_line *line, eval_inputs *in, lap_status *status) {
  lap_status own = {0};
  lap_comm_set_activity(session->comm, "opening the model and its data");
  own.code = check_flags(flags, &own);
  if (own.code == LAP_OK)
    own.code = lap_sharded_model_open(line->positional[0], flags->model.layout, session->comm,
                                      &in->model, &own);
  if (own.code == LAP_OK)
    own.code = lap_model_flags_apply(&flags->model, in->model.source.config, &own);
  if (own.code == LAP_OK)
    own.code = lap_sliding_window_apply(flags->sliding_window, in->model.source.config, &own);
  if (own.code == LAP_OK) own.code = lap_sharded_model_read(&in->model, &own);
  if (own.code == LAP_OK) own.code = open_data(flags, in, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  const lap_model_source *source = &in->model.source;
  LAP_TRY(lap_agree_on_model(source, line->positional[0], session->comm, status));
  LAP_TRY(lap_agree_on_tokens(&in->tokens, "--tokens", session->comm, status));
  assert(source->config);
  if (source->notice) lap_console_warn(session->console, "%s", source->notice);
  if (in->cache)
    LAP_TRY(lap_examine_measuring_cache(session, (int)flags->model.threads, expectation(in),
                                        "kl and acceptance are not those to the teacher", in->cache,
                                        status));
  return lap_session_open_gemm(session, lap_config_gemm(source->config), (int)flags->model.threads,
                               status);
}

/* The same on every rank. */
static lap_code check_finite(const lap_model_source *source, double loss, lap_status *status) {
  if (isfinite(loss)) return LAP_OK;
  return lap_fail(status, LAP_NONFINITE,
                  "%s: the loss is %g; the model's weights are not usable: take an earlier "
                  "checkpoint",
                  source->path, loss);
}

static lap_code evaluate_inputs(const lap_session *session, const eval_flags *flags,
                                const eval_inputs *in, eval_result *r, lap_status *status) {
  lap_session_say_cores(session, (int)flags->model.threads);
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, session->console);
  const lap_evaluate_request request = {.model = &in->model.source.config->model,
                                        .state = in->model.state,
                                        .weights = in->model.weights,
                                        .data = &in->data,
                                        .piece_bytes = in->piece_bytes,
                                        .threads = (int)flags->model.threads,
                                        .detail = &r->detail,
                                        .hook = &hook};
  lap_comm_set_activity(session->comm, "evaluating");
  const lap_code code = lap_evaluate(&request, &r->evaluation, status);
  lap_step_progress_end(&progress);
  LAP_TRY(code);
  LAP_TRY(check_finite(&in->model.source, r->evaluation.loss, status));
  lap_status own = {0};
  if (session->root) own.code = digest(flags, in, r, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  int64_t smallest;
  lap_agree_range(session->comm, lap_memory_peak(), &smallest, &r->peak_bytes);
  return LAP_OK;
}

static lap_code evaluate_model(const lap_session *session, const eval_flags *flags,
                               const lap_command_line *line, lap_status *status) {
  eval_inputs in = {0};
  eval_result result = {0};
  lap_code code = open_inputs(session, flags, line, &in, status);
  if (code == LAP_OK) code = evaluate_inputs(session, flags, &in, &result, status);
  if (code == LAP_OK && session->root) code = print_result(&result, &in, flags, line->json, status);
  release_result(&result);
  close_inputs(&in);
  return code;
}

/* Collective. The first rank looks, since it alone will write: what an evaluation has found there
 * may have taken hours. */
static lap_code check_losses(const lap_session *session, const char *path, lap_status *status) {
  lap_status own = {0};
  const bool looks = path && session->root;
  if (looks && lap_file_is_directory(path))
    lap_fail(&own, LAP_USAGE, "--document-losses: %s is a directory; name the file to write in it",
             path);
  else if (looks && lap_file_exists(path))
    lap_fail(&own, LAP_USAGE, "--document-losses: %s exists; name a place where nothing is", path);
  *status = own;
  return lap_agree(session->comm, status);
}

static lap_code evaluate(const lap_session *session, const lap_command_line *line,
                         void *destination, lap_status *status) {
  const eval_flags *flags = destination;
  bool idle = false;
  LAP_TRY(lap_model_flags_employ(&flags->model, session, &idle, status));
  if (idle) return LAP_OK;
  LAP_TRY(check_losses(session, flags->document_losses, status));
  const char *checkpoint = line->positional[0];
  if (!flags->choices && !flags->memorise && !flags->judge)
    return evaluate_model(session, flags, line, status);
  LAP_TRY(check_other_flags(flags, status));
  if (flags->choices) {
    const lap_eval_choices_request request = {.checkpoint = checkpoint,
                                              .path = flags->choices,
                                              .unigram = flags->unigram,
                                              .table = flags->document_losses,
                                              .sliding_window = flags->sliding_window,
                                              .json = line->json};
    return lap_eval_choices(session, &flags->model, &request, status);
  }
  const int64_t prompts = flags->prompts ? flags->prompts : USUAL_PROMPTS;
  if (flags->judge) {
    const lap_eval_judge_request request = {.checkpoint = checkpoint,
                                            .judge = flags->judge,
                                            .tokens = flags->tokens,
                                            .table = flags->document_losses,
                                            .prompts = prompts,
                                            .json = line->json};
    return lap_eval_judge(session, &flags->model, &request, status);
  }
  const lap_eval_memorise_request request = {.checkpoint = checkpoint,
                                             .seen = flags->memorise,
                                             .unseen = flags->tokens,
                                             .prompts = prompts,
                                             .json = line->json};
  return lap_eval_memorise(session, &flags->model, &request, status);
}

static double watchdog_of(const lap_command_line *line, const void *flags) {
  (void)line;
  return lap_model_flags_watchdog(&((const eval_flags *)flags)->model);
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
  return lap_session_run(command, &syntax, argc, argv, watchdog_of, evaluate, status);
}

const lap_command lap_command_eval = {
    .name = "eval",
    .summary =
        "held-out loss, perplexity, bits per byte, distance to a teacher; under mpirun or alone",
    .usage =
        "CHECKPOINT --tokens GLOB [--cache GLOB]\nCHECKPOINT --choices FILE.jsonl\n"
        "CHECKPOINT --memorise GLOB --tokens GLOB\nCHECKPOINT --judge CHECKPOINT --tokens GLOB",
    .description =
        "CHECKPOINT is a checkpoint, a run directory (its newest whole checkpoint) or a "
        "Hugging Face directory.",
    .collective = true,
    .run = run};
