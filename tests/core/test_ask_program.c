/* ask_program: an answer, no answer, and one that comes too late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <signal.h>

#include <cmocka.h>

#include "core/ask_program.h"
#include "core/clock.h"

static bool ask(const char *command, double seconds, char *text, size_t size) {
  const char *const arguments[] = {"sh", "-c", command, NULL};
  return lap_ask_program(arguments, seconds, text, size);
}

static void the_answer_is_what_it_prints(void **state) {
  (void)state;
  char text[64], short_text[8];
  assert_true(
      ask("read x; echo one; echo not this >&2; sleep 0.1; echo two", 20, text, sizeof text));
  assert_string_equal(text, "one\ntwo\n");
  assert_true(ask("seq 100000", 20, short_text, sizeof short_text));
  assert_string_equal(short_text, "1\n2\n3\n4");
  assert_true(ask("", 20, text, sizeof text));
  assert_string_equal(text, "");
}

static void a_failure_is_no_answer(void **state) {
  (void)state;
  char text[64];
  const char *const nothing[] = {"no-such-program", NULL};
  assert_false(ask("echo one; exit 3", 20, text, sizeof text));
  assert_false(ask("kill -9 $$", 20, text, sizeof text));
  assert_false(lap_ask_program(nothing, 20, text, sizeof text));
}

static void what_takes_too_long_is_ended(void **state) {
  (void)state;
  char text[64];
  const double start = lap_clock_seconds();
  assert_false(ask("echo one; exec sleep 60", 0.3, text, sizeof text));
  assert_false(ask("echo one; exec >&-; exec sleep 60", 0.3, text, sizeof text));
  assert_true(lap_clock_seconds() - start < 20);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left behind */
}

static void ignore(int number) { (void)number; }

static void its_signals_are_the_usual_ones(void **state) {
  (void)state;
  char text[64];
  sigset_t all, before;
  sigfillset(&all);
  signal(SIGTERM, SIG_IGN);
  signal(SIGUSR1, ignore);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  assert_true(ask("(kill $$) ; echo lives", 20, text, sizeof text) == false);
  assert_true(ask("grep SigBlk /proc/self/status", 20, text, sizeof text));
  assert_non_null(strstr(text, "0000000000000000"));
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_answer_is_what_it_prints),
      cmocka_unit_test(a_failure_is_no_answer),
      cmocka_unit_test(what_takes_too_long_is_ended),
      cmocka_unit_test(its_signals_are_the_usual_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
