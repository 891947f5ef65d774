/* late_names: a library to put before others (LD_PRELOAD) that shows names late, as a network file
 * system does whose client remembers what is not there.
 *
 * A file or directory below FAULTS_LATE_UNDER that another process has made, or renamed, less than
 * FAULTS_LATE_MILLISECONDS ago is not there for this one, nor is anything in it: it cannot be
 * opened, looked at, listed, or written into (ENOENT). What this process has made or has seen once
 * it sees at once.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { KNOWN = 1 << 14, PATH_BYTES = 4096, MILLISECONDS = 1000, NANOSECONDS = 1000000 };

static const char *under;
static int64_t late;
static char *known[KNOWN]; /* names that this process sees */
static int known_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void prepare(void) {
  const char *milliseconds = getenv("FAULTS_LATE_MILLISECONDS");
  under = getenv("FAULTS_LATE_UNDER");
  late = milliseconds ? strtol(milliseconds, NULL, 10) : 0;
}

static bool is_below(const char *path) {
  const size_t length = under ? strlen(under) : 0;
  return length > 0 && strncmp(path, under, length) == 0 && path[length] == '/';
}

static bool is_known(const char *path) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < known_count && !found; ++i) found = strcmp(known[i], path) == 0;
  pthread_mutex_unlock(&lock);
  return found;
}

static void know(const char *path) {
  if (!is_below(path) || is_known(path)) return;
  pthread_mutex_lock(&lock);
  if (known_count < KNOWN) known[known_count++] = strdup(path);
  pthread_mutex_unlock(&lock);
}

/* Of one name, whose directory is seen. */
static bool is_hidden_name(const char *path) {
  struct stat facts;
  struct timespec now;
  if (is_known(path)) return false;
  if (syscall(SYS_newfstatat, AT_FDCWD, path, &facts, AT_SYMLINK_NOFOLLOW) != 0) return false;
  clock_gettime(CLOCK_REALTIME, &now);
  const int64_t age = (int64_t)(now.tv_sec - facts.st_ctim.tv_sec) * MILLISECONDS +
                      (now.tv_nsec - facts.st_ctim.tv_nsec) / NANOSECONDS;
  if (age < late) return true;
  know(path);
  return false;
}

static bool is_hidden(const char *path) {
  const int error = errno;
  char whole[PATH_BYTES], prefix[PATH_BYTES];
  bool hidden = false;
  if (path[0] == '/')
    snprintf(whole, sizeof whole, "%s", path);
  else if (getcwd(prefix, sizeof prefix))
    snprintf(whole, sizeof whole, "%.2000s/%.2000s", prefix, path);
  if (is_below(whole)) {
    char *slash = whole + strlen(under);
    while (!hidden && (slash = strchr(slash + 1, '/'))) {
      *slash = '\0';
      hidden = is_hidden_name(whole);
      *slash = '/';
    }
    hidden = hidden || is_hidden_name(whole);
  }
  errno = hidden ? ENOENT : error;
  return hidden;
}

/* Whether the directory that a new name goes into is hidden. */
static bool is_hidden_above(const char *path) {
  char parent[PATH_BYTES];
  snprintf(parent, sizeof parent, "%s", path);
  char *slash = strrchr(parent, '/');
  if (!slash) return false;
  *slash = '\0';
  return is_hidden(parent);
}

#define NEXT(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const bool makes = (flags & O_CREAT) != 0;
  const mode_t mode = makes ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (makes ? is_hidden_above(path) : is_hidden(path)) return -1;
  const int descriptor = NEXT(open)(path, flags, mode);
  if (descriptor >= 0 && makes) know(path);
  return descriptor;
}

FILE *fopen(const char *path, const char *mode) {
  if (mode[0] == 'r' ? is_hidden(path) : is_hidden_above(path)) return NULL;
  FILE *file = NEXT(fopen)(path, mode);
  if (file && mode[0] != 'r') know(path);
  return file;
}

int stat(const char *path, struct stat *facts) {
  return is_hidden(path) ? -1 : NEXT(stat)(path, facts);
}

int lstat(const char *path, struct stat *facts) {
  return is_hidden(path) ? -1 : NEXT(lstat)(path, facts);
}

int access(const char *path, int mode) { return is_hidden(path) ? -1 : NEXT(access)(path, mode); }

DIR *opendir(const char *path) {
  if (is_hidden(path)) return NULL;
  DIR *directory = NEXT(opendir)(path);
  return directory;
}

struct dirent *readdir(DIR *directory) {
  char link[64], path[PATH_BYTES];
  snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd(directory));
  const ssize_t length = readlink(link, path, sizeof path / 2);
  if (length < 0) {
    struct dirent *entry = NEXT(readdir)(directory);
    return entry;
  }
  for (struct dirent *entry; (entry = NEXT(readdir)(directory));) {
    snprintf(path + length, sizeof path - (size_t)length, "/%s", entry->d_name);
    const bool is_itself = !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    if (is_itself || !is_hidden(path)) return entry;
  }
  return NULL;
}

int mkdir(const char *path, mode_t mode) {
  if (is_hidden_above(path)) return -1;
  const int result = NEXT(mkdir)(path, mode);
  if (result == 0) know(path);
  return result;
}

int rename(const char *from, const char *to) {
  if (is_hidden(from)) return -1;
  const int result = NEXT(rename)(from, to);
  if (result == 0) know(to);
  return result;
}
