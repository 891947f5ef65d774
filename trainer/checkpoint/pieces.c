#include "trainer/checkpoint/pieces.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

/* --- reading a piece --- */

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
                        .values = lap_allocate(largest, sizeof(float)),
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
  /* Rank 0 has seen every file before others open any. */
  if (reader->descriptor < 0 && errno == ENOENT && lap_file_await(reader->path))
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

lap_code lap_pieces_verify(const lap_checkpoint *checkpoint, int first, int stride,
                           lap_status *status) {
  piece_reader reader = new_reader(checkpoint);
  lap_code code = LAP_OK;
  for (int i = first; code == LAP_OK && i < checkpoint->pieces->pieces; i += stride)
    code = read_piece(&reader, &checkpoint->pieces->piece[i], status);
  release_reader(&reader);
  return code;
}

/* --- tensors --- */

static bool names_a_tensor(const lap_parameters *parameters, const lap_parameter *p) {
  return p->is_copy || p->model_shard == parameters->shards.first;
}

lap_code lap_pieces_check_tensors(const lap_checkpoint *checkpoint,
                                  const lap_parameters *parameters, lap_status *status) {
  const lap_checkpoint_pieces *pieces = checkpoint->pieces;
  for (int t = 0; t < pieces->tensors; ++t) {
    const lap_checkpoint_tensor *tensor = &pieces->tensor[t];
    const lap_parameter *p = lap_parameters_find(parameters, tensor->name);
    if (!p)
      return lap_fail(status, LAP_DATA, "%s: has a tensor %s, which the model has not",
                      checkpoint->path, tensor->name);
    if (p->whole_rows != tensor->rows || p->whole_columns != tensor->columns ||
        p->is_norm != tensor->is_vector)
      return lap_fail(status, LAP_DATA,
                      "%s: tensor %s is %" PRId64 " x %" PRId64 ", the model's is %" PRId64
                      " x %" PRId64,
                      checkpoint->path, tensor->name, tensor->rows, tensor->columns, p->whole_rows,
                      p->whole_columns);
    const int64_t cut = p->cut == LAP_CUT_ROWS ? p->whole_rows : p->whole_columns;
    if (!p->is_norm && cut % checkpoint->model_shards)
      return lap_fail(
          status, LAP_DATA,
          "%s: model_shards is %d, which cannot cut tensor %s of %" PRId64 " x %" PRId64,
          checkpoint->path, checkpoint->model_shards, tensor->name, tensor->rows, tensor->columns);
  }
  for (int i = 0, t = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    if (!names_a_tensor(parameters, p)) continue;
    for (t = 0; t < pieces->tensors && strcmp(pieces->tensor[t].name, p->name) != 0; ++t) continue;
    if (t == pieces->tensors)
      return lap_fail(status, LAP_DATA, "%s: has no tensor %s, which the model has",
                      checkpoint->path, p->name);
  }
  return LAP_OK;
}

/* --- where its elements go --- */

/* The part that the writer's shard had of the tensor of `p`. */
static lap_parameter part_of_writer(const lap_parameter *p, int shards, int shard) {
  lap_parameter part = *p;
  part.model_shard = shard;
  part.rows = p->cut == LAP_CUT_ROWS ? p->whole_rows / shards : p->whole_rows;
  part.columns = p->cut == LAP_CUT_COLUMNS ? p->whole_columns / shards : p->whole_columns;
  part.elements = part.rows * part.columns;
  return part;
}

/* Elements of a piece that the target holds, in any part of the tensor; with `values` they are
 * copied. Whether there are any. */
static bool place_piece(const lap_checkpoint *checkpoint, const lap_checkpoint_piece *piece,
                        const lap_weight_target *target, const float *values) {
  const lap_parameters *parameters = target->parameters;
  const char *name = checkpoint->pieces->tensor[piece->tensor].name;
  const lap_parameter source = part_of_writer(lap_parameters_find(parameters, name),
                                              checkpoint->model_shards, piece->model_shard);
  bool any = false;
  const int last = source.is_norm ? parameters->shards.first
                                  : parameters->shards.first + parameters->shards.count - 1;
  for (int shard = parameters->shards.first; shard <= last; ++shard) {
    const lap_parameter *p = lap_parameters_find_shard(parameters, name, shard);
    for (lap_run run = {.part = piece->begin}; run.part < piece->end; run.part += run.count) {
      run = lap_parameter_run(&source, run.part, piece->end);
      any |= lap_weight_target_copy(target, p, run,
                                    values ? values + (run.part - piece->begin) : NULL);
      if (any && !values) return true;
    }
  }
  return any;
}

lap_code lap_pieces_read(const lap_checkpoint *checkpoint, lap_state_kind kind,
                         const lap_weight_target *target, lap_status *status) {
  piece_reader reader = new_reader(checkpoint);
  lap_code code = LAP_OK;
  for (int i = 0; i < checkpoint->pieces->pieces && code == LAP_OK; ++i) {
    const lap_checkpoint_piece *piece = &checkpoint->pieces->piece[i];
    if (piece->kind != kind || !place_piece(checkpoint, piece, target, NULL)) continue;
    code = read_piece(&reader, piece, status);
    if (code == LAP_OK) place_piece(checkpoint, piece, target, reader.values);
  }
  release_reader(&reader);
  return code;
}
