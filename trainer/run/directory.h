/* directory: the directory of one run and its text files (docs/design.md#run-directory).
 *
 *   config.resolved.yaml  run.json  metrics.jsonl  log.txt  checkpoints/  export/  .lock  .epoch
 *
 * Not collective: rank 0 makes and writes it; trainer/cli/shared_directory.h checks that the other
 * ranks see it.
 */
#ifndef LAP_TRAINER_RUN_DIRECTORY_H
#define LAP_TRAINER_RUN_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/status.h"
#include "mpi/tree/mesh.h"

/* Makes the directory with checkpoints/ and export/ where they are missing. LAP_USAGE where it has
 * checkpoints already and `resume` is false, saying how to go on; LAP_DATA where it cannot be made.
 */
lap_code lap_run_directory_create(const char *path, bool resume, lap_status *status);

/* Whether checkpoints/ holds a finished checkpoint: a directory named step-DIGITS. */
bool lap_run_directory_has_checkpoints(const char *path);

/* Other run directories with checkpoints that may have been meant: below `path`, its parent, and
 * beside it, those of like names first; "" where there are none, else a list "runs/a, runs/b" of at
 * most four. malloc'ed. */
char *lap_run_directory_near(const char *path);

/* The commit that the program was built from; "" where its source was no git checkout. */
const char *lap_run_git_commit(void);

/* PATH/NAME, malloc'ed. */
char *lap_run_directory_path(const char *path, const char *name);

typedef struct {
  const char *name, *text;
} lap_run_fact;

/* The checkpoint of another run that a run goes on from. */
typedef struct {
  char
      *checkpoint; /* its directory, from the root where that can be known; malloc'ed; NULL: none */
  uint64_t step;
  char state_sha256[LAP_SHA256_HEX];
} lap_run_parent;

/* What run.json says beside the versions of lapidary, its commit, jansson and libyaml. */
typedef struct {
  const char *const *hosts; /* [ranks] host name of each rank */
  int ranks, threads;
  lap_mesh mesh;
  const char *numbers_sha256;
  const lap_run_fact *versions; /* [version_count] other libraries: {"openblas", "0.3.21"} */
  size_t version_count;
  const lap_run_fact *inputs; /* [input_count] {"tokenizer", its SHA-256} */
  size_t input_count;
  const lap_run_parent *parent; /* NULL, or without a checkpoint: as the run.json before says */
} lap_run_facts;

/* Writes PATH/run.json. Where there is one already, its content moves into the new one's "previous"
 * list, so that a resumed run remembers on what ranks and versions it ran before; its "parent"
 * stays.
 */
lap_code lap_run_json_write(const char *path, const lap_run_facts *facts, lap_status *status);

#endif
