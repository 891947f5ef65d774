/* inspect: what a file or directory of lapidary is, and whether it is whole
 * (docs/design.md#commands).
 *
 * One function looks at one path. What it is, is decided by one table (inspect.c) from the content
 * where the content says it, else from the name; each kind has a function that reports on it and,
 * where asked to, verifies everything of it. Not collective: inspect runs alone.
 */
#ifndef LAP_TRAINER_INSPECT_INSPECT_H
#define LAP_TRAINER_INSPECT_INSPECT_H

#include <stdbool.h>
#include <stddef.h>

#include "dataset/tokenizer.h"
#include "trainer/cli/session.h"
#include "trainer/inspect/report.h"

/* The token shard that a cache belongs to is found by its hash. */
typedef struct {
  char *path;
  char tokens_sha256[LAP_SHA256_HEX];
} lap_known_shard;

typedef struct {
  const lap_session *session;
  bool check;               /* verify everything */
  bool bar;                 /* show progress within a file */
  lap_tokenizer *tokenizer; /* NULL: none */
  const char *tokenizer_path;
  const char *tokens;     /* glob of --tokens; NULL: none */
  lap_known_shard *shard; /* [shard_count] what the glob matches */
  size_t shard_count;
} lap_inspector;

/* Opens what --tokenizer and --tokens name (NULL: nothing). LAP_DATA naming the file. */
lap_code lap_inspector_open(const lap_session *session, const char *tokenizer, const char *tokens,
                            lap_inspector *inspector, lap_status *status);
void lap_inspector_close(lap_inspector *inspector);

/* Reports on one path. LAP_DATA, or LAP_USAGE for a config, naming the first problem; the report
 * then has what was found before it, and the problem. */
lap_code lap_inspect(const lap_inspector *inspector, const char *path, lap_report *report,
                     lap_status *status);

/* The glob that matches what is at `path` followed by `pattern`; malloc'ed. */
char *lap_inspect_glob(const char *path, const char *pattern);

/* --- the kinds; each sets the report's summary --- */

lap_code lap_inspect_token_shard(const lap_inspector *inspector, const char *path,
                                 lap_report *report, lap_status *status);
lap_code lap_inspect_tokenizer(const lap_inspector *inspector, const char *path, lap_report *report,
                               lap_status *status);
lap_code lap_inspect_cache(const lap_inspector *inspector, const char *path, lap_report *report,
                           lap_status *status);
lap_code lap_inspect_checkpoint(const lap_inspector *inspector, const char *path,
                                lap_report *report, lap_status *status);
lap_code lap_inspect_hugging_face(const lap_inspector *inspector, const char *path,
                                  lap_report *report, lap_status *status);
lap_code lap_inspect_run(const lap_inspector *inspector, const char *path, lap_report *report,
                         lap_status *status);
lap_code lap_inspect_run_json(const lap_inspector *inspector, const char *path, lap_report *report,
                              lap_status *status);
lap_code lap_inspect_metrics(const lap_inspector *inspector, const char *path, lap_report *report,
                             lap_status *status);
lap_code lap_inspect_config(const lap_inspector *inspector, const char *path, lap_report *report,
                            lap_status *status);

/* Whether a tokenizer was given and made what says so; where another made it: a note, and LAP_DATA
 * when checking. *usable is false where there is none or another. */
lap_code lap_inspect_tokenizer_match(const lap_inspector *inspector, const char *path,
                                     const char *tokenizer_sha256, bool *usable, lap_report *report,
                                     lap_status *status);

/* Reads every byte of the checkpoint at `path` (a checkpoint directory) and compares checksums and
 * tensors with its model; of a full one also the state with state_sha256. Memory: the state. */
lap_code lap_inspect_verify_checkpoint(const lap_inspector *inspector, const char *path,
                                       lap_status *status);

#endif
