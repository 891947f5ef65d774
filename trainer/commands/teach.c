/* lapidary teach: see docs/design.md#commands. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "core/json.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/commands/commands.h"
#include "trainer/model/layout.h"
#include "trainer/model/teach.h"
#include "trainer/run/metrics.h"
#include "trainer/state/hash.h"

typedef struct {
  const char *from, *tokens, *out, *codec, *name, *document_mask;
  int64_t k, sequence_length, threads;
  lap_model_layout spread;
} teach_flags;

static const lap_flag flags_of_teach[] = {
    {.name = "from",
     .value = "CHECKPOINT",
     .place = offsetof(teach_flags, from),
     .help = "the teacher: a checkpoint, a run directory or a Hugging Face directory"},
    {.name = "tokens",
     .value = "GLOB",
     .place = offsetof(teach_flags, tokens),
     .help = "token shards to write distributions for"},
    {.name = "out",
     .value = "DIR",
     .place = offsetof(teach_flags, out),
     .help = "directory of the cache; train and eval shards may share it"},
    {.name = "codec",
     .value = "topk",
     .place = offsetof(teach_flags, codec),
     .help = "what is kept of a distribution [topk]"},
    {.name = "k",
     .value = "K",
     .integer = {1, 1 << 20},
     .place = offsetof(teach_flags, k),
     .help = "ids kept of each position [64]"},
    {.name = "sequence-length",
     .value = "T",
     .integer = {2, 1 << 24},
     .place = offsetof(teach_flags, sequence_length),
     .help = "inputs of a window [that of the teacher's training]"},
    {.name = "document-mask",
     .value = "true|false",
     .place = offsetof(teach_flags, document_mask),
     .help = "attention stops at the start of a document [as in the teacher's training]"},
    {.name = "threads",
     .value = "N",
     .integer = {1, 4096},
     .place = offsetof(teach_flags, threads),
     .help = "threads of a rank [1]"},
    {.name = "model-shards",
     .value = "M",
     .integer = {1, 1 << 16},
     .place = offsetof(teach_flags, spread.model_shards),
     .help = "model shards [those of the teacher's training]"},
    {.name = "model-ranks",
     .value = "R",
     .integer = {1, 1 << 16},
     .place = offsetof(teach_flags, spread.model_ranks),
     .help = "ranks that share the shards [the fewest that fit]"},
    {.name = "name",
     .value = "TEXT",
     .place = offsetof(teach_flags, name),
     .help = "the teacher's name in the cache [the path of --from]"},
    {0}};

typedef struct {
  lap_laid_out_model model;
  lap_token_set tokens;
  char weights_sha256[LAP_SHA256_HEX];
} teach_inputs;

static lap_code check_flags(const teach_flags *flags, lap_status *status) {
  if (!flags->from || !flags->tokens || !flags->out)
    return lap_fail(status, LAP_USAGE, "--from CHECKPOINT, --tokens GLOB and --out DIR are needed");
  if (strcmp(flags->codec, "topk"))
    return lap_fail(status, LAP_USAGE, "--codec: '%s' is not available in this version; use topk",
                    flags->codec);
  const char *mask = flags->document_mask;
  if (mask && strcmp(mask, "true") && strcmp(mask, "false"))
    return lap_fail(status, LAP_USAGE, "--document-mask: expected true or false, found '%s'", mask);
  return LAP_OK;
}

/* Collective; the outcome is agreed. */
static lap_code open_inputs(const teach_flags *flags, const lap_session *session, teach_inputs *in,
                            lap_status *status) {
  lap_status own = {0};
  own.code = check_flags(flags, &own);
  if (own.code == LAP_OK)
    own.code = lap_laid_out_model_open(flags->from, flags->spread, session->comm, &in->model, &own);
  if (own.code == LAP_OK)
    own.code = lap_model_open_tokens(&in->model.source, flags->tokens, &in->tokens, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  lap_weights_sha256(in->model.state, in->weights_sha256);
  return LAP_OK;
}

static lap_cache_schema schema_of(const teach_flags *flags, const teach_inputs *in) {
  const lap_config *config = in->model.source.config;
  const uint32_t vocab = (uint32_t)config->model.vocab_size;
  lap_cache_schema schema = {
      .codec = LAP_CODEC_TOPK,
      .vocab_size = vocab,
      .k = (uint32_t)flags->k < vocab ? (uint32_t)flags->k : vocab,
      .sequence_length = (uint32_t)(flags->sequence_length ? flags->sequence_length
                                                           : config->data.sequence_length),
      .document_mask =
          flags->document_mask ? !strcmp(flags->document_mask, "true") : config->data.document_mask,
      .has_next_logprob = true,
      .has_entropy = true};
  snprintf(schema.teacher, sizeof schema.teacher, "%s", flags->name ? flags->name : flags->from);
  snprintf(schema.teacher_sha256, sizeof schema.teacher_sha256, "%s", in->weights_sha256);
  snprintf(schema.tokenizer_sha256, sizeof schema.tokenizer_sha256, "%s",
           in->tokens.shard[0]->tokenizer_sha256);
  return schema;
}

static lap_code print_report(const lap_teach_report *r, const char *out, bool json,
                             lap_status *status) {
  const double rate = (double)r->positions / (r->seconds > 0 ? r->seconds : 1);
  if (json) {
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I}", "cache", out, "positions", (json_int_t)r->positions,
        "parts_made", (json_int_t)r->parts_made, "parts_found", (json_int_t)r->parts_found,
        "files_written", (json_int_t)r->files_written, "files_found", (json_int_t)r->files_found);
    json_object_set_new(object, "bytes_per_token", lap_json_number(r->bytes_per_token));
    json_object_set_new(object, "tokens_per_second", lap_json_number(rate));
    const lap_code code = lap_command_print_json(object, status);
    json_decref(object);
    return code;
  }
  char positions[LAP_HUMAN_TEXT], speed[LAP_HUMAN_TEXT];
  printf(
      "%s: %llu files written, %llu were there; %s positions (%s a second), %.1f bytes a token\n",
      out, (unsigned long long)r->files_written, (unsigned long long)r->files_found,
      lap_human_count((double)r->positions, positions), lap_human_count(rate, speed),
      r->bytes_per_token);
  return LAP_OK;
}

/* Parts made by all ranks together. */
static void sum_over_ranks(const lap_session *session, lap_teach_report *report) {
  const int ranks = lap_comm_size(session->comm);
  uint64_t mine[2] = {report->positions, report->parts_made};
  uint64_t *all = lap_allocate((size_t)ranks * 2, sizeof *all);
  lap_gather_all(session->comm, mine, sizeof mine, all);
  report->positions = report->parts_made = 0;
  for (int r = 0; r < ranks; ++r) {
    report->positions += all[2 * r];
    report->parts_made += all[2 * r + 1];
  }
  free(all);
}

static lap_code teach(const lap_session *session, const lap_command_line *line, void *destination,
                      lap_status *status) {
  const teach_flags *flags = destination;
  lap_comm_set_watchdog(session->comm, LAP_PATIENT_SECONDS);
  teach_inputs in = {0};
  lap_cache_schema schema = {0};
  lap_code code = open_inputs(flags, session, &in, status);
  if (code == LAP_OK) {
    schema = schema_of(flags, &in);
    if (schema.sequence_length < 2)
      code = lap_fail(status, LAP_USAGE,
                      "the model does not say how long its windows were: give --sequence-length");
  }
  const lap_model_source *source = &in.model.source;
  if (code == LAP_OK && source->notice) lap_console_warn(session->console, "%s", source->notice);
  if (code == LAP_OK && flags->k > schema.k)
    lap_console_say(session->console, "--k %lld is more than the vocabulary: k is %u, everything",
                    (long long)flags->k, schema.k);
  if (code == LAP_OK)
    code = lap_session_open_blas(session, source->config->blas_core, (int)flags->threads, status);
  if (code == LAP_OK) {
    char *identity = lap_format("%s %s %s", in.weights_sha256, lap_blas_core(), lap_blas_version());
    const lap_teach_request request = {.model = &source->config->model,
                                       .state = in.model.state,
                                       .weights = in.model.weights,
                                       .tokens = &in.tokens,
                                       .out = flags->out,
                                       .schema = schema,
                                       .identity = identity,
                                       .threads = (int)flags->threads};
    lap_teach_report report;
    code = lap_teach(&request, session, &report, status);
    if (code == LAP_OK) sum_over_ranks(session, &report);
    if (code == LAP_OK && session->root)
      code = print_report(&report, flags->out, line->json, status);
    free(identity);
  }
  lap_laid_out_model_close(&in.model);
  lap_token_set_close(&in.tokens);
  return code;
}

static lap_code run(const lap_command *command, int argc, char **argv, lap_status *status) {
  teach_flags flags = {.codec = "topk", .k = 64, .threads = 1};
  const lap_command_syntax syntax = {.json = true, .flags = flags_of_teach, .destination = &flags};
  return lap_session_run(command, &syntax, argc, argv, teach, status);
}

const lap_command lap_command_teach = {
    .name = "teach",
    .summary = "write a teacher's distributions as a cache; under mpirun or alone, resumable",
    .usage = "--from CHECKPOINT --tokens GLOB --out DIR",
    .run = run};
