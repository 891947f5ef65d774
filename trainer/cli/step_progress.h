/* step_progress: shows on a console how far a long step is (core/progress.h).
 *
 * A step that takes less than a second shows nothing, unless it follows one that took longer. Bytes
 * are shown in MiB where there are many. Where the total is not known (a pipe), a line every ten
 * seconds says how much is done.
 */
#ifndef LAP_TRAINER_CLI_STEP_PROGRESS_H
#define LAP_TRAINER_CLI_STEP_PROGRESS_H

#include <stdbool.h>

#include "core/progress.h"
#include "trainer/cli/console.h"

typedef struct {
  lap_console *console;
  char step[48];
  double begun, said; /* seconds of the monotonic clock */
  bool shown;         /* the step has a bar */
  bool at_once;       /* it need not take a second first */
} lap_step_progress;

/* The hook to hand down; `progress` must outlive it. */
lap_progress_hook lap_step_progress_begin(lap_step_progress *progress, lap_console *console);
/* Ends the bar of the last step, if there is one. */
void lap_step_progress_end(lap_step_progress *progress);

#endif
