#include "trainer/cli/command.h"

#include <argp.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/launcher.h"
#include "core/memory.h"
#include "core/parse_number.h"
#include "core/suggest.h"
#include "trainer/cli/output.h"

enum {
  KEY_HELP = '?',
  KEY_JSON = 0x10000,
  KEY_QUIET,
  KEY_USAGE,
  KEY_FLAG
}; /* beyond any letter; flag i: KEY_FLAG + i */

/* As argp's own, whose end no one could check (trainer/cli/output.h). */
static const struct argp_option help_option = {"help", KEY_HELP, NULL, 0, "Give this help list",
                                               -1};
static const struct argp_option usage_option = {
    "usage", KEY_USAGE, NULL, 0, "Give a short usage message", -1};
static const struct argp_option quiet_option = {
    "quiet", KEY_QUIET, NULL, 0, "print results, warnings and errors only", 100};
static const struct argp_option json_option = {
    "json", KEY_JSON, NULL, 0, "print the result as one JSON object, the last line of stdout", 100};

typedef struct {
  const lap_command *command;
  const lap_command_syntax *syntax;
  lap_command_line *line;
  lap_status *status;
} parse_state;

/* key=value with a dotted lower-case key: a path such as runs/a=b is none. Nor is a path that
 * exists, unless a key has the name: that a folder seed=1 is there must not change what seed=1
 * says. Batch-Size=4 is one as well, so that the key it means can be named. */
static bool is_override(const lap_command_syntax *syntax, const char *argument) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz_0123456789.-ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const size_t key = strspn(argument, letters);
  if (!syntax->key_meant || key == 0 || argument[key] != '=') return false;
  char *name = lap_format("%.*s", (int)key, argument);
  const char *meant = syntax->key_meant(name);
  const bool is_key = meant && strcmp(meant, name) == 0;
  const bool is_plain = strpbrk(name, "-ABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL;
  free(name);
  return is_key || (!lap_file_exists(argument) && (is_plain || meant));
}

static void append(const char ***texts, size_t *count, const char *text) {
  *texts = lap_reallocate(*texts, *count + 1, sizeof **texts);
  (*texts)[(*count)++] = text;
}

static error_t take_argument(parse_state *parse, const char *argument) {
  lap_command_line *line = parse->line;
  if (is_override(parse->syntax, argument)) {
    append(&line->overrides, &line->override_count, argument);
    return 0;
  }
  if (parse->syntax->positional_max >= 0 &&
      line->positional_count >= (size_t)parse->syntax->positional_max) {
    lap_fail(parse->status, LAP_USAGE, "unexpected argument '%s'", argument);
    return EINVAL;
  }
  if (!*argument) {
    lap_fail(parse->status, LAP_USAGE, "an argument is empty; an unset shell variable?");
    return EINVAL;
  }
  append(&line->positional, &line->positional_count, argument);
  return 0;
}

/* --- flags --- */

static lap_code read_integer(const lap_flag *flag, const char *argument, int64_t *value,
                             lap_status *status) {
  if (lap_number_read_integer(argument, value) && *value >= flag->integer.smallest &&
      *value <= flag->integer.largest)
    return LAP_OK;
  return lap_fail(status, LAP_USAGE,
                  "--%s: expected an integer from %" PRId64 " to %" PRId64 ", found '%s'",
                  flag->name, flag->integer.smallest, flag->integer.largest, argument);
}

static lap_code read_real(const lap_flag *flag, const char *argument, double *value,
                          lap_status *status) {
  if (lap_number_read_real(argument, value) && *value >= flag->real.smallest &&
      *value <= flag->real.largest)
    return LAP_OK;
  return lap_fail(status, LAP_USAGE, "--%s: expected a number from %g to %g, found '%s'",
                  flag->name, flag->real.smallest, flag->real.largest, argument);
}

static lap_code take_flag(const lap_flag *flag, const char *argument, char *destination,
                          lap_status *status) {
  void *field = destination + flag->offset;
  if (flag->integer.smallest != 0 || flag->integer.largest != 0)
    return read_integer(flag, argument, field, status);
  if (flag->real.smallest != 0 || flag->real.largest != 0)
    return read_real(flag, argument, field, status);
  if (flag->value && !*argument && !flag->may_be_empty)
    return lap_fail(status, LAP_USAGE, "--%s: its value, %s, is empty; an unset shell variable?",
                    flag->name, flag->value);
  if (!flag->value) {
    *(bool *)field = true;
    return LAP_OK;
  }
  const char **text = field;
  if (*text && flag->is_glob) /* the first one would be left out silently */
    return lap_fail(status, LAP_USAGE,
                    "--%s is given twice; several paths are written in braces: '{%s,%s}'",
                    flag->name, *text, argument);
  *text = argument;
  return LAP_OK;
}

static size_t count_of(const lap_flag *flags) {
  size_t count = 0;
  while (flags && flags[count].name) ++count;
  return count;
}

static size_t count_flags(const lap_command_syntax *syntax) {
  return count_of(syntax->flags) + count_of(syntax->shared_flags);
}

/* The flags of a command, its own before the shared ones. */
static const lap_flag *flag_at(const lap_command_syntax *syntax, size_t index) {
  const size_t own = count_of(syntax->flags);
  return index < own ? &syntax->flags[index] : &syntax->shared_flags[index - own];
}

static int key_of_flag(const lap_command_syntax *syntax, size_t index) {
  const int letter = flag_at(syntax, index)->letter;
  return letter ? letter : KEY_FLAG + (int)index;
}

/* argp gives back only the keys of all_options. */
static lap_code take_key(const parse_state *parse, int key, const char *argument) {
  const lap_command_syntax *syntax = parse->syntax;
  size_t index = 0;
  while (index < count_flags(syntax) && key_of_flag(syntax, index) != key) ++index;
  assert(index < count_flags(syntax));
  const bool is_own = index < count_of(syntax->flags);
  return take_flag(flag_at(syntax, index), argument,
                   is_own ? syntax->destination : syntax->shared_destination, parse->status);
}

/* What the process ends with; said where that is needed. */
static int finish(lap_code code, lap_status *status) {
  code = lap_output_finish(code, status);
  if (code != LAP_OK) lap_command_print_failure(status);
  return code;
}

static void print_help_and_exit(struct argp_state *state, unsigned what) {
  const parse_state *parse = state->input;
  lap_status status = {0};
  state->name = lap_format("lapidary %s", parse->command->name); /* without a rank */
  argp_state_help(state, stdout, what & ~(unsigned)ARGP_HELP_EXIT_OK);
  free(state->name);
  exit(finish(LAP_OK, &status));
}

static error_t parse_one(int key, char *argument, struct argp_state *state) {
  parse_state *parse = state->input;
  if (key == KEY_HELP) {
    print_help_and_exit(state, ARGP_HELP_STD_HELP);
  } else if (key == KEY_USAGE) {
    print_help_and_exit(state, ARGP_HELP_USAGE);
  } else if (key == KEY_QUIET) {
    parse->line->quiet = true;
  } else if (key == KEY_JSON) {
    parse->line->json = true;
  } else if (key == ARGP_KEY_ARG) {
    return take_argument(parse, argument);
  } else if (key == ARGP_KEY_END) {
    if (parse->line->positional_count >= (size_t)parse->syntax->positional_min) return 0;
    lap_fail(parse->status, LAP_USAGE, "an argument is missing");
    return EINVAL;
  } else if (key > 0 && key < ARGP_KEY_END) {
    if (take_key(parse, key, argument) != LAP_OK) return EINVAL;
  } else {
    return ARGP_ERR_UNKNOWN;
  }
  return 0;
}

/* The command's flags and the common ones, ending with {0}; owned by the caller. */
static struct argp_option *all_options(const lap_command_syntax *syntax, size_t *count) {
  const size_t flags = count_flags(syntax);
  struct argp_option *options = lap_allocate(flags + 5, sizeof *options);
  for (size_t i = 0; i < flags; ++i) {
    const lap_flag *flag = flag_at(syntax, i);
    options[i] = (struct argp_option){
        .name = flag->name, .key = key_of_flag(syntax, i), .arg = flag->value, .doc = flag->help};
  }
  *count = flags;
  if (syntax->json) options[(*count)++] = json_option;
  options[(*count)++] = quiet_option;
  options[(*count)++] = help_option;
  options[(*count)++] = usage_option;
  return options;
}

/* The flag that `typed` [length] names, in full or by its unique beginning as getopt takes it;
 * `other`: a second one that it may be, or NULL. */
static const struct argp_option *find_option(const struct argp_option *options, size_t count,
                                             const char *typed, size_t length, const char **other) {
  const struct argp_option *found = NULL;
  *other = NULL;
  for (size_t i = 0; i < count; ++i) {
    if (!options[i].name || strncmp(options[i].name, typed, length) != 0) continue;
    const bool is_whole = options[i].name[length] == '\0';
    if (found && !is_whole) *other = options[i].name;
    if (!found || is_whole) found = &options[i];
    if (is_whole) break;
  }
  if (found && found->name[length] == '\0') *other = NULL;
  return found;
}

/* Keys of the config are given as KEY=VALUE, which who comes from other trainers may not know. */
static lap_code unknown_flag(const lap_command_syntax *syntax, const char *word, const char *near,
                             lap_status *status) {
  char *name = lap_copy_string(word);
  for (char *dash = name; (dash = strchr(dash, '-'));) *dash = '_';
  const char *key = syntax->key_meant ? syntax->key_meant(name) : NULL;
  if (key)
    lap_fail(status, LAP_USAGE,
             "unknown flag '--%s'; did you mean %s=VALUE, without dashes? see --help", word, key);
  else
    lap_fail(status, LAP_USAGE, "unknown flag '--%s'%s%s%s; see --help", word,
             near ? "; did you mean '--" : "", near ? near : "", near ? "'?" : "");
  free(name);
  return LAP_USAGE;
}

/* `flag` is as typed, `value` what help calls its value, `next` the word behind it, or NULL. Where
 * that is another flag of the command, the value was forgotten; after "=" any text is one. */
static lap_code check_value(const struct argp_option *options, size_t count, const char *flag,
                            const char *value, const char *next, lap_status *status) {
  if (!next)
    return lap_fail(status, LAP_USAGE, "%s: its value, %s, is missing; see --help", flag, value);
  if (strncmp(next, "--", 2) != 0 || !next[2]) return LAP_OK;
  for (size_t i = 0; i < count; ++i) {
    const size_t length = strcspn(next + 2, "=");
    if (!options[i].name || strlen(options[i].name) != length ||
        strncmp(options[i].name, next + 2, length) != 0)
      continue;
    return lap_fail(status, LAP_USAGE,
                    "%s: its value, %s, is missing: the flag '%.*s' follows; see --help", flag,
                    value, (int)length + 2, next);
  }
  return LAP_OK;
}

/* A flag "--NAME" or "--NAME=VALUE", typed without the dashes; `next`: the word behind it, or NULL.
 * Whether that is its value. */
static lap_code check_flag(const lap_command_syntax *syntax, const struct argp_option *options,
                           size_t count, const char *typed, const char *next, bool *takes_next,
                           lap_status *status) {
  const size_t length = strcspn(typed, "=");
  const char *other;
  const struct argp_option *option = find_option(options, count, typed, length, &other);
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)length, typed);
  if (!option) {
    const char **names = lap_allocate(count, sizeof *names);
    size_t name_count = 0;
    for (size_t i = 0; i < count; ++i)
      if (options[i].name) names[name_count++] = options[i].name;
    const lap_code code = unknown_flag(syntax, word, lap_suggest(word, names, name_count), status);
    free(names);
    return code;
  }
  if (other)
    return lap_fail(status, LAP_USAGE, "flag '--%s' may be '--%s' or '--%s'; see --help", word,
                    option->name, other);
  if (!option->arg && typed[length] == '=')
    return lap_fail(status, LAP_USAGE, "--%s takes no value, found '%s'; see --help", option->name,
                    typed + length + 1);
  *takes_next = option->arg && typed[length] == '\0';
  char flag[80];
  snprintf(flag, sizeof flag, "--%s", option->name);
  return *takes_next ? check_value(options, count, flag, option->arg, next, status) : LAP_OK;
}

/* Flags of a letter, "-j", "-j3" or several in one word; otherwise as above. */
static lap_code check_letters(const struct argp_option *options, size_t count, const char *word,
                              const char *next, bool *takes_next, lap_status *status) {
  for (const char *letters = word + 1; *letters; ++letters) {
    size_t i = 0;
    while (i < count && options[i].key != *letters) ++i;
    if (i == count) return lap_fail(status, LAP_USAGE, "unknown flag '%s'; see --help", word);
    if (!options[i].arg) continue;
    *takes_next = letters[1] == '\0';
    const char flag[] = {'-', *letters, '\0'};
    return *takes_next ? check_value(options, count, flag, options[i].arg, next, status) : LAP_OK;
  }
  return LAP_OK;
}

/* getopt would refuse these as well, but by two lines of its own on every rank, and it cannot say
 * which flag was meant. */
static lap_code check_flags(const lap_command_syntax *syntax, const struct argp_option *options,
                            size_t count, int argc, char **argv, lap_status *status) {
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; ++i) {
    const char *word = argv[i], *next = argv[i + 1];
    bool takes_next = false;
    if (strncmp(word, "--", 2) == 0)
      LAP_TRY(check_flag(syntax, options, count, word + 2, next, &takes_next, status));
    else if (*word == '-')
      LAP_TRY(check_letters(options, count, word, next, &takes_next, status));
    i += takes_next;
  }
  return LAP_OK;
}

/* A usage of several forms, a line each, for a message. */
static char *usage_in_a_line(const char *usage) {
  char *line = lap_copy_string("");
  for (const char *form = usage;; ++form) {
    const int length = (int)strcspn(form, "\n");
    char *longer = lap_format("%s%s%.*s", line, form > usage ? ", or " : "", length, form);
    free(line);
    line = longer;
    form += length;
    if (!*form) return line;
  }
}

lap_code lap_command_parse(const lap_command *command, const lap_command_syntax *syntax, int argc,
                           char **argv, lap_command_line *line, lap_status *status) {
  *line = (lap_command_line){0};
  size_t count;
  struct argp_option *options = all_options(syntax, &count);
  lap_code code = check_flags(syntax, options, count, argc, argv, status);
  if (code == LAP_OK) {
    parse_state parse = {.command = command, .syntax = syntax, .line = line, .status = status};
    char *text = lap_format("%s%s%s", command->summary, command->description ? "\v" : "",
                            command->description ? command->description : "");
    const struct argp parser = {options, parse_one, command->usage, text, NULL, NULL, NULL};
    status->message[0] = '\0';
    const int failure = argp_parse(&parser, argc, argv, ARGP_NO_HELP, NULL, &parse);
    if (failure == ENOMEM && !status->message[0]) {
      code = lap_fail(status, LAP_USAGE, "out of memory; use fewer processes on this node");
    } else if (failure != 0) {
      code = status->message[0] ? LAP_USAGE : lap_fail(status, LAP_USAGE, "invalid arguments");
      char *usage = usage_in_a_line(command->usage);
      lap_fail(status, LAP_USAGE, "%s; usage: lapidary %s %s", status->message, command->name,
               usage);
      free(usage);
    }
    free(text);
  }
  free(options);
  if (code != LAP_OK) lap_command_line_release(line);
  return code;
}

void lap_command_line_release(lap_command_line *line) {
  free(line->positional);
  free(line->overrides);
  *line = (lap_command_line){0};
}

lap_code lap_command_print_json(const json_t *object, lap_status *status) {
  assert(json_is_object(object)); /* json_pack gives NULL for a string that is not UTF-8 */
  json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
  putchar('\n');
  return lap_output_flush(status);
}

static void print_help(const lap_command *const *commands) {
  puts(
      "lapidary trains small Gemma 2 students on CPU clusters from a teacher's precomputed top-k\n"
      "distributions.\n\n"
      "Usage: lapidary COMMAND [CONFIG.yaml] [KEY=VALUE...] [--flags]\n"
      "       lapidary COMMAND --help\n"
      "       lapidary --version\n\nCommands:");
  for (size_t i = 0; commands[i]; ++i)
    printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
  puts(
      "\nKEY=VALUE overrides any key of the config by its dotted name, e.g. optimizer.beta1=0.9.\n"
      "Exit codes: 0 done; 2 usage or config; 3 data or checkpoint invalid; 4 not finite,\n"
      "or computed wrongly; 75 stopped early, resumable; 76 watchdog.");
}

/* --- several processes --- */

/* Whether a launcher has started others before this one. */
static bool is_later_process(void) { return lap_launcher_rank() > 0; }

/* mpirun ends the whole job with the first process that fails: the others give the first one the
 * time to say why. */
static void let_first_process_speak(void) {
  enum { MICROSECONDS = 500 * 1000 };
  usleep(MICROSECONDS);
}

/* What the process is called in messages. */
static char *name_in_messages(const lap_command *command) {
  const int rank = lap_launcher_rank();
  if (command->collective || rank < 0) return lap_format("lapidary %s", command->name);
  return lap_format("lapidary %s: rank %d", command->name, rank);
}

void lap_command_print_failure(const lap_status *status) {
  if (status->message[0]) fprintf(stderr, "%s: %s\n", program_invocation_name, status->message);
}

/* --- the command line --- */

/* "lapidary: MESSAGE; see lapidary --help". mpirun has given all processes the same line, and the
 * first one says it; srun may have started each by a script of its own: every one speaks. */
static int refuse_line(const char *message) {
  if (is_later_process() && getenv("OMPI_COMM_WORLD_RANK")) {
    let_first_process_speak();
  } else if (is_later_process()) {
    fprintf(stderr, "lapidary: rank %d: %s; see lapidary --help\n", lap_launcher_rank(), message);
  } else {
    fprintf(stderr, "lapidary: %s; see lapidary --help\n", message);
  }
  return LAP_USAGE;
}

static int refuse_command(const lap_command *const *commands, const char *name) {
  size_t count = 0;
  while (commands[count]) ++count;
  const char **names = lap_allocate(count, sizeof *names);
  for (size_t i = 0; i < count; ++i) names[i] = commands[i]->name;
  const char *near = lap_suggest(name, names, count);
  char *message = lap_format("unknown command '%s'%s%s%s", name, near ? "; did you mean '" : "",
                             near ? near : "", near ? "'?" : "");
  const int code = refuse_line(message);
  free(message);
  free(names);
  return code;
}

static const lap_command *find_command(const lap_command *const *commands, const char *name) {
  while (*commands && strcmp((*commands)->name, name) != 0) ++commands;
  return *commands;
}

static int run_command(const lap_command *command, int argc, char **argv) {
  char *name = name_in_messages(command), *given = argv[0], *invoked = program_invocation_name;
  argv[0] = program_invocation_name = name; /* what argp, getopt and we call it in messages */
  lap_status status = {0};
  lap_code code = command->run(command, argc, argv, &status);
  code = lap_output_finish(code, &status);
  if (code != LAP_OK && status.message[0] && command->collective && is_later_process())
    let_first_process_speak();
  else if (code != LAP_OK)
    lap_command_print_failure(&status);
  argv[0] = given;
  program_invocation_name = invoked;
  free(name);
  return code;
}

/* `lapidary help NAME` is `lapidary NAME --help`. */
static int print_help_of(const lap_command *const *commands, char *name) {
  char help[] = "--help";
  const lap_command *command = find_command(commands, name);
  return command ? run_command(command, 2, (char *[]){name, help, NULL})
                 : refuse_command(commands, name);
}

int lap_command_main(const lap_command *const *commands, int argc, char **argv) {
  lap_output_begin();
  program_invocation_name = "lapidary"; /* not the path that it was started by */
  argp_err_exit_status = LAP_USAGE;     /* argp's own is 64 */
  /* A file-size limit (ulimit -f) is then an error of write, with a message, like a full disk. */
  signal(SIGXFSZ, SIG_IGN);
  /* Whoever started us may ignore it, and then nobody learns how a child has ended. */
  signal(SIGCHLD, SIG_DFL);
  if (argc < 2) return refuse_line("a command is missing");
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
      strcmp(argv[1], "help") == 0) {
    if (argc > 2) return print_help_of(commands, argv[2]);
    print_help(commands);
    return finish(LAP_OK, &(lap_status){0});
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("lapidary " LAPIDARY_VERSION);
    return finish(LAP_OK, &(lap_status){0});
  }
  const lap_command *command = find_command(commands, argv[1]);
  return command ? run_command(command, argc - 1, argv + 1) : refuse_command(commands, argv[1]);
}
