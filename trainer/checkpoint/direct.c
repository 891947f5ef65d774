#include "trainer/checkpoint/direct.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

enum { PAGE = 4096 }; /* a multiple of what any disk asks of places, sizes and addresses */

static int64_t block_of(int64_t file_bytes) {
  const int64_t whole = (file_bytes + PAGE - 1) / PAGE * PAGE;
  return whole < PAGE ? PAGE : whole < LAP_DIRECT_BLOCK ? whole : LAP_DIRECT_BLOCK;
}

/* Whether the file system takes it: the flag alone may be refused, and so may a read or a write. */
static bool go_around_cache(int descriptor, bool around) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return false;
  return fcntl(descriptor, F_SETFL, around ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

/* What a writer and a reader have in common. */
typedef struct {
  int descriptor;
  const char *path;
  bool around;
  int64_t size; /* of a block */
  char *memory; /* of the block */
  char *block;  /* [size], at a multiple of PAGE */
} direct_file;

static direct_file open_file(int descriptor, const char *path, int64_t file_bytes) {
  direct_file file = {.descriptor = descriptor,
                      .path = path,
                      .around = go_around_cache(descriptor, true),
                      .size = block_of(file_bytes)};
  file.memory = lap_allocate(file.size + PAGE, 1);
  file.block = file.memory + (PAGE - (uintptr_t)file.memory % PAGE) % PAGE;
  return file;
}

static void stop_going_around(direct_file *file) {
  go_around_cache(file->descriptor, false);
  file->around = false;
}

/* --- writing --- */

struct lap_direct_writer {
  direct_file file;
  int64_t held; /* bytes of the block that are not written yet */
};

lap_direct_writer *lap_direct_writer_create(int descriptor, const char *path, int64_t file_bytes) {
  lap_direct_writer *w = lap_allocate(1, sizeof *w);
  w->file = open_file(descriptor, path, file_bytes);
  return w;
}

/* A disk that takes a part of a block leaves a rest that is at no multiple of anything: it goes
 * through the cache, and so does all that follows. */
static lap_code write_held(lap_direct_writer *w, lap_status *status) {
  direct_file *file = &w->file;
  int64_t written = 0;
  if (file->around && w->held == file->size) {
    ssize_t got;
    do got = write(file->descriptor, file->block, (size_t)w->held);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno != EINVAL) return lap_file_fail(file->path, "be written", status);
    if (got > 0) written = got;
  }
  if (file->around && written < w->held) stop_going_around(file);
  LAP_TRY(lap_file_write_all(file->descriptor, file->path, file->block + written,
                             (size_t)(w->held - written), status));
  w->held = 0;
  return LAP_OK;
}

lap_code lap_direct_write(lap_direct_writer *w, const void *bytes, size_t count,
                          lap_status *status) {
  for (const char *next = bytes; count > 0;) {
    const size_t room = (size_t)(w->file.size - w->held), taken = count < room ? count : room;
    memcpy(w->file.block + w->held, next, taken);
    w->held += (int64_t)taken;
    next += taken;
    count -= taken;
    if (w->held == w->file.size) LAP_TRY(write_held(w, status));
  }
  return LAP_OK;
}

lap_code lap_direct_writer_finish(lap_direct_writer *w, lap_status *status) {
  return w->held > 0 ? write_held(w, status) : LAP_OK;
}

void lap_direct_writer_destroy(lap_direct_writer *w) {
  if (!w) return;
  free(w->file.memory);
  free(w);
}

/* --- reading --- */

struct lap_direct_reader {
  direct_file file;
  int64_t begin, end; /* of the bytes in the block */
};

lap_direct_reader *lap_direct_reader_create(int descriptor, const char *path, int64_t file_bytes) {
  lap_direct_reader *r = lap_allocate(1, sizeof *r);
  r->file = open_file(descriptor, path, file_bytes);
  return r;
}

/* Reads the block that `offset` lies in, or what the file has of it. After a part of a block, as
 * at the end of the file or where a signal came, the rest is asked for through the cache. */
static lap_code read_block(lap_direct_reader *r, int64_t offset, lap_status *status) {
  direct_file *file = &r->file;
  r->begin = r->end = offset / file->size * file->size;
  while (r->end < r->begin + file->size) {
    const int64_t held = r->end - r->begin;
    const ssize_t got =
        pread(file->descriptor, file->block + held, (size_t)(file->size - held), r->end);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EINVAL && file->around) {
      stop_going_around(file);
      continue;
    }
    if (got < 0) return lap_file_fail(file->path, "be read back", status);
    if (got == 0) break;
    r->end += got;
  }
  return LAP_OK;
}

lap_code lap_direct_read(lap_direct_reader *r, int64_t offset, int64_t most, const char **bytes,
                         size_t *count, lap_status *status) {
  if (offset < r->begin || offset >= r->end) LAP_TRY(read_block(r, offset, status));
  const int64_t held = offset < r->end ? r->end - offset : 0;
  *bytes = r->file.block + (offset - r->begin);
  *count = (size_t)(held < most ? held : most);
  return LAP_OK;
}

void lap_direct_reader_destroy(lap_direct_reader *r) {
  if (!r) return;
  free(r->file.memory);
  free(r);
}
