#include "core/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/stop.h"

/* --- the child --- */

/* Whatever calls exit in the child (lap_allocate without memory does) must not run the handlers of
 * MPI; the child's is registered last and runs first. */
static void leave_at_once(int code, void *unused) {
  (void)unused;
  _exit(code);
}

/* Address space that the process has now; 0 where the system does not say. */
static size_t address_space(void) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (!file) return 0;
  if (fscanf(file, "%lu", &pages) != 1) pages = 0;
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Seconds by the clock on the wall, for a child that waits instead of computing. */
static unsigned patience(const lap_sandbox *sandbox) {
  enum { LEAST = 60, SHARE = 20 };
  return LEAST + (unsigned)(SHARE * sandbox->seconds);
}

/* The most that the user's own limit (ulimit -v) lets a process have; it cannot be raised. */
static rlim_t own_limit(void) {
  struct rlimit memory;
  return getrlimit(RLIMIT_AS, &memory) == 0 ? memory.rlim_max : RLIM_INFINITY;
}

static bool limit_memory(rlim_t bytes) {
  const rlim_t most = own_limit(), limit = most != RLIM_INFINITY && most < bytes ? most : bytes;
  return setrlimit(RLIMIT_AS, &(const struct rlimit){limit, limit}) == 0;
}

static bool is_limited(const lap_sandbox *sandbox) {
  enum { MICROSECONDS = 1000000 };
  const size_t now = address_space();
  const struct rlimit no_core = {0, 0};
  const double seconds = sandbox->seconds;
  struct itimerval computing = {.it_value.tv_sec = (time_t)seconds};
  computing.it_value.tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * MICROSECONDS);
  setrlimit(RLIMIT_CORE, &no_core);
  alarm(patience(sandbox));
  return setitimer(ITIMER_PROF, &computing, NULL) == 0 &&
         (now == 0 || limit_memory(now + sandbox->bytes));
}

/* No handler of the parent is left (MPI and sanitizers install some). A request to stop is for the
 * parent to answer: it may be sent to the whole process group, and is no crash of the library. The
 * child does not outlive its parent. Requests have been held back since before the fork. */
static void reset_signals(pid_t parent) {
  sigset_t every;
  sigfillset(&every);
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL); /* not all can be */
  lap_stop_ignore();
  sigprocmask(SIG_UNBLOCK, &every, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(EXIT_FAILURE);
}

/* The child shares nothing with its parent but the pipe. Where it cannot be so, errno says why. */
static bool isolate(const lap_sandbox *sandbox, pid_t parent) {
  reset_signals(parent);
  const int nowhere = open("/dev/null", O_RDWR);
  return nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0 && dup2(nowhere, STDERR_FILENO) >= 0 &&
         on_exit(leave_at_once, NULL) == 0 && is_limited(sandbox);
}

static bool write_all(int pipe_end, const void *bytes, size_t count) {
  const char *next = bytes;
  while (count > 0) {
    const ssize_t written = write(pipe_end, next, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    next += written;
    count -= (size_t)written;
  }
  return true;
}

static lap_code cannot_try(const lap_sandbox *sandbox, const char *call, lap_status *status) {
  return lap_fail(status, LAP_DATA, "%s: cannot be tried: %s: %s", sandbox->path, call,
                  strerror(errno));
}

static void run_child(const lap_sandbox *sandbox, lap_sandbox_task task, const void *context,
                      size_t result_bytes, int pipe_end, pid_t parent) {
  lap_status outcome = {0};
  const bool isolated = isolate(sandbox, parent);
  if (!isolated) cannot_try(sandbox, "limits of a child process", &outcome);
  void *result = lap_allocate(result_bytes, 1);
  if (isolated) outcome.code = task(context, result, &outcome);
  if (outcome.code != LAP_OK) memset(result, 0, result_bytes);
  const bool sent =
      write_all(pipe_end, result, result_bytes) && write_all(pipe_end, &outcome, sizeof outcome);
  _exit(sent ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* --- the parent --- */

struct lap_sandbox_child {
  lap_sandbox sandbox; /* path is a copy */
  pid_t pid;           /* below 1: there is none, and `failure` says why */
  int pipe_end;
  size_t result_bytes;
  lap_status failure;
};

static bool read_all(int pipe_end, void *bytes, size_t count) {
  char *next = bytes;
  while (count > 0) {
    const ssize_t got = read(pipe_end, next, count);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    next += got;
    count -= (size_t)got;
  }
  return true;
}

/* Of a fault of the child's own, and not sent by somebody who ends it. */
static bool is_crash(int number) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; ++i)
    if (faults[i] == number) return true;
  return false;
}

/* `how` is the child's wait status, or -1 where that is not to be had (SIGCHLD is ignored). */
static lap_code explain(const lap_sandbox *sandbox, int how, lap_status *status) {
  enum { MIB = 1 << 20 };
  static const char advice[] = "the file is damaged, or made to do harm: make or copy it again";
  const int number = how >= 0 && WIFSIGNALED(how) ? WTERMSIG(how) : 0;
  if (number == SIGPROF)
    return lap_fail(status, LAP_DATA,
                    "%s: %s did not finish with it in %.1f s of processor time; %s", sandbox->path,
                    sandbox->library, sandbox->seconds, advice);
  if (number == SIGALRM)
    return lap_fail(status, LAP_DATA,
                    "%s: %s did not finish with it in %u s, in which it mostly waited: its disk or "
                    "network hardly answers, or other programs take all cores; try again",
                    sandbox->path, sandbox->library, patience(sandbox));
  const bool is_out_of_memory = how >= 0 && WIFEXITED(how) && WEXITSTATUS(how) == LAP_USAGE;
  const rlim_t own = own_limit();
  if (is_out_of_memory && own != RLIM_INFINITY && own < address_space() + sandbox->bytes)
    return lap_fail(status, LAP_DATA,
                    "%s: %s needs more memory for it than the %zu MiB that a limit leaves this "
                    "process: nothing is known of the file; raise the limit (ulimit -v)",
                    sandbox->path, sandbox->library, (size_t)own / MIB);
  if (is_out_of_memory)
    return lap_fail(status, LAP_DATA, "%s: %s needs more than %zu MiB of memory for it; %s",
                    sandbox->path, sandbox->library, sandbox->bytes / MIB, advice);
  if (number && !is_crash(number))
    return lap_fail(
        status, LAP_DATA,
        "%s: trying %s on it was ended from outside (%s), as a node without free memory "
        "does: nothing is known of the file; try again",
        sandbox->path, sandbox->library, strsignal(number));
  return lap_fail(status, LAP_DATA, "%s: %s crashed on it%s%s%s; %s", sandbox->path,
                  sandbox->library, number ? " (" : "", number ? strsignal(number) : "",
                  number ? ")" : "", advice);
}

lap_sandbox_child *lap_sandbox_begin(const lap_sandbox *sandbox, lap_sandbox_task task,
                                     const void *context, size_t result_bytes) {
  lap_sandbox_child *child = lap_allocate(1, sizeof *child);
  *child = (lap_sandbox_child){
      .sandbox = *sandbox, .pid = -1, .pipe_end = -1, .result_bytes = result_bytes};
  child->sandbox.path = lap_copy_string(sandbox->path);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    cannot_try(sandbox, "pipe", &child->failure);
    return child;
  }
  sigset_t before;
  lap_stop_hold(&before);
  const pid_t parent = getpid(), pid = fork();
  if (pid == 0) run_child(sandbox, task, context, result_bytes, ends[1], parent);
  if (pid < 0) cannot_try(sandbox, "fork", &child->failure);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(ends[1]);
  child->pid = pid;
  child->pipe_end = ends[0];
  return child;
}

/* The outcome comes through the pipe: the wait status is not always to be had. */
static lap_code hear(const lap_sandbox_child *child, void *result, lap_status *status) {
  int how = -1;
  void *sent = lap_allocate(child->result_bytes, 1);
  lap_status outcome = {0};
  const bool arrived = read_all(child->pipe_end, sent, child->result_bytes) &&
                       read_all(child->pipe_end, &outcome, sizeof outcome);
  while (waitpid(child->pid, &how, 0) < 0 && errno == EINTR) continue;
  lap_code code = LAP_OK;
  if (!arrived)
    code = explain(&child->sandbox, how, status);
  else if (outcome.code != LAP_OK)
    code = lap_fail(status, outcome.code, "%.*s", LAP_MESSAGE_SIZE - 1, outcome.message);
  else if (child->result_bytes > 0)
    memcpy(result, sent, child->result_bytes);
  free(sent);
  return code;
}

lap_code lap_sandbox_end(lap_sandbox_child *child, void *result, lap_status *status) {
  if (child->pid < 1) *status = child->failure;
  const lap_code code = child->pid < 1 ? status->code : hear(child, result, status);
  if (child->pipe_end >= 0) close(child->pipe_end);
  free((char *)child->sandbox.path);
  free(child);
  return code;
}

lap_code lap_sandbox_run(const lap_sandbox *sandbox, lap_sandbox_task task, const void *context,
                         void *result, size_t result_bytes, lap_status *status) {
  return lap_sandbox_end(lap_sandbox_begin(sandbox, task, context, result_bytes), result, status);
}
