#include "dataset/input_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "core/memory.h"

enum { RAW_BYTES = 64 << 10, MAGIC_BYTES = 4 };

typedef enum { PLAIN, GZIP, ZSTD } packing;

struct lap_input_file {
  const char *path;
  int descriptor;
  packing packing;
  bool raw_ended; /* the descriptor has no more */
  bool ended;     /* nor has the stream */
  bool between;   /* members: the last one is whole, another may follow */
  uint64_t consumed;
  z_stream gzip;
  ZSTD_DStream *zstd;
  char damage[128];
  size_t raw_begin, raw_end; /* of what is in raw and not yet unpacked */
  char raw[RAW_BYTES];
};

/* Reads on behind what is in raw, which is empty or short. */
static lap_code fill_raw(lap_input_file *file, lap_status *status) {
  if (file->raw_begin == file->raw_end) file->raw_begin = file->raw_end = 0;
  while (!file->raw_ended && file->raw_end < RAW_BYTES) {
    const ssize_t got =
        read(file->descriptor, file->raw + file->raw_end, RAW_BYTES - file->raw_end);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return lap_fail(status, LAP_DATA, "%s: cannot be read: %s", file->path, strerror(errno));
    if (got == 0) file->raw_ended = true;
    file->raw_end += (size_t)got;
    file->consumed += (uint64_t)got;
    if (file->raw_end >= MAGIC_BYTES) break;
  }
  return LAP_OK;
}

static packing packing_of(const char *bytes, size_t count) {
  if (count >= 2 && memcmp(bytes, "\x1F\x8B", 2) == 0) return GZIP;
  if (count < MAGIC_BYTES) return PLAIN;
  if (memcmp(bytes, "\x28\xB5\x2F\xFD", MAGIC_BYTES) == 0) return ZSTD;
  /* A frame without text, which pzstd puts first: the first byte is 0x50 to 0x5F. */
  const bool skipped = ((uint8_t)bytes[0] & 0xF0) == 0x50;
  return skipped && memcmp(bytes + 1, "\x2A\x4D\x18", MAGIC_BYTES - 1) == 0 ? ZSTD : PLAIN;
}

/* A decoder for windows of any size, as zstd --long=31 makes them; by itself it takes up to 128
 * MiB. NULL: out of memory. */
static ZSTD_DStream *open_zstd(void) {
  ZSTD_DStream *zstd = ZSTD_createDStream();
  const int largest = ZSTD_dParam_getBounds(ZSTD_d_windowLogMax).upperBound;
  if (zstd) ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, largest);
  return zstd;
}

static lap_code open_descriptor(lap_input_file *file, lap_status *status) {
  if (strcmp(file->path, "-") == 0) {
    file->path = "standard input";
    file->descriptor = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
  } else {
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
  }
  if (file->descriptor < 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", file->path, strerror(errno));
  struct stat found;
  if (fstat(file->descriptor, &found) == 0 && S_ISDIR(found.st_mode))
    return lap_fail(status, LAP_DATA, "%s: is a directory; expected a file", file->path);
  return LAP_OK;
}

static lap_code open_stream(lap_input_file *file, lap_status *status) {
  LAP_TRY(open_descriptor(file, status));
  LAP_TRY(fill_raw(file, status));
  file->packing = packing_of(file->raw, file->raw_end);
  if (file->packing == GZIP && inflateInit2(&file->gzip, 16 + MAX_WBITS) != Z_OK)
    return lap_fail(status, LAP_DATA, "%s: zlib has no memory for it", file->path);
  if (file->packing == ZSTD && !(file->zstd = open_zstd()))
    return lap_fail(status, LAP_DATA, "%s: zstd has no memory for it", file->path);
  return LAP_OK;
}

lap_code lap_input_open(const char *path, lap_input_file **file, lap_status *status) {
  *file = NULL;
  lap_input_file *opened = lap_allocate(1, sizeof *opened);
  opened->path = path;
  opened->descriptor = -1;
  const lap_code code = open_stream(opened, status);
  if (code == LAP_OK)
    *file = opened;
  else
    lap_input_close(opened);
  return code;
}

void lap_input_close(lap_input_file *file) {
  if (!file) return;
  if (file->descriptor >= 0) close(file->descriptor);
  if (file->packing == GZIP) inflateEnd(&file->gzip);
  ZSTD_freeDStream(file->zstd);
  free(file);
}

const char *lap_input_damage(const lap_input_file *file) { return file->damage; }
uint64_t lap_input_consumed(const lap_input_file *file) { return file->consumed; }

static void end_damaged(lap_input_file *file, const char *library, const char *reason) {
  file->ended = true;
  snprintf(file->damage, sizeof file->damage, "%s: %s", library, reason);
}

/* --- unpacking: each takes from raw and says how many bytes of text that gave --- */

static size_t take_plain(lap_input_file *file, char *bytes, size_t capacity) {
  const size_t there = file->raw_end - file->raw_begin;
  const size_t count = there < capacity ? there : capacity;
  memcpy(bytes, file->raw + file->raw_begin, count);
  file->raw_begin += count;
  return count;
}

static size_t take_gzip(lap_input_file *file, char *bytes, size_t capacity) {
  const size_t there = file->raw_end - file->raw_begin;
  const bool zeros = there > 0 && file->raw[file->raw_begin] == '\0';
  if (file->between && zeros) { /* padding, which gzip ignores too */
    ++file->raw_begin;
    return 0;
  }
  if (file->between) inflateReset(&file->gzip);
  file->between = false;
  file->gzip.next_in = (Bytef *)file->raw + file->raw_begin;
  file->gzip.avail_in = (uInt)there;
  file->gzip.next_out = (Bytef *)bytes;
  file->gzip.avail_out = (uInt)capacity;
  const int outcome = inflate(&file->gzip, Z_NO_FLUSH);
  file->raw_begin = file->raw_end - file->gzip.avail_in;
  if (outcome == Z_STREAM_END)
    file->between = true;
  else if (outcome != Z_OK && outcome != Z_BUF_ERROR)
    end_damaged(file, "gzip", file->gzip.msg ? file->gzip.msg : zError(outcome));
  return capacity - file->gzip.avail_out;
}

static size_t take_zstd(lap_input_file *file, char *bytes, size_t capacity) {
  ZSTD_inBuffer in = {file->raw + file->raw_begin, file->raw_end - file->raw_begin, 0};
  ZSTD_outBuffer out = {bytes, capacity, 0};
  const size_t left = ZSTD_decompressStream(file->zstd, &out, &in);
  file->raw_begin += in.pos;
  if (ZSTD_isError(left)) end_damaged(file, "zstd", ZSTD_getErrorName(left));
  file->between = left == 0;
  return out.pos;
}

static size_t take(lap_input_file *file, char *bytes, size_t capacity) {
  switch (file->packing) {
    case GZIP:
      return take_gzip(file, bytes, capacity);
    case ZSTD:
      return take_zstd(file, bytes, capacity);
    default:
      return take_plain(file, bytes, capacity);
  }
}

lap_code lap_input_read(lap_input_file *file, char *bytes, size_t capacity, size_t *count,
                        lap_status *status) {
  *count = 0;
  if (capacity > UINT32_MAX) capacity = UINT32_MAX;
  while (*count == 0 && !file->ended) {
    if (file->raw_begin == file->raw_end) LAP_TRY(fill_raw(file, status));
    const bool dry = file->raw_begin == file->raw_end;
    /* Without more to unpack a decoder may still hold text; what is plain or whole holds none. */
    if (dry && (file->packing == PLAIN || file->between)) break;
    *count = take(file, bytes, capacity);
    if (dry && *count == 0 && !file->ended && !file->between)
      end_damaged(file, file->packing == GZIP ? "gzip" : "zstd", "the file is cut off");
  }
  if (*count == 0) file->ended = true;
  return LAP_OK;
}
