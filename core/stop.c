#include "core/stop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/launcher.h"

static const struct {
  int number;
  const char *name;
  bool may_be_ignored; /* by whoever started the process */
} requests[] = {{SIGUSR1, "SIGUSR1", false},
                {SIGUSR2, "SIGUSR2", false},
                {SIGTERM, "SIGTERM", false},
                {SIGHUP, "SIGHUP", true},
                {SIGINT, "SIGINT", true}};
enum { REQUESTS = sizeof requests / sizeof *requests };

typedef enum { AT_ONCE, WITHIN, DEFERRED } answer;
enum { HEARD = 0 }; /* in place of a signal's number */

/* What the handler reads and writes. */
static volatile sig_atomic_t requested, how, patience, speaks, on_terminal, ignores;

/* --- the handlers: async-signal-safe --- */

static void say(const char *text) {
  const ssize_t written = write(STDERR_FILENO, text, strlen(text));
  (void)written; /* the terminal may be gone */
}

static void say_request(int number) {
  static const char *const answers[] = {
      [AT_ONCE] = "stopped, exit code 75; the same command starts it again\n",
      [WITHIN] = "stopping\n",
      [DEFERRED] = "stopping when the work at hand is saved\n"};
  if (!speaks) return;
  if (on_terminal) say("\n"); /* a progress bar may be there */
  say(program_invocation_name);
  if (number == HEARD) say(": another rank was asked to stop");
  for (int i = 0; i < REQUESTS; ++i)
    if (requests[i].number == number) {
      say(": ");
      say(requests[i].name);
    }
  say(": ");
  say(answers[how]);
}

static void take_request(int number) {
  if (requested) return; /* and the patience has begun */
  const int reason = errno;
  requested = 1;
  say_request(number);
  if (how == AT_ONCE) _exit(LAP_STOPPED);
  if (how == WITHIN) alarm((unsigned)patience);
  errno = reason;
}

void lap_stop_hear(void) {
  if (!ignores) take_request(HEARD);
}

static void patience_is_over(int number) {
  (void)number;
  if (how != WITHIN) return;
  how = AT_ONCE;
  say_request(SIGALRM);
  _exit(LAP_STOPPED);
}

/* --- */

static void fill(sigset_t *set) {
  sigemptyset(set);
  for (int i = 0; i < REQUESTS; ++i) sigaddset(set, requests[i].number);
}

static void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | flags};
  fill(&action.sa_mask);
  sigaction(number, &action, NULL);
}

static bool is_ignored(int number) {
  struct sigaction found;
  return sigaction(number, NULL, &found) == 0 && found.sa_handler == SIG_IGN;
}

void lap_stop_install(void) {
  speaks = lap_launcher_rank() <= 0;
  on_terminal = isatty(STDERR_FILENO);
  for (int i = 0; i < REQUESTS; ++i) {
    const int number = requests[i].number;
    if (requests[i].may_be_ignored && is_ignored(number)) continue;
    handle(number, take_request, number == SIGINT ? (int)SA_RESETHAND : 0);
  }
  handle(SIGALRM, patience_is_over, 0);
  sigset_t all;
  fill(&all);
  pthread_sigmask(SIG_UNBLOCK, &all, NULL);
}

void lap_stop_within(int seconds) {
  patience = seconds;
  how = WITHIN;
}

void lap_stop_defer(void) {
  how = DEFERRED;
  alarm(0);
}

bool lap_stop_requested(void) { return requested != 0; }

lap_code lap_stop_check(lap_status *status) {
  if (!requested || how == DEFERRED) return LAP_OK;
  return lap_fail(status, LAP_STOPPED, "stopped; the same command starts it again");
}

void lap_stop_hold(sigset_t *before) {
  sigset_t all;
  fill(&all);
  pthread_sigmask(SIG_BLOCK, &all, before);
}

void lap_stop_ignore(void) {
  ignores = 1;
  for (int i = 0; i < REQUESTS; ++i) signal(requests[i].number, SIG_IGN);
}
