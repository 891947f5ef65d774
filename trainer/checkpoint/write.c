#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "mpi/transport/agree.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/read.h"
#include "trainer/state/hash.h"

enum { TOKENIZER_MAX_BYTES = 1 << 30 };

/* One checkpoint being written. `temporary` is the same on every rank; `piece` are those of this
 * rank and, on rank 0 in the end, of all. */
typedef struct {
  const char *path; /* its name when it is whole */
  char temporary[PATH_MAX];
  const lap_state *state;
  lap_comm *comm;
  const lap_checkpoint_extras *extras;
  lap_checkpoint header; /* what the manifest says */
  lap_checkpoint_pieces list;
} writer;

static bool is_root(const writer *w) { return lap_comm_rank(w->comm) == 0; }

/* --- payload: this rank's piece of the canonical vector --- */

/* Shard 0 has a part of every tensor, and stands first. */
static int tensor_of(const lap_state *state, const char *name) {
  return (int)(lap_parameters_find_shard(state->all, name, 0) - state->all->parameter);
}

/* Appends the elements [begin, end) of a part, cut to size, at `offset` of this rank's file. */
static int64_t plan_tensor(writer *w, const lap_parameter *p, lap_state_kind kind, int64_t begin,
                           int64_t end, int64_t offset) {
  lap_checkpoint_pieces *list = &w->list;
  for (int64_t cut; begin < end; begin = cut) {
    cut = end - begin > LAP_PIECE_ELEMENTS ? begin + LAP_PIECE_ELEMENTS : end;
    list->piece = lap_reallocate(list->piece, list->pieces + 1, sizeof *list->piece);
    list->piece[list->pieces++] = (lap_checkpoint_piece){.tensor = tensor_of(w->state, p->name),
                                                         .model_shard = p->model_shard,
                                                         .file = lap_comm_rank(w->comm),
                                                         .kind = kind,
                                                         .begin = begin,
                                                         .end = cut,
                                                         .offset = offset};
    offset += (cut - begin) * (int64_t)sizeof(float);
  }
  return offset;
}

/* Lists the pieces of this rank; returns the bytes of its file. */
static int64_t plan_payload(writer *w) {
  const lap_state *state = w->state;
  int64_t offset = 0;
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    if (p->is_copy) continue;
    const lap_range mine =
        lap_range_overlap(state->owned[p->bucket], (lap_range){p->offset, p->offset + p->elements});
    for (int kind = 0; kind < (w->header.full ? LAP_STATE_KINDS : 1); ++kind)
      offset = plan_tensor(w, p, (lap_state_kind)kind, mine.begin - p->offset, mine.end - p->offset,
                           offset);
  }
  return offset;
}

static char *payload_name(int rank) { return lap_format("rank-%05d.bin", rank); }

/* Creates the file and has the file system set its bytes aside, so that a full disk shows before
 * anything is written. A file system that cannot do that says so later, in write or fsync. (Not
 * posix_fallocate: it would then write zeros instead.) */
static lap_code reserve(const char *path, int64_t bytes, int *descriptor, lap_status *status) {
  *descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (*descriptor < 0) return lap_file_fail(path, "be created", status);
  int failed;
  do failed = fallocate(*descriptor, 0, 0, bytes);
  while (failed && errno == EINTR);
  if (failed && errno != EOPNOTSUPP && errno != ENOSYS)
    return lap_fail(status, LAP_DATA, "%s: cannot reserve %" PRId64 " bytes: %s", path, bytes,
                    strerror(errno));
  return LAP_OK;
}

static lap_code write_pieces(writer *w, int descriptor, const char *path, lap_status *status) {
  for (int i = 0; i < w->list.pieces; ++i) {
    lap_checkpoint_piece *piece = &w->list.piece[i];
    const lap_parameter *p = lap_parameters_find_shard(
        w->state->parameters, w->state->all->parameter[piece->tensor].name, piece->model_shard);
    const float *values = lap_state_at(w->state, piece->kind, p->bucket, p->offset + piece->begin);
    const size_t bytes = (size_t)(piece->end - piece->begin) * sizeof *values;
    lap_xxh128_hex(values, bytes, piece->xxh128);
    LAP_TRY(lap_file_write_all(descriptor, path, values, bytes, status));
  }
  return LAP_OK;
}

/* Collective. A rank that owns nothing writes no file. */
static lap_code write_payload(writer *w, lap_status *status) {
  const int64_t bytes = plan_payload(w);
  char *name = payload_name(lap_comm_rank(w->comm));
  char *path = lap_format("%s/%s", w->temporary, name);
  int descriptor = -1;
  if (bytes > 0) status->code = reserve(path, bytes, &descriptor, status);
  lap_code code = lap_agree(w->comm, status);
  if (code == LAP_OK && descriptor >= 0) {
    status->code = write_pieces(w, descriptor, path, status);
    if (status->code == LAP_OK) {
      status->code = lap_file_sync_and_close(descriptor, path, status);
      descriptor = -1;
    }
  }
  if (descriptor >= 0) close(descriptor);
  free(name);
  free(path);
  return code == LAP_OK ? lap_agree(w->comm, status) : code;
}

/* --- the rest: rank 0 --- */

static void list_tensors(writer *w) {
  const lap_parameters *all = w->state->all;
  while (w->list.tensors < all->count && all->parameter[w->list.tensors].model_shard == 0)
    ++w->list.tensors;
  w->list.tensor = lap_allocate(w->list.tensors, sizeof *w->list.tensor);
  for (int t = 0; t < w->list.tensors; ++t) {
    const lap_parameter *p = &all->parameter[t];
    lap_checkpoint_tensor *tensor = &w->list.tensor[t];
    *tensor = (lap_checkpoint_tensor){
        .rows = p->whole_rows, .columns = p->whole_columns, .is_vector = p->is_norm};
    snprintf(tensor->name, sizeof tensor->name, "%s", p->name);
  }
}

static lap_checkpoint_file *add_file(writer *w, const char *name) {
  w->list.file = lap_reallocate(w->list.file, w->list.files + 1, sizeof *w->list.file);
  lap_checkpoint_file *file = &w->list.file[w->list.files++];
  *file = (lap_checkpoint_file){.bytes = 0};
  snprintf(file->name, sizeof file->name, "%s", name);
  return file;
}

/* Files of all ranks come first, so that the index of a piece's file is its rank; those of ranks
 * that own nothing are taken out again. */
static void list_payload_files(writer *w) {
  lap_checkpoint_pieces *list = &w->list;
  for (int rank = 0; rank < lap_comm_size(w->comm); ++rank) {
    char *name = payload_name(rank);
    add_file(w, name);
    free(name);
  }
  for (int i = 0; i < list->pieces; ++i) {
    const lap_checkpoint_piece *piece = &list->piece[i];
    list->file[piece->file].bytes += (piece->end - piece->begin) * (int64_t)sizeof(float);
  }
  int *index = lap_allocate(list->files, sizeof *index), kept = 0;
  for (int i = 0; i < list->files; ++i) {
    index[i] = kept;
    if (list->file[i].bytes > 0) list->file[kept++] = list->file[i];
  }
  for (int i = 0; i < list->pieces; ++i) list->piece[i].file = index[list->piece[i].file];
  list->files = kept;
  free(index);
}

static lap_code write_attachment(writer *w, const char *name, const void *bytes, size_t count,
                                 lap_status *status) {
  lap_checkpoint_file *file = add_file(w, name);
  file->bytes = (int64_t)count;
  lap_xxh128_hex(bytes, count, file->xxh128);
  char *path = lap_format("%s/%s", w->temporary, name);
  const lap_code code = lap_file_write(path, bytes, count, status);
  free(path);
  return code;
}

static lap_code write_attachments(writer *w, lap_status *status) {
  const char *text = w->extras->config_text;
  LAP_TRY(write_attachment(w, "config.resolved.yaml", text, strlen(text), status));
  if (!w->extras->tokenizer_path) return LAP_OK;
  char *bytes;
  size_t count;
  LAP_TRY(lap_file_read(w->extras->tokenizer_path, TOKENIZER_MAX_BYTES, &bytes, &count, status));
  const lap_code code = write_attachment(w, "tokenizer.model", bytes, count, status);
  free(bytes);
  return code;
}

/* The manifest is the last file; with it, the directory is brought to disk. */
static lap_code write_manifest(writer *w, lap_status *status) {
  list_tensors(w);
  list_payload_files(w);
  LAP_TRY(write_attachments(w, status));
  w->header.pieces = &w->list;
  w->header.writing_ranks = lap_comm_size(w->comm);
  char *text = lap_manifest_print(&w->header, w->header.full ? w->extras->numbers : NULL);
  char *path = lap_format("%s/" LAP_MANIFEST_NAME, w->temporary);
  /* What the reader would refuse is refused here, while the older ones are still safe. */
  lap_checkpoint *readable;
  lap_code code = lap_manifest_parse(w->temporary, text, strlen(text), &readable, status);
  lap_checkpoint_close(readable);
  if (code == LAP_OK) code = lap_file_write(path, text, strlen(text), status);
  free(path);
  free(text);
  return code;
}

/* --- all together --- */

/* Collective. Rank 0 makes the directory. */
static lap_code begin(writer *w, lap_status *status) {
  char *temporary = NULL;
  if (is_root(w)) {
    status->code = lap_checkpoint_begin_directory(w->path, &temporary, status);
    assert(!temporary || strlen(temporary) < sizeof w->temporary); /* the kernel's limit */
    snprintf(w->temporary, sizeof w->temporary, "%s", temporary ? temporary : "");
    free(temporary);
  }
  const lap_code code = lap_agree(w->comm, status);
  lap_broadcast(w->comm, w->temporary, sizeof w->temporary, 0);
  if (code == LAP_OK)
    lap_file_await(w->temporary); /* where it does not come, the next step says so */
  return code;
}

/* Collective. Replaces the pieces of rank 0 by those of all ranks. */
static void gather_pieces(writer *w) {
  void *all;
  size_t *bytes;
  lap_gather_to_root(w->comm, w->list.piece, (size_t)w->list.pieces * sizeof *w->list.piece, &all,
                     &bytes);
  if (is_root(w)) {
    size_t total = 0;
    for (int rank = 0; rank < lap_comm_size(w->comm); ++rank) total += bytes[rank];
    free(w->list.piece);
    w->list.piece = all;
    w->list.pieces = (int)(total / sizeof *w->list.piece);
  }
  free(bytes);
}

/* Collective. After a failure nothing of it is left when any rank returns. */
static lap_code write_directory(writer *w, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  lap_code code = begin(w, status);
  if (code == LAP_OK) code = write_payload(w, status);
  if (code == LAP_OK) {
    gather_pieces(w);
    if (is_root(w)) {
      status->code = write_manifest(w, status);
      if (status->code == LAP_OK)
        status->code = lap_checkpoint_publish(w->temporary, w->path, status);
    }
    code = lap_agree(w->comm, status);
  }
  lap_status ignored;
  if (code != LAP_OK && is_root(w) && w->temporary[0] != '\0')
    lap_file_remove_tree(w->temporary, &ignored);
  lap_barrier(w->comm);
  free(w->list.piece);
  free(w->list.tensor);
  free(w->list.file);
  return code;
}

static writer new_writer(const char *path, const lap_state *state,
                         const lap_checkpoint_extras *extras, bool full) {
  assert(extras->config_text);
  return (writer){.path = path,
                  .state = state,
                  .comm = state->placement.comm,
                  .extras = extras,
                  .header = {.full = full,
                             .step = state->step,
                             .applied_updates = state->applied_updates,
                             .model_shards = state->all->shards.of,
                             .bad_steps = state->bad_steps}};
}

/* Rank 0, after success. A reader that trusts the hint finds a whole checkpoint; one that is not
 * there costs nothing. */
static void update_hint(const char *directory, const char *name) {
  char *path = lap_format("%s/latest", directory), *line = lap_format("%s\n", name);
  lap_status ignored;
  lap_file_write(path, line, strlen(line), &ignored);
  free(path);
  free(line);
}

lap_code lap_checkpoint_write(const char *directory, const lap_state *state,
                              const lap_checkpoint_extras *extras,
                              char state_sha256[LAP_SHA256_HEX], lap_status *status) {
  assert(extras->numbers);
  lap_comm *comm = state->placement.comm;
  lap_state_sha256(state, state_sha256);
  if (lap_comm_rank(comm) == 0) lap_checkpoint_tidy(directory, NULL);
  char *name = lap_format("step-%08" PRIu64, state->step);
  char *path = lap_format("%s/%s", directory, name);
  lap_code code = LAP_OK;
  if (!lap_checkpoint_is_there(path, state_sha256, comm)) {
    writer w = new_writer(path, state, extras, true);
    memcpy(w.header.state_sha256, state_sha256, LAP_SHA256_HEX);
    lap_numbers_sha256(extras->numbers, w.header.numbers_sha256);
    code = write_directory(&w, status);
  }
  if (code == LAP_OK && lap_comm_rank(comm) == 0) update_hint(directory, name);
  free(name);
  free(path);
  return code;
}

/* Collective. */
static lap_code check_nothing_there(const char *path, lap_comm *comm, lap_status *status) {
  *status = (lap_status){.code = LAP_OK};
  if (lap_comm_rank(comm) == 0 && lap_file_exists(path))
    lap_fail(status, LAP_USAGE, "%s: exists; name a place where nothing is", path);
  return lap_agree(comm, status);
}

static void tidy_beside(const char *path) {
  char *copy = lap_copy_string(path), *other = lap_copy_string(path);
  lap_checkpoint_tidy(dirname(copy), basename(other));
  free(copy);
  free(other);
}

lap_code lap_checkpoint_write_weights(const char *path, const lap_state *state,
                                      const lap_checkpoint_extras *extras, lap_status *status) {
  lap_comm *comm = state->placement.comm;
  char *plain = lap_copy_string(path);
  for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; --end) plain[end - 1] = '\0';
  if (lap_comm_rank(comm) == 0) tidy_beside(plain);
  lap_code code = check_nothing_there(plain, comm, status);
  if (code == LAP_OK) {
    writer w = new_writer(plain, state, extras, false);
    code = write_directory(&w, status);
  }
  free(plain);
  return code;
}
