/* moved_clock: a library to put before others (LD_PRELOAD) under which the clock on the wall goes
 * back an hour after every third look at it, and some seconds forward between: what NTP, or a
 * machine with a flat battery, does at worst. Clocks that cannot be set (CLOCK_MONOTONIC) stay. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { HOUR = 3600, EVERY = 3, FORWARD = 7 };

/* Seconds to add at this look. */
static time_t moved(void) {
  static atomic_long looks;
  const long look = atomic_fetch_add(&looks, 1);
  return (1 + look / EVERY) * -HOUR + look % EVERY * FORWARD;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  const long result = syscall(SYS_clock_gettime, clock, now);
  if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += moved();
  return (int)result;
}

int gettimeofday(struct timeval *now, void *zone) {
  (void)zone;
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  now->tv_sec = precise.tv_sec;
  now->tv_usec = precise.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds) *seconds = now.tv_sec;
  return now.tv_sec;
}
