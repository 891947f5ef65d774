/* command: exit codes, help and did-you-mean of the frame, seen from outside: each case runs in a
 * child process whose stdout and stderr are read. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/scratch.h"
#include "trainer/cli/command.h"
#include "trainer/cli/output.h"

/* A command that says what it was given. */
typedef struct {
  int64_t steps;
  const char *out;
  const char *shards;
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

/* Keys of a config: seed and batch.sequences, which others call batch_size. */
static const char *key_meant(const char *name) {
  static const char *const keys[] = {"seed", "batch.sequences"};
  for (size_t i = 0; i < 2; ++i)
    if (strcmp(keys[i], name) == 0) return name;
  return strcasecmp(name, "batch_size") && strcmp(name, "batch-size") ? NULL : keys[1];
}

static lap_code run_echo(const lap_command *command, int argc, char **argv, lap_status *status) {
  static const lap_flag flags[] = {
      {.name = "steps",
       .value = "N",
       .integer = {1, 100},
       .offset = offsetof(echo_flags, steps),
       .help = "steps to run"},
      {.name = "from-shards",
       .value = "GLOB",
       .is_glob = true,
       .offset = offsetof(echo_flags, shards)},
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
                                     .key_meant = key_meant,
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
                                         .usage = "CONFIG.yaml [KEY=VALUE...]\nCONFIG.yaml OTHER",
                                         .description = "More about echo.",
                                         .run = run_echo};
static const lap_command failing_command = {
    .name = "failing", .summary = "fail", .usage = "", .run = run_failing};

/* Prints far more than a pipe and a buffer hold, and looks now and then whether it arrives. */
static lap_code run_pouring(const lap_command *command, int argc, char **argv, lap_status *status) {
  (void)command, (void)argv;
  for (int i = 0; i < 1000; ++i) {
    for (int j = 0; j < 100; ++j) puts("a line of some forty letters, as others are");
    if (argc > 1) LAP_TRY(lap_output_flush(status));
  }
  return LAP_OK;
}

/* A result arrives or not; what it fails with is its own. */
static lap_code run_broken(const lap_command *command, int argc, char **argv, lap_status *status) {
  (void)command, (void)argc, (void)argv;
  puts("some result");
  return lap_fail(status, LAP_NONFINITE, "not finite");
}

static const lap_command pouring_command = {
    .name = "pouring", .summary = "print a lot", .usage = "", .run = run_pouring};
static const lap_command broken_command = {
    .name = "broken", .summary = "print and fail", .usage = "", .run = run_broken};
static const lap_command joint_command = {
    .name = "joint", .summary = "fail", .usage = "", .collective = true, .run = run_failing};
static const lap_command *const commands[] = {&echo_command,   &failing_command, &pouring_command,
                                              &broken_command, &joint_command,   NULL};

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

/* Runs `lapidary WORDS` in a child; words are separated by single blanks. `out`: its stdout; below
 * 0: a file, which is read back. */
static outcome run_into(int out_descriptor, const char *words) {
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
    dup2(out_descriptor < 0 ? fileno(out) : out_descriptor, STDOUT_FILENO);
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

static outcome run(const char *words) { return run_into(-1, words); }

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
      {"echo a.yaml --out=--steps", "a.yaml 1 steps=20 out=--steps json=0 quiet=0\n"},
      {"echo a.yaml --out --odd", "a.yaml 1 steps=20 out=--odd json=0 quiet=0\n"},
      {"echo a.yaml --louder --scale 0.5",
       "a.yaml 1 steps=20 out= json=0 quiet=0 scale=0.5 louder\n"},
      {"echo a.yaml --threads 3 --fast -o x",
       "a.yaml 1 steps=20 out=x json=0 quiet=0 threads=3 fast\n"},
      {"echo a.yaml -j3 -oy --sc 2", "a.yaml 1 steps=20 out=y json=0 quiet=0 scale=2 threads=3\n"},
      {"echo a.yaml -j 3 --steps 2", "a.yaml 1 steps=2 out= json=0 quiet=0 threads=3\n"},
      {"echo -- a.yaml --odd", "a.yaml 2 steps=20 out= json=0 quiet=0\n"},
      {"echo a.yaml A=b", "a.yaml 2 steps=20 out= json=0 quiet=0\n"},
      {"echo a.yaml --steps 1e1 lr=1", "a.yaml 1 steps=10 out= json=0 quiet=0 [lr=1]\n"},
      {"echo a.yaml Batch_Size=1", "a.yaml 1 steps=20 out= json=0 quiet=0 [Batch_Size=1]\n"},
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
      {"echo a --batch-size=3", "unknown flag '--batch-size'; did you mean batch.sequences=VALUE"},
      {"echo a --seed 3", "unknown flag '--seed'; did you mean seed=VALUE, without dashes? see"},
      {"echo a --steps 1.5e0", "found '1.5e0'"},
      {"echo a -z", "lapidary echo: unknown flag '-z'; see --help\n"},
      {"echo a --steps", "lapidary echo: --steps: its value, N, is missing; see --help\n"},
      {"echo a -j", "lapidary echo: -j: its value, N, is missing; see --help\n"},
      {"echo a --out --json",
       "lapidary echo: --out: its value, PATH, is missing: the flag '--json' follows; see "
       "--help\n"},
      {"echo a --out --scale=1", "--out: its value, PATH, is missing: the flag '--scale' follows"},
      {"echo a -o --quiet", "-o: its value, PATH, is missing: the flag '--quiet' follows"},
      {"echo a --out=", "--out: its value, PATH, is empty; an unset shell variable?; usage"},
      {"echo a --s 3", "lapidary echo: flag '--s' may be '--steps' or '--scale'; see --help\n"},
      {"echo a --from-shards a --from-shards=b/*.h5",
       "--from-shards is given twice; several paths are written in braces: '{a,b/*.h5}'; usage"},
      {"echo a --steps 0",
       "--steps: expected an integer from 1 to 100, found '0'; usage: lapidary echo"},
      {"echo a --steps 1x", "found '1x'"},
      {"echo a --scale 3", "--scale: expected a number from 0.5 to 2, found '3'; usage"},
      {"echo a --louder=1", "lapidary echo: --louder takes no value, found '1'; see --help\n"},
      {"echo a --threads 9", "--threads: expected an integer from 1 to 8, found '9'; usage"},
      {"echo a --threds 3", "unknown flag '--threds'; did you mean '--threads'?"},
      {"echo a -s 3", "unknown flag '-s'; see --help\n"},
      {"echo",
       "an argument is missing; usage: lapidary echo CONFIG.yaml [KEY=VALUE...], or CONFIG.yaml "
       "OTHER\n"},
      {"echo seed=1", "an argument is missing"},
      {"echo a b c", "unexpected argument 'c'"},
      {"echo a --json=1", "--json takes no value, found '1'; see --help\n"},
      {"help ecoh", "unknown command 'ecoh'; did you mean 'echo'?"},
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
      {"help", "4 not finite,\nor computed wrongly;"},
      {"echo --help", "Usage: lapidary echo [OPTION...] CONFIG.yaml [KEY=VALUE...]"},
      {"help echo", "Usage: lapidary echo [OPTION...] CONFIG.yaml [KEY=VALUE...]"},
      {"--help echo", "Usage: lapidary echo [OPTION...] CONFIG.yaml [KEY=VALUE...]"},
      {"echo --help", "  or:  lapidary echo [OPTION...] CONFIG.yaml OTHER\n"},
      {"echo --help", "More about echo."},
      {"echo --help", "--steps=N"},
      {"echo --help", "--json"},
      {"echo --help", "-j, --threads=N"},
      {"echo -?", "-?, --help                 Give this help list"},
      {"echo --usage", "Usage: lapidary echo [-?] [-j N] [-o PATH]"},
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

/* --- paths that look like overrides --- */

static void what_exists_is_a_path_unless_a_key_has_its_name(void **state) {
  (void)state;
  char *directory = scratch_create(), *before = getcwd(NULL, 0);
  assert_int_equal(chdir(directory), 0);
  scratch_write(directory, "alpha=3", "", 0);
  scratch_write(directory, "seed=3", "", 0);
  scratch_write(directory, "batch_size=3", "", 0);
  const outcome result = run("echo alpha=3 seed=3 alpha=4 batch_size=3");
  assert_string_equal(result.out, "alpha=3 2 steps=20 out= json=0 quiet=0 [seed=3] [alpha=4]\n");
  assert_int_equal(chdir(before), 0);
  free(before);
  scratch_remove(directory);
}

/* --- results that do not arrive --- */

static void a_full_disk_under_stdout_is_a_failure(void **state) {
  (void)state;
  static const char *const words[] = {"--help",  "--version",     "help",
                                      "echo a",  "echo --help",   "echo --usage",
                                      "pouring", "pouring often", "pouring -- x"};
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  assert_true(full >= 0);
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
    const outcome result = run_into(full, words[i]);
    const char *said = strstr(result.err, "stdout: cannot be written: No space left on device");
    if (result.code != LAP_DATA || !said || strstr(said + 1, "stdout"))
      fail_msg("'%s': code %d, '%s'", words[i], result.code, result.err);
    assert_int_equal(strncmp(result.err, "lapidary", strlen("lapidary")), 0);
  }
  const outcome failed = run_into(full, "broken"); /* what went wrong first is what counts */
  assert_int_equal(failed.code, LAP_NONFINITE);
  assert_string_equal(failed.err, "lapidary broken: not finite\n");
  close(full);
}

static void a_pipe_that_nobody_reads_is_a_failure(void **state) {
  (void)state;
  static const char *const words[] = {"--help", "echo a", "echo --help", "pouring",
                                      "pouring often"};
  int ends[2];
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  close(ends[0]);
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
    const outcome result = run_into(ends[1], words[i]);
    if (result.code != LAP_DATA ||
        !strstr(result.err, "stdout: cannot be written: Broken pipe; nobody reads the results"))
      fail_msg("'%s': code %d, '%s'", words[i], result.code, result.err);
  }
  close(ends[1]);
}

/* Reads one line and leaves, when the writer waits for room in the pipe in the middle of a block.
 */
static void read_a_line(int descriptor) {
  enum { MICROSECONDS = 100 * 1000 };
  char byte = 0;
  while (read(descriptor, &byte, 1) == 1 && byte != '\n') continue;
  usleep(MICROSECONDS);
}

static void a_reader_that_leaves_is_not_a_failure(void **state) {
  (void)state;
  static const char *const words[] = {"pouring", "pouring", "pouring often", "pouring often"};
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    if (i % 2) assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    const pid_t reader = fork();
    if (reader == 0) {
      close(ends[1]);
      read_a_line(ends[0]);
      _exit(0);
    }
    close(ends[0]);
    const outcome result = run_into(ends[1], words[i]);
    close(ends[1]);
    assert_int_equal(waitpid(reader, NULL, 0), reader);
    assert_int_equal(result.code, LAP_OK);
    assert_string_equal(result.err, "");
  }
}

/* Writes what a number of closed descriptors leads to, where a test can read it. */
static void closed_descriptors_take_no_file(void **state) {
  (void)state;
  for (int closed = 1; closed < 8; ++closed) {
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < 3; ++i)
        if (closed >> i & 1) close(i);
      lap_output_begin();
      const int next = open("/dev/null", O_RDONLY);
      for (int i = 0; i < 3; ++i) /* all three are there, and can be used */
        if (fcntl(i, F_GETFD) < 0) _exit(2);
      lap_status status = {0};
      puts("a result");
      const lap_code code = lap_output_finish(LAP_OK, &status);
      _exit(next < 3 ? 3 : code == LAP_OK ? 0 : 4);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) fail_msg("closed %d: status %d", closed, how);
  }
}

/* --- under a launcher --- */

static void which_process_speaks_under_a_launcher(void **state) {
  (void)state;
  static const struct {
    const char *variable, *rank, *words, *err;
  } cases[] = {
      {"SLURM_PROCID", "1", "failing", "lapidary failing: rank 1: stopped at step 3\n"},
      {"OMPI_COMM_WORLD_RANK", "0", "failing", "lapidary failing: rank 0: stopped at step 3\n"},
      {"PMI_RANK", "7", "failing", "lapidary failing: rank 7: stopped at step 3\n"},
      {"PMIX_RANK", "2", "echo a --steps 0",
       "lapidary echo: rank 2: --steps: expected an integer from 1 to 100, found '0'; usage: "
       "lapidary echo CONFIG.yaml [KEY=VALUE...], or CONFIG.yaml OTHER\n"},
      {"SLURM_PROCID", "0", "joint", "lapidary joint: stopped at step 3\n"},
      {"SLURM_PROCID", "3", "joint", ""},
      {"SLURM_PROCID", "3", "ecoh",
       "lapidary: rank 3: unknown command 'ecoh'; did you mean 'echo'?; see lapidary --help\n"},
      {"OMPI_COMM_WORLD_RANK", "3", "ecoh", ""},
      {"PMI_RANK", "1", "", "lapidary: rank 1: a command is missing; see lapidary --help\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    setenv(cases[i].variable, cases[i].rank, 1);
    const outcome result = run(cases[i].words);
    unsetenv(cases[i].variable);
    assert_int_not_equal(result.code, LAP_OK);
    assert_string_equal(result.err, cases[i].err);
  }
  setenv("SLURM_PROCID", "2", 1);
  const outcome option = run("echo -z"), help = run("echo --help");
  unsetenv("SLURM_PROCID");
  assert_string_equal(option.err, "lapidary echo: rank 2: unknown flag '-z'; see --help\n");
  assert_int_equal(strncmp(help.out, "Usage: lapidary echo [OPTION...]", 32), 0);
}

/* A launcher that the tests themselves run under must not count. */
static int leave_launcher(void **state) {
  (void)state;
  static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK",
                                          "SLURM_PROCID"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; ++i) unsetenv(variables[i]);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arguments_arrive_sorted),
      cmocka_unit_test(mistakes_exit_with_two_and_advice),
      cmocka_unit_test(help_goes_to_stdout_and_succeeds),
      cmocka_unit_test(a_failure_is_its_code_and_one_line),
      cmocka_unit_test(what_exists_is_a_path_unless_a_key_has_its_name),
      cmocka_unit_test(a_full_disk_under_stdout_is_a_failure),
      cmocka_unit_test(a_pipe_that_nobody_reads_is_a_failure),
      cmocka_unit_test(a_reader_that_leaves_is_not_a_failure),
      cmocka_unit_test(closed_descriptors_take_no_file),
      cmocka_unit_test(which_process_speaks_under_a_launcher),
  };
  return cmocka_run_group_tests(tests, leave_launcher, NULL);
}
