/* execute: tasks as children of this process, until all are done.
 *
 * A child is this program itself, under the suite's launcher where there are several ranks, in a
 * process group of its own. It dies with this process, however that ends (PR_SET_PDEATHSIG); what
 * a killed child leaves is gone on with: `train --resume auto`, the parts of `teach`; other
 * commands start again. Its output goes to out.txt and err.txt beside what it makes, for which room
 * is reserved, so that a child on a full disk can say so. A child that ended by a signal, with 76,
 * or with a launcher's code for these (1, above 128), is started again, LAP_ATTEMPTS times in all;
 * a run that ended with 4 has diverged, which is an outcome; any other failure is named, what needs
 * it is skipped, what is running may end, and nothing more begins.
 *
 * A request to stop (core/stop.h) is handed to the children, every five seconds until they have
 * ended; then the answer is LAP_STOPPED. So it is where a child ends with 75 by itself: a training
 * that knows from scontrol when the job ends. The same call goes on later.
 */
#ifndef LAP_TRAINER_ABLATE_EXECUTE_H
#define LAP_TRAINER_ABLATE_EXECUTE_H

#include "trainer/ablate/task.h"
#include "trainer/cli/console.h"

enum { LAP_ATTEMPTS = 3 };

typedef struct {
  lap_console *console;
  int jobs;             /* children at once, where they have one rank; one that nothing can run
                         * beside gets the threads of all */
  int ranks;            /* of tasks that may have several */
  const char *launcher; /* words, followed by -n RANKS */
} lap_execute_options;

/* Finds out which tasks are done already: from their done.json. With `settle` run directories of
 * other keys are put aside. */
lap_code lap_execute_look(lap_tasks *tasks, bool settle, lap_status *status);

/* Runs what is not done. Call lap_stop_defer first. */
lap_code lap_execute(lap_tasks *tasks, const lap_execute_options *options, lap_status *status);

#endif
