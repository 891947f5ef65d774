/* stop: what a process does that is asked to stop; each case runs in a child process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "core/stop.h"

static const int requests[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGINT};
static const char *const names[] = {"SIGUSR1", "SIGUSR2", "SIGTERM", "SIGHUP", "SIGINT"};
enum { REQUESTS = sizeof requests / sizeof *requests, CAME_BACK = 99, HEARD = 512 };

/* Does this in a child process; returns how the child ends, and what it says on stderr. */
static int ending_of(void (*act)(int), int number, char heard[HEARD]) {
  int ends[2], how;
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    program_invocation_name = "a program";
    act(number);
    _exit(CAME_BACK);
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t got;
  while ((got = read(ends[0], heard + length, HEARD - 1 - length)) > 0) length += (size_t)got;
  heard[length] = '\0';
  close(ends[0]);
  assert_int_equal(waitpid(child, &how, 0), child);
  return how;
}

static void assert_exit(void (*act)(int), int number, int code, const char *says) {
  char heard[HEARD];
  const int how = ending_of(act, number, heard);
  if (!WIFEXITED(how) || WEXITSTATUS(how) != code || !strstr(heard, says) || (!*says && heard[0]))
    fail_msg("signal %d: ended with %#x instead of %d, saying \"%s\" instead of \"%s\"", number,
             how, code, heard, says);
}

static void at_once(int number) {
  lap_stop_install();
  raise(number);
}

static void a_request_ends_the_process_with_75(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i) {
    char says[128];
    snprintf(says, sizeof says, "a program: %s: stopped, exit code 75; the same command", names[i]);
    assert_exit(at_once, requests[i], LAP_STOPPED, says);
  }
}

static void in_a_blocked_process(int number) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  lap_stop_install();
  raise(number);
}

static void signals_that_the_launcher_had_blocked_arrive(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i)
    assert_exit(in_a_blocked_process, requests[i], LAP_STOPPED, "stopped");
}

static void as_a_later_rank(int number) {
  setenv("OMPI_COMM_WORLD_RANK", "1", 1);
  at_once(number);
}

static void only_the_first_rank_speaks(void **state) {
  (void)state;
  assert_exit(as_a_later_rank, SIGTERM, LAP_STOPPED, "");
  assert_exit(as_a_later_rank, SIGHUP, LAP_STOPPED, "");
}

static void ignored_before(int number) {
  signal(number, SIG_IGN);
  at_once(number);
}

static void nohup_and_the_background_are_respected(void **state) {
  (void)state;
  assert_exit(ignored_before, SIGHUP, CAME_BACK, "");
  assert_exit(ignored_before, SIGINT, CAME_BACK, "");
  assert_exit(ignored_before, SIGUSR1, LAP_STOPPED, "stopped"); /* nobody means to ignore these */
  assert_exit(ignored_before, SIGTERM, LAP_STOPPED, "stopped");
}

/* --- within some seconds --- */

static void ask_soon(int number) {
  lap_status status;
  lap_stop_install();
  lap_stop_within(60);
  if (lap_stop_check(&status) != LAP_OK) return;
  raise(number);
  _exit(lap_stop_requested() ? (int)lap_stop_check(&status) : CAME_BACK);
}

/* A request repeats, as the batch scripts send it: the time limit does not begin anew. */
static void never_ask(int number) {
  lap_stop_install();
  lap_stop_within(1);
  for (int i = 0; i < 50; ++i) {
    raise(number);
    usleep(100 * 1000);
  }
}

static void a_request_waits_for_a_good_place(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i) assert_exit(ask_soon, requests[i], LAP_STOPPED, "stopping");
}

static void but_not_for_ever(void **state) {
  (void)state;
  assert_exit(never_ask, SIGUSR1, LAP_STOPPED, ": stopping\na program: stopped, exit code 75");
}

/* --- deferred --- */

static void ask_later(int number) {
  lap_status status;
  lap_stop_install();
  lap_stop_within(1);
  lap_stop_defer();
  raise(number);
  sleep(2); /* longer than the earlier limit */
  _exit(lap_stop_requested() && lap_stop_check(&status) == LAP_OK ? 0 : CAME_BACK);
}

static void ask_after_a_request(int number) {
  lap_stop_install();
  lap_stop_within(1);
  raise(number);
  lap_stop_defer();
  sleep(2);
  _exit(lap_stop_requested() ? 0 : CAME_BACK);
}

static void a_deferred_request_is_a_flag(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i)
    assert_exit(ask_later, requests[i], 0, ": stopping when the work at hand is saved\n");
  assert_exit(ask_after_a_request, SIGTERM, 0, ": stopping\n");
}

static void interrupt_twice(int number) {
  lap_stop_install();
  lap_stop_defer();
  raise(number);
  raise(SIGINT);
  raise(SIGINT);
}

static void a_second_interrupt_ends_the_process(void **state) {
  (void)state;
  char heard[HEARD];
  const int alone = ending_of(interrupt_twice, SIGINT, heard);
  assert_true(WIFSIGNALED(alone) && WTERMSIG(alone) == SIGINT);
  const int later = ending_of(interrupt_twice, SIGTERM, heard);
  assert_true(WIFSIGNALED(later) && WTERMSIG(later) == SIGINT);
}

/* --- from another process of the job --- */

static void hear_in_time(int number) {
  lap_status status;
  (void)number;
  lap_stop_install();
  lap_stop_within(60);
  lap_stop_hear();
  _exit((int)lap_stop_check(&status));
}

static void hear_too_late(int number) {
  (void)number;
  lap_stop_install();
  lap_stop_within(1);
  lap_stop_hear();
  sleep(60);
}

static void hear_and_ignore(int number) {
  (void)number;
  lap_stop_install();
  lap_stop_within(1);
  lap_stop_ignore();
  lap_stop_hear();
  sleep(2);
  _exit(lap_stop_requested() ? CAME_BACK : 0);
}

static void a_request_to_another_rank_is_one_to_this(void **state) {
  (void)state;
  assert_exit(hear_in_time, 0, LAP_STOPPED,
              "a program: another rank was asked to stop: stopping\n");
  assert_exit(hear_too_late, 0, LAP_STOPPED, ": stopping\na program: stopped, exit code 75");
  assert_exit(hear_and_ignore, 0, 0, "");
}

/* --- system calls --- */

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
  lap_stop_install();
  lap_stop_defer();
  if (write(ready, "+", 1) != 1 || read(from, &byte, 1) != 1) return 1;
  return byte == 'x' && lap_stop_requested() ? 0 : 2;
}

/* A write of a checkpoint that is under way goes on. */
static void system_calls_are_not_interrupted(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i) {
    int ready[2], to[2];
    assert_int_equal(pipe(ready) | pipe(to), 0);
    const pid_t child = fork();
    if (child == 0) _exit(read_byte(ready[1], to[0]));
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    for (int times = 0; times < 5000 && !sleeps(child); ++times) usleep(1000);
    assert_true(sleeps(child));
    assert_int_equal(kill(child, requests[i]), 0);
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

/* --- around fork and exec --- */

static void held_over_exec(int number) {
  sigset_t before;
  lap_stop_install();
  lap_stop_hold(&before);
  raise(number);
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  execl("/proc/self/exe", "test_stop", "--installed", text, NULL);
}

static void a_request_survives_exec(void **state) {
  (void)state;
  for (int i = 0; i < REQUESTS; ++i)
    assert_exit(held_over_exec, requests[i], LAP_STOPPED, "stopped, exit code 75");
}

static void ignore(int number) {
  lap_stop_install();
  lap_stop_ignore();
  for (int i = 0; i < REQUESTS; ++i) raise(requests[i]);
  raise(number);
  _exit(lap_stop_requested() ? CAME_BACK : 0);
}

static void a_child_may_ignore_them(void **state) {
  (void)state;
  assert_exit(ignore, SIGTERM, 0, "");
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--installed") == 0) {
    lap_stop_install(); /* the request from before the exec arrives here */
    return CAME_BACK;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_request_ends_the_process_with_75),
      cmocka_unit_test(signals_that_the_launcher_had_blocked_arrive),
      cmocka_unit_test(only_the_first_rank_speaks),
      cmocka_unit_test(nohup_and_the_background_are_respected),
      cmocka_unit_test(a_request_waits_for_a_good_place),
      cmocka_unit_test(but_not_for_ever),
      cmocka_unit_test(a_deferred_request_is_a_flag),
      cmocka_unit_test(a_second_interrupt_ends_the_process),
      cmocka_unit_test(a_request_to_another_rank_is_one_to_this),
      cmocka_unit_test(system_calls_are_not_interrupted),
      cmocka_unit_test(a_request_survives_exec),
      cmocka_unit_test(a_child_may_ignore_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
