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
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/cli/session.h"
#include "trainer/commands/entries.h"

typedef struct {
  const char *cache, *tokens;
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
    {0}};

static void show_progress(void *context, uint64_t done, uint64_t total) {
  lap_console_progress(context, (int64_t)done, "");
  (void)total;
}

static lap_code print_result(const lap_cache *cache, const lap_audit *audit, bool json,
                             lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  if (!json) {
    printf("codec          %s, k = %u\n\n", lap_codec_name(schema->codec), schema->k);
    lap_audit_print(audit, stdout);
    return lap_output_flush(status);
  }
  json_t *object = lap_audit_to_json(audit);
  json_object_set_new(object, "codec", json_string(lap_codec_name(schema->codec)));
  json_object_set_new(object, "k", json_integer(schema->k));
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
  if (code == LAP_OK) code = print_result(cache, &audit, line->json, status);
  lap_cache_close(cache); /* before the tokens it belongs to */
  lap_token_set_close(&tokens);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  audit_flags flags = {0};
  const lap_command_syntax syntax = {.json = true, .flags = flags_of_audit, .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, audit_cache, status);
}

const lap_command lap_command_audit = {
    .name = "audit",
    .summary =
        "say what a teacher's cache keeps, what it costs, and how well its teacher is calibrated",
    .usage = "--cache GLOB --tokens GLOB",
    .run = run};
