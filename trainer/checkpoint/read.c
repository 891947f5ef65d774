#include "trainer/checkpoint/read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/paths.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/pieces.h"
#include "trainer/state/hash.h"

/* --- opening --- */

static lap_code read_manifest_text(const char *directory, char **text, size_t *bytes,
                                   lap_status *status) {
  char *path = lap_format("%s/" LAP_MANIFEST_NAME, directory);
  const lap_code code = lap_file_read(path, LAP_MANIFEST_MAX_BYTES, text, bytes, status);
  free(path);
  return code;
}

/* A file that is missing or has another length is noticed without reading it. */
static lap_code check_length(const char *path, int64_t bytes, lap_status *status) {
  struct stat facts;
  if (stat(path, &facts) != 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be examined: %s", path, strerror(errno));
  if (!S_ISREG(facts.st_mode))
    return lap_fail(status, LAP_DATA, "%s: expected a regular file", path);
  if (facts.st_size != bytes)
    return lap_fail(status, LAP_DATA,
                    "%s: is %" PRId64 " bytes long, the manifest says %" PRId64
                    ": damaged or cut short",
                    path, facts.st_size, bytes);
  return LAP_OK;
}

/* Config and tokenizer, which others read by name. */
static lap_code check_content(const char *path, const lap_checkpoint_file *file,
                              lap_status *status) {
  char *bytes, found[LAP_XXH128_HEX];
  size_t count;
  LAP_TRY(lap_file_read(path, (size_t)file->bytes, &bytes, &count, status));
  lap_xxh128_hex(bytes, count, found);
  free(bytes);
  if (strcmp(found, file->xxh128) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: checksum %s, the manifest says %s: damaged or edited",
                  path, found, file->xxh128);
}

static lap_code check_files(const lap_checkpoint *checkpoint, lap_status *status) {
  lap_code code = LAP_OK;
  for (int i = 0; code == LAP_OK && i < checkpoint->pieces->files; ++i) {
    const lap_checkpoint_file *file = &checkpoint->pieces->file[i];
    char *path = lap_format("%s/%s", checkpoint->path, file->name);
    code = check_length(path, file->bytes, status);
    if (code == LAP_OK && file->xxh128[0] != '\0') code = check_content(path, file, status);
    free(path);
  }
  return code;
}

/* A checkpoint that somebody has copied or renamed would count as the newest, and a run would begin
 * again at its step at each start. Weights alone are named as one likes. */
static lap_code check_name(const lap_checkpoint *checkpoint, lap_status *status) {
  uint64_t step;
  if (!checkpoint->full || !lap_checkpoint_is_step(lap_path_name(checkpoint->path), &step) ||
      step == checkpoint->step)
    return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: is the checkpoint of step %" PRIu64
                  ", so it was copied or renamed; name it step-%08" PRIu64
                  ", or by something else than a step",
                  checkpoint->path, checkpoint->step, checkpoint->step);
}

static lap_code open_directory(const char *directory, lap_checkpoint **checkpoint,
                               lap_status *status) {
  char *text;
  size_t bytes;
  *checkpoint = NULL;
  LAP_TRY(read_manifest_text(directory, &text, &bytes, status));
  lap_code code = lap_manifest_parse(directory, text, bytes, checkpoint, status);
  free(text);
  if (code == LAP_OK) code = check_name(*checkpoint, status);
  if (code == LAP_OK) code = check_files(*checkpoint, status);
  if (code != LAP_OK) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  return code;
}

/* Where none is whole, the message is that of the newest. */
static lap_code open_newest(const char *directory, lap_checkpoint **checkpoint,
                            lap_status *status) {
  char **names;
  size_t count;
  LAP_TRY(lap_checkpoint_list(directory, &names, &count, status));
  lap_code code = LAP_DATA;
  if (count == 0)
    lap_fail(status, LAP_DATA,
             "%s: is neither a checkpoint (it has no " LAP_MANIFEST_NAME
             ") nor a run directory with checkpoints/step-*",
             directory);
  for (size_t i = 0; i < count && code != LAP_OK; ++i) {
    char *path = lap_format("%s/%s", directory, names[i]);
    lap_status older;
    code = open_directory(path, checkpoint, i == 0 ? status : &older);
    free(path);
  }
  lap_checkpoint_list_destroy(names, count);
  return code;
}

lap_code lap_checkpoint_open(const char *path, lap_checkpoint **checkpoint, lap_status *status) {
  *checkpoint = NULL;
  char *plain = lap_copy_string(path);
  for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; --end) plain[end - 1] = '\0';
  char *manifest = lap_format("%s/" LAP_MANIFEST_NAME, plain);
  char *inside = lap_format("%s/checkpoints", plain);
  lap_code code;
  if (lap_file_exists(manifest) || lap_checkpoint_is_step(lap_path_name(plain), NULL))
    code = open_directory(plain, checkpoint, status);
  else
    code = open_newest(lap_file_exists(inside) ? inside : plain, checkpoint, status);
  free(inside);
  free(manifest);
  free(plain);
  return code;
}

lap_code lap_checkpoint_agree(const lap_checkpoint *checkpoint, const char *path, lap_comm *comm,
                              lap_status *status) {
  char *which;
  if (!checkpoint)
    which = lap_copy_string("no checkpoint");
  else if (checkpoint->full)
    which = lap_format("step %" PRIu64 ", state_sha256 %.16s", checkpoint->step,
                       checkpoint->state_sha256);
  else
    which = lap_format("step %" PRIu64 ", weights only, manifest_sha256 %.16s", checkpoint->step,
                       checkpoint->manifest_sha256);
  const lap_code code = lap_agree_same(
      comm, path, which,
      checkpoint && !checkpoint->full
          ? "give every node the same weights"
          : "the run has written another checkpoint meanwhile: name one checkpoint, not the run",
      status);
  free(which);
  return code;
}

lap_code lap_checkpoint_verify(const lap_checkpoint *checkpoint, lap_status *status) {
  LAP_TRY(check_files(checkpoint, status));
  return lap_pieces_verify(checkpoint, 0, 1, status);
}

/* Collective. Every byte, of which each rank reads a share; `wants` NULL: whatever it is, else the
 * hash that it has to have. */
static lap_code verify_together(const char *path, const char *wants, lap_comm *comm,
                                lap_status *status) {
  lap_checkpoint *checkpoint = NULL;
  lap_status own = {.code = LAP_OK};
  own.code = open_directory(path, &checkpoint, &own);
  if (own.code == LAP_OK && wants &&
      (!checkpoint->full || strcmp(checkpoint->state_sha256, wants) != 0))
    lap_fail(&own, LAP_DATA, "%s: is another checkpoint", path);
  if (own.code == LAP_OK)
    own.code = lap_pieces_verify(checkpoint, lap_comm_rank(comm), lap_comm_size(comm), &own);
  lap_checkpoint_close(checkpoint);
  *status = own;
  return lap_agree(comm, status);
}

lap_code lap_checkpoint_verify_together(const char *path, lap_comm *comm, lap_status *status) {
  return verify_together(path, NULL, comm, status);
}

bool lap_checkpoint_is_there(const char *path, const char *state_sha256, lap_comm *comm) {
  lap_status ignored;
  bool there = false;
  if (lap_comm_rank(comm) == 0) there = lap_file_exists(path);
  lap_broadcast(comm, &there, sizeof there, 0);
  return there && verify_together(path, state_sha256, comm, &ignored) == LAP_OK;
}

/* --- into a vector, into a state --- */

lap_code lap_checkpoint_read_weights(const lap_checkpoint *checkpoint,
                                     const lap_weight_target *target, lap_status *status) {
  LAP_TRY(lap_pieces_check_tensors(checkpoint, target->parameters, status));
  return lap_pieces_read(checkpoint, LAP_WEIGHT, target, status);
}

/* Of the weights a rank reads what it owns, the others send theirs; of the moments, what it holds.
 */
static lap_code read_kind(const lap_checkpoint *checkpoint, lap_state *state, lap_state_kind kind,
                          lap_status *status) {
  lap_weight_target target = lap_weight_target_create(state->parameters);
  for (int b = 0; b < state->partition->buckets; ++b) {
    target.held[b] = kind == LAP_WEIGHT ? state->owned[b] : lap_state_held(state, kind, b);
    target.at[b] = lap_state_at(state, kind, b, target.held[b].begin);
  }
  const lap_code code = lap_pieces_read(checkpoint, kind, &target, status);
  lap_weight_target_release(&target);
  return code;
}

static lap_code read_state(const lap_checkpoint *checkpoint, lap_state *state, lap_status *status) {
  if (!checkpoint->full)
    return lap_fail(status, LAP_DATA,
                    "%s: holds weights only; a run resumes from a full checkpoint (to start from "
                    "these weights: init)",
                    checkpoint->path);
  LAP_TRY(lap_pieces_check_tensors(checkpoint, state->parameters, status));
  for (int kind = 0; kind < LAP_STATE_KINDS; ++kind)
    LAP_TRY(read_kind(checkpoint, state, (lap_state_kind)kind, status));
  return LAP_OK;
}

lap_code lap_checkpoint_load(const lap_checkpoint *checkpoint, lap_state *state,
                             lap_status *status) {
  assert(state->values[LAP_EXP_AVG] && state->values[LAP_EXP_AVG_SQ]);
  lap_comm *comm = state->placement.comm;
  *status = (lap_status){.code = LAP_OK};
  status->code = read_state(checkpoint, state, status);
  LAP_TRY(lap_agree(comm, status));
  if (state->whole[LAP_WEIGHT]) lap_state_gather_weights(state);
  state->step = checkpoint->step;
  state->applied_updates = checkpoint->applied_updates;
  state->bad_steps = checkpoint->bad_steps;
  /* The hash goes over parts of shards: another number of shards has another one. */
  if (checkpoint->model_shards != state->all->shards.of) return LAP_OK;
  char found[LAP_SHA256_HEX];
  lap_state_sha256(state, found);
  if (strcmp(found, checkpoint->state_sha256) != 0)
    lap_fail(status, LAP_DATA,
             "%s: the loaded state has state_sha256 %s, the manifest says %s: do not use it",
             checkpoint->path, found, checkpoint->state_sha256);
  return lap_agree(comm, status);
}

/* --- the newest whole one --- */

/* Collective. Rank 0 reads and checks; the others get its manifest, so that all see the same one
 * whatever their file caches say. */
static lap_code open_together(const char *directory, lap_comm *comm, lap_checkpoint **checkpoint,
                              lap_status *status) {
  char *text = NULL;
  size_t bytes = 0;
  *status = (lap_status){.code = LAP_OK};
  *checkpoint = NULL;
  const bool root = lap_comm_rank(comm) == 0;
  if (root) {
    status->code = open_directory(directory, checkpoint, status);
    if (status->code == LAP_OK) status->code = read_manifest_text(directory, &text, &bytes, status);
  }
  lap_code code = lap_agree(comm, status);
  if (code == LAP_OK) {
    lap_broadcast(comm, &bytes, sizeof bytes, 0);
    if (!root) text = lap_allocate(bytes, 1);
    lap_broadcast(comm, text, bytes, 0);
    if (!root) status->code = lap_manifest_parse(directory, text, bytes, checkpoint, status);
    code = lap_agree(comm, status);
  }
  free(text);
  if (code != LAP_OK) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  return code;
}

/* Collective. The names that rank 0 sees, on every rank. Without a directory there are none. */
static lap_code list_together(const char *directory, lap_comm *comm, uint64_t **steps,
                              size_t *count, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  *steps = NULL;
  *count = 0;
  if (lap_comm_rank(comm) == 0 && lap_file_exists(directory)) {
    char **names;
    lap_checkpoint_tidy(directory, NULL);
    status->code = lap_checkpoint_list(directory, &names, count, status);
    *steps = lap_allocate(*count, sizeof **steps);
    for (size_t i = 0; i < *count; ++i) lap_checkpoint_is_step(names[i], &(*steps)[i]);
    lap_checkpoint_list_destroy(names, *count);
  }
  const lap_code code = lap_agree(comm, status);
  lap_broadcast(comm, count, sizeof *count, 0);
  if (!*steps) *steps = lap_allocate(*count, sizeof **steps);
  lap_broadcast(comm, *steps, *count * sizeof **steps, 0);
  return code;
}

/* Collective. One candidate, opened and loaded. */
static lap_code try_one(const char *directory, uint64_t step, lap_state *state,
                        lap_checkpoint **checkpoint, lap_status *status) {
  char *path = lap_format("%s/step-%08" PRIu64, directory, step);
  lap_code code = open_together(path, state->placement.comm, checkpoint, status);
  assert(*checkpoint || code != LAP_OK);
  if (code == LAP_OK) code = lap_checkpoint_load(*checkpoint, state, status);
  if (code != LAP_OK) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  free(path);
  return code;
}

lap_code lap_checkpoint_load_newest(const char *directory, lap_state *state,
                                    void (*notice)(void *context, const char *text), void *context,
                                    bool *found, lap_checkpoint **loaded, lap_status *status) {
  lap_comm *comm = state->placement.comm;
  uint64_t *steps;
  size_t count;
  *loaded = NULL;
  lap_code code = list_together(directory, comm, &steps, &count, status);
  *found = count > 0;
  bool whole = false;
  for (size_t i = 0; code == LAP_OK && i < count && !whole; ++i) {
    lap_status one;
    whole = try_one(directory, steps[i], state, loaded, &one) == LAP_OK;
    if (whole) break;
    if (i == 0) *status = one; /* the message is that of the newest */
    char *text = lap_format("step %" PRIu64 " is passed over: %s", steps[i], one.message);
    if (lap_comm_rank(comm) == 0 && notice) notice(context, text);
    free(text);
  }
  if (code == LAP_OK && count > 0 && !whole) {
    lap_fail_context(status, "%s: none of %zu checkpoints can be used; the newest", directory,
                     count);
    code = status->code = LAP_DATA;
  }
  free(steps);
  return code;
}
