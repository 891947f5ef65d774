/* command: the frame that all subcommands share, on top of argp.
 *
 * `lapidary COMMAND [CONFIG.yaml] [key=value ...] [--flags]`. The frame knows the commands as a
 * table, prints help to stdout (exit 0), refuses unknown commands and flags with a did-you-mean
 * (exit 2), and turns the lap_code of a command into the exit code, its message into one line on
 * stderr. Results that do not reach stdout are a failure (trainer/cli/output.h).
 *
 * A command is a constant table entry and a function; the function describes its flags to
 * lap_command_parse and gets back what was typed:
 *
 *   typedef struct {
 *     int64_t steps;
 *   } bench_flags;
 *   static const lap_flag flags[] = {{.name = "steps",
 *                                     .value = "N",
 *                                     .integer = {1, 1000000},
 *                                     .offset = offsetof(bench_flags, steps),
 *                                     .help = "steps to run [20]"},
 *                                    {0}};
 */
#ifndef LAP_TRAINER_CLI_COMMAND_H
#define LAP_TRAINER_CLI_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct lap_command lap_command;
struct lap_command {
  const char *name;
  const char *summary; /* one line, for `lapidary --help` */
  const char *usage; /* what follows the options in its usage line, "CONFIG.yaml [KEY=VALUE...]"; of
                        several forms each is a line */
  const char *description; /* more paragraphs for its --help, or NULL */
  /* Whether the processes that a launcher starts do one thing together: they find the same
   * mistakes, and the first of them says so. Others do each a thing of its own: every one speaks,
   * with its rank in front. */
  bool collective;
  /* argv[0] is what messages begin with. A code other than LAP_OK becomes the exit code; its
   * message, where it is not empty, is printed. */
  lap_code (*run)(const lap_command *command, int argc, char **argv, lap_status *status);
};

/* A flag of a command, and where its value goes in the command's own struct. */
typedef struct {
  const char *name;  /* without "--" */
  int letter;        /* 'n': -n as well; 0: none */
  const char *value; /* what help calls it; NULL: a switch, which sets a bool */
  struct {
    int64_t smallest, largest;
  } integer; /* not both 0: an int64_t */
  struct {
    double smallest, largest;
  } real;            /* not both 0: a double */
  bool may_be_empty; /* of a text: else an empty one, as of an unset shell variable, is refused */
  bool is_glob;  /* of a text: paths, several of them in braces; refused where it is given twice */
  size_t offset; /* of the bool, number or, where there is no range, const char * */
  const char *help;
} lap_flag;

/* What a command's arguments may be. */
typedef struct {
  int positional_min, positional_max; /* arguments that are not overrides; max -1: any number */
  /* KEY=VALUE arguments are set aside for the config; NULL: there are none. The key that a name
   * means: itself where it is one, else the one to name in "did you mean", else NULL. */
  const char *(*key_meant)(const char *name);
  bool json;                    /* has --json */
  const lap_flag *flags;        /* its own, ending with {0}; NULL: none */
  void *destination;            /* the struct that they fill */
  const lap_flag *shared_flags; /* those it has with other commands; likewise */
  void *shared_destination;
} lap_command_syntax;

/* What was typed. The arrays belong to the line, the texts to argv. */
typedef struct {
  const char **positional; /* [positional_count] */
  size_t positional_count;
  const char **overrides; /* [override_count] "key=value" */
  size_t override_count;
  bool json, quiet;
} lap_command_line;

/* Parses argv by the syntax, --quiet and --help included. Ends the process itself for --help (0).
 * LAP_USAGE otherwise; what has been allocated is released then. */
lap_code lap_command_parse(const lap_command *command, const lap_command_syntax *syntax, int argc,
                           char **argv, lap_command_line *line, lap_status *status);
void lap_command_line_release(lap_command_line *line);

/* Prints a result as one JSON object on one line of stdout, and flushes: lap_output_flush. */
lap_code lap_command_print_json(const json_t *object, lap_status *status);

/* Prints "lapidary NAME: MESSAGE" as one line on stderr, where there is a message; with the rank
 * before it where the command is not collective. */
void lap_command_print_failure(const lap_status *status);

/* main(): dispatches to commands [ends with NULL]; returns the exit code. */
int lap_command_main(const lap_command *const *commands, int argc, char **argv);

#endif
