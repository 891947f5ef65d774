/* signals: in child processes, because what they do outlasts a test and may end the process. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/run/signals.h"

/* Signals in turn, to the process itself; its exit code says after which the request was there that
 * was not there before (0: never). */
enum { NEVER = 0, MOST = 4, ALREADY_THERE = 50 };

static int raise_in_turn(const int *numbers) {
  if (lap_signals_stop_requested()) return ALREADY_THERE;
  lap_signals_install();
  if (lap_signals_stop_requested()) return ALREADY_THERE;
  int first = NEVER;
  for (int i = 0; i < MOST && numbers[i]; ++i) {
    raise(numbers[i]);
    if (lap_signals_stop_requested() && first == NEVER) first = i + 1;
    if (first != NEVER && !lap_signals_stop_requested()) return ALREADY_THERE;
  }
  return first;
}

static int status_after(const int *numbers) {
  const pid_t child = fork();
  if (child == 0) _exit(raise_in_turn(numbers));
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void polite_signals_are_requests(void **state) {
  (void)state;
  static const int cases[][MOST] = {{SIGUSR1},
                                    {SIGTERM},
                                    {SIGINT},
                                    {SIGUSR1, SIGUSR1, SIGUSR1},
                                    {SIGTERM, SIGTERM, SIGTERM},
                                    {SIGINT, SIGTERM, SIGUSR1, SIGTERM},
                                    {SIGTERM, SIGINT, SIGTERM, SIGUSR1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const int status = status_after(cases[i]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
  }
}

static void a_second_interrupt_ends_the_process(void **state) {
  (void)state;
  static const int cases[][MOST] = {{SIGINT, SIGINT}, {SIGTERM, SIGINT, SIGUSR1, SIGINT}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const int status = status_after(cases[i]);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
  }
}

static void other_signals_do_what_they_did(void **state) {
  (void)state;
  static const int none[MOST] = {0}, others[] = {SIGHUP, SIGUSR2, SIGALRM};
  assert_int_equal(status_after(none), 0);
  for (int i = 0; i < 3; ++i) {
    const int numbers[MOST] = {others[i]}, status = status_after(numbers);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), others[i]);
  }
}

/* Whether the process waits in a system call. */
static bool sleeps(pid_t process) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)process);
  FILE *file = fopen(path, "r");
  if (!file) return false;
  const bool read = fgets(text, sizeof text, file) != NULL;
  fclose(file);
  const char *name_end = strrchr(text, ')');
  return read && name_end && name_end[2] == 'S';
}

/* 0: the byte came, and the request, without an interrupted call. */
static int read_byte(int ready, int from) {
  char byte = 0;
  lap_signals_install();
  if (write(ready, "+", 1) != 1 || read(from, &byte, 1) != 1) return 1;
  return byte == 'x' && lap_signals_stop_requested() ? 0 : 2;
}

/* A write of a checkpoint that is under way goes on. */
static void system_calls_are_not_interrupted(void **state) {
  (void)state;
  static const int numbers[] = {SIGUSR1, SIGTERM, SIGINT};
  for (int i = 0; i < 3; ++i) {
    int ready[2], to[2];
    assert_int_equal(pipe(ready) | pipe(to), 0);
    const pid_t child = fork();
    if (child == 0) _exit(read_byte(ready[1], to[0]));
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    for (int times = 0; times < 5000 && !sleeps(child); ++times) usleep(1000);
    assert_true(sleeps(child));
    assert_int_equal(kill(child, numbers[i]), 0);
    usleep(1000);
    assert_int_equal(write(to[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (int end = 0; end < 2; ++end) {
      close(ready[end]);
      close(to[end]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(polite_signals_are_requests),
      cmocka_unit_test(a_second_interrupt_ends_the_process),
      cmocka_unit_test(other_signals_do_what_they_did),
      cmocka_unit_test(system_calls_are_not_interrupted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
