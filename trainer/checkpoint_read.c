#include "trainer/checkpoint_read.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "autograd/core/file.h"
#include "autograd/core/memory.h"
#include "mpi/agree.h"
#include "mpi/tree.h"
#include "trainer/checkpoint_directory.h"
#include "trainer/checkpoint_manifest.h"
#include "trainer/state_hash.h"

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
                    "%s: is %jd bytes long, the manifest says %" PRId64 ": damaged or cut short",
                    path, (intmax_t)facts.st_size, bytes);
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

static lap_code open_directory(const char *directory, lap_checkpoint **checkpoint,
                               lap_status *status) {
  char *text;
  size_t bytes;
  *checkpoint = NULL;
  LAP_TRY(read_manifest_text(directory, &text, &bytes, status));
  lap_code code = lap_manifest_parse(directory, text, bytes, checkpoint, status);
  free(text);
  if (code == LAP_OK) code = check_files(*checkpoint, status);
  if (code != LAP_OK) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  return code;
}

/* Of several that are not whole, the newest is the one to hear about. */
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

static const char *last_component(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

lap_code lap_checkpoint_open(const char *path, lap_checkpoint **checkpoint, lap_status *status) {
  *checkpoint = NULL;
  char *plain = lap_copy_string(path);
  for (size_t end = strlen(plain); end > 1 && plain[end - 1] == '/'; --end) plain[end - 1] = '\0';
  char *manifest = lap_format("%s/" LAP_MANIFEST_NAME, plain);
  char *inside = lap_format("%s/checkpoints", plain);
  lap_code code;
  if (lap_file_exists(manifest) || lap_checkpoint_is_step(last_component(plain), NULL))
    code = open_directory(plain, checkpoint, status);
  else
    code = open_newest(lap_file_exists(inside) ? inside : plain, checkpoint, status);
  free(inside);
  free(manifest);
  free(plain);
  return code;
}

/* --- pieces --- */

/* Reads pieces one by one; each is compared with its checksum before anybody sees it. */
typedef struct {
  const lap_checkpoint *checkpoint;
  float *values; /* of the last piece read */
  int descriptor, file;
  char *path; /* of the open file */
} piece_reader;

static piece_reader new_reader(const lap_checkpoint *checkpoint) {
  int64_t largest = 0;
  for (int i = 0; i < checkpoint->pieces->pieces; ++i) {
    const lap_checkpoint_piece *piece = &checkpoint->pieces->piece[i];
    if (piece->end - piece->begin > largest) largest = piece->end - piece->begin;
  }
  return (piece_reader){.checkpoint = checkpoint,
                        .values = lap_allocate((size_t)largest, sizeof(float)),
                        .descriptor = -1,
                        .file = -1};
}

static void close_file(piece_reader *reader) {
  if (reader->descriptor >= 0) close(reader->descriptor);
  reader->descriptor = -1;
  free(reader->path);
  reader->path = NULL;
}

static void release_reader(piece_reader *reader) {
  close_file(reader);
  free(reader->values);
}

static lap_code select_file(piece_reader *reader, int file, lap_status *status) {
  if (reader->descriptor >= 0 && reader->file == file) return LAP_OK;
  close_file(reader);
  reader->file = file;
  reader->path =
      lap_format("%s/%s", reader->checkpoint->path, reader->checkpoint->pieces->file[file].name);
  reader->descriptor = open(reader->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (reader->descriptor >= 0) return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", reader->path, strerror(errno));
}

static lap_code read_at(const piece_reader *reader, size_t bytes, int64_t offset,
                        lap_status *status) {
  char *next = (char *)reader->values;
  while (bytes > 0) {
    const ssize_t got = pread(reader->descriptor, next, bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", reader->path, strerror(errno));
    if (got == 0)
      return lap_fail(status, LAP_DATA, "%s: ends at byte %" PRId64 ": cut short", reader->path,
                      offset);
    next += got;
    bytes -= (size_t)got;
    offset += got;
  }
  return LAP_OK;
}

static lap_code read_piece(piece_reader *reader, const lap_checkpoint_piece *piece,
                           lap_status *status) {
  const size_t bytes = (size_t)(piece->end - piece->begin) * sizeof(float);
  LAP_TRY(select_file(reader, piece->file, status));
  LAP_TRY(read_at(reader, bytes, piece->offset, status));
  char found[LAP_XXH128_HEX];
  lap_xxh128_hex(reader->values, bytes, found);
  if (strcmp(found, piece->xxh128) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: tensor %s, %s, elements %" PRId64 " to %" PRId64
                  ": checksum %s, the manifest says %s: the file is damaged",
                  reader->path, reader->checkpoint->pieces->tensor[piece->tensor].name,
                  lap_state_kind_name(piece->kind), piece->begin, piece->end, found, piece->xxh128);
}

static lap_code verify_pieces(const lap_checkpoint *checkpoint, int first, int stride,
                              lap_status *status) {
  piece_reader reader = new_reader(checkpoint);
  lap_code code = LAP_OK;
  for (int i = first; code == LAP_OK && i < checkpoint->pieces->pieces; i += stride)
    code = read_piece(&reader, &checkpoint->pieces->piece[i], status);
  release_reader(&reader);
  return code;
}

lap_code lap_checkpoint_verify(const lap_checkpoint *checkpoint, lap_status *status) {
  LAP_TRY(check_files(checkpoint, status));
  return verify_pieces(checkpoint, 0, 1, status);
}

bool lap_checkpoint_is_there(const char *path, const char *state_sha256, lap_comm *comm) {
  lap_status status = {.code = LAP_OK};
  lap_checkpoint *checkpoint = NULL;
  bool there = false;
  if (lap_comm_rank(comm) == 0) there = lap_file_exists(path);
  lap_broadcast(comm, &there, sizeof there, 0);
  if (!there) return false;
  status.code = open_directory(path, &checkpoint, &status);
  if (status.code == LAP_OK &&
      (!checkpoint->full || strcmp(checkpoint->state_sha256, state_sha256) != 0))
    lap_fail(&status, LAP_DATA, "%s: is another checkpoint", path);
  if (status.code == LAP_OK)
    status.code = verify_pieces(checkpoint, lap_comm_rank(comm), lap_comm_size(comm), &status);
  lap_checkpoint_close(checkpoint);
  return lap_agree(comm, &status) == LAP_OK;
}

/* --- into a canonical vector --- */

static lap_code check_tensors(const lap_checkpoint *checkpoint, const lap_parameters *parameters,
                              lap_status *status) {
  const lap_checkpoint_pieces *pieces = checkpoint->pieces;
  for (int t = 0; t < pieces->tensors || t < parameters->count; ++t) {
    const lap_parameter *p = t < parameters->count ? &parameters->parameter[t] : NULL;
    const lap_checkpoint_tensor *tensor = t < pieces->tensors ? &pieces->tensor[t] : NULL;
    if (!tensor || (p && strcmp(p->name, tensor->name) < 0))
      return lap_fail(status, LAP_DATA, "%s: has no tensor %s, which the model has",
                      checkpoint->path, p->name);
    if (!p || strcmp(p->name, tensor->name) > 0)
      return lap_fail(status, LAP_DATA, "%s: has a tensor %s, which the model has not",
                      checkpoint->path, tensor->name);
    if (p->rows != tensor->rows || p->columns != tensor->columns || p->is_norm != tensor->is_vector)
      return lap_fail(
          status, LAP_DATA,
          "%s: tensor %s is %" PRId64 " x %" PRId64 ", the model's is %" PRId64 " x %" PRId64,
          checkpoint->path, tensor->name, tensor->rows, tensor->columns, p->rows, p->columns);
  }
  return LAP_OK;
}

/* Fills `values` with the elements [begin, end) of the canonical vector; padding is 0. Tensors are
 * those of the model. */
static lap_code read_range(piece_reader *reader, const lap_parameters *parameters,
                           lap_state_kind kind, int64_t begin, int64_t end, float *values,
                           lap_status *status) {
  const lap_checkpoint_pieces *pieces = reader->checkpoint->pieces;
  if (begin < end) memset(values, 0, (size_t)(end - begin) * sizeof *values);
  for (int i = 0; i < pieces->pieces; ++i) {
    const lap_checkpoint_piece *piece = &pieces->piece[i];
    const int64_t offset = parameters->parameter[piece->tensor].offset;
    const int64_t start = offset + piece->begin, stop = offset + piece->end;
    const int64_t low = begin > start ? begin : start, high = end < stop ? end : stop;
    if (piece->kind != kind || low >= high) continue;
    LAP_TRY(read_piece(reader, piece, status));
    memcpy(values + (low - begin), reader->values + (low - start),
           (size_t)(high - low) * sizeof *values);
  }
  return LAP_OK;
}

lap_code lap_checkpoint_read_weights(const lap_checkpoint *checkpoint,
                                     const lap_parameters *parameters, float *weights,
                                     lap_status *status) {
  LAP_TRY(check_tensors(checkpoint, parameters, status));
  piece_reader reader = new_reader(checkpoint);
  const lap_code code =
      read_range(&reader, parameters, LAP_WEIGHT, 0, parameters->elements, weights, status);
  release_reader(&reader);
  return code;
}

/* What this rank has to read itself: of the weights its own piece, the others send theirs. */
static lap_code read_state(const lap_checkpoint *checkpoint, lap_state *state, lap_status *status) {
  if (!checkpoint->full)
    return lap_fail(status, LAP_DATA,
                    "%s: holds weights only; a run resumes from a full checkpoint (to start from "
                    "these weights: init)",
                    checkpoint->path);
  LAP_TRY(check_tensors(checkpoint, state->parameters, status));
  piece_reader reader = new_reader(checkpoint);
  lap_code code = LAP_OK;
  for (int k = 0; code == LAP_OK && k < LAP_STATE_KINDS; ++k) {
    const lap_state_kind kind = (lap_state_kind)k;
    const int64_t begin = kind == LAP_WEIGHT ? state->owned_begin : state->held_begin;
    const int64_t end = kind == LAP_WEIGHT ? state->owned_end : state->held_end;
    code = read_range(&reader, state->parameters, kind, begin, end,
                      lap_state_at(state, kind, begin), status);
  }
  release_reader(&reader);
  return code;
}

lap_code lap_checkpoint_load(const lap_checkpoint *checkpoint, lap_state *state, lap_comm *comm,
                             lap_status *status) {
  assert(state->exp_avg && state->exp_avg_sq);
  *status = (lap_status){.code = LAP_OK};
  status->code = read_state(checkpoint, state, status);
  LAP_TRY(lap_agree(comm, status));
  lap_tree_gather(comm, state->weights, state->parameters->elements, LAP_TRAFFIC_WEIGHTS);
  state->step = checkpoint->step;
  state->applied_updates = checkpoint->applied_updates;
  state->bad_steps = checkpoint->bad_steps;
  char found[LAP_SHA256_HEX];
  lap_state_sha256(state, comm, found);
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

/* Collective. The names that rank 0 sees, on every rank. No directory is no checkpoint. */
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
static lap_code try_one(const char *directory, uint64_t step, lap_state *state, lap_comm *comm,
                        lap_checkpoint **checkpoint, lap_status *status) {
  char *path = lap_format("%s/step-%08" PRIu64, directory, step);
  lap_code code = open_together(path, comm, checkpoint, status);
  if (code == LAP_OK) code = lap_checkpoint_load(*checkpoint, state, comm, status);
  if (code != LAP_OK) {
    lap_checkpoint_close(*checkpoint);
    *checkpoint = NULL;
  }
  free(path);
  return code;
}

lap_code lap_checkpoint_load_newest(const char *directory, lap_state *state, lap_comm *comm,
                                    void (*notice)(void *context, const char *text), void *context,
                                    bool *found, lap_checkpoint **loaded, lap_status *status) {
  uint64_t *steps;
  size_t count;
  *loaded = NULL;
  lap_code code = list_together(directory, comm, &steps, &count, status);
  *found = count > 0;
  bool whole = false;
  for (size_t i = 0; code == LAP_OK && i < count && !whole; ++i) {
    lap_status one;
    whole = try_one(directory, steps[i], state, comm, loaded, &one) == LAP_OK;
    if (whole) break;
    if (i == 0) *status = one; /* the newest is the one to hear about */
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
