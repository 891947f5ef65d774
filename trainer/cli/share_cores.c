#include "trainer/cli/share_cores.h"

#include <linux/limits.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/stop.h"
#include "trainer/cli/stacks.h"

static const char POLICY[] = "OMP_WAIT_POLICY", COUNT[] = "GOMP_SPINCOUNT";

/* One turn of libgomp's waiting loop: 14 to 70 ns by processor, so a count cannot be a constant.
 * The fastest of some rounds, which nothing has interrupted. */
static double turn_seconds(void) {
  enum { ROUNDS = 20, TURNS = 100 };
  static volatile int address = 0;
  double fastest = 1;
  for (int round = 0; round < ROUNDS; ++round) {
    const double start = lap_clock_seconds();
    for (int turn = 0; turn < TURNS && address == 0; ++turn) {
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
    const double seconds = (lap_clock_seconds() - start) / TURNS;
    if (seconds < fastest) fastest = seconds;
  }
  return fastest;
}

/* Not /proc/self/exe itself: ps would show a program named exe. */
static bool find_program(char path[PATH_MAX]) {
  struct stat named, running;
  const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
  if (length <= 0) return false;
  path[length] = '\0';
  return stat(path, &named) == 0 && stat("/proc/self/exe", &running) == 0 &&
         named.st_dev == running.st_dev && named.st_ino == running.st_ino;
}

/* Returns whether it changed anything. */
static bool limit_spinning(void) {
  char count[32];
  if (getenv(POLICY) || getenv(COUNT)) return false;
  snprintf(count, sizeof count, "%.0f", ceil(1e-6 * LAP_SPIN_MICROSECONDS / turn_seconds()));
  return setenv(COUNT, count, true) == 0;
}

void lap_share_cores(char **argv) {
  char path[PATH_MAX];
  sigset_t before;
  if (!find_program(path)) return;
  const bool spins_less = limit_spinning(), has_stacks = lap_stacks_enlarge();
  if (!spins_less && !has_stacks) return;
  lap_stop_hold(&before);
  execv(path, argv);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

double lap_spin_microseconds(void) {
  /* What libgomp 12 takes for each policy, in turns. */
  enum { UNSET_TURNS = 300000 };
  const char *policy = getenv(POLICY), *count = getenv(COUNT);
  if (!count && policy && strcasecmp(policy, "active") == 0) return INFINITY;
  if (!count && policy && strcasecmp(policy, "passive") == 0) return 0;
  char *end = NULL;
  const double turns = count ? strtod(count, &end) : UNSET_TURNS;
  if (count && (end == count || turns < 0)) return INFINITY; /* "infinite", "infinity" */
  return 1e6 * turns * turn_seconds();
}
