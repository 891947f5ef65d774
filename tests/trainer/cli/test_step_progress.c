/* step_progress: quick steps show nothing, long ones a line at each tenth with an ETA. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/cli/step_progress.h"

typedef struct {
  char *text;
  size_t bytes;
  FILE *stream;
  lap_console *console;
  lap_step_progress progress;
  lap_progress_hook hook;
} shown;

static shown *begin(void) {
  shown *s = calloc(1, sizeof *s);
  s->stream = open_memstream(&s->text, &s->bytes);
  s->console = lap_console_create((lap_console_options){.stream = s->stream});
  s->hook = lap_step_progress_begin(&s->progress, s->console);
  return s;
}

static void end(shown *s) {
  lap_step_progress_end(&s->progress);
  lap_console_destroy(s->console);
  fclose(s->stream);
  free(s->text);
  free(s);
}

static void report(const shown *s, const char *step, const char *unit, uint64_t done,
                   uint64_t total) {
  lap_progress_report(
      &s->hook, (lap_progress_state){.step = step, .unit = unit, .done = done, .total = total});
  fflush(s->stream);
}

static void quick_steps_show_nothing(void **state) {
  (void)state;
  shown *s = begin();
  for (uint64_t i = 1; i <= 10; ++i) report(s, "open shards", "shards", i, 10);
  for (uint64_t i = 1; i <= 10; ++i) report(s, "read", "bytes", i, 0);
  assert_int_equal(s->bytes, 0);
  end(s);
  lap_progress_report(NULL, (lap_progress_state){.step = "to nobody"});
}

static void long_steps_show_how_far_and_how_long(void **state) {
  (void)state;
  shown *s = begin();
  report(s, "read the text", "bytes", 1 << 20, 40 << 20);
  sleep(1);
  usleep(100000);
  report(s, "read the text", "bytes", 2 << 20, 40 << 20);
  report(s, "read the text", "bytes", 21 << 20, 40 << 20);
  assert_non_null(strstr(s->text, "read the text 21/40 MiB  ETA "));
  /* What follows a long step is shown from its beginning. */
  report(s, "learn pieces", "pieces", 0, 10);
  usleep(10000);
  report(s, "learn pieces", "pieces", 5, 10);
  assert_non_null(strstr(s->text, "learn pieces 5/10 pieces  ETA "));
  report(s, "learn pieces", "pieces", 12, 10);
  assert_non_null(strstr(s->text, "learn pieces 10/10 pieces"));
  end(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quick_steps_show_nothing),
      cmocka_unit_test(long_steps_show_how_far_and_how_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
