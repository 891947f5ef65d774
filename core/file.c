#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

/* Linux transfers at most 0x7ffff000 bytes a call; staying below keeps the arithmetic signed-safe.
 */
enum { TRANSFER_BYTES = 1 << 30 };

static lap_code io_failure(lap_status *status, const char *path, const char *what) {
  return lap_fail(status, LAP_DATA, "%s: cannot %s: %s", path, what, strerror(errno));
}

static bool is_directory(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

/* Another rank or job may make the same directory at the same moment: EEXIST is success where a
 * directory is there. */
static lap_code make_directory(const char *path, lap_status *status) {
  if (mkdir(path, 0777) == 0 || is_directory(path)) return LAP_OK;
  return io_failure(status, path, "make the directory");
}

lap_code lap_file_make_directories(const char *path, lap_status *status) {
  char *prefix = lap_copy_string(path);
  lap_code code = LAP_OK;
  for (char *slash = prefix; code == LAP_OK && (slash = strchr(slash, '/')); ++slash) {
    if (slash == prefix) continue;
    *slash = '\0';
    code = make_directory(prefix, status);
    *slash = '/';
  }
  if (code == LAP_OK) code = make_directory(prefix, status);
  free(prefix);
  return code;
}

lap_code lap_file_write_all(int descriptor, const char *path, const void *bytes, size_t count,
                            lap_status *status) {
  const char *next = bytes;
  while (count > 0) {
    const ssize_t written =
        write(descriptor, next, count < TRANSFER_BYTES ? count : TRANSFER_BYTES);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_failure(status, path, "be written");
    next += written;
    count -= (size_t)written;
  }
  return LAP_OK;
}

lap_code lap_file_sync_and_close(int descriptor, const char *path, lap_status *status) {
  lap_code code = LAP_OK;
  if (fsync(descriptor) != 0) code = io_failure(status, path, "be brought to disk");
  /* Some file systems report a full disk only here. On Linux the descriptor is gone even after
   * EINTR, and the data is on disk: not a failure. */
  if (close(descriptor) != 0 && errno != EINTR && code == LAP_OK)
    code = io_failure(status, path, "be closed");
  return code;
}

static lap_code sync_parent(const char *path, lap_status *status) {
  char *copy = lap_copy_string(path);
  const char *parent = dirname(copy);
  lap_code code = LAP_OK;
  const int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  /* Some network file systems cannot sync a directory: EINVAL says so, and no more can be done. */
  if (descriptor < 0)
    code = io_failure(status, parent, "be opened");
  else if (fsync(descriptor) != 0 && errno != EINVAL)
    code = io_failure(status, parent, "be brought to disk");
  if (descriptor >= 0) close(descriptor);
  free(copy);
  return code;
}

lap_code lap_file_publish(const char *temporary, const char *path, lap_status *status) {
  if (rename(temporary, path) != 0)
    return lap_fail(status, LAP_DATA, "%s: cannot be renamed to %s: %s", temporary, path,
                    strerror(errno));
  return sync_parent(path, status);
}

/* --- temporary files --- */

static const char TEMPORARY[] = ".tmp.";

/* O_EXCL and the counter keep apart writers with one process id on two hosts, and the leavings of a
 * killed process. */
lap_code lap_file_open_temporary(const char *path, int *descriptor, char **temporary,
                                 lap_status *status) {
  for (int attempt = 0;; ++attempt) {
    *temporary = lap_format("%s%s%d.%d", path, TEMPORARY, (int)getpid(), attempt);
    *descriptor = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*descriptor >= 0) return LAP_OK;
    if (errno != EEXIST || attempt == 1000) break;
    free(*temporary);
  }
  const lap_code code = io_failure(status, *temporary, "be created");
  free(*temporary);
  *temporary = NULL;
  return code;
}

lap_code lap_file_write(const char *path, const void *bytes, size_t count, lap_status *status) {
  char *temporary;
  int descriptor;
  LAP_TRY(lap_file_open_temporary(path, &descriptor, &temporary, status));
  lap_code code = lap_file_write_all(descriptor, path, bytes, count, status);
  if (code != LAP_OK)
    close(descriptor);
  else
    code = lap_file_sync_and_close(descriptor, path, status);
  if (code == LAP_OK) code = lap_file_publish(temporary, path, status);
  if (code != LAP_OK) unlink(temporary); /* nothing there where only the last fsync failed */
  free(temporary);
  return code;
}

/* Whether `entry` is a temporary name of the file `name`. */
static bool is_temporary(const char *entry, const char *name) {
  const size_t length = strlen(name), infix = sizeof TEMPORARY - 1;
  if (strncmp(entry, name, length) != 0 || strncmp(entry + length, TEMPORARY, infix) != 0)
    return false;
  const char *numbers = entry + length + infix;
  int end = 0;
  return sscanf(numbers, "%*d.%*d%n", &end) == 0 && end > 0 && numbers[end] == '\0';
}

void lap_file_remove_temporaries(const char *path) {
  char *copy = lap_copy_string(path);
  DIR *open = opendir(dirname(copy));
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  const struct dirent *entry;
  while (open && (entry = readdir(open)))
    if (is_temporary(entry->d_name, name)) unlinkat(dirfd(open), entry->d_name, 0);
  if (open) closedir(open);
  free(copy);
}

/* --- reading and removing --- */

/* Fills `bytes` [size]; a file that shrinks meanwhile gives fewer. */
static lap_code read_all(int descriptor, const char *path, char *bytes, size_t size, size_t *count,
                         lap_status *status) {
  *count = 0;
  while (*count < size) {
    const size_t rest = size - *count;
    const ssize_t got =
        read(descriptor, bytes + *count, rest < TRANSFER_BYTES ? rest : TRANSFER_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_failure(status, path, "be read");
    if (got == 0) break;
    *count += (size_t)got;
  }
  return LAP_OK;
}

lap_code lap_file_read(const char *path, size_t limit, char **bytes, size_t *count,
                       lap_status *status) {
  *bytes = NULL;
  /* O_NONBLOCK: a named pipe without a writer is refused below instead of waited for. */
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return io_failure(status, path, "be opened");
  struct stat facts;
  size_t got = 0;
  lap_code code = LAP_OK;
  if (fstat(descriptor, &facts) != 0) {
    code = io_failure(status, path, "be examined");
  } else if (!S_ISREG(facts.st_mode)) {
    code = lap_fail(status, LAP_DATA, "%s: expected a regular file", path);
  } else if ((uint64_t)facts.st_size > limit) {
    code = lap_fail(status, LAP_DATA, "%s: is %" PRId64 " bytes long; at most %zu are accepted",
                    path, facts.st_size, limit);
  } else {
    *bytes = lap_allocate(facts.st_size + 1, 1);
    code = read_all(descriptor, path, *bytes, (size_t)facts.st_size, &got, status);
  }
  close(descriptor);
  if (code != LAP_OK) {
    free(*bytes);
    *bytes = NULL;
  } else if (count) {
    *count = got;
  }
  return code;
}

bool lap_file_exists(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0;
}

static int remove_entry(const char *path, const struct stat *facts, int kind,
                        struct FTW *position) {
  (void)facts, (void)kind, (void)position;
  return remove(path);
}

lap_code lap_file_remove_tree(const char *path, lap_status *status) {
  enum { OPEN_DIRECTORIES = 16 };
  if (nftw(path, remove_entry, OPEN_DIRECTORIES, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
    return LAP_OK;
  return io_failure(status, path, "be removed");
}
