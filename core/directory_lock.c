#include "core/directory_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/launcher.h"
#include "core/memory.h"
#include "core/process.h"

enum { SIGNATURE = 512, LONG_DEAD_SECONDS = 3600, EPOCH_MAX_BYTES = 4096 };

struct lap_directory_lock {
  char *file;
  int descriptor;
  bool beats;
  pthread_t heart;
  pthread_mutex_t mutex; /* of what follows */
  pthread_cond_t end;
  bool ends;
  char *epoch_file, *epoch_text; /* NULL: no fence */
  uint64_t epoch;
};

/* What is locked, and what to say where somebody else has the lock. */
typedef struct {
  const char *path, *is_being, *advice;
} subject;

/* --- who has it --- */

/* Two lines, so that a message can show the first:
 *   process 4711 on node1, rank 0
 *   started 123456
 */
static void signature_of_this_process(char text[SIGNATURE]) {
  char host[LAP_HOST_NAME], rank[32] = "";
  lap_host_name(host);
  if (lap_launcher_rank() >= 0) snprintf(rank, sizeof rank, ", rank %d", lap_launcher_rank());
  snprintf(text, SIGNATURE, "process %ld on %s%s\nstarted %" PRIu64 "\n", (long)getpid(), host,
           rank, lap_process_started(getpid()));
}

static void read_signature(int descriptor, char text[SIGNATURE]) {
  const ssize_t bytes = pread(descriptor, text, SIGNATURE - 1, 0);
  text[bytes > 0 ? bytes : 0] = '\0';
}

static void sign(int descriptor) {
  char text[SIGNATURE];
  signature_of_this_process(text);
  const size_t bytes = strlen(text);
  const bool said =
      ftruncate(descriptor, 0) == 0 && pwrite(descriptor, text, bytes, 0) == (ssize_t)bytes;
  (void)said; /* only for the other job's message */
}

static lap_code locked_out(const subject *s, const char *signature, lap_status *status) {
  const int first_line = (int)strcspn(signature, "\n");
  const int shown = first_line < LAP_HOST_NAME ? first_line : LAP_HOST_NAME - 1;
  return lap_fail(status, LAP_USAGE, "%s: %s (%.*s); %s", s->path, s->is_being,
                  shown ? shown : (int)strlen("unknown"), shown ? signature : "unknown", s->advice);
}

typedef struct {
  int64_t process;
  char host[LAP_HOST_NAME];
  uint64_t started; /* 0: not known */
} owner;

/* A text without the end of its last line was cut short by a crash: its writer is gone, and its
 * host may be half of a name. */
static bool parse_signature(const char *text, owner *found) {
  *found = (owner){.process = 0};
  const size_t bytes = strlen(text);
  if (bytes == 0 || text[bytes - 1] != '\n') return false;
  if (sscanf(text, "process %" SCNd64 " on %255[^,\n]", &found->process, found->host) != 2)
    return false;
  const char *second = strchr(text, '\n');
  if (second) (void)sscanf(second, "\nstarted %" SCNu64, &found->started);
  return true;
}

static bool is_of_this_host(const owner *o) {
  char host[LAP_HOST_NAME];
  lap_host_name(host);
  return strcmp(host, o->host) == 0;
}

/* A process of this host, under a number that another may have got since. */
static bool runs_here(const owner *o) {
  if (lap_process_has_ended(o->process)) return false;
  return o->started == 0 || o->started == lap_process_started(o->process);
}

/* The time of the file; opened anew, because a network file system then asks its server. */
static bool beat_of(const char *file, struct timespec *beat) {
  const int descriptor = open(file, O_RDONLY | O_CLOEXEC);
  struct stat facts;
  const bool known = descriptor >= 0 && fstat(descriptor, &facts) == 0;
  if (known) *beat = facts.st_mtim;
  if (descriptor >= 0) close(descriptor);
  return known;
}

/* Whether somebody on another host sets the file's time. */
static bool heart_beats(const char *file) {
  struct timespec first, now;
  if (!beat_of(file, &first)) return false;
  if (time(NULL) - first.tv_sec > LONG_DEAD_SECONDS) return false;
  for (int second = 0; second < 3 * LAP_LOCK_BEAT_SECONDS; ++second) {
    const struct timespec pause = {.tv_sec = 1};
    nanosleep(&pause, NULL);
    if (!beat_of(file, &now)) return false; /* released */
    if (now.tv_sec != first.tv_sec || now.tv_nsec != first.tv_nsec) return true;
  }
  return false;
}

/* Whether the job that signed the file still has it, as far as the lock itself does not say.
 * `locked`: the file system has given the lock, so no other process of this host has it. */
static bool is_somebodys(const char *file, const char *signature, bool locked) {
  owner found;
  if (!parse_signature(signature, &found)) return false;
  if (is_of_this_host(&found)) return !locked && runs_here(&found);
  return heart_beats(file);
}

/* --- the heartbeat --- */

static void *beat(void *context) {
  lap_directory_lock *lock = context;
  pthread_mutex_lock(&lock->mutex);
  while (!lock->ends) {
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    next.tv_sec += LAP_LOCK_BEAT_SECONDS;
    if (pthread_cond_timedwait(&lock->end, &lock->mutex, &next) != ETIMEDOUT) continue;
    (void)futimens(lock->descriptor, NULL); /* where it fails, others see a dead job: the fence */
  }
  pthread_mutex_unlock(&lock->mutex);
  return NULL;
}

/* Without signals, which are the main thread's. Where there is no thread to be had, the lock has no
 * heartbeat. */
static void start_beating(lap_directory_lock *lock) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&lock->end, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&lock->mutex, NULL);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  lock->beats = pthread_create(&lock->heart, NULL, beat, lock) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void stop_beating(lap_directory_lock *lock) {
  pthread_mutex_lock(&lock->mutex);
  lock->ends = true;
  pthread_cond_signal(&lock->end);
  pthread_mutex_unlock(&lock->mutex);
  if (lock->beats) pthread_join(lock->heart, NULL);
  pthread_mutex_destroy(&lock->mutex);
  pthread_cond_destroy(&lock->end);
}

/* --- taking it --- */

/* Whether the file that was locked is still the one that has the name: its last owner may have
 * removed it in between. */
static bool is_current(const char *file, int descriptor) {
  struct stat named, locked;
  return stat(file, &named) == 0 && fstat(descriptor, &locked) == 0 &&
         named.st_ino == locked.st_ino && named.st_dev == locked.st_dev;
}

typedef enum { OURS, SOMEBODYS, TRY_AGAIN } outcome;

/* `signature` gets what the file says. */
static outcome try_to_lock(const char *file, int descriptor, char signature[SIGNATURE]) {
  const bool locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
  const bool refused = !locked && errno == EWOULDBLOCK;
  read_signature(descriptor, signature);
  if (refused) return SOMEBODYS;
  if (!is_current(file, descriptor)) return TRY_AGAIN;
  if (is_somebodys(file, signature, locked)) return SOMEBODYS;
  return is_current(file, descriptor) ? OURS : TRY_AGAIN;
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
    char signature[SIGNATURE];
    const outcome tried = try_to_lock(file, descriptor, signature);
    if (tried == OURS) {
      sign(descriptor);
      *lock = lap_allocate(1, sizeof **lock);
      (*lock)->file = file;
      (*lock)->descriptor = descriptor;
      start_beating(*lock);
      return LAP_OK;
    }
    close(descriptor);
    if (tried == TRY_AGAIN) continue;
    locked_out(s, signature, status);
    free(file);
    return LAP_USAGE;
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
  stop_beating(lock);
  /* Somebody may have removed the file by hand; the name is then another job's. Where a file system
   * has no locks, another job may have signed the file itself. */
  char ours[SIGNATURE], signature[SIGNATURE];
  signature_of_this_process(ours);
  read_signature(lock->descriptor, signature);
  const bool unsigned_or_ours = !signature[0] || strcmp(ours, signature) == 0;
  if (unsigned_or_ours && is_current(lock->file, lock->descriptor)) (void)unlink(lock->file);
  close(lock->descriptor);
  free(lock->file);
  free(lock->epoch_file);
  free(lock->epoch_text);
  free(lock);
}

/* --- the fence --- */

lap_code lap_directory_lock_fence(lap_directory_lock *lock, lap_status *status) {
  char *copy = lap_copy_string(lock->file), *before = NULL, signature[SIGNATURE];
  char *file = lap_format("%s/.epoch", dirname(copy));
  uint64_t last = 0;
  lap_status ignored;
  if (lap_file_exists(file) &&
      lap_file_read(file, EPOCH_MAX_BYTES, &before, NULL, &ignored) == LAP_OK)
    (void)sscanf(before, "epoch %" SCNu64, &last);
  if (last == UINT64_MAX) last = 0;
  signature_of_this_process(signature);
  char *text = lap_format("epoch %" PRIu64 "\n%s", last + 1, signature);
  const lap_code code = lap_file_write_alone(file, text, strlen(text), status);
  free(before);
  free(copy);
  free(lock->epoch_file);
  free(lock->epoch_text);
  lock->epoch_file = file;
  lock->epoch_text = text;
  lock->epoch = last + 1;
  return code;
}

uint64_t lap_directory_lock_epoch(const lap_directory_lock *lock) { return lock->epoch; }

lap_code lap_directory_lock_check(const lap_directory_lock *lock, lap_status *status) {
  if (!lock || !lock->epoch_file) return LAP_OK;
  char *text;
  LAP_TRY(lap_file_read(lock->epoch_file, EPOCH_MAX_BYTES, &text, NULL, status));
  lap_code code = LAP_OK;
  if (strcmp(text, lock->epoch_text) != 0) {
    uint64_t epoch = 0;
    char name[LAP_HOST_NAME] = "unknown";
    (void)sscanf(text, "epoch %" SCNu64 "\n%255[^\n]", &epoch, name);
    code =
        lap_fail(status, LAP_USAGE,
                 "%s: another job has taken over (%s, epoch %" PRIu64
                 "; this job has epoch %" PRIu64 "): this one writes nothing more there, and ends",
                 lock->epoch_file, name, epoch, lock->epoch);
  }
  free(text);
  return code;
}
