/* command: exit codes, help and did-you-mean of the frame, seen from outside: each case runs in a
 * child process whose stdout and stderr are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/cli/command.h"

/* A command that says what it was given. */
typedef struct {
  int64_t steps;
  const char *out;
  double scale;
  bool louder;
} echo_flags;

/* What other commands could have as well. */
typedef struct {
  int64_t threads;
  bool fast;
} common_flags;

static const lap_flag flags_in_common[] = {{.name = "threads",
                                            .letter = 'j',
                                            .value = "N",
                                            .integer = {1, 8},
                                            .offset = offsetof(common_flags, threads),
                                            .help = "threads to use"},
                                           {.name = "fast", .offset = offsetof(common_flags, fast)},
                                           {0}};

static lap_code run_echo(const lap_command *command, int argc, char **argv, lap_status *status) {
  static const lap_flag flags[] = {
      {.name = "steps",
       .value = "N",
       .integer = {1, 100},
       .offset = offsetof(echo_flags, steps),
       .help = "steps to run"},
      {.name = "out",
       .letter = 'o',
       .value = "PATH",
       .offset = offsetof(echo_flags, out),
       .help = "where to"},
      {.name = "scale", .value = "X", .real = {0.5, 2}, .offset = offsetof(echo_flags, scale)},
      {.name = "louder", .offset = offsetof(echo_flags, louder), .help = "say it twice"},
      {0}};
  echo_flags echo = {.steps = 20, .out = "", .scale = 1};
  common_flags common = {0};
  const lap_command_syntax syntax = {.positional_min = 1,
                                     .positional_max = 2,
                                     .overrides = true,
                                     .json = true,
                                     .flags = flags,
                                     .destination = &echo,
                                     .shared_flags = flags_in_common,
                                     .shared_destination = &common};
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, &syntax, argc, argv, &line, status));
  printf("%s %zu steps=%d out=%s json=%d quiet=%d", line.positional[0], line.positional_count,
         (int)echo.steps, echo.out, line.json, line.quiet);
  for (size_t i = 0; i < line.override_count; ++i) printf(" [%s]", line.overrides[i]);
  if (echo.scale != 1) printf(" scale=%g", echo.scale);
  if (echo.louder) printf(" louder");
  if (common.threads) printf(" threads=%d", (int)common.threads);
  if (common.fast) printf(" fast");
  putchar('\n');
  lap_command_line_release(&line);
  return LAP_OK;
}

static lap_code run_failing(const lap_command *command, int argc, char **argv, lap_status *status) {
  (void)command, (void)argc, (void)argv;
  return lap_fail(status, LAP_STOPPED, "stopped at step 3");
}

static const lap_command echo_command = {.name = "echo",
                                         .summary = "say what was given",
                                         .usage = "CONFIG.yaml [KEY=VALUE...]",
                                         .description = "More about echo.",
                                         .run = run_echo};
static const lap_command failing_command = {
    .name = "failing", .summary = "fail", .usage = "", .run = run_failing};
static const lap_command *const commands[] = {&echo_command, &failing_command, NULL};

typedef struct {
  int code;
  char out[8192], err[8192];
} outcome;

static void read_back(FILE *file, char *text, size_t size) {
  rewind(file);
  const size_t bytes = fread(text, 1, size - 1, file);
  text[bytes] = '\0';
  fclose(file);
}

enum { MOST_WORDS = 24 };

/* Runs `lapidary WORDS` in a child; words are separated by single blanks. */
static outcome run(const char *words) {
  char copy[512], *argv[MOST_WORDS] = {"lapidary"};
  int argc = 1;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *word = strtok(copy, " "); word && argc < MOST_WORDS - 1; word = strtok(NULL, " "))
    argv[argc++] = word;
  FILE *out = tmpfile(), *err = tmpfile();
  assert_true(out && err);
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    dup2(fileno(out), STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    const int code = lap_command_main(commands, argc, argv);
    fflush(NULL);
    _exit(code);
  }
  int state;
  assert_int_equal(waitpid(child, &state, 0), child);
  assert_true(WIFEXITED(state));
  outcome result = {.code = WEXITSTATUS(state)};
  read_back(out, result.out, sizeof result.out);
  read_back(err, result.err, sizeof result.err);
  return result;
}

static void arguments_arrive_sorted(void **state) {
  (void)state;
  static const struct {
    const char *words, *out;
  } cases[] = {
      {"echo a.yaml", "a.yaml 1 steps=20 out= json=0 quiet=0\n"},
      {"echo a.yaml seed=3 --json batch.sequences=2 --steps 5 -o x b --quiet",
       "a.yaml 2 steps=5 out=x json=1 quiet=1 [seed=3] [batch.sequences=2]\n"},
      {"echo runs/a=b.yaml --steps=7", "runs/a=b.yaml 1 steps=7 out= json=0 quiet=0\n"},
      {"echo a.yaml --ste 7", "a.yaml 1 steps=7 out= json=0 quiet=0\n"},
      {"echo a.yaml --out --steps", "a.yaml 1 steps=20 out=--steps json=0 quiet=0\n"},
      {"echo a.yaml --out --odd", "a.yaml 1 steps=20 out=--odd json=0 quiet=0\n"},
      {"echo a.yaml --louder --scale 0.5",
       "a.yaml 1 steps=20 out= json=0 quiet=0 scale=0.5 louder\n"},
      {"echo a.yaml --threads 3 --fast -o x",
       "a.yaml 1 steps=20 out=x json=0 quiet=0 threads=3 fast\n"},
      {"echo a.yaml -j 3 --steps 2", "a.yaml 1 steps=2 out= json=0 quiet=0 threads=3\n"},
      {"echo -- a.yaml --odd", "a.yaml 2 steps=20 out= json=0 quiet=0\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const outcome result = run(cases[i].words);
    if (result.code) fail_msg("'%s': %s", cases[i].words, result.err);
    assert_string_equal(result.out, cases[i].out);
  }
}

static void mistakes_exit_with_two_and_advice(void **state) {
  (void)state;
  static const struct {
    const char *words, *err;
  } cases[] = {
      {"", "a command is missing"},
      {"ecoh a", "unknown command 'ecoh'; did you mean 'echo'?"},
      {"quux", "unknown command 'quux'; see"},
      {"echo a --setps 3", "unknown flag '--setps'; did you mean '--steps'?"},
      {"echo a --quux", "lapidary echo: unknown flag '--quux'; see --help"},
      {"echo a -z", "invalid option"},
      {"echo a --steps", "requires an argument"},
      {"echo a --steps 0",
       "--steps: expected an integer from 1 to 100, found '0'; usage: lapidary echo"},
      {"echo a --steps 1x", "found '1x'"},
      {"echo a --scale 3", "--scale: expected a number from 0.5 to 2, found '3'; usage"},
      {"echo a --louder=1", "allow an argument"},
      {"echo a --threads 9", "--threads: expected an integer from 1 to 8, found '9'; usage"},
      {"echo a --threds 3", "unknown flag '--threds'; did you mean '--threads'?"},
      {"echo a -s 3", "invalid option"},
      {"echo", "an argument is missing; usage: lapidary echo CONFIG.yaml"},
      {"echo seed=1", "an argument is missing"},
      {"echo a b c", "unexpected argument 'c'"},
      {"echo a --json=1", "allow an argument"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const outcome result = run(cases[i].words);
    if (result.code != LAP_USAGE || !strstr(result.err, cases[i].err))
      fail_msg("'%s': code %d, '%s' lacks '%s'", cases[i].words, result.code, result.err,
               cases[i].err);
    assert_string_equal(result.out, "");
  }
}

static void help_goes_to_stdout_and_succeeds(void **state) {
  (void)state;
  static const struct {
    const char *words, *out;
  } cases[] = {
      {"--help", "  echo       say what was given\n"},
      {"help", "Exit codes: 0 done;"},
      {"--version", "lapidary " LAPIDARY_VERSION "\n"},
      {"echo --help", "Usage: lapidary echo [OPTION...] CONFIG.yaml [KEY=VALUE...]"},
      {"echo --help", "More about echo."},
      {"echo --help", "--steps=N"},
      {"echo --help", "--json"},
      {"echo --help", "-j, --threads=N"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    const outcome result = run(cases[i].words);
    assert_int_equal(result.code, LAP_OK);
    if (!strstr(result.out, cases[i].out)) fail_msg("'%s' lacks '%s'", result.out, cases[i].out);
    assert_string_equal(result.err, "");
  }
}

static void a_failure_is_its_code_and_one_line(void **state) {
  (void)state;
  const outcome result = run("failing");
  assert_int_equal(result.code, LAP_STOPPED);
  assert_string_equal(result.err, "lapidary failing: stopped at step 3\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arguments_arrive_sorted),
      cmocka_unit_test(mistakes_exit_with_two_and_advice),
      cmocka_unit_test(help_goes_to_stdout_and_succeeds),
      cmocka_unit_test(a_failure_is_its_code_and_one_line),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
