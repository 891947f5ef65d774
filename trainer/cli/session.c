#include "trainer/cli/session.h"

#include <omp.h>
#include <string.h>

#include "autograd/kernel/blas.h"
#include "autograd/kernel/matmul/kernels.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/launcher.h"
#include "core/stop.h"
#include "mpi/transport/agree.h"
#include "trainer/cli/command.h"
#include "trainer/cli/core_use.h"

static lap_code agree_on_binary(lap_comm *comm, lap_status *status) {
  char hex[LAP_SHA256_HEX] = "";
  lap_status own = {0};
  own.code = lap_sha256_file("/proc/self/exe", hex, &own);
  LAP_TRY((*status = own, lap_agree(comm, status)));
  return lap_agree_same(comm, "lapidary binary (SHA-256)", hex,
                        "install the same build on every node", status);
}

lap_code lap_session_start(bool quiet, double watchdog_seconds, lap_session *session,
                           lap_status *status) {
  session->started = lap_clock_seconds();
  LAP_TRY(lap_comm_start(&session->comm, watchdog_seconds, status));
  lap_comm_set_activity(session->comm, "starting");
  session->root = lap_comm_rank(session->comm) == 0;
  session->console = lap_console_create(lap_console_standard(quiet, !session->root));
  lap_code code = agree_on_binary(session->comm, status);
  if (code == LAP_OK) code = lap_session_check_stop(session, status);
  return code == LAP_OK ? LAP_OK : lap_session_finish(session, code, status);
}

lap_code lap_session_check_stop(const lap_session *session, lap_status *status) {
  lap_status own = {0};
  own.code = lap_stop_check(&own);
  *status = own;
  return lap_agree(session->comm, status);
}

lap_code lap_session_finish(lap_session *session, lap_code code, lap_status *status) {
  lap_console_destroy(session->console);
  session->console = NULL;
  /* Said before the ranks end: mpirun ends the whole job with the first of them that fails. */
  if (code != LAP_OK && session->root) lap_command_print_failure(status);
  status->message[0] = '\0';
  lap_comm_set_activity(session->comm, "ending");
  /* mpirun sends SIGTERM to the others when the first of them has ended: it stops nothing here. */
  lap_stop_ignore();
  lap_comm_finish(session->comm);
  session->comm = NULL;
  return code;
}

lap_code lap_session_run(const lap_command *command, const lap_command_syntax *syntax, int argc,
                         char **argv, lap_session_watchdog watchdog, lap_session_body body,
                         lap_status *status) {
  lap_command_line line;
  LAP_TRY(lap_command_parse(command, syntax, argc, argv, &line, status));
  if (lap_launcher_rank() >= 0) lap_stop_within(LAP_STOP_SECONDS);
  lap_session session;
  const double seconds = watchdog ? watchdog(&line, syntax->destination) : LAP_WATCHDOG_SECONDS;
  lap_code code = lap_session_start(line.quiet, seconds, &session, status);
  if (code == LAP_OK) {
    code = body(&session, &line, syntax->destination, status);
    code = lap_session_finish(&session, code, status);
  }
  lap_command_line_release(&line);
  return code;
}

lap_code lap_session_alone(const lap_session *session, const char *command, lap_status *status) {
  const int ranks = lap_comm_size(session->comm);
  if (ranks == 1) return LAP_OK;
  return lap_fail(status, LAP_USAGE, "%s runs alone, not under mpirun with %d ranks", command,
                  ranks);
}

/* Of openblas, "auto" settled: the poorest rank decides. */
static const char *agree_on_core(const lap_session *session) {
  enum { NONE, COMMON, SKYLAKEX };
  const char *best = lap_blas_best_core(), *core;
  int64_t smallest, largest;
  lap_agree_range(session->comm,
                  !best                      ? NONE
                  : strcmp(best, "SKYLAKEX") ? COMMON
                                             : SKYLAKEX,
                  &smallest, &largest);
  core = smallest == SKYLAKEX ? "SKYLAKEX" : lap_blas_common_core();
  if (smallest != largest)
    lap_console_say(session->console, "nodes differ; all use OpenBLAS's %s kernels", core);
  return core;
}

static void say_kernels(const lap_session *session) {
  const lap_matmul_precision precision = lap_gemm_precision_here();
  const lap_matmul_unit *unit = lap_matmul_kernel_here()->unit[precision];
  int64_t mine = 0, fastest, slowest;
  while (lap_matmul_kernels()[mine]->unit[precision] != unit) ++mine;
  lap_agree_range(session->comm, mine, &fastest, &slowest);
  if (fastest != slowest)
    lap_console_say(session->console,
                    "processors differ: some ranks multiply with %s, others with %s; the bits are "
                    "the same, but the faster ranks wait for the slower ones",
                    lap_matmul_kernels()[fastest]->name, lap_matmul_kernels()[slowest]->name);
}

lap_code lap_session_open_gemm(const lap_session *session, lap_gemm_choice choice, int threads,
                               lap_status *status) {
  const bool openblas = choice.backend == LAP_GEMM_OPENBLAS;
  if (openblas && !strcmp(choice.core, "auto")) choice.core = agree_on_core(session);
  lap_status own = {0};
  own.code = lap_gemm_open(&choice, &own);
  *status = own;
  LAP_TRY(lap_agree(session->comm, status));
  omp_set_num_threads(threads);
  if (openblas)
    return lap_agree_same(session->comm, "OpenBLAS version", lap_blas_version(),
                          "install the same OpenBLAS on every node", status);
  say_kernels(session);
  return LAP_OK;
}

void lap_session_say_cores(const lap_session *session, int threads) {
  const lap_core_use use = lap_core_use_of(session->comm, threads);
  char text[256];
  lap_core_use_print(&use, text, sizeof text);
  lap_console_say(session->console, "cores      %s", text);
  if (use.node_ranks * threads > use.cores)
    lap_console_warn(session->console,
                     "%d threads of %d rank%s are more than the %d core%s of %s: expect them to be "
                     "slow",
                     use.node_ranks * threads, use.node_ranks, use.node_ranks == 1 ? "" : "s",
                     use.cores, use.cores == 1 ? "" : "s", use.host);
  else if (threads > use.bound_cores)
    lap_console_warn(session->console,
                     "%d threads are bound to %d core%s: start with mpirun --bind-to none, or "
                     "--map-by slot:PE=%d",
                     threads, use.bound_cores, use.bound_cores == 1 ? "" : "s", threads);
}
