/* checkpoint: a state on disk, as a directory that stands alone (docs/design.md#checkpoint).
 *
 *   RUN/checkpoints/step-00000120/   config.resolved.yaml   tokenizer.model
 *                                    inputs.json            hashes of what the run reads, by name
 *                                    rank-00000.bin ...     one flat payload file per writing rank
 *                                    manifest.json
 *   RUN/checkpoints/latest           the name of the newest one; a hint only
 *
 * The manifest: format "lapidary-checkpoint", format_version 1, kind (full | weights), step,
 * applied_updates, bad_steps, writing_ranks, model_shards; full only: state_sha256, numbers_sha256,
 * numbers (key -> value, so that a difference can be named); files (name, bytes, and xxh128 of
 * those that are not payload), tensors (name, shape), and pieces: tensor, model_shard, kind
 * (weight | exp_avg | exp_avg_sq), begin, end (elements of the shard's part of the tensor), file,
 * offset (bytes), xxh128. Payload is little-endian float32. The last member is the manifest's own
 * checksum, that of `head -n -2 manifest.json | sha256sum`: a change of any bit of a checkpoint is
 * noticed.
 *
 * Invariants of writing:
 * 1. Nothing that is there is touched before the new checkpoint is whole and on disk.
 * 2. Space is reserved by every rank, and that agreed, before the first byte is written.
 * 3. What a rank has written and synced is read back by another rank, of another host where there
 *    is one, from the disk as far as the system lets us, before the checkpoint counts.
 * 4. A directory that has its final name is whole: it is written under a temporary name, every file
 *    synced and closed without error, and renamed as the last act; then the parent is synced.
 * 5. Nothing gets its name, and nothing is deleted, by a job that another has taken over from
 *    (core/directory_lock.h).
 * 6. Older ones are deleted only after that, and never the one that was read back last. Leftovers
 *    of a killed writer are removed by the next (trainer/checkpoint/directory.h).
 *
 * Writing goes on behind the training, from a copy of what the rank owns: lap_checkpoint_begin
 * copies and reserves; then a thread writes, another rank's thread reads back, and rank 0's gives
 * the directory its name, while steps go on. These threads meet by exchanges of their own
 * (lap_comm_beside), so that a checkpoint counts as soon as it is written and read back, however
 * long a step takes. The main threads end it, in lap_checkpoint_finish, once a step has told all
 * of them that all threads are done.
 *
 * A full disk is a failure like any other; a limit on file sizes (ulimit -f) is one only where the
 * program ignores SIGXFSZ.
 *
 * A checkpoint loads at any rank count. The loader trusts nothing: it checks the manifest against
 * the model, every piece it reads against its checksum, and (full) the loaded state against
 * state_sha256; where the newest is not whole it says so and falls back to the one before.
 */
#ifndef LAP_TRAINER_CHECKPOINT_CHECKPOINT_H
#define LAP_TRAINER_CHECKPOINT_CHECKPOINT_H

#include <stdbool.h>

#include "core/directory_lock.h"
#include "core/hash.h"
#include "trainer/config/numbers.h"
#include "trainer/state/state.h"
#include "trainer/state/weight_target.h"

typedef struct {
  const char *config_text;        /* config.resolved.yaml */
  const char *tokenizer_path;     /* copied; NULL: none */
  const lap_numbers *numbers;     /* NULL for kind weights */
  const char *inputs_text;        /* inputs.json; NULL: none */
  const char *generation_text;    /* generation_config.json; NULL: none */
  const lap_directory_lock *lock; /* whose fence is asked (rank 0); NULL: none */
} lap_checkpoint_extras;

/* Collective. Writes `directory`/step-%08d of kind full, reads it back, publishes it, updates
 * `latest`. *state_sha256 gets the hash. Where a whole one of the same step and hash is there
 * already, nothing is written; another or damaged one is replaced. LAP_DATA, the same on all ranks,
 * where anything fails, LAP_USAGE where another job has taken over; then no checkpoint has changed,
 * nor has `latest`. */
lap_code lap_checkpoint_write(const char *directory, const lap_state *state,
                              const lap_checkpoint_extras *extras,
                              char state_sha256[LAP_SHA256_HEX], lap_status *status);

/* --- behind the training --- */

/* Which of the old ones stay: the newest `keep` whole ones (at least one), multiples of
 * `keep_every` (0: none) and `best_step` (-1: none). One that is not whole does not count, and
 * stays where it is newer than those. */
typedef struct {
  int64_t keep, keep_every, best_step;
} lap_checkpoint_keep;

typedef struct lap_checkpoint_writer lap_checkpoint_writer;

typedef struct {
  uint64_t step;
  char state_sha256[LAP_SHA256_HEX];
  int64_t bytes;         /* of payload, of this rank */
  double held_seconds;   /* that this rank's main thread spent in begin and finish */
  double thread_seconds; /* of a core, that this rank's thread took */
  double seconds;        /* from begin until all ranks know that it has its name */
  bool was_there;        /* a whole one, so that nothing was written */
  lap_status pruned;     /* rank 0: what could not be deleted; "" */
} lap_checkpoint_result;

/* Not collective. Everything given must outlive the writer. The copy, 12 bytes for each element
 * that this rank owns, is allocated at the first lap_checkpoint_begin that needs one, and kept. */
lap_checkpoint_writer *lap_checkpoint_writer_create(const char *directory, lap_comm *comm,
                                                    const lap_checkpoint_extras *extras);
/* Not collective; none is in flight. NULL is fine. */
void lap_checkpoint_writer_destroy(lap_checkpoint_writer *writer);
/* Adds what the copy of this state takes. */
void lap_checkpoint_writer_bytes(const lap_state *state, lap_memory_table *memory);

/* Collective, where none is in flight. As lap_checkpoint_write, and deletes old ones once it is
 * published. `behind`: returns when the state has been copied and its space reserved; otherwise
 * nothing is copied, and all is done when it returns. In both cases lap_checkpoint_finish has the
 * outcome of what was begun. An error is that of lap_checkpoint_write; then none is in flight. */
lap_code lap_checkpoint_begin(lap_checkpoint_writer *writer, const lap_state *state,
                              const lap_checkpoint_keep *keep, bool behind, lap_status *status);
/* Whether one is in flight; the same on all ranks. */
bool lap_checkpoint_in_flight(const lap_checkpoint_writer *writer);
/* Not collective. Whether this rank's thread still works; lap_checkpoint_finish would wait. */
bool lap_checkpoint_is_busy(const lap_checkpoint_writer *writer);
/* Collective. Waits until all ranks are done with it, after which none is in flight; where none is,
 * it does nothing. An error is that of lap_checkpoint_write, or LAP_NONFINITE where the copy has
 * changed in memory before it was written and hashed. */
lap_code lap_checkpoint_finish(lap_checkpoint_writer *writer, lap_status *status);
/* Not collective. Of the last one that was published, or was there. */
const lap_checkpoint_result *lap_checkpoint_last(const lap_checkpoint_writer *writer);

/* --- weights alone --- */

/* Collective. Kind weights, at exactly `path` (LAP_USAGE where something is there). */
lap_code lap_checkpoint_write_weights(const char *path, const lap_state *state,
                                      const lap_checkpoint_extras *extras, lap_status *status);

/* Collective. Deletes old checkpoints of `directory`, as a writer does. LAP_OK; a failure to delete
 * is a warning in status->message on rank 0. */
lap_code lap_checkpoint_prune(const char *directory, const lap_checkpoint_keep *keep,
                              lap_comm *comm, lap_status *status);
/* The same, not collective, of one process. `verified` is the step that was written and read back
 * last, which stays whatever the rules; -1: none. A failure to delete is a message in an LAP_OK
 * status. */
void lap_checkpoint_prune_alone(const char *directory, const lap_checkpoint_keep *keep,
                                int64_t verified, lap_status *status);

/* What the manifest says, for inspect, eval and resume. */
typedef struct {
  char *path; /* of the directory */
  bool full;
  uint64_t step, applied_updates, bad_steps;
  char numbers_sha256[LAP_SHA256_HEX]; /* "" for weights */
  char state_sha256[LAP_SHA256_HEX];   /* "" for weights */
  char manifest_sha256[LAP_SHA256_HEX];
  lap_numbers *numbers; /* NULL for weights */
  int writing_ranks;
  int model_shards; /* of the writer's mesh: pieces are of parts of tensors */
  struct lap_checkpoint_pieces *pieces;
} lap_checkpoint;

/* Not collective. Reads and checks the manifest of one checkpoint directory, or of the newest whole
 * one where `path` is a run directory or its checkpoints/; whole as far as shows without reading
 * payload: files are there and of the right length, config and tokenizer as they were written; a
 * full one that is named step-N is of step N. LAP_DATA naming the file. */
lap_code lap_checkpoint_open(const char *path, lap_checkpoint **checkpoint, lap_status *status);
void lap_checkpoint_close(lap_checkpoint *checkpoint);
/* Collective. LAP_USAGE where ranks have opened different ones, as they may in the directory of a
 * run that goes on: a newer one appears meanwhile, on one host before the others; or where nodes
 * have copies. `path` is what was asked for; `checkpoint` NULL: that is none, on this rank. */
lap_code lap_checkpoint_agree(const lap_checkpoint *checkpoint, const char *path, lap_comm *comm,
                              lap_status *status);

/* Not collective. The names of step-* directories under `directory`, newest first; malloc'ed.
 * LAP_DATA, and none, where not all of them can be listed: a list without the newest would let a
 * run begin anew. */
lap_code lap_checkpoint_list(const char *directory, char ***names, size_t *count,
                             lap_status *status);
void lap_checkpoint_list_destroy(char **names, size_t count);

/* Not collective. Weights from a checkpoint, checked, whatever the number of shards it was written
 * with: for eval, teach, generate, init. LAP_DATA naming the tensor where tensors and shapes are
 * not those of the model. */
lap_code lap_checkpoint_read_weights(const lap_checkpoint *checkpoint,
                                     const lap_weight_target *target, lap_status *status);

/* Collective. Loads a full checkpoint into `state` and verifies state_sha256. The outcome is
 * agreed; after a failure the content of `state` means nothing. */
lap_code lap_checkpoint_load(const lap_checkpoint *checkpoint, lap_state *state,
                             lap_status *status);

/* Collective. The newest whole checkpoint of `directory` into `state`: tries from the newest, and
 * reports each one passed over through `notice` (rank 0). *found is false where there is none at
 * all. LAP_DATA where there are some but none is whole. *loaded is opened on every rank, for its
 * numbers. */
lap_code lap_checkpoint_load_newest(const char *directory, lap_state *state,
                                    void (*notice)(void *context, const char *text), void *context,
                                    bool *found, lap_checkpoint **loaded, lap_status *status);

/* Not collective. Reads every piece of the checkpoint and compares checksums. */
lap_code lap_checkpoint_verify(const lap_checkpoint *checkpoint, lap_status *status);
/* Collective. The same of the checkpoint directory `path`, of which each rank reads a share. */
lap_code lap_checkpoint_verify_together(const char *path, lap_comm *comm, lap_status *status);

#endif
