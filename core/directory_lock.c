#include "core/directory_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/launcher.h"
#include "core/memory.h"

struct lap_directory_lock {
  char *file;
  int descriptor;
};

/* What is locked, and what to say where somebody else has the lock. */
typedef struct {
  const char *path, *is_being, *advice;
} subject;

static lap_code locked_out(const subject *s, int descriptor, lap_status *status) {
  char owner[256] = ""; /* what it wrote of itself */
  const ssize_t bytes = pread(descriptor, owner, sizeof owner - 1, 0);
  owner[bytes > 0 ? bytes : 0] = '\0';
  return lap_fail(status, LAP_USAGE, "%s: %s (%s); %s", s->path, s->is_being,
                  owner[0] ? owner : "unknown", s->advice);
}

static void sign(int descriptor) {
  char owner[256], host[128] = "", rank[32] = "";
  gethostname(host, sizeof host - 1);
  if (lap_launcher_rank() >= 0) snprintf(rank, sizeof rank, ", rank %d", lap_launcher_rank());
  const int bytes =
      snprintf(owner, sizeof owner, "process %ld on %s%s", (long)getpid(), host, rank);
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

/* Takes the lock that is this file, whose name it takes over. */
static lap_code take(const subject *s, char *file, lap_directory_lock **lock, lap_status *status) {
  for (;;) {
    const int descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) {
      lap_file_fail(file, "be opened", status);
      free(file);
      return LAP_DATA;
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      locked_out(s, descriptor, status);
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

lap_code lap_directory_lock_take(const char *directory, lap_directory_lock **lock,
                                 lap_status *status) {
  const subject s = {directory, "another job is writing this directory",
                     "end it or wait for it, or choose another directory"};
  *lock = NULL;
  return take(&s, lap_format("%s/.lock", directory), lock, status);
}

lap_code lap_output_lock_take(const char *out, bool is_directory, lap_directory_lock **lock,
                              lap_status *status) {
  const subject s = {out, "another process is writing it",
                     "start the command once, or give each process an --out of its own"};
  *lock = NULL;
  if (is_directory) {
    LAP_TRY(lap_file_make_directories(out, status));
    return take(&s, lap_format("%s/.lock", out), lock, status);
  }
  LAP_TRY(lap_file_make_parents(out, status));
  char *for_parent = lap_copy_string(out), *for_name = lap_copy_string(out);
  char *file = lap_format("%s/.%s.lock", dirname(for_parent), basename(for_name));
  free(for_parent);
  free(for_name);
  return take(&s, file, lock, status);
}

void lap_directory_lock_release(lap_directory_lock *lock) {
  if (!lock) return;
  /* Somebody may have removed the file by hand; the name is then another job's. */
  if (is_current(lock->file, lock->descriptor)) (void)unlink(lock->file);
  close(lock->descriptor);
  free(lock->file);
  free(lock);
}
