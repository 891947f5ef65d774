/* thread_state: what a thread learns of the others of its process. Here the first thread does
 * something, and a second one looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pthread.h>
#include <signal.h>

#include <cmocka.h>

#include "core/clock.h"
#include "core/thread_state.h"

typedef struct {
  lap_threads_state state;
  double seconds; /* of processor time, while it looked */
  char call[256];
} view;

/* After a moment in which the first thread comes to what it does; then wakes it by a byte. */
typedef struct {
  view *view;
  int wake;
  atomic_bool done;
} observer;

static void *observe(void *argument) {
  observer *o = argument;
  usleep(200 * 1000);
  const double before = lap_other_threads_seconds(), end = lap_clock_seconds() + 0.2;
  while (lap_clock_seconds() < end) continue; /* its own time does not count */
  o->view->seconds = lap_other_threads_seconds() - before;
  o->view->state = lap_other_threads_state();
  lap_main_thread_call(o->view->call, sizeof o->view->call);
  if (o->wake >= 0 && write(o->wake, "x", 1) != 1) abort();
  atomic_store(&o->done, true);
  return NULL;
}

static pthread_t start_observer(observer *o) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, observe, o), 0);
  return thread;
}

static void a_thread_that_reads_sleeps(void **state) {
  (void)state;
  int ends[2];
  char byte;
  view seen;
  assert_int_equal(pipe(ends), 0);
  const pthread_t thread = start_observer(&(observer){&seen, ends[1], false});
  assert_int_equal(read(ends[0], &byte, 1), 1);
  pthread_join(thread, NULL);
  assert_int_equal(seen.state, LAP_THREADS_SLEEP);
  assert_true(seen.seconds < 0.01);
  assert_non_null(strstr(seen.call, "read of pipe:"));
}

static void a_thread_that_computes_runs(void **state) {
  (void)state;
  view seen;
  observer o = {&seen, -1, false};
  const pthread_t thread = start_observer(&o);
  while (!atomic_load(&o.done)) continue;
  pthread_join(thread, NULL);
  assert_int_equal(seen.state, LAP_THREADS_RUN);
  assert_true(seen.seconds > 0.01);
}

static lap_threads_state with_a_child(int signal_to_it) {
  int ends[2];
  char byte;
  view seen;
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  if (signal_to_it) kill(child, signal_to_it);
  const pthread_t thread = start_observer(&(observer){&seen, ends[1], false});
  assert_int_equal(read(ends[0], &byte, 1), 1);
  pthread_join(thread, NULL);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return seen.state;
}

static void a_child_works_for_it_unless_it_is_stopped(void **state) {
  (void)state;
  assert_int_equal(with_a_child(0), LAP_THREADS_RUN);
  assert_int_equal(with_a_child(SIGSTOP), LAP_THREADS_SLEEP);
  assert_int_equal(with_a_child(SIGKILL), LAP_THREADS_SLEEP);
}

/* Linux has a parent wait so for a child of vfork. */
static void a_wait_that_nothing_interrupts_is_told_apart(void **state) {
  (void)state;
  view seen;
  const pthread_t thread = start_observer(&(observer){&seen, -1, false});
  // cppcheck-suppress vforkCalled ; how it waits is the point
  const pid_t child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
  if (child == 0) {
    sleep(1); /* NOLINT(clang-analyzer-unix.Vfork) */
    _exit(0);
  }
  waitpid(child, NULL, 0);
  pthread_join(thread, NULL);
  assert_int_equal(seen.state, LAP_THREADS_IN_IO);
}

/* In a child, which has a pipe that nobody reads for its stdout. */
static void output_that_nobody_reads_is_told_apart(void **state) {
  (void)state;
  int ends[2], how;
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    static char much[1 << 20];
    view seen = {0};
    dup2(ends[1], STDOUT_FILENO);
    const pthread_t thread = start_observer(&(observer){&seen, -1, false});
    alarm(10);
    if (write(STDOUT_FILENO, much, sizeof much) != (ssize_t)sizeof much) _exit(1);
    pthread_join(thread, NULL);
    _exit(seen.state == LAP_THREADS_PRINT && strstr(seen.call, "write of pipe:") ? 0 : 2);
  }
  close(ends[1]);
  usleep(800 * 1000);
  char bytes[4096];
  while (read(ends[0], bytes, sizeof bytes) > 0) continue;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_int_equal(how, 0);
  close(ends[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_thread_that_reads_sleeps),
      cmocka_unit_test(a_thread_that_computes_runs),
      cmocka_unit_test(a_child_works_for_it_unless_it_is_stopped),
      cmocka_unit_test(a_wait_that_nothing_interrupts_is_told_apart),
      cmocka_unit_test(output_that_nobody_reads_is_told_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
