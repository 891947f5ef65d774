#include "core/directory_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

struct lap_directory_lock {
  char *file;
  int descriptor;
};

/* What the job that has the lock wrote of itself. */
static lap_code locked_out(const char *directory, int descriptor, lap_status *status) {
  char owner[256] = "";
  const ssize_t bytes = pread(descriptor, owner, sizeof owner - 1, 0);
  owner[bytes > 0 ? bytes : 0] = '\0';
  return lap_fail(
      status, LAP_USAGE,
      "%s: another job is writing this directory (%s); end it or wait for it, or choose "
      "another directory",
      directory, owner[0] ? owner : "unknown");
}

static void sign(int descriptor) {
  char owner[256], host[128] = "";
  gethostname(host, sizeof host - 1);
  const int bytes = snprintf(owner, sizeof owner, "process %ld on %s", (long)getpid(), host);
  const bool said =
      ftruncate(descriptor, 0) == 0 && pwrite(descriptor, owner, (size_t)bytes, 0) == bytes;
  (void)said; /* only for the other job's message */
}

/* Whether the file that was locked is still the one that has the name: its last owner may have
 * removed it in between. */
static bool is_current(const char *file, int descriptor) {
  struct stat named, locked;
  return stat(file, &named) == 0 && fstat(descriptor, &locked) == 0 &&
         named.st_ino == locked.st_ino && named.st_dev == locked.st_dev;
}

lap_code lap_directory_lock_take(const char *directory, lap_directory_lock **lock,
                                 lap_status *status) {
  *lock = NULL;
  char *file = lap_format("%s/.lock", directory);
  for (;;) {
    const int descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) {
      lap_fail(status, LAP_DATA, "%s: cannot be opened: %s", file, strerror(errno));
      free(file);
      return LAP_DATA;
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      locked_out(directory, descriptor, status);
      close(descriptor);
      free(file);
      return LAP_USAGE;
    }
    if (!is_current(file, descriptor)) {
      close(descriptor);
      continue;
    }
    sign(descriptor);
    *lock = lap_allocate(1, sizeof **lock);
    **lock = (lap_directory_lock){.file = file, .descriptor = descriptor};
    return LAP_OK;
  }
}

void lap_directory_lock_release(lap_directory_lock *lock) {
  if (!lock) return;
  unlink(lock->file);
  close(lock->descriptor);
  free(lock->file);
  free(lock);
}
