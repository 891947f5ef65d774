/* audit: what a teacher's cache is worth, before students are trained on it.
 *
 * For people who choose a codec and its size. It reads a cache and its token shards whole, and
 * writes nothing but its report: how much of the distributions is kept, by length of context and by
 * entropy, the bytes of a token, and whether the teacher is right as often as it says. It runs
 * alone.
 */
#include <stddef.h>
#include <stdio.h>

#include "teacher/cache_open.h"
#include "trainer/audit/audit.h"
#include "trainer/audit/live.h"
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/precision_flag.h"

typedef struct {
  const char *cache, *tokens, *live, *precision; /* precision: of the live rows */
  int64_t threads;
} audit_flags;

static const lap_flag flags_of_audit[] = {
    {.name = "cache",
     .value = "GLOB",
     .offset = offsetof(audit_flags, cache),
     .help = "the cache of these shards: a path, folder or glob"},
    {.name = "tokens",
     .value = "GLOB",
     .offset = offsetof(audit_flags, tokens),
     .help = "token shards, likewise"},
    {.name = "live",
     .value = "CHECKPOINT",
     .offset = offsetof(audit_flags, live),
     .help = "also compare the rows with those that this teacher makes now"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 1024},
     .offset = offsetof(audit_flags, threads),
     .help = "threads of --live [1]"},
    LAP_FLAG_PRECISION(offsetof(audit_flags, precision)),
    {0}};

static void show_progress(void *context, uint64_t done, uint64_t total) {
  lap_console_progress(context, (int64_t)done, "");
  (void)total;
}

/* --- live --- */

static lap_code audit_live(const lap_session *session, const audit_flags *flags, lap_cache *cache,
                           lap_live_audit *live, lap_status *status) {
  lap_sharded_model model = {0};
  const lap_model_layout as_trained = {0};
  char sha256[LAP_SHA256_HEX];
  const int threads = (int)flags->threads;
  lap_code code = lap_sharded_model_open(flags->live, as_trained, session->comm, &model, status);
  if (code == LAP_OK)
    code = lap_precision_flag_apply(flags->precision, model.source.config, status);
  if (code == LAP_OK) code = lap_model_weights_sha256(&model.source, sha256, status);
  if (code == LAP_OK) code = lap_sharded_model_read(&model, status);
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(model.source.config), threads, status);
  if (code == LAP_OK)
    code = lap_audit_live(&model, sha256, cache, threads, session->console, live, status);
  lap_sharded_model_close(&model);
  return code;
}

/* --- output --- */

/* `live`: NULL without. */
static lap_code print_result(const lap_cache *cache, const lap_audit *audit,
                             const lap_live_audit *live, bool json, lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  if (!json) {
    printf("codec          %s, k = %u\n\n", lap_codec_name(schema->codec), schema->k);
    lap_audit_print(audit, stdout);
    if (live) lap_live_audit_print(live, stdout);
    return lap_output_flush(status);
  }
  json_t *object = lap_audit_to_json(audit);
  json_object_set_new(object, "codec", json_string(lap_codec_name(schema->codec)));
  json_object_set_new(object, "k", json_integer(schema->k));
  json_object_set_new(object, "live", live ? lap_live_audit_to_json(live) : json_null());
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static lap_code audit_cache(const lap_session *session, const lap_command_line *line,
                            void *destination, lap_status *status) {
  const audit_flags *flags = destination;
  LAP_TRY(lap_session_alone(session, "audit", status));
  if (!flags->cache || !flags->tokens)
    return lap_fail(status, LAP_USAGE, "--cache GLOB and --tokens GLOB are needed");
  lap_token_set tokens = {0};
  lap_cache *cache = NULL;
  lap_audit audit;
  lap_code code = lap_token_set_open(flags->tokens, &tokens, status);
  if (code == LAP_OK) code = lap_cache_open(flags->cache, &tokens, NULL, &cache, status);
  if (code == LAP_OK) {
    lap_console_progress_begin(session->console, "audit", "tokens", (int64_t)tokens.token_count, 0);
    code = lap_audit_cache(cache, show_progress, session->console, &audit, status);
    lap_console_progress_end(session->console);
  }
  lap_live_audit live;
  if (code == LAP_OK && flags->live) code = audit_live(session, flags, cache, &live, status);
  if (code == LAP_OK)
    code = print_result(cache, &audit, flags->live ? &live : NULL, line->json, status);
  lap_cache_close(cache); /* before the tokens it belongs to */
  lap_token_set_close(&tokens);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  audit_flags flags = {.threads = 1};
  const lap_command_syntax syntax = {.json = true, .flags = flags_of_audit, .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, audit_cache, status);
}

const lap_command lap_command_audit = {
    .name = "audit",
    .summary =
        "say what a teacher's cache keeps, what it costs, and how well its teacher is calibrated",
    .usage = "--cache GLOB --tokens GLOB [--live CHECKPOINT]",
    .run = run};
