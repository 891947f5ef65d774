/* directory: the directory of one run and its text files (docs/design.md#run-directory).
 *
 *   config.resolved.yaml  run.json  metrics.jsonl  log.txt  checkpoints/  export/  .lock  .epoch;
 *   where it happened: run.json.damaged  bad_batches.jsonl  excluded_hosts  unconfirmed
 *
 * Not collective: rank 0 makes and writes it; trainer/cli/shared_directory.h checks that the other
 * ranks see it.
 */
#ifndef LAP_TRAINER_RUN_DIRECTORY_H
#define LAP_TRAINER_RUN_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/directory_lock.h"
#include "core/hash.h"
#include "core/status.h"
#include "mpi/tree/mesh.h"

/* LAP_USAGE where the directory has checkpoints already, saying how to go on; LAP_DATA where that
 * cannot be known. */
lap_code lap_run_directory_check_new(const char *path, lap_status *status);

/* Makes the directory with checkpoints/ and export/ where they are missing. LAP_USAGE where it has
 * checkpoints already and `resume` is false, saying how to go on; LAP_DATA where it cannot be made,
 * or where that cannot be known. */
lap_code lap_run_directory_create(const char *path, bool resume, lap_status *status);

/* The same, and takes its lock with a fence. What is there is asked again with the lock: to get it
 * may last, and the job that had it may have ended meanwhile, with checkpoints. *lock is the
 * caller's whatever the outcome; NULL where it was not to be had: LAP_USAGE. */
lap_code lap_run_directory_take(const char *path, bool resume, lap_directory_lock **lock,
                                lap_status *status);

/* Whether checkpoints/ holds a finished checkpoint: a directory named step-DIGITS, or a symbolic
 * link of that name, wherever it leads. False where checkpoints/ cannot be listed. */
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

/* What a run began with: the checkpoint of another run, or nothing of another. */
typedef struct {
  char *checkpoint; /* its directory, where possible from the root; malloc'ed; NULL: none */
  uint64_t step;
  char state_sha256[LAP_SHA256_HEX];
  bool resumed; /* the run goes on from a checkpoint of its own: it began as run.json says */
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
  const lap_run_parent *parent; /* NULL: none */
} lap_run_facts;

/* Writes PATH/run.json. Where there is one already, its content moves into the new one's "previous"
 * list, so that a resumed run remembers on what ranks and versions it ran before; its "parent"
 * stays where the run is resumed, and is "unknown" where there was no run.json to say it. A fresh
 * run has none. */
lap_code lap_run_json_write(const char *path, const lap_run_facts *facts, lap_status *status);

/* Where PATH/run.json is not a JSON object, it becomes run.json.damaged, or run.json.damaged-2 and
 * so on: for somebody to look at. *name is that name, malloc'ed; NULL: it is whole, or not there.
 */
lap_code lap_run_json_set_aside(const char *path, char **name, lap_status *status);

/* What PATH/run.json says the run began with; the caller frees parent->checkpoint. LAP_DATA where
 * it is missing, damaged, or does not know. */
lap_code lap_run_json_parent(const char *path, lap_run_parent *parent, lap_status *status);

#endif
