#include "fuzz.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* libFuzzer's own -timeout goes by the wall clock: on a busy machine it would report inputs that
 * are not slow. */
static void set_alarm(int seconds) {
  const struct itimerval after = {.it_value.tv_sec = seconds};
  setitimer(ITIMER_PROF, &after, NULL);
}

static void end_hang(int number) {
  static const char message[] = "an execution took more than a second of processor time\n";
  (void)number;
  if (write(STDERR_FILENO, message, sizeof message - 1) > 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
  static bool is_ready;
  if (!is_ready) signal(SIGPROF, end_hang);
  is_ready = true;
  set_alarm(1);
  fuzz_one(bytes, count);
  set_alarm(0);
  return 0;
}

static char path[256];

static void remove_file(void) { unlink(path); }

const char *fuzz_file(const uint8_t *bytes, size_t count) {
  static int descriptor = -1;
  if (descriptor < 0) {
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/lapidary-fuzz-%d", directory ? directory : "/tmp",
             (int)getpid());
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    atexit(remove_file);
  }
  FUZZ_REQUIRE(descriptor >= 0 && ftruncate(descriptor, 0) == 0);
  FUZZ_REQUIRE(pwrite(descriptor, bytes, count, 0) == (ssize_t)count);
  return path;
}

void fuzz_require(int holds, const char *condition, const char *file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  abort();
}
