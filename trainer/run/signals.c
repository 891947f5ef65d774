#include "trainer/run/signals.h"

#include <signal.h>
#include <string.h>

/* A signal handler can reach nothing but a global. */
static volatile sig_atomic_t stop_requested;

static void request_stop(int number) {
  (void)number;
  stop_requested = 1;
}

void lap_signals_install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = request_stop;
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  action.sa_flags = (int)(SA_RESTART | SA_RESETHAND);
  sigaction(SIGINT, &action, NULL);
}

bool lap_signals_stop_requested(void) { return stop_requested != 0; }
