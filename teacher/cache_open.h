/* cache_open: finds the files of a cache, and checks that they belong to the tokens and the run.
 *
 * One HDF5 file belongs to one token shard, found by tokens_sha256, so one glob serves train and
 * eval. A child process opens each file first (teacher/cache_sandbox.h), and reads every row of it
 * before this process reads one (teacher/look.h). Opening for use thus costs reading the files
 * whole. Processes that share that work find the files, look at some each, and accept what all have
 * found. Without an expectation files are read whole once rows are asked for.
 */
#ifndef LAP_TEACHER_CACHE_OPEN_H
#define LAP_TEACHER_CACHE_OPEN_H

#include "core/progress.h"
#include "teacher/cache.h"

/* What the reader of the cache expects of it; a difference is refused with both values shown. */
typedef struct {
  uint32_t vocab_size; /* of the student: the cache's may be smaller, not larger */
  uint32_t sequence_length;
  bool document_mask;
  bool allow_context_mismatch;   /* lifts sequence_length and document_mask */
  bool allow_shift;              /* lifts the shifted-rows check */
  bool by_flags;                 /* the reader has flags for these two, and no keys to set: eval */
  bool to_measure;               /* kl and agreement are wanted: drawn codecs are refused */
  bool several_draws;            /* a drawn codec may come in caches of several draw seeds */
  const lap_progress_hook *hook; /* told while files are opened and read; NULL: nobody */
} lap_cache_expectation;

/* Opens for use, by one process alone: finds the files, looks at all of them, accepts. */
lap_code lap_cache_open(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status);

/* Finds, for every shard of `tokens`, the one file of `pattern` (core/paths.h) with its
 * tokens_sha256; files for other tokens are ignored. LAP_DATA: no file for a shard (naming both),
 * two files for one shard (but see several_draws), files that disagree on the schema, and any
 * refusal of docs/design.md#teacher-cache; of lap_cache_open also "rows look shifted by one"
 * (teacher/align.h). `expectation` NULL: nothing is expected, for looking at a cache (inspect,
 * audit). `tokens` must outlive the cache. */
lap_code lap_cache_find(const char *pattern, const lap_token_set *tokens,
                        const lap_cache_expectation *expectation, lap_cache **cache,
                        lap_status *status);

#endif
