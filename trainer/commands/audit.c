/* audit: what a teacher's cache is worth, before students are trained on it.
 *
 * For people who choose a codec and its size. It reads a cache and its token shards whole, and
 * writes nothing but its report: how much of the distributions is kept, by length of context and by
 * entropy, the bytes of a token, and whether the teacher is right as often as it says; and, with
 * students and a cache of every id, how far the gradients of each codec and tail rule are from
 * those of the whole distributions. It runs alone.
 */
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "trainer/audit/audit.h"
#include "trainer/audit/live.h"
#include "trainer/audit/tolerance.h"
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"
#include "trainer/cli/session.h"
#include "trainer/cli/step_progress.h"
#include "trainer/commands/audit_angles.h"
#include "trainer/commands/entries.h"
#include "trainer/commands/precision_flag.h"
#include "trainer/model/examine_cache.h"

typedef struct {
  const char *cache, *tokens, *live, *again;
  lap_audit_angle_flags angles; /* threads and precision: of --live too */
} audit_flags;

#define OF_ANGLES(field) offsetof(audit_flags, angles.field)

static const lap_flag flags_of_audit[] = {
    {.name = "cache",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(audit_flags, cache),
     .help = "the cache of these shards: a path, folder or glob"},
    {.name = "tokens",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(audit_flags, tokens),
     .help = "token shards, likewise"},
    {.name = "live",
     .value = "CHECKPOINT",
     .offset = offsetof(audit_flags, live),
     .help = "also compare the rows with those that this teacher makes now"},
    {.name = "again",
     .value = "GLOB",
     .is_glob = true,
     .offset = offsetof(audit_flags, again),
     .help = "for --live: the rows by another pass of the program that made --cache, at another "
             "batch size; its rounding is the tolerance"},
    {.name = "student",
     .value = "CHECKPOINT",
     .offset = OF_ANGLES(student),
     .help = "also compare gradients at this student, and at those that follow it"},
    {.name = "dense",
     .value = "GLOB",
     .is_glob = true,
     .offset = OF_ANGLES(dense),
     .help = "for --student: the cache of every id (k = vocabulary) of these shards"},
    {.name = "slots",
     .value = "K",
     .integer = {1, 1 << 20},
     .offset = OF_ANGLES(slots),
     .help = "for --student: of each codec that is compared [those of the cache]"},
    {.name = "bytes",
     .value = "B",
     .real = {1e-3, 1e9},
     .offset = OF_ANGLES(bytes),
     .help = "instead of --slots: as many slots of each codec as take at most B bytes a token"},
    {.name = "blocks",
     .value = "N",
     .integer = {8, 1024},
     .offset = OF_ANGLES(blocks),
     .help = "for --student: disjoint blocks of tokens [8]"},
    {.name = "block-tokens",
     .value = "N",
     .integer = {1, INT64_C(1) << 40},
     .offset = OF_ANGLES(block_tokens),
     .help = "tokens of a block, in whole windows [4096]"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 1024},
     .offset = OF_ANGLES(threads),
     .help = "threads of --live and --student, and files read at once [1]"},
    LAP_FLAG_PRECISION(OF_ANGLES(precision)),
    {0}};

/* --- live --- */

static lap_code read_tolerance(const audit_flags *flags, lap_cache *cache, lap_console *console,
                               double *tolerance, lap_status *status) {
  *tolerance = NAN;
  if (!flags->again) return LAP_OK;
  lap_cache *again;
  LAP_TRY(lap_cache_open(flags->again, lap_cache_tokens(cache), NULL, &again, status));
  lap_warn_of_other_rows(console, "--again", again);
  const lap_code code = lap_tolerance_of_passes(cache, again, tolerance, status);
  lap_cache_close(again);
  return code;
}

static lap_code audit_live(const lap_session *session, const audit_flags *flags, lap_cache *cache,
                           lap_live_audit *live, lap_status *status) {
  lap_sharded_model model = {0};
  const lap_model_layout as_trained = {0};
  char sha256[LAP_SHA256_HEX];
  const int threads = (int)flags->angles.threads;
  double tolerance;
  LAP_TRY(read_tolerance(flags, cache, session->console, &tolerance, status));
  lap_code code = lap_sharded_model_open(flags->live, as_trained, session->comm, &model, status);
  if (code == LAP_OK)
    code = lap_precision_flag_apply(flags->angles.precision, model.source.config, status);
  if (code == LAP_OK) code = lap_model_weights_sha256(&model.source, sha256, status);
  if (code == LAP_OK) code = lap_sharded_model_read(&model, status);
  if (code == LAP_OK)
    code = lap_session_open_gemm(session, lap_config_gemm(model.source.config), threads, status);
  if (code == LAP_OK)
    code =
        lap_audit_live(&model, sha256, cache, tolerance, threads, session->console, live, status);
  lap_sharded_model_close(&model);
  return code;
}

/* --- output --- */

/* All that was learned. */
typedef struct {
  lap_audit audit;
  lap_live_audit live;    /* with --live */
  lap_angle_audit angles; /* with --student */
} results;

static lap_code print_results(const lap_cache *cache, const audit_flags *flags,
                              const results *found, bool json, lap_status *status) {
  const lap_cache_schema *schema = lap_cache_schema_of(cache);
  if (!json) {
    printf("codec          %s, k = %u\n\n", lap_codec_name(schema->codec), schema->k);
    lap_audit_print(&found->audit, stdout);
    if (flags->live) lap_live_audit_print(&found->live, stdout);
    if (flags->angles.student) lap_angle_audit_print(&found->angles, stdout);
    return lap_output_flush(status);
  }
  json_t *object = lap_audit_to_json(&found->audit);
  json_object_set_new(object, "codec", json_string(lap_codec_name(schema->codec)));
  json_object_set_new(object, "k", json_integer(schema->k));
  json_object_set_new(object, "live",
                      flags->live ? lap_live_audit_to_json(&found->live) : json_null());
  json_object_set_new(
      object, "angles",
      flags->angles.student ? lap_angle_audit_to_json(&found->angles) : json_null());
  const lap_code code = lap_command_print_json(object, status);
  json_decref(object);
  return code;
}

static lap_code audit_all(const lap_session *session, const audit_flags *flags, lap_cache *cache,
                          results *found, lap_status *status) {
  lap_step_progress progress;
  const lap_progress_hook hook = lap_step_progress_begin(&progress, session->console);
  const lap_code code = lap_audit_cache(cache, &hook, &found->audit, status);
  lap_step_progress_end(&progress);
  LAP_TRY(code);
  if (flags->live) LAP_TRY(audit_live(session, flags, cache, &found->live, status));
  if (!flags->angles.student) return LAP_OK;
  return lap_audit_angles(session, &flags->angles, cache, &found->angles, status);
}

static lap_code audit_cache(const lap_session *session, const lap_command_line *line,
                            void *destination, lap_status *status) {
  audit_flags *flags = destination;
  flags->angles.more = line->positional;
  flags->angles.more_count = line->positional_count;
  LAP_TRY(lap_session_alone(session, "audit", status));
  if (!flags->cache || !flags->tokens)
    return lap_fail(status, LAP_USAGE, "--cache GLOB and --tokens GLOB are needed");
  if (flags->again && !flags->live)
    return lap_fail(
        status, LAP_USAGE,
        "--again needs --live CHECKPOINT: it says how far live rows may be from stored ones");
  LAP_TRY(lap_audit_angles_check(&flags->angles, status));
  lap_token_set tokens = {0};
  lap_cache *cache = NULL;
  results found = {0};
  lap_code code = lap_token_set_open(flags->tokens, &tokens, status);
  if (code == LAP_OK) code = lap_cache_open(flags->cache, &tokens, NULL, &cache, status);
  /* Of rows that are out of place the audit would say nothing that is so. */
  if (code == LAP_OK)
    code = lap_examine_measuring_cache(
        session, (int)flags->angles.threads, (lap_cache_expectation){.by_flags = true},
        "coverage, tail and calibration are not the teacher's", cache, status);
  if (code == LAP_OK) code = audit_all(session, flags, cache, &found, status);
  if (code == LAP_OK) code = print_results(cache, flags, &found, line->json, status);
  lap_angle_audit_release(&found.angles);
  lap_cache_close(cache); /* before the tokens it belongs to */
  lap_token_set_close(&tokens);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  audit_flags flags = {.angles = {.threads = 1}};
  const lap_command_syntax syntax = {
      .positional_max = -1, .json = true, .flags = flags_of_audit, .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, NULL, audit_cache, status);
}

const lap_command lap_command_audit = {
    .name = "audit",
    .summary =
        "say what a teacher's cache keeps, what it costs, and how well its teacher is calibrated",
    .usage =
        "--cache GLOB --tokens GLOB [--live CHECKPOINT [--again GLOB]] "
        "[--dense GLOB --student CHECKPOINT [CHECKPOINT...]]",
    .run = run};
