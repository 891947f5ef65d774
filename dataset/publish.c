#include "dataset/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "autograd/core/memory.h"

/* A rename lasts once the directory that holds the name is on the disk. */
static lap_code sync_parent(const char *path, lap_status *status) {
  char *copy = lap_copy_string(path);
  const char *parent = dirname(copy);
  const int directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  lap_code code = LAP_OK;
  /* Some network file systems cannot sync a directory; EINVAL says so and nothing more can be done.
   */
  if (directory < 0 || (fsync(directory) != 0 && errno != EINVAL))
    code =
        lap_fail(status, LAP_DATA, "%s: cannot flush the directory: %s", parent, strerror(errno));
  if (directory >= 0) close(directory);
  free(copy);
  return code;
}

static int write_whole(int file, const char *bytes, size_t count) {
  /* Linux writes at most 2 GiB at once. */
  const size_t most = (size_t)1 << 30;
  while (count > 0) {
    const ssize_t written = write(file, bytes, count < most ? count : most);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -1;
    bytes += written;
    count -= (size_t)written;
  }
  return 0;
}

/* 0, or an errno. close() is checked because network file systems report a full disk there. */
static int write_partial(const char *partial, const void *bytes, size_t count) {
  const int file = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return errno;
  int reason = 0;
  if (write_whole(file, bytes, count) != 0 || fsync(file) != 0) reason = errno;
  if (close(file) != 0 && reason == 0) reason = errno;
  return reason;
}

lap_code lap_publish_file(const char *path, const void *bytes, size_t count, lap_status *status) {
  char *partial = lap_format("%s.partial", path);
  lap_code code = LAP_OK;
  int reason = write_partial(partial, bytes, count);
  if (reason != 0) {
    code = lap_fail(status, LAP_DATA, "%s: cannot be written (%zu bytes): %s", path, count,
                    strerror(reason));
  } else if (rename(partial, path) != 0) {
    code = lap_fail(status, LAP_DATA, "%s: cannot be renamed from %s: %s", path, partial,
                    strerror(errno));
  }
  if (code == LAP_OK)
    code = sync_parent(path, status);
  else
    unlink(partial);
  free(partial);
  return code;
}

lap_code lap_make_directory(const char *path, lap_status *status) {
  char *walk = lap_copy_string(path);
  lap_code code = LAP_OK;
  for (char *slash = walk + 1; code == LAP_OK; ++slash) {
    const char kept = *slash;
    if (kept != '/' && kept != '\0') continue;
    *slash = '\0';
    if (mkdir(walk, 0777) != 0 && errno != EEXIST)
      code = lap_fail(status, LAP_DATA, "%s: cannot make the directory: %s", walk, strerror(errno));
    *slash = kept;
    if (kept == '\0') break;
  }
  struct stat found;
  if (code == LAP_OK && (stat(path, &found) != 0 || !S_ISDIR(found.st_mode)))
    code = lap_fail(status, LAP_DATA, "%s: is not a directory", path);
  free(walk);
  return code;
}

lap_code lap_publish_directory(const char *from, const char *to, lap_status *status) {
  if (rename(from, to) != 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be renamed from %s: %s", to, from,
                    strerror(errno));
  return sync_parent(to, status);
}
