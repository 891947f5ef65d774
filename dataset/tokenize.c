#include "dataset/tokenize.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/directory_lock.h"
#include "core/file.h"
#include "core/memory.h"
#include "dataset/documents.h"
#include "dataset/holdout.h"
#include "dataset/shard_builder.h"
#include "dataset/tokenizer.h"

enum {
  FEW_DOCUMENTS = 20,
  LARGEST_BLOCK = 64 << 10,
  SMALLEST_BLOCK = 1 << 10,
  FEWEST_SHARD_TOKENS = 16,
  PROGRESS_BYTES = 1 << 20,
};
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
  lap_document_source source;
  lap_tokenizer *tokenizer;
  lap_holdout holdout;
  shard_side train, eval;
  lap_directory_lock *lock;
  lap_tokenize_counts *counts;
  lap_tokenize_progress progress;
  void *context;
  uint64_t total_bytes, reported_bytes;
} tokenize_job;

static lap_code check_options(tokenize_job *job, lap_status *status) {
  const lap_tokenize_options *options = job->options;
  if (options->text_count == 0) return lap_fail(status, LAP_USAGE, "no text files were given");
  if (!(options->holdout >= 0 && options->holdout < 1))
    return lap_fail(status, LAP_USAGE, "holdout: expected 0 to below 1, found %g",
                    options->holdout);
  if (options->shard_tokens < FEWEST_SHARD_TOKENS || options->shard_tokens > MOST_SHARD_TOKENS)
    return lap_fail(status, LAP_USAGE, "shard-tokens: expected %d to %" PRIu64 ", found %" PRIu64,
                    FEWEST_SHARD_TOKENS, MOST_SHARD_TOKENS, options->shard_tokens);
  job->source.texts = options->texts;
  job->source.text_count = options->text_count;
  return lap_documents_parse(options->documents, &job->source, status);
}

/* Missing files are found before hours of work, and pipes before they are read to their end. */
static lap_code check_texts(tokenize_job *job, lap_status *status) {
  for (size_t i = 0; i < job->options->text_count; ++i) {
    const char *path = job->options->texts[i];
    struct stat found;
    if (stat(path, &found) != 0 || access(path, R_OK) != 0)
      return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", path, strerror(errno));
    if (job->options->holdout > 0 && !S_ISREG(found.st_mode))
      return lap_fail(status, LAP_USAGE,
                      "%s: is not a regular file; to hold text out it has to be read twice", path);
    if (S_ISREG(found.st_mode)) job->total_bytes += (uint64_t)found.st_size;
  }
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
  lap_shard_builder_init(&side->builder, side->stage, job->options->shard_tokens,
                         lap_tokenizer_vocab_size(job->tokenizer),
                         lap_tokenizer_sha256(job->tokenizer));
}

static void release_side(shard_side *side) {
  lap_status ignored;
  if (side->stage_made) lap_file_remove_tree(side->stage, &ignored);
  lap_shard_builder_release(&side->builder);
  free(side->stage);
  free(side->final);
}

static lap_code add_to_holdout(void *context, const char *text, size_t bytes, lap_status *status) {
  (void)status;
  lap_holdout_add(&((tokenize_job *)context)->holdout, text, bytes);
  return LAP_OK;
}

static lap_code add_blocks_to_holdout(void *context, const char *text, size_t bytes,
                                      lap_status *status) {
  const tokenize_job *job = context;
  return lap_document_blocks(text, bytes, job->counts->block_bytes, add_to_holdout, context,
                             status);
}

static lap_code plan_holdout(tokenize_job *job, lap_status *status) {
  LAP_TRY(lap_documents_visit(&job->source, add_to_holdout, job, status));
  if (job->holdout.count < FEW_DOCUMENTS && job->holdout.bytes > 0) {
    uint64_t block = job->holdout.bytes / FEW_DOCUMENTS;
    if (block > LARGEST_BLOCK) block = LARGEST_BLOCK;
    if (block < SMALLEST_BLOCK) block = SMALLEST_BLOCK;
    job->counts->block_bytes = block;
    lap_holdout_release(&job->holdout);
    LAP_TRY(lap_documents_visit(&job->source, add_blocks_to_holdout, job, status));
  }
  return job->holdout.count > 0 ? lap_holdout_choose(&job->holdout, job->options->holdout, status)
                                : LAP_OK;
}

static void report(tokenize_job *job, bool at_end) {
  const uint64_t done = job->counts->train.bytes + job->counts->eval.bytes;
  if (!job->progress || (!at_end && done - job->reported_bytes < PROGRESS_BYTES)) return;
  job->reported_bytes = done;
  job->progress(job->context, job->counts, job->total_bytes);
}

static lap_code tokenize_document(void *context, const char *text, size_t bytes,
                                  lap_status *status) {
  tokenize_job *job = context;
  shard_side *side = lap_holdout_has(&job->holdout, text, bytes) ? &job->eval : &job->train;
  const uint32_t *ids;
  size_t count;
  LAP_TRY(lap_tokenizer_encode(job->tokenizer, text, bytes, &ids, &count, status));
  LAP_TRY(lap_shard_builder_add(&side->builder, ids, count, status));
  ++side->counts->documents;
  side->counts->tokens += (uint64_t)count + 2;
  side->counts->bytes += bytes;
  side->counts->shards = side->builder.shard_count;
  report(job, false);
  return LAP_OK;
}

static lap_code tokenize_blocks(void *context, const char *text, size_t bytes, lap_status *status) {
  const tokenize_job *job = context;
  if (job->counts->block_bytes == 0) return tokenize_document(context, text, bytes, status);
  return lap_document_blocks(text, bytes, job->counts->block_bytes, tokenize_document, context,
                             status);
}

static lap_code finish_side(shard_side *side, lap_status *status) {
  LAP_TRY(lap_shard_builder_finish(&side->builder, status));
  side->counts->shards = side->builder.shard_count;
  return LAP_OK;
}

static lap_code make_stage(shard_side *side, lap_status *status) {
  LAP_TRY(lap_file_remove_tree(side->stage, status)); /* of a killed call */
  side->stage_made = true;
  return lap_file_make_directories(side->stage, status);
}

static lap_code write_sides(tokenize_job *job, lap_status *status) {
  LAP_TRY(make_stage(&job->train, status));
  if (job->options->holdout > 0)
    LAP_TRY(make_stage(&job->eval, status));
  else
    LAP_TRY(lap_file_remove_tree(job->eval.stage, status));
  LAP_TRY(lap_documents_visit(&job->source, tokenize_blocks, job, status));
  LAP_TRY(finish_side(&job->train, status));
  LAP_TRY(finish_side(&job->eval, status));
  if (job->counts->train.documents == 0)
    return lap_fail(status, LAP_DATA, "%s%s: no text was found", job->options->texts[0],
                    job->options->text_count > 1 ? " and the other files" : "");
  if (job->options->holdout > 0)
    LAP_TRY(lap_file_publish(job->eval.stage, job->eval.final, status));
  LAP_TRY(lap_file_publish(job->train.stage, job->train.final, status));
  report(job, true);
  return LAP_OK;
}

static lap_code run(tokenize_job *job, lap_status *status) {
  LAP_TRY(check_options(job, status));
  LAP_TRY(check_texts(job, status));
  LAP_TRY(lap_tokenizer_open(job->options->tokenizer, &job->tokenizer, status));
  init_side(&job->train, job, "train", &job->counts->train);
  init_side(&job->eval, job, "eval", &job->counts->eval);
  LAP_TRY(lap_output_lock_take(job->options->out, true, &job->lock, status));
  LAP_TRY(check_empty(job->train.final, status));
  LAP_TRY(check_empty(job->eval.final, status));
  if (job->options->holdout > 0) LAP_TRY(plan_holdout(job, status));
  return write_sides(job, status);
}

lap_code lap_tokenize(const lap_tokenize_options *options, lap_tokenize_progress progress,
                      void *context, lap_tokenize_counts *counts, lap_status *status) {
  *counts = (lap_tokenize_counts){0};
  tokenize_job job = {
      .options = options, .counts = counts, .progress = progress, .context = context};
  job.holdout.seed = options->seed;
  const bool existed = access(options->out, F_OK) == 0;
  const lap_code code = run(&job, status);
  release_side(&job.train);
  release_side(&job.eval);
  lap_directory_lock_release(job.lock);
  lap_holdout_release(&job.holdout);
  if (job.tokenizer) lap_tokenizer_close(job.tokenizer);
  if (code != LAP_OK && !existed) rmdir(options->out);
  return code;
}
