#include "trainer/checkpoint/payload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/checkpoint/direct.h"

enum { SEEN_WITHIN_SECONDS = 30 };

char *lap_payload_name(int rank) { return lap_format("rank-%05d.bin", rank); }

char *lap_payload_path(const char *directory, int rank) {
  return lap_format("%s/rank-%05d.bin", directory, rank);
}

/* --- listing --- */

/* Shard 0 has a part of every tensor, and stands first. */
static int tensor_of(const lap_state *state, const char *name) {
  return (int)(lap_parameters_find_shard(state->all, name, 0) - state->all->parameter);
}

/* Appends the elements [first.begin, first.end) of a part, cut to size, from first.offset on;
 * returns where the next piece goes. */
static int64_t list_part(lap_checkpoint_piece first, lap_checkpoint_pieces *list) {
  const int64_t end = first.end;
  for (lap_checkpoint_piece cut = first; cut.begin < end; cut.begin = cut.end) {
    cut.end = end - cut.begin > LAP_PIECE_ELEMENTS ? cut.begin + LAP_PIECE_ELEMENTS : end;
    list->piece = lap_reallocate(list->piece, list->pieces + 1, sizeof *list->piece);
    list->piece[list->pieces++] = cut;
    first.offset = cut.offset += (cut.end - cut.begin) * (int64_t)sizeof(float);
  }
  return first.offset;
}

int64_t lap_payload_list(const lap_state *state, bool full, int rank, lap_checkpoint_pieces *list) {
  int64_t offset = 0;
  for (int i = 0; i < state->parameters->count; ++i) {
    const lap_parameter *p = &state->parameters->parameter[i];
    if (p->is_copy) continue;
    const lap_range mine =
        lap_range_overlap(state->owned[p->bucket], (lap_range){p->offset, p->offset + p->elements});
    for (int kind = 0; kind < (full ? LAP_STATE_KINDS : 1); ++kind)
      offset = list_part((lap_checkpoint_piece){.tensor = tensor_of(state, p->name),
                                                .model_shard = p->model_shard,
                                                .file = rank,
                                                .kind = (lap_state_kind)kind,
                                                .begin = mine.begin - p->offset,
                                                .end = mine.end - p->offset,
                                                .offset = offset},
                         list);
  }
  return offset;
}

static int64_t bytes_of(const lap_checkpoint_piece *piece, int count) {
  int64_t elements = 0;
  for (int i = 0; i < count; ++i) elements += piece[i].end - piece[i].begin;
  return elements * (int64_t)sizeof(float);
}

/* --- writing --- */

lap_code lap_payload_reserve(const char *path, int64_t bytes, int *descriptor, lap_status *status) {
  *descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (*descriptor < 0) return lap_file_fail(path, "be created", status);
  int failed;
  do failed = fallocate(*descriptor, 0, 0, bytes);
  while (failed && errno == EINTR);
  if (!failed || errno == EOPNOTSUPP || errno == ENOSYS) return LAP_OK;
  char action[64];
  snprintf(action, sizeof action, "reserve %" PRId64 " bytes", bytes);
  return lap_file_fail(path, action, status);
}

static lap_code write_pieces(const lap_state *state, lap_checkpoint_pieces *list,
                             lap_direct_writer *writer, lap_status *status) {
  for (int i = 0; i < list->pieces; ++i) {
    lap_checkpoint_piece *piece = &list->piece[i];
    const lap_parameter *p = lap_parameters_find_shard(
        state->parameters, state->all->parameter[piece->tensor].name, piece->model_shard);
    const float *values = lap_state_at(state, piece->kind, p->bucket, p->offset + piece->begin);
    const size_t bytes = (size_t)(piece->end - piece->begin) * sizeof *values;
    lap_xxh128_hex(values, bytes, piece->xxh128);
    LAP_TRY(lap_direct_write(writer, values, bytes, status));
  }
  return lap_direct_writer_finish(writer, status);
}

/* What is on disk leaves the cache, where it went through it; what is not stays. */
static void drop_pages(const char *path) {
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);
}

lap_code lap_payload_write(const lap_state *state, lap_checkpoint_pieces *list, int descriptor,
                           const char *path, lap_status *status) {
  lap_direct_writer *writer =
      lap_direct_writer_create(descriptor, path, bytes_of(list->piece, list->pieces));
  lap_code code = write_pieces(state, list, writer, status);
  lap_direct_writer_destroy(writer);
  if (code == LAP_OK)
    code = lap_file_sync_and_close(descriptor, path, status);
  else
    close(descriptor);
  if (code == LAP_OK) drop_pages(path);
  return code;
}

/* --- reading back --- */

/* A file that another host has just made may not have its name here yet. */
static int open_when_seen(const char *path) {
  const struct timespec pause = {.tv_nsec = 100000000};
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  for (int tenths = 0; descriptor < 0 && errno == ENOENT && tenths < 10 * SEEN_WITHIN_SECONDS;
       ++tenths) {
    nanosleep(&pause, NULL);
    descriptor = open(path, O_RDONLY | O_CLOEXEC);
  }
  return descriptor;
}

/* The checksum of `bytes` bytes from `offset` on. */
static lap_code checksum_of(lap_direct_reader *reader, const char *path, int64_t offset,
                            int64_t bytes, char xxh128[LAP_XXH128_HEX], lap_status *status) {
  lap_xxh128_stream *stream = lap_xxh128_create();
  lap_code code = LAP_OK;
  while (bytes > 0 && code == LAP_OK) {
    const char *found = NULL;
    size_t count = 0;
    code = lap_direct_read(reader, offset, bytes, &found, &count, status);
    if (code == LAP_OK && count == 0)
      code = lap_fail(status, LAP_DATA, "%s: read back, it ends at byte %" PRId64, path, offset);
    if (code == LAP_OK) lap_xxh128_add(stream, found, count);
    offset += (int64_t)count;
    bytes -= (int64_t)count;
  }
  lap_xxh128_finish(stream, xxh128);
  return code;
}

static lap_code read_back_piece(lap_direct_reader *reader, const char *path, const char *tensor,
                                const lap_checkpoint_piece *piece, lap_status *status) {
  char found[LAP_XXH128_HEX];
  LAP_TRY(checksum_of(reader, path, piece->offset,
                      (piece->end - piece->begin) * (int64_t)sizeof(float), found, status));
  if (strcmp(found, piece->xxh128) == 0) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: tensor %s, %s, elements %" PRId64 " to %" PRId64
                  ": read back with checksum %s, written with %s: this disk or its way there "
                  "changes data; the checkpoints before are as they were",
                  path, tensor, lap_state_kind_name(piece->kind), piece->begin, piece->end, found,
                  piece->xxh128);
}

lap_code lap_payload_read_back(const char *path, const lap_parameters *all,
                               const lap_checkpoint_piece *piece, int count, lap_status *status) {
  const int descriptor = open_when_seen(path);
  if (descriptor < 0) return lap_file_fail(path, "be opened to read it back", status);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
  lap_direct_reader *reader = lap_direct_reader_create(descriptor, path, bytes_of(piece, count));
  lap_code code = LAP_OK;
  for (int i = 0; i < count && code == LAP_OK; ++i)
    code = read_back_piece(reader, path, all->parameter[piece[i].tensor].name, &piece[i], status);
  lap_direct_reader_destroy(reader);
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  close(descriptor);
  return code;
}
