#include "core/thread_state.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double clock_of(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double lap_other_threads_seconds(void) {
  const double mine = clock_of(CLOCK_THREAD_CPUTIME_ID);
  return clock_of(CLOCK_PROCESS_CPUTIME_ID) - mine;
}

/* The first line of a file of /proc; "" where there is none. */
static void read_line(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "re");
  text[0] = '\0';
  if (!file) return;
  if (!fgets(text, (int)size, file)) text[0] = '\0';
  fclose(file);
}

/* The letter of proc(5); '\0' where there is no such thread any more. The name before it may hold
 * anything. */
static char state_in(const char *path) {
  char text[512];
  read_line(path, text, sizeof text);
  const char *end = strrchr(text, ')');
  return end && end[1] == ' ' ? end[2] : '\0';
}

static bool is_at_work(char state) { return state == 'R' || state == 'S' || state == 'D'; }

static bool has_working_child(void) {
  char path[64], children[1024];
  snprintf(path, sizeof path, "/proc/self/task/%ld/children", (long)getpid());
  read_line(path, children, sizeof children);
  for (char *next = children, *end;; next = end) {
    const long child = strtol(next, &end, 10);
    if (end == next) return false;
    snprintf(path, sizeof path, "/proc/%ld/stat", child);
    if (is_at_work(state_in(path))) return true;
  }
}

/* The number of the system call in which the first thread is, and its first argument; -1 where
 * there is none, or none to be had. */
static long main_call(unsigned long *argument) {
  char path[64], line[256], *end;
  snprintf(path, sizeof path, "/proc/self/task/%ld/syscall", (long)getpid());
  read_line(path, line, sizeof line);
  const long number = strtol(line, &end, 10);
  *argument = strtoul(end, NULL, 16);
  return end == line ? -1 : number;
}

static bool prints(void) {
  unsigned long descriptor;
  return main_call(&descriptor) == SYS_write &&
         (descriptor == STDOUT_FILENO || descriptor == STDERR_FILENO);
}

lap_threads_state lap_other_threads_state(void) {
  const long mine = (long)syscall(SYS_gettid);
  bool runs = false, in_io = false;
  DIR *tasks = opendir("/proc/self/task");
  if (!tasks) return LAP_THREADS_SLEEP;
  for (const struct dirent *entry; (entry = readdir(tasks));) {
    char path[sizeof entry->d_name + 32];
    if (entry->d_name[0] == '.' || strtol(entry->d_name, NULL, 10) == mine) continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
    const char state = state_in(path);
    runs = runs || state == 'R';
    in_io = in_io || state == 'D';
  }
  closedir(tasks);
  if (in_io) return LAP_THREADS_IN_IO;
  if (runs || has_working_child()) return LAP_THREADS_RUN;
  return prints() ? LAP_THREADS_PRINT : LAP_THREADS_SLEEP;
}

void lap_main_thread_call(char *text, size_t size) {
  static const struct {
    long number;
    const char *name;
    bool of_file; /* its first argument is a descriptor */
  } calls[] = {{SYS_read, "read", true},           {SYS_pread64, "read", true},
               {SYS_write, "write", true},         {SYS_pwrite64, "write", true},
               {SYS_fsync, "fsync", true},         {SYS_fdatasync, "fdatasync", true},
               {SYS_fallocate, "fallocate", true}, {SYS_close, "close", true},
               {SYS_flock, "lock", true},          {SYS_openat, "open", false},
               {SYS_renameat, "rename", false},    {SYS_renameat2, "rename", false},
               {SYS_unlinkat, "unlink", false},    {SYS_mkdirat, "mkdir", false},
               {SYS_wait4, "wait", false},         {SYS_ppoll, "poll", false}};
  unsigned long argument;
  const long number = main_call(&argument);
  text[0] = '\0';
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) {
    if (calls[i].number != number) continue;
    char path[64], file[256] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%lu", argument);
    const ssize_t length = calls[i].of_file ? readlink(path, file, sizeof file - 1) : 0;
    file[length > 0 ? length : 0] = '\0';
    snprintf(text, size, "%s%s%s", calls[i].name, file[0] ? " of " : "", file);
  }
}
