/* console: what people read while a command works, on stderr and in log.txt.
 *
 * On a terminal a progress bar with ETA is redrawn at most ten times a second; elsewhere progress
 * is plain lines at every tenth of the way, so that a batch log stays short. NO_COLOR is respected.
 * Lines go to log.txt too, once one is open, and then also those from before; bars never do. A
 * console belongs to one thread. Ranks other than 0 create a silent one.
 */
#ifndef LAP_TRAINER_CLI_CONSOLE_H
#define LAP_TRAINER_CLI_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

typedef struct {
  FILE *stream;  /* not owned */
  bool terminal; /* bars instead of plain lines */
  bool color;
  int width;   /* columns of a terminal; 0: ask the terminal each time */
  bool quiet;  /* warnings only; log.txt still gets everything */
  bool silent; /* nothing at all, log.txt included */
} lap_console_options;

/* stderr as it is: terminal or not, NO_COLOR, TERM=dumb. */
lap_console_options lap_console_standard(bool quiet, bool silent);

typedef struct lap_console lap_console;
lap_console *lap_console_create(lap_console_options options);
/* Ends an unfinished bar, closes the log. */
void lap_console_destroy(lap_console *console);

/* Appends to a file what has been said so far (the first 64 KiB) and all further lines. LAP_DATA
 * where it cannot be opened, or is none: a named pipe would hold up the run. */
lap_code lap_console_open_log(lap_console *console, const char *path, lap_status *status);

/* One line; the newline is added. */
void lap_console_say(lap_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same after "warning: ", also when quiet. */
void lap_console_warn(lap_console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- progress: begin, update any number of times, end --- */

/* Progress over `total` > 0 of something, e.g. "train", "steps". One at a time. */
void lap_console_progress_begin(lap_console *console, const char *label, const char *unit,
                                int64_t total, int64_t already_done);
/* `detail` is shown behind the bar, e.g. "loss 3.21"; may be "". */
void lap_console_progress(lap_console *console, int64_t done, const char *detail);
void lap_console_progress_end(lap_console *console);

typedef struct {
  const char *label, *unit;
  int64_t done, total;  /* total > 0 */
  int64_t already_done; /* when the clock was started */
  double seconds;       /* since then */
  const char *detail;   /* may be "" */
} lap_progress;

/* How long the rest will take at the rate so far: "1 min 02 s"; "" where nothing has been measured
 * yet, or nothing is left. Returns `text` [LAP_HUMAN_TEXT]. */
const char *lap_console_format_eta(const lap_progress *progress, char *text);

/* The bar alone, for `width` columns: "train  [####....] 12/50 steps  loss 3.2  ETA 1 min 02 s".
 * Never longer than width - 1 or size - 1. */
void lap_console_format_bar(char *line, size_t size, int width, const lap_progress *progress);

#endif
