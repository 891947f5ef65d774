#include "trainer/run/inputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/gemm_backend.h"
#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/step_progress.h"
#include "trainer/config/origin.h"
#include "trainer/config/resolve.h"
#include "trainer/model/evaluate.h"
#include "trainer/model/examine_cache.h"
#include "trainer/model/same_inputs.h"
#include "trainer/model/source.h"
#include "trainer/state/hash.h"
#include "trainer/step/schedule.h"

static lap_data data_of(const lap_config *config, const lap_token_set *set, lap_cache *cache) {
  return (lap_data){.tokens = set,
                    .cache = cache,
                    .sequence_length = (uint32_t)config->data.sequence_length,
                    .document_mask = config->data.document_mask};
}

static lap_cache_expectation expectation(const lap_config *config, const lap_progress_hook *hook) {
  return (lap_cache_expectation){.vocab_size = (uint32_t)config->model.vocab_size,
                                 .sequence_length = (uint32_t)config->data.sequence_length,
                                 .document_mask = config->data.document_mask,
                                 .allow_context_mismatch = config->teacher.allow_context_mismatch,
                                 .allow_shift = config->teacher.allow_shift,
                                 .hook = hook};
}

/* Where the kept probabilities were scaled to sum to 1, every rule but one teaches that the ids
 * that were not kept are impossible. Who names such a rule is warned; nobody gets it unasked. */
static lap_code check_tail(const lap_config *config, const lap_session *session,
                           const lap_cache *cache, lap_status *status) {
  static const char advice[] =
      "every row of the cache has tail_mass 0 and keeps %u of %u ids: its top k was scaled to sum "
      "to 1. With this rule the student learns that all other ids are impossible. The rule that "
      "fits is objective.tail=renormalise_both with objective.distill_weight below 1 (0.5, say); "
      "better, have the teacher write its tail_mass";
  if (!lap_cache_lacks_tail(cache)) return LAP_OK;
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  const bool chosen = lap_config_is_given(config, "objective.tail");
  char text[512];
  snprintf(text, sizeof text, advice, schema->k, schema->vocab_size);
  if (chosen && config->objective.tail == LAP_TAIL_RENORMALISE_BOTH) {
    if (config->objective.distill_weight == 1)
      lap_console_warn(session->console,
                       "objective.tail renormalise_both with objective.distill_weight 1: nothing "
                       "teaches how much probability the ids have that the teacher did not keep; "
                       "use a distill_weight below 1");
    return LAP_OK;
  }
  if (chosen) {
    lap_console_warn(session->console, "objective.tail: %s", text);
    return LAP_OK;
  }
  return lap_config_fail(config, "objective.tail", status,
                         "%s. To train with ghost all the same, set objective.tail=ghost", text);
}

static lap_cache_expectation to_learn(const lap_config *config, const lap_progress_hook *hook) {
  lap_cache_expectation expected = expectation(config, hook);
  expected.several_draws = true;
  return expected;
}

static lap_cache_expectation to_measure(const lap_config *config, const lap_progress_hook *hook) {
  lap_cache_expectation expected = expectation(config, hook);
  expected.to_measure = true;
  return expected;
}

static void say_without_teacher(const lap_session *session, const char *reason) {
  lap_console_say(session->console, "evaluation goes without the teacher: %s", reason);
}

static lap_code find_train_cache(lap_config *config, const lap_progress_hook *hook, lap_inputs *in,
                                 lap_status *status) {
  const lap_cache_expectation expected = to_learn(config, hook);
  if (lap_cache_find(config->teacher.cache, &in->train_tokens, &expected, &in->train_cache,
                     status) != LAP_OK)
    return lap_fail_context(status, "teacher.cache");
  const lap_cache_schema *schema = lap_cache_schema_of(in->train_cache);
  if (strcmp(schema->tokenizer_sha256, in->tokenizer_sha256))
    return lap_fail(status, LAP_DATA,
                    "%s: made with tokenizer %.12s..., but tokenizer %s is %.12s...",
                    lap_cache_path(in->train_cache, 0), schema->tokenizer_sha256, config->tokenizer,
                    in->tokenizer_sha256);
  const lap_config_teacher teacher = {
      .name = lap_cache_path(in->train_cache, 0),
      .codec = lap_codec_name(schema->codec),
      .head = schema->exact,
      .dense = schema->codec == LAP_CODEC_TOPK && schema->k == schema->vocab_size};
  return lap_config_resolve_tail(config, &teacher, status);
}

/* The files of the caches. A teacher is read only where it counts; evaluation goes without where
 * its shards have no cache of their own. */
static lap_code find_caches(lap_config *config, const lap_session *session,
                            const lap_progress_hook *hook, lap_inputs *in, lap_status *status) {
  if (!config->teacher.cache) return LAP_OK;
  if (config->objective.distill_weight > 0 && config->smoothing == LAP_SMOOTHING_NONE)
    LAP_TRY(find_train_cache(config, hook, in, status));
  if (!in->eval_tokens.count) return LAP_OK;
  lap_status reason = {0};
  const lap_cache_expectation expected = to_measure(config, hook);
  if (lap_cache_find(config->teacher.cache, &in->eval_tokens, &expected, &in->eval_cache,
                     &reason) != LAP_OK)
    say_without_teacher(session, reason.message);
  return LAP_OK;
}

/* Collective. Where one rank has no cache for the evaluation, no rank uses one. One whose rows are
 * damaged is refused, as the one to learn from is. */
static lap_code examine_eval_cache(const lap_config *config, const lap_session *session,
                                   const lap_progress_hook *hook, lap_inputs *in,
                                   lap_status *status) {
  int64_t smallest, largest;
  const lap_cache_expectation expected = to_measure(config, hook);
  lap_agree_range(session->comm, in->eval_cache != NULL, &smallest, &largest);
  if (smallest)
    return lap_examine_cache(session->comm, (int)config->threads, &expected, in->eval_cache,
                             status);
  if (in->eval_cache) say_without_teacher(session, "another rank has no cache for it");
  lap_cache_close(in->eval_cache);
  in->eval_cache = NULL;
  return LAP_OK;
}

static void warn_of_rows(const lap_session *session, const lap_cache *cache) {
  if (cache && lap_cache_notice(cache))
    lap_console_warn(session->console, "teacher.cache: %s", lap_cache_notice(cache));
}

/* Collective. The rows of the caches. */
static lap_code examine_caches(lap_config *config, const lap_session *session,
                               const lap_progress_hook *hook, lap_inputs *in, lap_status *status) {
  const lap_cache_expectation expected = to_learn(config, hook);
  lap_comm_set_activity(session->comm, "reading the caches");
  if (in->train_cache && lap_examine_cache(session->comm, (int)config->threads, &expected,
                                           in->train_cache, status) != LAP_OK)
    return lap_fail_context(status, "teacher.cache");
  if (examine_eval_cache(config, session, hook, in, status) != LAP_OK)
    return lap_fail_context(status, "teacher.cache");
  in->train.cache = in->train_cache;
  in->eval.cache = in->eval_cache;
  warn_of_rows(session, in->train_cache);
  warn_of_rows(session, in->eval_cache);
  if (!in->train_cache) return LAP_OK;
  return check_tail(config, session, in->train_cache, status);
}

/* All ids are kept, so every rule but decoupled comes to the same. */
static lap_code make_smoothing(lap_config *config, lap_inputs *in, lap_status *status) {
  if (!lap_config_smooths(config)) return LAP_OK;
  in->smoothing =
      lap_smoothing_create(config->smoothing, &in->train_tokens, config->model.vocab_size,
                           config->objective.tail == LAP_TAIL_DECOUPLED);
  const lap_config_teacher teacher = {
      .name = "objective.smoothing", .codec = "topk", .dense = true};
  return lap_config_resolve_tail(config, &teacher, status);
}

/* A draw is unbiased over draw seeds: what an epoch learns of its errors the next one that reads it
 * learns again. An epoch may end within a step. */
static void warn_of_epochs(const lap_config *config, const lap_session *session,
                           const lap_inputs *in) {
  if (!in->train_cache) return;
  const lap_codec codec = lap_cache_schema_of(in->train_cache)->codec;
  if (!lap_codec_is_drawn(codec)) return;
  double weights = 0, most = 0;
  const double draws = (double)lap_cache_draw_count(in->train_cache);
  const double step = (double)config->batch.sequences, sampled = (double)in->total_steps * step;
  for (size_t i = 0; i < in->train.source_count; ++i) weights += in->sources[i].weight;
  for (size_t i = 0; i < in->train.source_count; ++i) {
    const double windows = (double)in->sources[i].window_count;
    const double share = sampled * in->sources[i].weight / weights;
    if (share >= draws * windows + step && share / windows > most) most = share / windows;
  }
  if (most > 0)
    lap_console_warn(session->console,
                     "teacher.cache: %s is %s, drawn %s, but the run reads it %.2f times: epochs "
                     "learn the same draws, which are unbiased only over draw seeds. Train for %s, "
                     "or teach with more draws, or with a --draw-seed for each epoch",
                     lap_cache_path(in->train_cache, 0), lap_codec_name(codec),
                     draws > 1 ? "less often" : "once", most,
                     draws > 1 ? "fewer epochs" : "one epoch");
}

/* The shards of all sources, one set, and where each source's windows begin in it. */
static lap_code open_sources(const lap_config *config, lap_inputs *in, lap_status *status) {
  const uint32_t length = (uint32_t)config->data.sequence_length;
  in->sources = lap_allocate(config->data.train_count, sizeof *in->sources);
  for (size_t i = 0; i < config->data.train_count; ++i) {
    const uint64_t before = lap_set_window_count(&in->train_tokens, length);
    const size_t first = in->train_tokens.count;
    if (lap_token_set_add(config->data.train[i].path, &in->train_tokens, status) != LAP_OK ||
        lap_check_counted(&in->train_tokens, first, status) != LAP_OK)
      return lap_fail_context(status, "data.train");
    in->sources[i] = (lap_order_source){
        .weight = config->data.train[i].weight,
        .first_window = before,
        .window_count = lap_set_window_count(&in->train_tokens, length) - before};
  }
  return LAP_OK;
}

/* What is trained on is not held out: its loss says nothing of other text. */
static void warn_of_overlap(const lap_session *session, const lap_inputs *in) {
  const lap_token_shard *trained = NULL, *held = NULL;
  size_t shared = 0;
  for (size_t e = 0; e < in->eval_tokens.count; ++e)
    for (size_t t = 0; t < in->train_tokens.count; ++t) {
      if (strcmp(in->eval_tokens.shard[e]->tokens_sha256, in->train_tokens.shard[t]->tokens_sha256))
        continue;
      if (++shared > 1) continue;
      held = in->eval_tokens.shard[e];
      trained = in->train_tokens.shard[t];
    }
  if (shared)
    lap_console_warn(session->console,
                     "data.eval is not held out: %zu of its %zu shards hold the same tokens as "
                     "shards of data.train (%s and %s); its loss will look better than it is",
                     shared, in->eval_tokens.count, held->path, trained->path);
}

static lap_code open_files(lap_config *config, const lap_session *session,
                           const lap_progress_hook *hook, lap_inputs *in, lap_status *status) {
  const int64_t vocab = config->model.vocab_size;
  if (lap_sha256_file(config->tokenizer, in->tokenizer_sha256, status) != LAP_OK)
    return lap_fail_context(status, "tokenizer");
  in->piece_bytes = lap_evaluate_piece_bytes(config->tokenizer, vocab, status);
  if (!in->piece_bytes) return status->code;
  in->train_tokens.hook = in->eval_tokens.hook = hook;
  LAP_TRY(open_sources(config, in, status));
  LAP_TRY(lap_check_tokens(&in->train_tokens, vocab, config->tokenizer, status));
  if (config->data.eval) {
    if (lap_token_set_add(config->data.eval, &in->eval_tokens, status) != LAP_OK)
      return lap_fail_context(status, "data.eval");
    if (lap_check_tokens(&in->eval_tokens, vocab, config->tokenizer, status) != LAP_OK)
      return lap_fail_context(status, "data.eval");
    warn_of_overlap(session, in);
  }
  LAP_TRY(find_caches(config, session, hook, in, status));
  LAP_TRY(make_smoothing(config, in, status));
  in->train = data_of(config, &in->train_tokens, in->train_cache);
  in->train.smoothing = in->smoothing;
  in->train.sources = in->sources;
  in->train.source_count = config->data.train_count;
  const bool dense =
      in->train_cache && lap_cache_schema_of(in->train_cache)->codec == LAP_CODEC_TOPK;
  if (dense && config->objective.tail == LAP_TAIL_DECOUPLED)
    in->train.head = (uint32_t)config->objective.head;
  in->eval = data_of(config, &in->eval_tokens, in->eval_cache);
  in->window_count = lap_set_window_count(&in->train_tokens, in->train.sequence_length);
  LAP_TRY(lap_schedule_total_steps(config, in->window_count, &in->total_steps, status));
  warn_of_epochs(config, session, in);
  return lap_config_resolve_warmup(config, (int64_t)in->total_steps, status);
}

/* Of several sources: where one ends and the next begins, which the content does not say. */
static void append_sources(lap_inputs *in) {
  if (in->train.source_count == 1) return;
  char *text = NULL;
  size_t size = 0;
  FILE *out = lap_open_text(&text, &size);
  for (size_t i = 0; i < in->train.source_count; ++i)
    fprintf(out, "%s%" PRIu64, i ? " " : "", in->sources[i].window_count);
  lap_close_text(out, &text);
  lap_numbers_append(in->numbers, "data.train.windows", text);
  free(text);
}

/* What the config cannot know: the content behind its paths. */
static lap_code append_content(const lap_config *config, lap_inputs *in, lap_status *status) {
  char hex[LAP_SHA256_HEX];
  lap_numbers_append(in->numbers, "tokenizer_sha256", in->tokenizer_sha256);
  lap_token_set_content_sha256(&in->train_tokens, hex);
  lap_numbers_append(in->numbers, "data.train_sha256", hex);
  append_sources(in);
  if (in->train_cache) {
    LAP_TRY(lap_cache_content_sha256(in->train_cache, hex, status));
    lap_numbers_append(in->numbers, "teacher.cache_sha256", hex);
  }
  if (config->gemm == LAP_GEMM_OPENBLAS)
    lap_numbers_append(in->numbers, "blas_version", lap_blas_version());
  return LAP_OK;
}

/* Collective. Of a run directory, the checkpoint that rank 0 finds newest, in the place of the
 * directory: a run that goes on writes others before the weights are read, or between two ranks. */
static lap_code settle_init(lap_config *config, const lap_session *session, lap_status *status) {
  char *path = NULL; /* as it is */
  *status = (lap_status){.code = LAP_OK};
  if (session->root && strcmp(config->init, "random") != 0 && lap_file_exists(config->init) &&
      !lap_model_is_hugging_face(config->init)) {
    lap_checkpoint *checkpoint;
    status->code = lap_checkpoint_open(config->init, &checkpoint, status);
    if (status->code == LAP_OK) path = lap_copy_string(checkpoint->path);
    lap_checkpoint_close(checkpoint);
  }
  LAP_TRY(lap_agree(session->comm, status));
  path = lap_broadcast_text(session->comm, path);
  if (!path) return LAP_OK;
  free(config->init);
  config->init = path;
  return LAP_OK;
}

/* Of weights that are no longer there: their hash, as a checkpoint of the run that began with them
 * has it; "": there is none. */
static void recall_init(const lap_config *config, char hex[LAP_SHA256_HEX]) {
  lap_model_source run;
  lap_status ignored;
  if (lap_file_exists(config->init) || !config->run_dir ||
      lap_model_open(config->run_dir, LAP_MODEL_NO_WEIGHTS, &run, &ignored) != LAP_OK)
    return;
  const char *value = run.checkpoint && run.checkpoint->numbers
                          ? lap_numbers_value(run.checkpoint->numbers, "init_sha256")
                          : NULL;
  if (value && !strcmp(run.config->init, config->init)) snprintf(hex, LAP_SHA256_HEX, "%s", value);
  lap_model_close(&run);
}

/* Collective. Ranks read weights for themselves. */
static lap_code agree_on_init(const lap_config *config, const lap_session *session,
                              lap_status *status) {
  lap_model_source source;
  lap_status own = {0};
  own.code = lap_model_find(config->init, &source, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK) code = lap_agree_on_model(&source, config->init, session->comm, status);
  lap_model_close(&source);
  return code;
}

/* Collective. Which weights the run begins with, by the shards of its mesh. */
static lap_code append_init(const lap_config *config, const lap_session *session, lap_inputs *in,
                            lap_status *status) {
  if (!strcmp(config->init, "random")) return LAP_OK;
  char hex[LAP_SHA256_HEX] = "";
  if (session->root) recall_init(config, hex);
  lap_broadcast(session->comm, hex, sizeof hex, 0);
  if (hex[0]) {
    lap_numbers_append(in->numbers, "init_sha256", hex);
    return LAP_OK;
  }
  LAP_TRY(agree_on_init(config, session, status));
  lap_placement placement;
  lap_state *state = NULL;
  lap_status own = {0};
  own.code = lap_placement_create(&config->mesh, config->model_ranks, config->sharding,
                                  session->comm, &placement, &own);
  if (own.code == LAP_OK) {
    state = lap_state_create(&config->model, &placement, LAP_STATE_WEIGHTS);
    lap_weight_target target = lap_state_weight_target(state);
    own.code = lap_model_read_weights(config->init, &target, &own);
    lap_weight_target_release(&target);
  }
  *status = own;
  const lap_code code = lap_agree(session->comm, status);
  if (code == LAP_OK) {
    lap_weights_sha256(state, hex);
    lap_numbers_append(in->numbers, "init_sha256", hex);
  }
  lap_state_destroy(state);
  return code;
}

static lap_code make_numbers(lap_config *config, lap_inputs *in, lap_status *status) {
  if (config->gemm == LAP_GEMM_OPENBLAS) {
    free(config->blas_core);
    config->blas_core = lap_copy_string(lap_blas_core());
  }
  in->numbers = lap_numbers_create(config);
  return append_content(config, in, status);
}

lap_code lap_inputs_open(lap_config *config, const lap_session *session, lap_inputs *inputs,
                         lap_status *status) {
  *inputs = (lap_inputs){0};
  lap_status own = {0};
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, session->console);
  lap_comm_set_activity(session->comm, "opening tokens and caches");
  own.code = open_files(config, session, &hook, inputs, &own);
  *status = own;
  lap_code code = lap_agree(session->comm, status);
  /* What is evaluated decides no number: the numbers below do not cover it. */
  if (code == LAP_OK && inputs->eval_tokens.count)
    code = lap_agree_on_tokens(&inputs->eval_tokens, "data.eval", session->comm, status);
  if (code == LAP_OK) code = examine_caches(config, session, &hook, inputs, status);
  lap_step_progress_end(&progress);
  inputs->train_tokens.hook = inputs->eval_tokens.hook = NULL; /* it ends here */
  if (code == LAP_OK) own.code = make_numbers(config, inputs, &own);
  *status = code == LAP_OK ? own : *status;
  code = lap_agree(session->comm, status);
  if (code == LAP_OK) code = settle_init(config, session, status);
  if (code == LAP_OK) code = append_init(config, session, inputs, status);
  if (code == LAP_OK) {
    char hex[LAP_SHA256_HEX];
    lap_numbers_sha256(inputs->numbers, hex);
    code = lap_agree_same(session->comm, "numbers_sha256", hex,
                          "give every node the same config, data and teacher cache", status);
  }
  if (code != LAP_OK) lap_inputs_close(inputs);
  return code;
}

void lap_inputs_close(lap_inputs *inputs) {
  lap_cache_close(inputs->train_cache);
  lap_cache_close(inputs->eval_cache);
  lap_smoothing_destroy(inputs->smoothing);
  lap_token_set_close(&inputs->train_tokens);
  lap_token_set_close(&inputs->eval_tokens);
  if (inputs->numbers) lap_numbers_destroy(inputs->numbers);
  free(inputs->piece_bytes);
  free(inputs->sources);
  *inputs = (lap_inputs){0};
}

bool lap_inputs_taught(const lap_inputs *inputs) {
  return inputs->train_cache || inputs->smoothing;
}
