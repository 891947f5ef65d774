#include "trainer/cli/console.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/text.h"
#include "trainer/cli/human.h"

struct lap_console {
  lap_console_options options;
  FILE *log;      /* NULL: none */
  char *early;    /* lines for a log that is not open yet; NULL: none */
  bool bar_shown; /* the cursor stands behind a bar */
  char *label, *unit;
  int64_t total, already_done, done;
  int tenths;          /* plain lines: tenths of the way that have been announced */
  double begun, drawn; /* seconds of the monotonic clock */
  char detail[128];
};

lap_console_options lap_console_standard(bool quiet, bool silent) {
  const char *type = getenv("TERM"), *no_color = getenv("NO_COLOR");
  const bool dumb = !type || strcmp(type, "dumb") == 0;
  const bool terminal = isatty(STDERR_FILENO) && !dumb;
  return (lap_console_options){.stream = stderr,
                               .terminal = terminal,
                               .color = terminal && !(no_color && *no_color),
                               .quiet = quiet,
                               .silent = silent};
}

lap_console *lap_console_create(lap_console_options options) {
  lap_console *console = lap_allocate(1, sizeof *console);
  console->options = options;
  return console;
}

/* O_NONBLOCK: a named pipe that nobody reads is refused instead of waited for. */
static lap_code open_log(const char *path, FILE **log, lap_status *status) {
  struct stat facts;
  const int descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (descriptor < 0 && errno != ENXIO) return lap_file_fail(path, "be opened", status);
  const bool is_file = descriptor >= 0 && fstat(descriptor, &facts) == 0 &&
                       (S_ISREG(facts.st_mode) || S_ISCHR(facts.st_mode));
  if (is_file && (*log = fdopen(descriptor, "a"))) return LAP_OK;
  const int why = errno;
  if (descriptor >= 0) close(descriptor);
  errno = why;
  if (is_file) return lap_file_fail(path, "be opened", status);
  return lap_fail(status, LAP_DATA, "%s: expected a regular file; move what is there away", path);
}

lap_code lap_console_open_log(lap_console *console, const char *path, lap_status *status) {
  if (console->options.silent) return LAP_OK;
  FILE *log = NULL;
  LAP_TRY(open_log(path, &log, status));
  if (console->log) fclose(console->log);
  console->log = log;
  if (console->early) fputs(console->early, log);
  fflush(log);
  free(console->early);
  console->early = NULL;
  return LAP_OK;
}

/* A command that never opens a log says no more than this. */
static void keep_early(lap_console *console, const char *prefix, const char *text) {
  enum { MOST_BYTES = 64 << 10 };
  const char *before = console->early ? console->early : "";
  if (strlen(before) + strlen(text) > MOST_BYTES) return;
  char *longer = lap_format("%s%s%s\n", before, prefix, text);
  free(console->early);
  console->early = longer;
}

static void erase_bar(lap_console *console) {
  if (!console->bar_shown) return;
  fputs("\r\033[K", console->options.stream);
  console->bar_shown = false;
}

static int columns_of(const lap_console *console) {
  struct winsize size;
  if (console->options.width > 0) return console->options.width;
  if (ioctl(fileno(console->options.stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 80;
}

static lap_progress progress_of(const lap_console *console) {
  return (lap_progress){.label = console->label,
                        .unit = console->unit,
                        .done = console->done,
                        .total = console->total,
                        .already_done = console->already_done,
                        .seconds = lap_clock_seconds() - console->begun,
                        .detail = console->detail};
}

static void draw_bar(lap_console *console) {
  char line[512];
  const lap_progress progress = progress_of(console);
  lap_console_format_bar(line, sizeof line, columns_of(console), &progress);
  erase_bar(console);
  fputs(line, console->options.stream);
  fflush(console->options.stream);
  console->bar_shown = true;
  console->drawn = console->begun + progress.seconds;
}

enum { LINE_SIZE = 4096 };

static void print_line(lap_console *console, bool warning, const char *line) {
  if (console->options.silent) return;
  char text[LINE_SIZE];
  lap_text_show_controls(line, text, sizeof text);
  const char *prefix = warning ? "warning: " : "";
  if (warning || !console->options.quiet) {
    const bool color = warning && console->options.color;
    const bool redraw = console->bar_shown;
    erase_bar(console);
    fprintf(console->options.stream, "%s%s%s%s\n", color ? "\033[33m" : "", prefix,
            color ? "\033[0m" : "", text);
    if (redraw) draw_bar(console);
    fflush(console->options.stream);
  }
  if (console->log) {
    fprintf(console->log, "%s%s\n", prefix, text);
    fflush(console->log);
  } else {
    keep_early(console, prefix, text);
  }
}

void lap_console_say(lap_console *console, const char *format, ...) {
  char text[LINE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  print_line(console, false, text);
}

void lap_console_warn(lap_console *console, const char *format, ...) {
  char text[LINE_SIZE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  print_line(console, true, text);
}

const char *lap_console_format_eta(const lap_progress *p, char *text) {
  const int64_t here = p->done - p->already_done, left = p->total - p->done;
  *text = '\0';
  if (here > 0 && left > 0) lap_human_seconds(p->seconds / (double)here * (double)left, text);
  return text;
}

/* "loss 3.2  ETA 5.0 s", each part only where there is something to say. */
static void format_rest(char *text, size_t size, const lap_progress *p) {
  char eta[LAP_HUMAN_TEXT];
  lap_console_format_eta(p, eta);
  snprintf(text, size, "%s%s%s%s", *p->detail ? "  " : "", p->detail, *eta ? "  ETA " : "", eta);
}

void lap_console_format_bar(char *line, size_t size, int width, const lap_progress *p) {
  enum { WIDEST_BAR = 40, NARROWEST_BAR = 5, BRACKETS = 4 };
  char count[96], rest[256];
  snprintf(count, sizeof count, "%" PRId64 "/%" PRId64 " %s", p->done, p->total, p->unit);
  format_rest(rest, sizeof rest, p);
  const int used = (int)(strlen(p->label) + strlen(count) + strlen(rest)) + BRACKETS + 1;
  int cells = width - used;
  if (cells > WIDEST_BAR) cells = WIDEST_BAR;
  char bar[WIDEST_BAR + BRACKETS + 1] = " ";
  if (cells >= NARROWEST_BAR) {
    const int full = (int)((double)p->done / (double)p->total * cells);
    bar[1] = '[';
    for (int i = 0; i < cells; ++i) bar[2 + i] = i < full ? '#' : '.';
    memcpy(bar + 2 + cells, "] ", 3);
  }
  const size_t fits = width > 0 && (size_t)width < size ? (size_t)width : size;
  snprintf(line, fits, "%s%s%s%s", p->label, bar, count, rest);
}

void lap_console_progress_begin(lap_console *console, const char *label, const char *unit,
                                int64_t total, int64_t already_done) {
  assert(total > 0);
  lap_console_progress_end(console);
  console->label = lap_copy_string(label);
  console->unit = lap_copy_string(unit);
  console->total = total;
  console->done = console->already_done = already_done;
  console->tenths = (int)((double)already_done / (double)total * 10);
  console->begun = lap_clock_seconds();
  console->drawn = 0;
  console->detail[0] = '\0';
}

static void announce(lap_console *console) {
  char rest[256];
  const lap_progress progress = progress_of(console);
  format_rest(rest, sizeof rest, &progress);
  lap_console_say(console, "%s %" PRId64 "/%" PRId64 " %s%s", console->label, console->done,
                  console->total, console->unit, rest);
}

void lap_console_progress(lap_console *console, int64_t done, const char *detail) {
  static const double redraw_seconds = 0.1;
  if (!console->label) return;
  console->done = done;
  snprintf(console->detail, sizeof console->detail, "%s", detail);
  if (console->options.silent || console->options.quiet) return;
  if (console->options.terminal) {
    if (done >= console->total || lap_clock_seconds() - console->drawn >= redraw_seconds)
      draw_bar(console);
    return;
  }
  const int tenths = (int)((double)done / (double)console->total * 10);
  if (tenths > console->tenths) announce(console);
  if (tenths > console->tenths) console->tenths = tenths;
}

void lap_console_progress_end(lap_console *console) {
  if (!console->label) return;
  if (console->bar_shown) {
    draw_bar(console);
    fputc('\n', console->options.stream);
    fflush(console->options.stream);
    console->bar_shown = false;
  }
  free(console->label);
  free(console->unit);
  console->label = console->unit = NULL;
}

void lap_console_destroy(lap_console *console) {
  if (!console) return;
  lap_console_progress_end(console);
  if (console->log) fclose(console->log);
  free(console->early);
  free(console);
}
