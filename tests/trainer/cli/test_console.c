/* console: bars only on a terminal, short plain lines elsewhere, everything in the log but bars. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/cli/console.h"
#include "trainer/cli/human.h"
#include "trainer/cli/table.h"

static void people_read_three_digits(void **state) {
  (void)state;
  char text[LAP_HUMAN_TEXT];
  assert_string_equal(lap_human_count(0, text), "0");
  assert_string_equal(lap_human_count(999, text), "999");
  assert_string_equal(lap_human_count(1000, text), "1.00 k");
  assert_string_equal(lap_human_count(2614636800.0, text), "2.61 G");
  assert_string_equal(lap_human_count(999999, text), "1.00 M");
  assert_string_equal(lap_human_count(12340, text), "12.3 k");
  assert_string_equal(lap_human_count(-12340, text), "-12.3 k");
  assert_string_equal(lap_human_bytes(1023, text), "1023 B");
  assert_string_equal(lap_human_bytes(1536, text), "1.50 KiB");
  assert_string_equal(lap_human_bytes(1073741824, text), "1.00 GiB");
  assert_string_equal(lap_human_seconds(0.085, text), "85 ms");
  assert_string_equal(lap_human_seconds(0.00994, text), "9.9 ms");
  assert_string_equal(lap_human_seconds(0.00996, text), "10 ms");
  assert_string_equal(lap_human_seconds(0.00023, text), "0.23 ms");
  assert_string_equal(lap_human_seconds(0, text), "0 ms");
  assert_string_equal(lap_human_seconds(3.25, text), "3.2 s");
  assert_string_equal(lap_human_seconds(59.97, text), "1 min 00 s");
  assert_string_equal(lap_human_seconds(62, text), "1 min 02 s");
  assert_string_equal(lap_human_seconds(3 * 3600 + 5 * 60, text), "3 h 05 min");
  assert_string_equal(lap_human_seconds(90000, text), "1 d 01 h");
  assert_string_equal(lap_human_seconds(NAN, text), "?");
  assert_string_equal(lap_human_seconds(1e300, text), "over 9999 d");
}

static void a_bar_fits_every_width(void **state) {
  (void)state;
  char line[256];
  lap_progress progress = {.label = "train",
                           .unit = "steps",
                           .done = 5,
                           .total = 10,
                           .seconds = 20,
                           .detail = "loss 3.2"};
  lap_console_format_bar(line, sizeof line, 60, &progress);
  assert_string_equal(line, "train [#########.........] 5/10 steps  loss 3.2  ETA 20.0 s");
  progress.already_done = 5;
  lap_console_format_bar(line, sizeof line, 60, &progress);
  assert_null(strstr(line, "ETA")); /* nothing measured yet since the resume */
  progress.done = 12;
  for (int width = 1; width < 120; ++width) {
    lap_console_format_bar(line, sizeof line, width, &progress);
    assert_true((int)strlen(line) < width);
  }
  char small[8];
  lap_console_format_bar(small, sizeof small, 80, &progress);
  assert_int_equal(strlen(small), 7);
}

static void an_eta_is_known_between_the_first_and_the_last(void **state) {
  (void)state;
  char text[LAP_HUMAN_TEXT];
  lap_progress progress = {.done = 5, .total = 10, .seconds = 20, .detail = ""};
  assert_string_equal(lap_console_format_eta(&progress, text), "20.0 s");
  progress.already_done = 4; /* one took 20 seconds here */
  assert_string_equal(lap_console_format_eta(&progress, text), "1 min 40 s");
  progress.done = 4;
  assert_string_equal(lap_console_format_eta(&progress, text), "");
  progress.done = 10;
  assert_string_equal(lap_console_format_eta(&progress, text), "");
}

/* What a console writes to its stream while `use` works with it. */
static char *output_of(lap_console_options options, void (*use)(lap_console *)) {
  char *text = NULL;
  size_t size = 0;
  options.stream = open_memstream(&text, &size);
  lap_console *console = lap_console_create(options);
  use(console);
  lap_console_destroy(console);
  fclose(options.stream);
  return text;
}

static void thousand_steps(lap_console *console) {
  lap_console_progress_begin(console, "train", "steps", 1000, 300);
  for (int step = 301; step <= 1000; ++step) lap_console_progress(console, step, "loss 1");
  lap_console_progress_end(console);
}

static void plain_progress_is_one_line_a_tenth(void **state) {
  (void)state;
  char *text = output_of((lap_console_options){0}, thousand_steps);
  int lines = 0;
  for (const char *c = text; *c; ++c) lines += *c == '\n';
  assert_int_equal(lines, 7);
  assert_int_equal(strncmp(text, "train 400/1000 steps  loss 1  ETA ", 34), 0);
  assert_non_null(strstr(text, "train 1000/1000 steps  loss 1\n"));
  assert_null(strchr(text, '\r'));
  assert_null(strchr(text, '\033'));
  free(text);
}

static void a_terminal_gets_few_redraws_and_the_last_state(void **state) {
  (void)state;
  char *text = output_of((lap_console_options){.terminal = true, .width = 80}, thousand_steps);
  int redraws = 0;
  for (const char *c = text; *c; ++c) redraws += *c == '\r';
  assert_true(redraws < 20); /* 700 updates within milliseconds */
  assert_non_null(strstr(text, "1000/1000 steps  loss 1\n"));
  free(text);
}

static void talk(lap_console *console) {
  lap_console_say(console, "step %d", 1);
  lap_console_warn(console, "%s", "careful");
  thousand_steps(console);
}

static void quiet_leaves_warnings_and_silent_leaves_nothing(void **state) {
  (void)state;
  char *text = output_of((lap_console_options){.quiet = true}, talk);
  assert_string_equal(text, "warning: careful\n");
  free(text);
  text = output_of((lap_console_options){.silent = true}, talk);
  assert_string_equal(text, "");
  free(text);
}

static void say_within_a_bar(lap_console *console) {
  lap_console_progress_begin(console, "train", "steps", 10, 0);
  lap_console_progress(console, 10, "");
  lap_console_warn(console, "careful");
}

static void a_line_within_a_bar_stands_alone(void **state) {
  (void)state;
  lap_console_options options = {.terminal = true, .width = 80, .color = true};
  char *text = output_of(options, say_within_a_bar);
  assert_non_null(strstr(text, "\r\033[K\033[33mwarning: \033[0mcareful\ntrain ["));
  free(text);
}

static const char *log_path;

static void talk_with_log(lap_console *console) {
  lap_status status = {0};
  lap_console_warn(console, "2 threads on 1 core");
  lap_console_say(console, "model");
  assert_int_equal(lap_console_open_log(console, log_path, &status), LAP_OK);
  lap_console_say(console, "step %d", 1);
  lap_console_warn(console, "careful");
  say_within_a_bar(console);
}

static void the_log_has_every_line_and_no_bar(void **state) {
  (void)state;
  char *directory = scratch_create();
  log_path = scratch_path(directory, "log.txt");
  free(output_of((lap_console_options){.terminal = true, .width = 80, .quiet = true},
                 talk_with_log));
  char *text;
  lap_status status = {0};
  assert_int_equal(lap_file_read(log_path, 1 << 16, &text, NULL, &status), LAP_OK);
  assert_string_equal(
      text, "warning: 2 threads on 1 core\nmodel\nstep 1\nwarning: careful\nwarning: careful\n");
  free(text);
  scratch_remove(directory);
}

/* It would hold up the run: without a reader at once, with one when that reads no more. */
static void a_log_that_is_a_pipe_is_refused(void **state) {
  (void)state;
  char *directory = scratch_create();
  const char *path = scratch_path(directory, "log.txt");
  assert_int_equal(mkfifo(path, 0600), 0);
  lap_console *console = lap_console_create((lap_console_options){.stream = stderr});
  for (int read = 0; read < 2; ++read) {
    const int reader = read ? open(path, O_RDONLY | O_NONBLOCK) : -1;
    lap_status status = {0};
    assert_int_equal(lap_console_open_log(console, path, &status), LAP_DATA);
    assert_non_null(strstr(status.message, "log.txt: expected a regular file"));
    if (reader >= 0) close(reader);
  }
  lap_console_destroy(console);
  scratch_remove(directory);
}

static void no_color_and_dumb_terminals_are_respected(void **state) {
  (void)state;
  setenv("NO_COLOR", "1", 1);
  assert_false(lap_console_standard(false, false).color);
  setenv("TERM", "dumb", 1);
  assert_false(lap_console_standard(false, false).terminal);
}

static void tables_align_numbers_right_and_count_characters(void **state) {
  (void)state;
  static const char *const headers[] = {"name", "loss", "note"};
  static const char *const rows[][3] = {
      {"w", "3.25", "x"}, {"M\xc3\xbcller", "-", ""}, {"long name", "12.5", "y"}};
  lap_table *table = lap_table_create(3, headers);
  for (int i = 0; i < 3; ++i) lap_table_add(table, rows[i]);
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  lap_table_print(table, out);
  fclose(out);
  assert_string_equal(text,
                      "name       loss  note\n"
                      "w          3.25  x\n"
                      "M\xc3\xbcller        -  \n"
                      "long name  12.5  y\n");
  free(text);
  lap_table_destroy(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(people_read_three_digits),
      cmocka_unit_test(a_bar_fits_every_width),
      cmocka_unit_test(an_eta_is_known_between_the_first_and_the_last),
      cmocka_unit_test(plain_progress_is_one_line_a_tenth),
      cmocka_unit_test(a_terminal_gets_few_redraws_and_the_last_state),
      cmocka_unit_test(quiet_leaves_warnings_and_silent_leaves_nothing),
      cmocka_unit_test(a_line_within_a_bar_stands_alone),
      cmocka_unit_test(the_log_has_every_line_and_no_bar),
      cmocka_unit_test(a_log_that_is_a_pipe_is_refused),
      cmocka_unit_test(no_color_and_dumb_terminals_are_respected),
      cmocka_unit_test(tables_align_numbers_right_and_count_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
