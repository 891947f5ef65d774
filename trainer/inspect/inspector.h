/* inspector: what inspect was asked to do, and what it knows beforehand, for all kinds of files. */
#ifndef LAP_TRAINER_INSPECT_INSPECTOR_H
#define LAP_TRAINER_INSPECT_INSPECTOR_H

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
  const char *tokens;     /* what --tokens was given; NULL: nothing */
  lap_known_shard *shard; /* [shard_count] the files of it */
  size_t shard_count;
} lap_inspector;

/* Opens what --tokenizer and --tokens name (NULL: nothing). LAP_DATA naming the file. */
lap_code lap_inspector_open(const lap_session *session, const char *tokenizer, const char *tokens,
                            lap_inspector *inspector, lap_status *status);
void lap_inspector_close(lap_inspector *inspector);

/* Reports tokenizer_sha256 of what is at `path`, and whether --tokenizer is that tokenizer: a fact,
 * and LAP_DATA when checking. *usable is false where another tokenizer was given, or none. */
lap_code lap_inspect_tokenizer_match(const lap_inspector *inspector, const char *path,
                                     const char *tokenizer_sha256, bool *usable, lap_report *report,
                                     lap_status *status);

#endif
