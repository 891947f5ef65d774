/* stop: a request to stop, by SIGUSR1, SIGUSR2, SIGTERM, SIGHUP or SIGINT, ends in LAP_STOPPED.
 *
 * Queues send such a signal some time before they kill a job. From lap_stop_install on, with which
 * main begins, it ends the process with exit code 75, whatever it is doing: reading files, starting
 * MPI, waiting for others. That is safe at any moment, because all files appear whole or not at
 * all, and what a kill leaves of them the next start removes. Two kinds of commands want more time:
 *
 *   several ranks   leave together where they can, since mpirun may crash or hang after processes
 *                   that leave without MPI_Finalize: lap_stop_within, and lap_stop_check here and
 *                   there
 *   a training run  finishes its step and saves it: lap_stop_defer once the first step begins. A
 *                   second SIGINT then ends the process at once.
 *
 * SIGHUP and SIGINT stay ignored where the process was started so (nohup, a shell's background).
 * A module with state of its own: a signal handler can reach nothing else.
 */
#ifndef LAP_CORE_STOP_H
#define LAP_CORE_STOP_H

#include <signal.h>
#include <stdbool.h>

#include "core/status.h"

/* Installs the handlers, and lets the signals come where whoever started this process had blocked
 * them. Under a launcher only the first process says on stderr that it stops; it calls itself
 * program_invocation_name. */
void lap_stop_install(void);

/* From here on a request waits for lap_stop_check, `seconds` at most. */
void lap_stop_within(int seconds);
/* From here on a request waits until somebody asks by lap_stop_requested, however long it takes. */
void lap_stop_defer(void);

bool lap_stop_requested(void);
/* From any thread: a process of the same job has got a request, which is one to this process as
 * well, as if a signal had brought it. Does nothing where requests are ignored. */
void lap_stop_hear(void);
/* LAP_STOPPED where a request has come that has not been deferred. */
lap_code lap_stop_check(lap_status *status);

/* --- around fork and exec, which must not lose a request --- */

/* Holds requests back; *before is the mask to restore with pthread_sigmask. */
void lap_stop_hold(sigset_t *before);
/* In a child whose parent answers requests, and where all work is done: requests do nothing from
 * here on. */
void lap_stop_ignore(void);

#endif
