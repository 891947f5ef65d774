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

/* What to do about an error of the system, with "; " before it; "" where its name says it all. */
static const char *remedy(int error) {
  switch (error) {
    case EROFS:
      return "; choose a place on a file system that can be written";
    case EACCES:
    case EPERM:
      return "; see who owns it and the directories above it (ls -ld), or choose another place";
    case ENOSPC:
      return "; free some space or inodes (df -h, df -i), or choose another disk";
    case EDQUOT:
      return "; remove files of yours (quota -s), or choose another disk";
    case EFBIG:
      return "; raise the limit on the size of files (ulimit -f)";
    case ENOTDIR:
      return "; a file stands where a directory is expected";
    default:
      return "";
  }
}

/* A shell makes ~ the home directory where it begins a word. In a config, or behind an equals sign,
 * it arrives as it is typed. */
static bool means_home(const char *path) {
  return path[0] == '~' && (path[1] == '/' || !path[1]) && !lap_file_exists("~");
}

static const char *home(void) {
  const char *path = getenv("HOME");
  return path && *path ? path : "$HOME";
}

lap_code lap_file_fail(const char *path, const char *action, lap_status *status) {
  const int error = errno;
  if (error == ENOENT && means_home(path))
    return lap_fail(status, LAP_DATA, "%s: cannot %s: %s; for ~ write %s", path, action,
                    strerror(error), home());
  return lap_fail(status, LAP_DATA, "%s: cannot %s: %s%s", path, action, strerror(error),
                  remedy(error));
}

bool lap_file_is_directory(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

lap_code lap_file_sync_name(const char *path, lap_status *status) {
  char *copy = lap_copy_string(path);
  const char *parent = dirname(copy);
  lap_code code = LAP_OK;
  const int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  /* Some network file systems cannot sync a directory: EINVAL says so, and no more can be done. Nor
   * can it be where the directory may be written and not read. */
  if (descriptor < 0 && errno != EACCES)
    code = lap_file_fail(parent, "be opened", status);
  else if (descriptor >= 0 && fsync(descriptor) != 0 && errno != EINVAL)
    code = lap_file_fail(parent, "be brought to disk", status);
  if (descriptor >= 0) close(descriptor);
  free(copy);
  return code;
}

bool lap_file_await(const char *path) {
  enum { ATTEMPTS = 1200, PAUSE_MICROSECONDS = 50000 };
  for (int attempt = 0; !lap_file_exists(path); ++attempt) {
    if (attempt == ATTEMPTS) return false;
    char *copy = lap_copy_string(path);
    DIR *parent = opendir(dirname(copy)); /* a client asks its server when a directory is opened */
    if (parent) closedir(parent);
    free(copy);
    usleep(PAUSE_MICROSECONDS);
  }
  return true;
}

/* Another rank or job may make the same directory at the same moment: EEXIST is success where a
 * directory is there, or shows up. */
static lap_code make_directory(const char *path, lap_status *status) {
  if (mkdir(path, 0777) == 0) return lap_file_sync_name(path, status);
  const int error = errno; /* stat sets it anew */
  struct stat facts;
  if (error == EEXIST && lstat(path, &facts) != 0 && errno == ENOENT) lap_file_await(path);
  if (lap_file_is_directory(path)) return LAP_OK;
  if (error == EEXIST)
    return lap_fail(status, LAP_DATA,
                    "%s: cannot make the directory: something else has this name (ls -l); remove "
                    "it or choose another place",
                    path);
  errno = error;
  return lap_file_fail(path, "make the directory", status);
}

lap_code lap_file_make_directories(const char *path, lap_status *status) {
  if (means_home(path))
    return lap_fail(status, LAP_USAGE,
                    "%s: only a shell reads ~ as the home directory, where it begins a word; write "
                    "%s%s",
                    path, home(), path + 1);
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

lap_code lap_file_make_parents(const char *path, lap_status *status) {
  char *copy = lap_copy_string(path);
  const lap_code code = lap_file_make_directories(dirname(copy), status);
  free(copy);
  return code;
}

lap_code lap_file_write_all(int descriptor, const char *path, const void *bytes, size_t count,
                            lap_status *status) {
  const char *next = bytes;
  while (count > 0) {
    const ssize_t written =
        write(descriptor, next, count < TRANSFER_BYTES ? count : TRANSFER_BYTES);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return lap_file_fail(path, "be written", status);
    next += written;
    count -= (size_t)written;
  }
  return LAP_OK;
}

lap_code lap_file_sync_and_close(int descriptor, const char *path, lap_status *status) {
  lap_code code = LAP_OK;
  if (fsync(descriptor) != 0) code = lap_file_fail(path, "be brought to disk", status);
  /* Some file systems report a full disk only here. On Linux the descriptor is gone even after
   * EINTR, and the data is on disk: not a failure. */
  if (close(descriptor) != 0 && errno != EINTR && code == LAP_OK)
    code = lap_file_fail(path, "be closed", status);
  return code;
}

static lap_code rename_failure(const char *temporary, const char *path, lap_status *status) {
  const int error = errno;
  return lap_fail(status, LAP_DATA, "%s: cannot be renamed to %s: %s%s", temporary, path,
                  strerror(error), remedy(error));
}

lap_code lap_file_publish(const char *temporary, const char *path, lap_status *status) {
  if (rename(temporary, path) != 0) return rename_failure(temporary, path, status);
  return lap_file_sync_name(path, status);
}

/* --- temporary files --- */

static const char TEMPORARY[] = ".tmp.";

/* O_EXCL and the counter keep apart writers with one process id on two hosts, and the leavings of a
 * killed process. */
lap_code lap_file_open_temporary(const char *path, int *descriptor, char **temporary,
                                 lap_status *status) {
  enum { ATTEMPTS = 1000 };
  bool has_parents = false; /* made here: a second time would not help */
  for (int attempt = 0; attempt < ATTEMPTS; ++attempt) {
    *temporary = lap_format("%s%s%d.%d", path, TEMPORARY, (int)getpid(), attempt);
    *descriptor = open(*temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*descriptor >= 0) return LAP_OK;
    const int error = errno;
    free(*temporary);
    *temporary = NULL;
    errno = error;
    if (error == ENOENT && !has_parents) {
      LAP_TRY(lap_file_make_parents(path, status));
      has_parents = true;
    } else if (error != EEXIST) {
      break;
    }
  }
  return lap_file_fail(path, "be created", status);
}

lap_code lap_file_end_temporary(int descriptor, char *temporary, const char *path, lap_code written,
                                lap_status *status) {
  lap_code code = written;
  if (code != LAP_OK)
    close(descriptor);
  else
    code = lap_file_sync_and_close(descriptor, path, status);
  if (code == LAP_OK) code = lap_file_publish(temporary, path, status);
  if (code != LAP_OK) unlink(temporary); /* nothing there where only the last fsync failed */
  free(temporary);
  return code;
}

lap_code lap_file_write(const char *path, const void *bytes, size_t count, lap_status *status) {
  char *temporary;
  int descriptor;
  LAP_TRY(lap_file_open_temporary(path, &descriptor, &temporary, status));
  const lap_code code = lap_file_write_all(descriptor, path, bytes, count, status);
  return lap_file_end_temporary(descriptor, temporary, path, code, status);
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

/* Calls `visit` for each temporary file of `path` while it returns true. Whether there are any. */
static bool visit_temporaries(const char *path, bool (*visit)(int directory, const char *name)) {
  char *copy = lap_copy_string(path);
  DIR *open = opendir(dirname(copy));
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  const struct dirent *entry;
  bool any = false, more = true;
  while (open && more && (entry = readdir(open)))
    if (is_temporary(entry->d_name, name)) {
      any = true;
      more = visit(dirfd(open), entry->d_name);
    }
  if (open) closedir(open);
  free(copy);
  return any;
}

static bool remove_temporary(int directory, const char *name) {
  unlinkat(directory, name, 0);
  return true;
}

static bool stop_at_first(int directory, const char *name) {
  (void)directory, (void)name;
  return false;
}

void lap_file_remove_temporaries(const char *path) { visit_temporaries(path, remove_temporary); }

bool lap_file_has_temporaries(const char *path) { return visit_temporaries(path, stop_at_first); }

lap_code lap_file_write_alone(const char *path, const void *bytes, size_t count,
                              lap_status *status) {
  lap_file_remove_temporaries(path);
  return lap_file_write(path, bytes, count, status);
}

/* --- reading and removing --- */

lap_code lap_file_next_entry(const char *path, DIR *directory, const struct dirent **entry,
                             lap_status *status) {
  errno = 0;
  *entry = readdir(directory);
  return *entry || errno == 0 ? LAP_OK : lap_file_fail(path, "be listed", status);
}

/* Fills `bytes` [size]; a file that shrinks meanwhile gives fewer. */
static lap_code read_all(int descriptor, const char *path, char *bytes, size_t size, size_t *count,
                         lap_status *status) {
  *count = 0;
  while (*count < size) {
    const size_t rest = size - *count;
    const ssize_t got =
        read(descriptor, bytes + *count, rest < TRANSFER_BYTES ? rest : TRANSFER_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return lap_file_fail(path, "be read", status);
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
  if (descriptor < 0) return lap_file_fail(path, "be opened", status);
  struct stat facts;
  size_t got = 0;
  lap_code code = LAP_OK;
  if (fstat(descriptor, &facts) != 0) {
    code = lap_file_fail(path, "be examined", status);
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
  return lap_file_fail(path, "be removed", status);
}
