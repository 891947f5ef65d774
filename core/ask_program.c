#include "core/ask_program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

static bool start(const char *const *arguments, int output, pid_t *process) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  const int result = posix_spawnp(process, arguments[0], &files, &attributes,
                                  (char *const *)(void *)arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return result == 0;
}

/* Until the output ends. */
static bool read_until(int input, double end, char *text, size_t size) {
  size_t length = 0;
  for (;;) {
    struct pollfd wait = {.fd = input, .events = POLLIN};
    const double left = end - lap_clock_seconds();
    char beyond[256];
    if (left <= 0) return false;
    if (poll(&wait, 1, (int)(left * 1e3) + 1) <= 0) continue;
    const bool fits = length + 1 < size;
    const ssize_t got =
        fits ? read(input, text + length, size - 1 - length) : read(input, beyond, sizeof beyond);
    if (got <= 0) return got == 0;
    if (fits) length += (size_t)got;
    text[length] = '\0';
  }
}

/* Whether it ends well before `end`; it is killed otherwise, and waited for. That its output has
 * ended says nothing: it may have closed it and go on. */
static bool ends_well(pid_t process, double end) {
  enum { PAUSE_MILLISECONDS = 1 };
  int how = -1;
  pid_t ended;
  while ((ended = waitpid(process, &how, WNOHANG)) == 0 && lap_clock_seconds() < end)
    poll(NULL, 0, PAUSE_MILLISECONDS);
  if (ended != 0) return ended == process && how == 0;
  kill(process, SIGKILL);
  waitpid(process, &how, 0);
  return false;
}

bool lap_ask_program(const char *const *arguments, double seconds, char *text, size_t size) {
  int ends[2];
  pid_t process;
  text[0] = '\0';
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  const double end = lap_clock_seconds() + seconds;
  const bool started = start(arguments, ends[1], &process);
  close(ends[1]);
  const bool read = started && read_until(ends[0], end, text, size);
  close(ends[0]);
  return started && ends_well(process, read ? end : 0) && read;
}
