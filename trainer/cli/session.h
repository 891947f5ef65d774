/* session: what every command that may run under mpirun does first and last.
 *
 * Start-up order, the same on every rank: communicator, config (agreed), what computes products
 * (agreed), threads. Errors are agreed on: one rank prints one message, all leave with the same
 * exit code.
 */
#ifndef LAP_TRAINER_CLI_SESSION_H
#define LAP_TRAINER_CLI_SESSION_H

#include <stdbool.h>

#include "autograd/kernel/gemm_backend.h"
#include "mpi/transport/communicator.h"
#include "trainer/cli/command.h"
#include "trainer/cli/console.h"

typedef struct {
  lap_comm *comm;
  lap_console *console; /* silent on every rank but 0 */
  bool root;            /* rank 0 */
  double started;       /* clock, before MPI */
} lap_session;

/* Collective. Also LAP_USAGE where the ranks do not all run the same lapidary binary. */
lap_code lap_session_start(bool quiet, double watchdog_seconds, lap_session *session,
                           lap_status *status);

/* Collective. Orderly end after `code`: rank 0 prints the message of a failure, which is then
 * cleared on every rank, so that the command frame does not print it again. Returns `code`. */
lap_code lap_session_finish(lap_session *session, lap_code code, lap_status *status);

/* Collective. LAP_STOPPED where any rank has got a request to stop (core/stop.h): to be asked
 * before and after what takes long. A request that waits for longer than LAP_STOP_SECONDS ends its
 * process at once, as every request does that comes to a process without a launcher. */
enum { LAP_STOP_SECONDS = 10 };
lap_code lap_session_check_stop(const lap_session *session, lap_status *status);

/* A whole command: parses argv by `syntax`, runs `body` within a session and ends it. `flags` of
 * the body is syntax->destination. */
typedef lap_code (*lap_session_body)(const lap_session *session, const lap_command_line *line,
                                     void *flags, lap_status *status);
/* The watchdog until the body sets another, from what was typed alone: no rank has heard of another
 * yet. Not collective. */
typedef double (*lap_session_watchdog)(const lap_command_line *line, const void *flags);
/* `watchdog` NULL: LAP_WATCHDOG_SECONDS. */
lap_code lap_session_run(const lap_command *command, const lap_command_syntax *syntax, int argc,
                         char **argv, lap_session_watchdog watchdog, lap_session_body body,
                         lap_status *status);

/* Collective. LAP_USAGE under mpirun with several ranks: for commands that run alone. */
lap_code lap_session_alone(const lap_session *session, const char *command, lap_status *status);

/* Collective. Opens what computes products, and sets the number of OpenMP threads.
 * LAP_GEMM_OPENBLAS takes the choice's core, or, for "auto", the best core that all ranks share;
 * LAP_GEMM_LAPIDARY takes each rank's own best kernel: all give the same bits. Says where ranks
 * differ. */
lap_code lap_session_open_gemm(const lap_session *session, lap_gemm_choice choice, int threads,
                               lap_status *status);

/* Collective. Says how many threads of how many ranks share how many cores, and warns where they
 * are more. */
void lap_session_say_cores(const lap_session *session, int threads);

#endif
