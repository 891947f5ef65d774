/* communicator: MPI, through one thread.
 *
 * All MPI, from MPI_Init to MPI_Finalize, happens on one communication thread (MPI_THREAD_FUNNELED
 * is enough). Open MPI 4.1 makes no progress without calls and its blocking waits spin a core, so
 * the thread polls nonblocking operations: it yields its core for some microseconds, then sleeps
 * between polls. The other modules of mpi/ hand it exchanges (exchange.h); their callers see plain
 * functions. Exchanges are started in the order in which they were handed over, and several may be
 * in flight together; each is complete when its own messages are. Two ranks that start the
 * exchanges they have in common in the same order can never deadlock.
 *
 * The thread also watches over all ranks by heartbeats (watch.h): a rank that is stopped, stuck in
 * I/O or dead ends the job within `watchdog_seconds`, with exit code 76 and a line that names it,
 * its host and what it was last doing. A slow rank ends nothing, however long others wait for it.
 * Time in which this process was itself suspended does not count.
 *
 * Run without a launcher (mpirun, or srun --mpi=pmix), the communicator has one rank and MPI is not
 * started at all: that would take a third of a second and a helper process.
 */
#ifndef LAP_MPI_TRANSPORT_COMMUNICATOR_H
#define LAP_MPI_TRANSPORT_COMMUNICATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/status.h"
#include "mpi/transport/exchange.h"

typedef struct lap_comm lap_comm;

enum { LAP_WATCHDOG_SECONDS = 300 }; /* unless somebody knows better */

/* Collective over all started processes; call once. The watchdog counts `watchdog_seconds` from
 * here on, also while MPI starts; what it then says names the networks of this node. LAP_USAGE
 * where this MPI was built without threads, or where srun has started several processes that cannot
 * find each other. */
lap_code lap_comm_start(lap_comm **result, double watchdog_seconds, lap_status *status);
/* Collective: every rank is about to exit in an orderly way. Waits for all of them, then ends MPI;
 * ranks may then exit with any code, and mpirun returns it. */
void lap_comm_finish(lap_comm *comm);
/* Not collective, from any thread: prints "lapidary: rank R on HOST: MESSAGE" and ends every rank
 * of the job with this exit code (not LAP_OK), now; mpirun returns it. */
_Noreturn void lap_comm_abort(lap_comm *comm, lap_code code, const char *message);

/* Collective, where nothing is in flight. From here on the ranks of the job are the first `ranks`
 * of those that were started. The others get false: they have nothing to do but lap_comm_finish, in
 * which they wait for the end of the job, however long it takes. */
bool lap_comm_keep(lap_comm *comm, int ranks);

/* Not collective. */
int lap_comm_rank(const lap_comm *comm);
int lap_comm_size(const lap_comm *comm);
const char *lap_comm_host(const lap_comm *comm, int rank); /* host name of any rank */
int lap_comm_node(const lap_comm *comm, int rank);         /* number of its node, 0-based */
int lap_comm_ranks_on_node(const lap_comm *comm);          /* ranks on this rank's node */
/* How many nodes the ranks of the job are on. Nodes are numbered by their first rank, and the last
 * rank may be on any of them (mpirun --map-by node). */
static inline int lap_comm_nodes(const lap_comm *comm) {
  int nodes = 0;
  for (int rank = 0; rank < lap_comm_size(comm); ++rank)
    if (lap_comm_node(comm, rank) >= nodes) nodes = lap_comm_node(comm, rank) + 1;
  return nodes;
}
void lap_comm_set_watchdog(lap_comm *comm, double seconds);
/* Not collective. How long this rank may stand still from here on where the watchdog allows less:
 * it waits on purpose, no longer than that, for what another program or host does, as with a lock
 * or a name. 0, as at first: no longer than the watchdog allows; to be said after the next
 * exchange, with which the rank moves. Whether it is stopped is watched as ever. */
void lap_comm_set_patience(lap_comm *comm, double seconds);
/* Collective in so far as all ranks must say the same between the same exchanges; at first on.
 * Whether the hash (XXH3) of its bytes follows each message, which the receiver compares. It takes
 * 8 bytes a message, which are counted apart (lap_comm_check_bytes), and two passes over the bytes.
 */
void lap_comm_set_hashes(lap_comm *comm, bool on);
/* Not collective; of a communicator of one rank. fork(), for a child that uses `comm` too: plain
 * fork() may leave it locked there for ever. The child has no communication thread, and needs none:
 * a rank sends itself no messages. It ends with _exit, without lap_comm_finish. */
pid_t lap_comm_fork(lap_comm *comm);
/* What this rank is doing, for the watchdog's message, e.g. "step 12"; told to other ranks. */
void lap_comm_set_activity(lap_comm *comm, const char *activity);
/* Not collective. Seconds that callers have waited for exchanges since the last call with reset. */
double lap_comm_exposed_seconds(lap_comm *comm, bool reset);
/* Counted as messages start; steady once the exchanges that send have been waited for. Heartbeats
 * are not in it: at most 3 * LAP_BEAT_BYTES each time (heartbeat.h). */
lap_traffic *lap_comm_traffic(lap_comm *comm);
int64_t lap_comm_heartbeat_bytes(lap_comm *comm); /* that this rank has sent */
/* What checks have sent, counted as traffic: hashes of messages, and exchanges of
 * LAP_TRAFFIC_CHECKS. */
uint64_t lap_comm_check_bytes(const lap_comm *comm);
/* Counted in the calls of collectives, which one thread of a rank makes; for that thread. */
lap_mesh_traffic *lap_comm_mesh_traffic(lap_comm *comm);

/* Not collective. A second handle of the same ranks, for one more thread of each, which has to end
 * before lap_comm_finish. Its exchanges match only those that the other ranks submit by their
 * second handles; each handle keeps an order of its own, and both may have exchanges under way. It
 * answers for ranks, hosts and nodes, and serves exchanges and all that agree.h makes of them. Its
 * messages always have hashes. What it sends is counted nowhere, waits for it are not exposed, and
 * the watchdog looks at the main thread. Lives as long as `comm`. */
lap_comm *lap_comm_beside(lap_comm *comm);
/* Not collective. Says whether, from here on, the main thread waits for exchanges of the second
 * handle, or runs them itself. While it does, they count as its own for the watchdog. */
void lap_comm_set_waits_beside(lap_comm *comm, bool waits);

/* --- for the modules of mpi/ --- */

/* Names an exchange; 0 is one without messages, which is never waited for. */
typedef uint64_t lap_comm_ticket;

/* Collective among the ranks that exchange. Returns at once; `exchange` and the bytes of its
 * messages must live until it has been waited for. A message of another length than expected ends
 * all ranks (LAP_USAGE): they are not doing the same thing; so does one with another hash than its
 * sender's (LAP_NONFINITE), with a line that names both ranks and their hosts. Exchanges with the
 * same tag between the same two ranks match in the order in which they are started. */
lap_comm_ticket lap_comm_start_exchange(lap_comm *comm, const lap_exchange *exchange);
/* Until all messages of this exchange are complete, whatever else is in flight. */
void lap_comm_wait(lap_comm *comm, lap_comm_ticket ticket);
/* Whether a wait would return at once. */
bool lap_comm_is_done(lap_comm *comm, lap_comm_ticket ticket);
/* Starts an exchange and waits for it. */
void lap_comm_run_exchange(lap_comm *comm, const lap_exchange *exchange);

#endif
