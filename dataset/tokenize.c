#include "dataset/tokenize.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "dataset/shard_builder.h"
#include "dataset/tokenizer.h"

enum { FEWEST_SHARD_TOKENS = 16 };
static const uint64_t MOST_SHARD_TOKENS = UINT64_C(1) << 30;

/* One of train and eval: where its shards are collected and where they go when all is done. */
typedef struct {
  char *stage, *final;
  bool stage_made; /* so that a refused call removes nothing */
  lap_shard_builder builder;
  lap_tokenize_side *counts;
} shard_side;

typedef struct {
  const lap_tokenize_options *options;
  lap_split split;
  lap_tokenizer *tokenizer;
  shard_side train, eval;
  lap_directory_lock *lock;
  lap_tokenize_counts *counts;
  char detail[48];        /* of the progress */
  lap_progress_hook hook; /* the caller's, with what is known only here */
  uint64_t files_done;    /* bytes of the files that are tokenized, as far as it was told */
} tokenize_job;

static lap_code check_options(const lap_tokenize_options *options, lap_status *status) {
  if (options->shard_tokens < FEWEST_SHARD_TOKENS || options->shard_tokens > MOST_SHARD_TOKENS)
    return lap_fail(status, LAP_USAGE, "shard-tokens: expected %d to %" PRIu64 ", found %" PRIu64,
                    FEWEST_SHARD_TOKENS, MOST_SHARD_TOKENS, options->shard_tokens);
  if (!(options->allow_unknown >= 0 && options->allow_unknown <= 1))
    return lap_fail(status, LAP_USAGE, "allow-unknown: expected 0 to 1, found %g",
                    options->allow_unknown);
  return LAP_OK;
}

static lap_code check_empty(const char *directory, lap_status *status) {
  DIR *opened = opendir(directory);
  if (!opened && errno == ENOENT) return LAP_OK;
  if (!opened) return lap_file_fail(directory, "be opened", status);
  const struct dirent *entry;
  char found[256] = "";
  while ((entry = readdir(opened)) && !found[0])
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      snprintf(found, sizeof found, "%s", entry->d_name);
  closedir(opened);
  if (!found[0]) return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "%s: is not empty (%s is there); nothing is overwritten: remove it or give "
                  "another --out",
                  directory, found);
}

static void init_side(shard_side *side, const tokenize_job *job, const char *name,
                      lap_tokenize_side *counts) {
  side->final = lap_format("%s/%s", job->options->out, name);
  side->stage = lap_format("%s/%s.partial", job->options->out, name);
  side->counts = counts;
  lap_shard_builder_init(&side->builder, side->stage, job->options->shard_tokens, job->tokenizer);
}

static void release_side(shard_side *side) {
  lap_status ignored;
  if (side->stage_made) lap_file_remove_tree(side->stage, &ignored);
  lap_shard_builder_release(&side->builder);
  free(side->stage);
  free(side->final);
}

/* --- progress and unknown tokens --- */

static uint64_t tokens_so_far(const tokenize_job *job) {
  return job->counts->train.tokens + job->counts->eval.tokens;
}

/* Adds the number of tokens to what the reader of the files reports. */
static void report(void *context, const lap_progress_state *state) {
  tokenize_job *job = context;
  lap_progress_state shown = *state;
  job->files_done = state->done;
  snprintf(job->detail, sizeof job->detail, "%.3g M tokens", (double)tokens_so_far(job) / 1e6);
  shown.detail = job->detail;
  lap_progress_report(job->options->text.hook, shown);
}

static void count_unknown(lap_tokenize_side *side, const uint32_t *ids, size_t count) {
  for (size_t i = 0; i < count; ++i) side->unknown += ids[i] == LAP_UNK;
}

/* At the end, or as soon as the text has more of them than all of it may have, as far as one can
 * tell from the part that is done. */
static lap_code check_unknown(const tokenize_job *job, bool at_end, lap_status *status) {
  const uint64_t unknown = job->counts->train.unknown + job->counts->eval.unknown;
  const double tokens = (double)tokens_so_far(job), allowed = job->options->allow_unknown;
  double expected = tokens;
  if (!at_end) {
    if (job->files_done == 0 || job->split.corpus.bytes == 0) return LAP_OK;
    expected *= (double)job->split.corpus.bytes / (double)job->files_done;
  }
  if ((double)unknown <= allowed * expected) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: it has no byte pieces, and %" PRIu64
                  " of %.0f tokens%s are unknown to it "
                  "(%.3g %%; %.3g %% are allowed): take a tokenizer that was made for this text, "
                  "or one with byte pieces (lapidary tokenizer), or --allow-unknown %.2g",
                  job->options->tokenizer, unknown, tokens, at_end ? "" : " so far",
                  100 * (double)unknown / tokens, 100 * allowed,
                  1.05 * (double)unknown / tokens + .005);
}

/* --- documents --- */

static lap_code tokenize_document(void *context, bool held_out, const char *text, size_t bytes,
                                  lap_status *status) {
  tokenize_job *job = context;
  shard_side *side = held_out ? &job->eval : &job->train;
  const uint32_t *ids;
  size_t count;
  LAP_TRY(lap_tokenizer_encode(job->tokenizer, text, bytes, &ids, &count, status));
  LAP_TRY(lap_shard_builder_add(&side->builder, ids, count, status));
  ++side->counts->documents;
  side->counts->tokens += (uint64_t)count + 2;
  side->counts->bytes += bytes;
  side->counts->shards = side->builder.shard_count;
  if (lap_tokenizer_has_bytes(job->tokenizer)) return LAP_OK;
  count_unknown(side->counts, ids, count);
  return check_unknown(job, false, status);
}

static lap_code finish_side(shard_side *side, lap_status *status) {
  LAP_TRY(lap_shard_builder_finish(&side->builder, status));
  side->counts->shards = side->builder.shard_count;
  /* A long document that goes on from another shard is one of its parts. */
  const uint64_t documents = side->builder.repeated_documents;
  side->counts->documents -= documents < side->counts->documents ? documents : 0;
  side->counts->tokens -= side->builder.repeated_tokens;
  side->counts->unknown -= side->builder.repeated_unknown;
  side->counts->bytes -= side->builder.repeated_bytes;
  side->counts->repeated = side->builder.repeated;
  side->counts->repeated_first = side->builder.repeated_first;
  return LAP_OK;
}

static lap_code make_stage(shard_side *side, lap_status *status) {
  LAP_TRY(lap_file_remove_tree(side->stage, status)); /* of a killed call */
  side->stage_made = true;
  return lap_file_make_directories(side->stage, status);
}

/* The two sides get their names one after the other. After a failure neither is left; a kill in
 * between leaves one beside the stage of the other, by which the next call knows it for half of
 * what is not whole. Both names were free before. */
static lap_code publish_sides(tokenize_job *job, bool two_sides, lap_status *status) {
  lap_code code = LAP_OK;
  if (two_sides) code = lap_file_publish(job->eval.stage, job->eval.final, status);
  if (code == LAP_OK) code = lap_file_publish(job->train.stage, job->train.final, status);
  if (code == LAP_OK) return LAP_OK;
  lap_status ignored;
  lap_file_remove_tree(job->eval.final, &ignored);
  lap_file_remove_tree(job->train.final, &ignored);
  return code;
}

static lap_code remove_half(const tokenize_job *job, lap_status *status) {
  lap_status ignored;
  const bool train_is_free = check_empty(job->train.final, &ignored) == LAP_OK;
  if (!lap_file_exists(job->train.stage) || !train_is_free) return LAP_OK;
  return lap_file_remove_tree(job->eval.final, status);
}

static lap_code write_sides(tokenize_job *job, lap_status *status) {
  const bool two_sides = job->options->text.holdout > 0;
  LAP_TRY(make_stage(&job->train, status));
  if (two_sides)
    LAP_TRY(make_stage(&job->eval, status));
  else
    LAP_TRY(lap_file_remove_tree(job->eval.stage, status));
  lap_findings *findings = &job->counts->findings;
  LAP_TRY(lap_split_visit(&job->split, "tokenize", tokenize_document, job, findings, status));
  if (job->counts->train.documents == 0)
    return lap_findings_no_text(findings, &job->split.source, status);
  LAP_TRY(check_unknown(job, true, status));
  LAP_TRY(finish_side(&job->train, status));
  LAP_TRY(finish_side(&job->eval, status));
  return publish_sides(job, two_sides, status);
}

static lap_code run(tokenize_job *job, lap_status *status) {
  LAP_TRY(check_options(job->options, status));
  LAP_TRY(lap_tokenizer_open(job->options->tokenizer, &job->tokenizer, status));
  init_side(&job->train, job, "train", &job->counts->train);
  init_side(&job->eval, job, "eval", &job->counts->eval);
  LAP_TRY(lap_output_lock_take(job->options->out, true, &job->lock, status));
  LAP_TRY(remove_half(job, status));
  LAP_TRY(check_empty(job->train.final, status));
  LAP_TRY(check_empty(job->eval.final, status));
  LAP_TRY(lap_split_open(&job->options->text, &job->split, status));
  job->counts->block_bytes = job->split.block_bytes;
  job->hook = (lap_progress_hook){report, job};
  job->split.source.hook = &job->hook;
  const lap_code code = write_sides(job, status);
  lap_split_close(&job->split);
  return code;
}

lap_code lap_tokenize(const lap_tokenize_options *options, lap_tokenize_counts *counts,
                      lap_status *status) {
  *counts = (lap_tokenize_counts){0};
  tokenize_job job = {.options = options, .counts = counts};
  const bool existed = access(options->out, F_OK) == 0;
  const lap_code code = run(&job, status);
  release_side(&job.train);
  release_side(&job.eval);
  lap_directory_lock_release(job.lock);
  if (job.tokenizer) lap_tokenizer_close(job.tokenizer);
  if (code != LAP_OK && !existed) rmdir(options->out);
  return code;
}
