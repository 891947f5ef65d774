/* clock: seconds of a clock that only goes forward, for durations. */
#ifndef LAP_CORE_CLOCK_H
#define LAP_CORE_CLOCK_H

#include <time.h>

/* Seconds since a moment that stays the same for all threads of a machine. */
static inline double lap_clock_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

#endif
