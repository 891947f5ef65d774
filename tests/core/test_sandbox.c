/* sandbox: whatever becomes of the child, the parent has a code and a message. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/sandbox.h"

static const lap_sandbox sandbox = {"a.file", "the library", 0.3, 64 << 20};

static lap_code try(lap_sandbox_task task, lap_status *status) {
  *status = (lap_status){0};
  return lap_sandbox_run(&sandbox, task, NULL, NULL, 0, status);
}

static void assert_refused(lap_sandbox_task task, const char *says) {
  lap_status status;
  assert_int_equal(try(task, &status), LAP_DATA);
  assert_int_equal(status.code, LAP_DATA);
  if (!strstr(status.message, "a.file: the library ") || !strstr(status.message, says))
    fail_msg("\"%s\" does not say \"%s\"", status.message, says);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left behind */
}

static lap_code add(const void *context, void *result, lap_status *status) {
  (void)status;
  const int *values = context;
  *(int *)result = values[0] + values[1];
  return LAP_OK;
}

static lap_code fill(const void *context, void *result, lap_status *status) {
  (void)status;
  memset(result, 7, *(const size_t *)context);
  return LAP_OK;
}

static lap_code refuse(const void *context, void *result, lap_status *status) {
  (void)context;
  memset(result, 9, sizeof(int));
  return lap_fail(status, LAP_USAGE, "a message");
}

static void the_result_comes_back(void **state) {
  (void)state;
  const int values[] = {40, 2};
  int sum = 0;
  lap_status status;
  assert_int_equal(lap_sandbox_run(&sandbox, add, values, &sum, sizeof sum, &status), LAP_OK);
  assert_int_equal(sum, 42);
}

static void a_result_larger_than_a_pipe_comes_back(void **state) {
  (void)state;
  const size_t bytes = 1 << 20;
  char *result = calloc(bytes, 1);
  lap_status status;
  assert_int_equal(lap_sandbox_run(&sandbox, fill, &bytes, result, bytes, &status), LAP_OK);
  for (size_t i = 0; i < bytes; ++i) assert_int_equal(result[i], 7);
  free(result);
}

static void a_failure_comes_back_without_a_result(void **state) {
  (void)state;
  int result = 5;
  lap_status status = {0};
  assert_int_equal(lap_sandbox_run(&sandbox, refuse, NULL, &result, sizeof result, &status),
                   LAP_USAGE);
  assert_string_equal(status.message, "a message");
  assert_int_equal(result, 5);
}

static lap_code abort_at_once(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  abort();
  return LAP_OK;
}

static lap_code write_nowhere(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  raise(SIGSEGV);
  return LAP_OK;
}

static lap_code leave(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  exit(EXIT_SUCCESS);
  return LAP_OK;
}

static void a_crash_is_a_message(void **state) {
  (void)state;
  assert_refused(abort_at_once, "crashed on it (Aborted); the file is damaged");
  assert_refused(write_nowhere, "crashed on it (Segmentation fault); the file is damaged");
  assert_refused(leave, "crashed on it; the file is damaged");
}

static lap_code raise_all_requests(const void *context, void *result, lap_status *status) {
  (void)result, (void)status;
  static const int requests[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGINT};
  for (size_t i = 0; i < sizeof requests / sizeof *requests; ++i) {
    raise(requests[i]);
    kill(*(const pid_t *)context, requests[i]); /* the whole group gets the signal */
  }
  return LAP_OK;
}

static volatile sig_atomic_t requests_seen;

static void count_request(int number) {
  (void)number;
  ++requests_seen;
}

/* A notice of the queue is not blamed on the file. */
static void a_request_to_stop_is_the_parents_affair(void **state) {
  (void)state;
  static const int requests[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGHUP, SIGINT};
  for (size_t i = 0; i < 5; ++i) signal(requests[i], count_request);
  const pid_t parent = getpid();
  lap_status status;
  assert_int_equal(lap_sandbox_run(&sandbox, raise_all_requests, &parent, NULL, 0, &status),
                   LAP_OK);
  for (int waits = 0; requests_seen < 5 && waits < 1000; ++waits) usleep(1000);
  assert_int_equal(requests_seen, 5);
  for (size_t i = 0; i < 5; ++i) signal(requests[i], SIG_DFL);
}

static lap_code be_killed(const void *context, void *result, lap_status *status) {
  (void)result, (void)status;
  raise(*(const int *)context);
  return LAP_OK;
}

static void a_child_that_somebody_kills_says_nothing_of_the_file(void **state) {
  (void)state;
  static const int numbers[] = {SIGKILL, SIGQUIT, SIGXCPU}; /* as the kernel without memory */
  for (int i = 0; i < 3; ++i) {
    lap_status status = {0};
    assert_int_equal(lap_sandbox_run(&sandbox, be_killed, &numbers[i], NULL, 0, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "a.file: trying the library on it was ended from out"));
    assert_non_null(strstr(status.message, strsignal(numbers[i])));
    assert_null(strstr(status.message, "damaged"));
  }
}

/* As the clock of the child does, after minutes. */
static lap_code be_out_of_patience(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  raise(SIGALRM);
  return LAP_OK;
}

static void a_file_is_not_blamed_for_a_disk_that_hardly_answers(void **state) {
  (void)state;
  lap_status status = {0};
  assert_int_equal(lap_sandbox_run(&sandbox, be_out_of_patience, NULL, NULL, 0, &status), LAP_DATA);
  assert_non_null(strstr(status.message, "its disk or network hardly answers"));
  assert_null(strstr(status.message, "damaged"));
}

static void a_file_is_not_blamed_where_the_child_cannot_be_limited(void **state) {
  (void)state;
  int ends[2], sum;
  const int values[] = {40, 2};
  struct rlimit before;
  lap_status status = {0};
  assert_int_equal(pipe(ends), 0); /* what the parent needs is there, and no more */
  close(ends[0]);
  close(ends[1]);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  const struct rlimit few = {(rlim_t)(ends[0] > ends[1] ? ends[0] : ends[1]) + 1, before.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
  assert_int_equal(lap_sandbox_run(&sandbox, add, values, &sum, sizeof sum, &status), LAP_DATA);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_non_null(strstr(status.message, "a.file: cannot be tried: "));
  assert_non_null(strstr(status.message, strerror(EMFILE)));
  assert_null(strstr(status.message, "damaged"));
}

/* Sends its process id and stays. */
static lap_code stay(const void *context, void *result, lap_status *status) {
  (void)result, (void)status;
  const pid_t self = getpid();
  if (write(*(const int *)context, &self, sizeof self) != sizeof self) return LAP_DATA;
  for (;;) pause();
}

static void a_child_ends_with_its_parent(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t parent = fork();
  lap_status status;
  if (parent == 0) {
    lap_sandbox_run(&sandbox, stay, &ends[1], NULL, 0, &status);
    _exit(0);
  }
  close(ends[1]);
  pid_t child;
  assert_int_equal(read(ends[0], &child, sizeof child), sizeof child);
  assert_int_equal(kill(parent, SIGKILL), 0);
  assert_int_equal(waitpid(parent, NULL, 0), parent);
  char none;
  assert_int_equal(read(ends[0], &none, 1), 0); /* the last writer is gone */
  close(ends[0]);
}

static lap_code loop(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  for (volatile bool more = true; more;) continue;
  return LAP_OK;
}

static void a_loop_is_ended(void **state) {
  (void)state;
  assert_refused(loop, "did not finish with it in 0.3 s of processor time");
}

static lap_code take_memory(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  for (int i = 0; i < 16; ++i) memset(lap_allocate(16 << 20, 1), 1, 16 << 20);
  return LAP_OK;
}

static lap_code take_all_memory(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  for (int i = 0; i < 64; ++i) lap_allocate(16 << 20, 1);
  return LAP_OK;
}

static lap_code take_some_memory(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  memset(lap_allocate(16 << 20, 1), 1, 16 << 20);
  return LAP_OK;
}

static void memory_is_limited(void **state) {
  (void)state;
  lap_status status;
  assert_refused(take_memory, "needs more than 64 MiB of memory");
  assert_int_equal(try(take_some_memory, &status), LAP_OK);
}

/* In a process of its own: a hard limit is for ever. 0: all is as it should be. */
static int try_below_a_limit_of_the_user(void) {
  const lap_sandbox wide = {"a.file", "the library", 0.3, (size_t)1 << 40};
  unsigned long pages = 0;
  FILE *statm = fopen("/proc/self/statm", "re");
  if (!statm || fscanf(statm, "%lu", &pages) != 1) return 5;
  fclose(statm);
  const rlim_t bytes = pages * (rlim_t)sysconf(_SC_PAGESIZE) + ((rlim_t)256 << 20);
  const struct rlimit limit = {bytes, bytes};
  const int values[] = {40, 2};
  int sum = 0;
  lap_status status = {0};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  if (lap_sandbox_run(&wide, add, values, &sum, sizeof sum, &status) != LAP_OK || sum != 42)
    return fprintf(stderr, "%s\n", status.message), 2;
  if (lap_sandbox_run(&wide, take_all_memory, NULL, NULL, 0, &status) != LAP_DATA) return 3;
  const bool says =
      strstr(status.message, "MiB that a limit leaves") && !strstr(status.message, "damaged");
  return says ? 0 : (fprintf(stderr, "%s\n", status.message), 4);
}

static void a_lower_limit_of_the_user_stays(void **state) {
  (void)state;
  const pid_t child = fork();
  if (child == 0) _exit(try_below_a_limit_of_the_user());
  int how;
  assert_int_equal(waitpid(child, &how, 0), child);
  assert_true(WIFEXITED(how));
  assert_int_equal(WEXITSTATUS(how), 0);
}

static lap_code talk(const void *context, void *result, lap_status *status) {
  (void)context, (void)result, (void)status;
  const bool silent = fputs("noise", stdout) >= 0 && fflush(stdout) == 0;
  return silent && write(STDERR_FILENO, "noise", 5) == 5 ? LAP_OK : LAP_DATA;
}

static void the_output_of_the_child_is_dropped(void **state) {
  (void)state;
  int ends[2];
  char heard[16];
  lap_status status;
  assert_int_equal(pipe(ends), 0);
  const int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
  fflush(stdout);
  dup2(ends[1], STDOUT_FILENO);
  dup2(ends[1], STDERR_FILENO);
  const lap_code code = try(talk, &status);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  close(ends[1]);
  assert_int_equal(code, LAP_OK);
  assert_int_equal(read(ends[0], heard, sizeof heard), 0);
  close(ends[0]);
  close(out);
  close(err);
}

static void ignored_children_make_no_difference(void **state) {
  (void)state;
  signal(SIGCHLD, SIG_IGN);
  lap_status status;
  assert_int_equal(try(take_some_memory, &status), LAP_OK);
  assert_int_equal(try(abort_at_once, &status), LAP_DATA);
  signal(SIGCHLD, SIG_DFL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_result_comes_back),
      cmocka_unit_test(a_result_larger_than_a_pipe_comes_back),
      cmocka_unit_test(a_failure_comes_back_without_a_result),
      cmocka_unit_test(a_crash_is_a_message),
      cmocka_unit_test(a_request_to_stop_is_the_parents_affair),
      cmocka_unit_test(a_child_that_somebody_kills_says_nothing_of_the_file),
      cmocka_unit_test(a_file_is_not_blamed_for_a_disk_that_hardly_answers),
      cmocka_unit_test(a_file_is_not_blamed_where_the_child_cannot_be_limited),
      cmocka_unit_test(a_child_ends_with_its_parent),
      cmocka_unit_test(a_loop_is_ended),
      cmocka_unit_test(memory_is_limited),
      cmocka_unit_test(a_lower_limit_of_the_user_stays),
      cmocka_unit_test(the_output_of_the_child_is_dropped),
      cmocka_unit_test(ignored_children_make_no_difference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
